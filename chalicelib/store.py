"""The records of one installation: deliveries, runs, locks, deployments and the rest, over one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.records.deliveries import DeliveryRecords
from chalicelib.records.deployments import DeploymentRecords
from chalicelib.records.due import DueRecords
from chalicelib.records.locks import LockRecords
from chalicelib.records.runs import RunRecords
from chalicelib.records.sundry import SundryRecords
from chalicelib.records.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Store(DeliveryRecords, RunRecords, DeploymentRecords, LockRecords, DueRecords, SundryRecords):
    """Everything that is remembered. Each base holds one kind of record; none knows another's."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self.table = Table(client, table)
