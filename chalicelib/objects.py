"""Objects to and from S3: logs, bundles, large bodies. Each is written once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import NotThere, StepErrored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_CONFLICT_TRIES = 5
_PART_BYTES = 1024**2


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

    def put_file_once(self, key: str, file: IO[bytes], content_type: str, *, shown: bool) -> None:
        """Write an object that must not exist yet out of a file; one that does was ours, and its answer got lost.

        Args:
            shown: a browser may open it; else it saves it.

        Raises:
            StepErrored: the bucket does not take it.
        """
        file.seek(0)
        disposition = "inline" if shown else "attachment"
        try:
            self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=file,
                ContentType=content_type,
                ContentDisposition=disposition,
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise StepErrored(f"the bucket does not take {key}: {error}") from error
        except BotoCoreError as error:
            raise StepErrored(f"the bucket does not take {key}: {error}") from error

    def parts(self, key: str) -> Iterator[bytes]:
        """The object as it comes.

        Raises:
            NotThere: no object has this key.
        """
        try:
            yield from self._client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(_PART_BYTES)
        except self._client.exceptions.NoSuchKey as error:
            raise NotThere(f"no object s3://{self.bucket}/{key}") from error

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
