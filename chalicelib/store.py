"""The records of one installation: deliveries, runs, locks, deployments and the rest, over one table."""

from __future__ import annotations

from chalicelib.records.breakers import BreakerRecords
from chalicelib.records.configs import ConfigRecords
from chalicelib.records.dead import DeadRecords
from chalicelib.records.deliveries import DeliveryRecords
from chalicelib.records.deployments import DeploymentRecords
from chalicelib.records.due import DueRecords
from chalicelib.records.ends import EndRecords
from chalicelib.records.locks import LockRecords
from chalicelib.records.looks import LookRecords
from chalicelib.records.mentions import MentionRecords
from chalicelib.records.runs import RunRecords
from chalicelib.records.schedules import ScheduleRecords
from chalicelib.records.sundry import SundryRecords
from chalicelib.records.table import Table


class Store(
    DeliveryRecords,
    RunRecords,
    EndRecords,
    DeploymentRecords,
    LockRecords,
    ConfigRecords,
    DueRecords,
    SundryRecords,
    DeadRecords,
    BreakerRecords,
    LookRecords,
    MentionRecords,
    ScheduleRecords,
):
    """Everything that is remembered. Each base holds one kind of record; none knows another's."""

    def __init__(self, table: Table) -> None:
        self.table = table
