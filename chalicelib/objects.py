"""Objects to and from S3: logs, bundles, large bodies. Each is written once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.errors import NotThere

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_CONFLICT_TRIES = 5


class Objects:
    """The bucket of one installation."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def put_once(self, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object that must not exist yet; False when it did (and was left as it is).

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        """
        for attempt in range(1, _CONFLICT_TRIES + 1):
            try:
                self._client.put_object(
                    Bucket=self.bucket, Key=key, Body=body, Metadata=dict(metadata or {}), IfNoneMatch="*"
                )
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "PreconditionFailed":
                    return False
                # Two writers at the same moment: neither may have won. Whoever asks again knows.
                if code != "ConditionalRequestConflict" or attempt == _CONFLICT_TRIES:
                    raise
            else:
                return True
        return False

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            NotThere: no object has this key.
        """
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise NotThere(f"no object s3://{self.bucket}/{key}") from error

    def metadata(self, key: str) -> Mapping[str, str]:
        return self._client.head_object(Bucket=self.bucket, Key=key)["Metadata"]

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, in the order of the bytes of their names."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", []):
                yield entry["Key"]
