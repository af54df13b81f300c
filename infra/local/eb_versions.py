"""The operations on applications, their versions, and where their bundles lie."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.local.eb_background import Background, Work
from infra.local.eb_bundle import BadBundle
from infra.local.eb_deploy import Deployer
from infra.local.eb_faults import OF_PROCESSING, Fault, Faults, Order
from infra.local.eb_instances import Instances
from infra.local.eb_paging import page
from infra.local.eb_protocol import Params, Refused
from infra.local.eb_state import Application, Records, Severity, Status, Version, VersionStatus

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUNDLE_LIMIT = 512 * 1024 * 1024
IN_PROGRESS = "OperationInProgressFailure"


def storage(s3: S3Client, account: str) -> str:
    """Elastic Beanstalk's own bucket in this region, made where it is not there yet."""
    region = s3.meta.region_name
    bucket = f"elasticbeanstalk-{region}-{account}"
    try:
        if region == "us-east-1":  # the one region that must not be named
            s3.create_bucket(Bucket=bucket)
        else:
            place: Any = {"LocationConstraint": region}
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise
    return bucket


class VersionOperations:
    """Each public method is the operation of its name; it gets checked members and the request's id."""

    def __init__(
        self,
        records: Records,
        deployer: Deployer,
        instances: Instances,
        s3: S3Client,
        background: Background,
        faults: Faults,
        seconds_per_step: float,
        account: str,
    ) -> None:
        self._records = records
        self._deployer = deployer
        self._instances = instances
        self._s3 = s3
        self._background = background
        self._faults = faults
        self._step_s = seconds_per_step
        self._account = account

    @property
    def _region(self) -> str:
        return self._s3.meta.region_name

    def create_application(self, params: Params, request: str) -> Params:
        name = params["ApplicationName"]
        with self._records.lock:
            if name in self._records.applications:
                raise Refused("InvalidParameterValue", f"Application {name} already exists.")
            application = self._new_application(name, params.get("Description"), request)
        return {"Application": self._describe_application(application)}

    def describe_applications(self, params: Params, _: str) -> Params:
        with self._records.lock:
            wanted = params.get("ApplicationNames") or list(self._records.applications)
            found = [self._records.applications[name] for name in wanted if name in self._records.applications]
            return {"Applications": [self._describe_application(one) for one in found]}

    def delete_application(self, params: Params, request: str) -> Params:
        with self._records.lock:
            name = self._records.application(params["ApplicationName"]).name
            living = [one for one in self._records.living() if one.application == name]
            if living and not params.get("TerminateEnvByForce"):
                names = ", ".join(one.name for one in living)
                raise Refused(
                    "InvalidParameterValue",
                    f"Unable to delete application {name}: it has running environments: {names}.",
                )
            if any(one.busy for one in living):
                raise Refused(IN_PROGRESS, f"Unable to delete application {name}: another operation is in progress.")
            for one in living:
                self._deployer.terminate(self._records.change(one.id, status=Status.TERMINATING), request)
            del self._records.applications[name]
            for of_application in (self._records.versions, self._records.templates):
                for key in [key for key in of_application if key[0] == name]:
                    del of_application[key]
            self._records.tell(Severity.INFO, "The application has been deleted successfully.", name, request=request)
        return {}

    def create_application_version(self, params: Params, request: str) -> Params:
        name, label = params["ApplicationName"], params["VersionLabel"]
        bucket, key = self._place(params)
        if order := self._ordered(name, [Fault.LABEL_EXISTS]):
            self._somebody_was_faster(name, label, (bucket, key if order.same_bundle else f"another/{label}.zip"))
        if "/" in label:
            raise Refused("InvalidParameterValue", f"Value '{label}' at 'VersionLabel' must match the pattern [^/]+")
        with self._records.lock:
            self._check_new(name, label, auto_create=params.get("AutoCreateApplication", False))
        self._check_bundle(bucket, key)  # over the network: not while everybody waits for the lock
        status = VersionStatus.PROCESSING if params.get("Process") else VersionStatus.UNPROCESSED
        with self._records.lock:
            self._check_new(name, label, auto_create=params.get("AutoCreateApplication", False))
            if name not in self._records.applications:
                self._new_application(name, None, request)
            at, number = self._records.now(), self._records.number()
            version = Version(number, name, label, params.get("Description"), bucket, key, status, at, at)
            self._records.versions[name, label] = version
        if status is VersionStatus.PROCESSING:
            self._background.start(lambda work: self._process(work, version, request))
        return {"ApplicationVersion": self._describe_version(version)}

    def update_application(self, params: Params, _: str) -> Params:
        with self._records.lock:
            before = self._records.application(params["ApplicationName"])
            description = params.get("Description", before.description)
            changed = replace(before, description=description, updated_at=self._records.now())
            self._records.applications[before.name] = changed
            return {"Application": self._describe_application(changed)}

    def update_application_version(self, params: Params, _: str) -> Params:
        name, label = params["ApplicationName"], params["VersionLabel"]
        with self._records.lock:
            self._records.application(name)
            before = self._records.version(name, label)
            description = params.get("Description", before.description)
            changed = replace(before, description=description, updated_at=self._records.now())
            self._records.versions[name, label] = changed
        return {"ApplicationVersion": self._describe_version(changed)}

    def describe_application_versions(self, params: Params, _: str) -> Params:
        name, labels = params.get("ApplicationName"), params.get("VersionLabels")
        with self._records.lock:
            found = [
                one
                for one in self._records.versions.values()
                if name in {None, one.application} and (not labels or one.label in labels)
            ]
        some, token = page(found, params)
        return {"ApplicationVersions": [self._describe_version(one) for one in some], "NextToken": token}

    def delete_application_version(self, params: Params, request: str) -> Params:
        name, label = params["ApplicationName"], params["VersionLabel"]
        with self._records.lock:
            self._records.application(name)
            version = self._records.version(name, label)
            users = [one.name for one in self._records.living() if one.application == name and one.runs(label)]
            if users:
                raise Refused(IN_PROGRESS, f"Version {label} is used by the environments: {', '.join(users)}.")
            del self._records.versions[name, label]
        if params.get("DeleteSourceBundle"):
            try:
                self._s3.delete_object(Bucket=version.bucket, Key=version.key)
            except ClientError as error:
                raise Refused("SourceBundleDeletionFailure", str(error)) from error
        message = f"Deleted application version {label}."
        self._records.tell(Severity.INFO, message, name, label=label, request=request)
        return {}

    def create_storage_location(self, _: Params, __: str) -> Params:
        return {"S3Bucket": storage(self._s3, self._account)}

    def _new_application(self, name: str, description: str | None, request: str) -> Application:
        at = self._records.now()
        application = Application(self._records.number(), name, description, at, at)
        self._records.applications[name] = application
        self._records.tell(Severity.INFO, f"Created new Application: {name}", name, request=request)
        return application

    def _ordered(self, application: str, faults: Collection[Fault]) -> Order | None:
        with self._records.lock:
            environments = [one.name for one in self._records.living() if one.application == application]
        return self._faults.take(environments, faults)

    def _somebody_was_faster(self, name: str, label: str, place: tuple[str, str]) -> None:
        """The label is taken, a moment before it is asked for."""
        at = self._records.now()
        with self._records.lock:
            number = self._records.number()
            made = Version(number, name, label, "made by somebody else", *place, VersionStatus.PROCESSED, at, at)
            self._records.versions[name, label] = made

    def _check_new(self, name: str, label: str, *, auto_create: bool) -> None:
        if (name, label) in self._records.versions:
            raise Refused("InvalidParameterValue", f"Application Version {label} already exists.")
        if not auto_create:
            self._records.application(name)

    def _place(self, params: Params) -> tuple[str, str]:
        bundle = params.get("SourceBundle", {})
        if unknown := {"SourceBuildInformation", "BuildConfiguration"} & params.keys():
            raise Refused("InvalidParameterCombination", f"{min(unknown)} is not served here: use SourceBundle.")
        if not bundle.get("S3Bucket") or not bundle.get("S3Key"):
            raise Refused("InvalidParameterCombination", "Both S3Bucket and S3Key of SourceBundle must be specified.")
        return bundle["S3Bucket"], bundle["S3Key"]

    def _check_bundle(self, bucket: str, key: str) -> None:
        try:
            size = self._s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except ClientError as error:
            reason = HTTPStatus(error.response["ResponseMetadata"]["HTTPStatusCode"]).phrase
            raise Refused(
                "InvalidParameterCombination",
                f"Unable to download from S3 location (Bucket: {bucket}  Key: {key}). Reason: {reason}",
            ) from error
        if size > BUNDLE_LIMIT:
            raise Refused("InvalidParameterValue", f"The source bundle has {size} bytes; the limit is {BUNDLE_LIMIT}.")

    def _process(self, work: Work, version: Version, request: str) -> None:
        order = self._ordered(version.application, OF_PROCESSING)
        work.pause(self._step_s)
        if order and order.fault is Fault.NEVER_PROCESS:
            return
        status, severity, message = VersionStatus.PROCESSED, Severity.INFO, f"Processed version {version.label}."
        try:
            self._read(version, order)
        except BadBundle as error:
            status, severity = VersionStatus.FAILED, Severity.ERROR
            message = f"Failed to process application version {version.label}: {error}"
        where = (version.application, version.label)
        with self._records.lock:
            if self._records.versions.get(where) is version:  # it may have been deleted meanwhile
                self._records.versions[where] = replace(version, status=status, updated_at=self._records.now())
                self._records.tell(severity, message, where[0], label=where[1], request=request)

    def _read(self, version: Version, order: Order | None) -> None:
        if order:
            raise BadBundle("so it was ordered")
        self._instances.read(version)

    def _describe_application(self, application: Application) -> Params:
        name = application.name
        newest = sorted(self._records.versions.values(), key=lambda version: -version.number)
        return {
            "ApplicationArn": self._arn(f"application/{name}"),
            "ApplicationName": name,
            "Description": application.description,
            "DateCreated": application.created_at,
            "DateUpdated": application.updated_at,
            "Versions": [version.label for version in newest if version.application == name],
            "ConfigurationTemplates": [of for application, of in self._records.templates if application == name],
        }

    def _describe_version(self, version: Version) -> Params:
        return {
            "ApplicationVersionArn": self._arn(f"applicationversion/{version.application}/{version.label}"),
            "ApplicationName": version.application,
            "Description": version.description,
            "VersionLabel": version.label,
            "SourceBundle": {"S3Bucket": version.bucket, "S3Key": version.key},
            "DateCreated": version.created_at,
            "DateUpdated": version.updated_at,
            "Status": version.status,
        }

    def _arn(self, resource: str) -> str:
        return f"arn:aws:elasticbeanstalk:{self._region}:{self._account}:{resource}"
