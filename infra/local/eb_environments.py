"""The operations on environments, from the first to the last day of one, and their events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.local.eb_deploy import Deployer
from infra.local.eb_paging import page
from infra.local.eb_platforms import STACK
from infra.local.eb_protocol import Params, Refused
from infra.local.eb_state import (
    COLOURS,
    Environment,
    Event,
    Records,
    Severity,
    Status,
    VersionStatus,
    must_be,
    new_id,
)
from infra.local.eb_templates import settings_after

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]")
SEVERITIES = list(Severity)


class EnvironmentOperations:
    """Each public method is the operation of its name; it gets checked members and the request's id."""

    def __init__(self, records: Records, deployer: Deployer, region: str, account: str) -> None:
        self._records = records
        self._deployer = deployer
        self._region = region
        self._account = account

    def create_environment(self, params: Params, request: str) -> Params:
        name, application = self._new_name(params), params["ApplicationName"]
        with self._records.lock:
            self._records.application(application)
            stack, options = self._platform(application, params)
            target = self._target(application, params)
            if any(one.name == name for one in self._records.living()):
                raise Refused("InvalidParameterValue", f"Environment {name} already exists.")
            prefix = params.get("CNAMEPrefix", name)
            if not self._is_free(prefix):
                raise Refused("InvalidParameterValue", f"DNS name ({self._cname(prefix)}) is not available.")
            environment_id, at = new_id("e"), self._records.now()
            environment = Environment(
                number=self._records.number(),
                id=environment_id,
                application=application,
                name=name,
                description=params.get("Description"),
                prefix=prefix,
                stack=stack,
                port=self._deployer.open_address(environment_id),
                status=Status.LAUNCHING,
                created_at=at,
                updated_at=at,
                target=target,
                deployments=1 if target else 0,
            )
            self._records.environments[environment_id] = environment
            self._deployer.launch(environment, settings_after(options, params), request)
        return self._describe(environment)

    def update_environment(self, params: Params, request: str) -> Params:
        with self._records.lock:
            before = self._records.environment(params)
            target = self._target(before.application, params)
            options = settings_after(before.options, params)
            if target is None and options != before.options and before.live:
                target = before.live.label
            changed = self._records.ready(
                params,
                status=Status.UPDATING,
                target=target,
                description=params.get("Description", before.description),
                deployments=before.deployments + bool(target),
                abortable=True,
            )
            self._deployer.update(changed, options, request)
        return self._describe(changed)

    def abort_environment_update(self, params: Params, _: str) -> Params:
        with self._records.lock:
            environment = self._records.environment(params)
            if not environment.abortable or environment.status is not Status.UPDATING:
                raise must_be(environment, "pending deployment")
            self._records.change(environment.id, status=Status.ABORTING)
            self._deployer.abort(environment)
        return {}

    def terminate_environment(self, params: Params, request: str) -> Params:
        with self._records.lock:
            changed = self._records.ready(params, status=Status.TERMINATING)
            self._deployer.terminate(changed, request)
        return self._describe(changed)

    def restart_app_server(self, params: Params, request: str) -> Params:
        with self._records.lock:
            self._deployer.restart(self._again(params), request)
        return {}

    def rebuild_environment(self, params: Params, request: str) -> Params:
        with self._records.lock:
            self._deployer.rebuild(self._again(params), request)
        return {}

    def swap_environment_cnames(self, params: Params, request: str) -> Params:
        with self._records.lock:
            source, destination = (
                {name: params.get(f"{side}{name}") for name in ("EnvironmentId", "EnvironmentName")}
                for side in ("Source", "Destination")
            )
            for one in (source, destination):
                self._records.require_ready(one)
            if self._records.environment(source) == self._records.environment(destination):
                raise Refused("InvalidParameterValue", "An environment cannot swap its CNAME with itself.")
            changed = [self._records.ready(one, status=Status.UPDATING) for one in (source, destination)]
            self._deployer.swap(changed[0], changed[1], request)
        return {}

    def describe_environments(self, params: Params, _: str) -> Params:
        with self._records.lock:
            found = [one for one in self._records.environments.values() if _is_wanted(one, params)]
        some, token = page(found, params)
        return {"Environments": [self._describe(one) for one in some], "NextToken": token}

    def describe_events(self, params: Params, _: str) -> Params:
        with self._records.lock:
            found = [event for event in self._records.events if _is_told(event, params)]
        some, token = page(found, params)
        return {"Events": [_describe_event(event) for event in some], "NextToken": token}

    def check_dns_availability(self, params: Params, _: str) -> Params:
        prefix = params["CNAMEPrefix"]
        return {"Available": self._is_free(prefix), "FullyQualifiedCNAME": self._cname(prefix)}

    def _platform(self, application: str, params: Params) -> tuple[str, Mapping[tuple[str, str], str]]:
        """The platform, and the settings that it begins with."""
        if name := params.get("TemplateName"):
            if params.get("SolutionStackName"):
                text = "You cannot specify both TemplateName and SolutionStackName."
                raise Refused("InvalidParameterCombination", text)
            template = self._records.template(application, name)
            return template.stack, template.options
        stack: str = params.get("SolutionStackName", STACK)
        if "Docker" not in stack:
            raise Refused("InvalidParameterValue", f"No Solution Stack named '{stack}' found.")
        return stack, {}

    def _again(self, params: Params) -> Environment:
        """The environment as it begins to bring up once more what runs there."""
        before = self._records.environment(params)
        return self._records.ready(params, status=Status.UPDATING, target=before.live and before.live.label)

    def _new_name(self, params: Params) -> str:
        if not params.get("EnvironmentName"):
            raise Refused("MissingRequiredParameter", "You must specify EnvironmentName.")
        name = str(params["EnvironmentName"])
        if not NAME.fullmatch(name):
            raise Refused(
                "InvalidParameterValue",
                f"Value {name} at 'EnvironmentName' failed to satisfy constraint: Member must contain only letters, "
                "digits, and the dash character and may not start or end with a dash",
            )
        return name

    def _target(self, application: str, params: Params) -> str | None:
        """The label that a request wants to run, checked; None when it names none."""
        label: str | None = params.get("VersionLabel")
        if label is None:
            return None
        status = self._records.version(application, label).status
        if status in {VersionStatus.FAILED, VersionStatus.PROCESSING}:
            raise Refused(
                "InvalidParameterValue", f"Application version {label} cannot be deployed: its status is {status}."
            )
        return label

    def _is_free(self, prefix: str) -> bool:
        with self._records.lock:
            return all(one.prefix.lower() != prefix.lower() for one in self._records.living())

    def _cname(self, prefix: str) -> str:
        return f"{prefix}.{self._region}.elasticbeanstalk.com"

    def _describe(self, environment: Environment) -> Params:
        application, name = environment.application, environment.name
        return {
            "EnvironmentName": name,
            "EnvironmentId": environment.id,
            "ApplicationName": application,
            "VersionLabel": environment.label,
            "SolutionStackName": environment.stack,
            "Description": environment.description,
            "EndpointURL": f"127.0.0.1:{environment.port}",
            "CNAME": f"127.0.0.1:{environment.port}",
            "DateCreated": environment.created_at,
            "DateUpdated": environment.updated_at,
            "Status": environment.status,
            "AbortableOperationInProgress": environment.abortable and environment.status is Status.UPDATING,
            "Health": COLOURS[environment.shown_health],
            "HealthStatus": environment.shown_health if environment.enhanced else None,
            "Tier": {"Name": "WebServer", "Type": "Standard", "Version": "1.0"},
            "EnvironmentLinks": [],
            "EnvironmentArn": (
                f"arn:aws:elasticbeanstalk:{self._region}:{self._account}:environment/{application}/{name}"
            ),
        }


def _is_wanted(environment: Environment, params: Params) -> bool:
    """Whether DescribeEnvironments was asked for it. Terminated ones are listed unless the caller says otherwise."""
    if environment.status is Status.TERMINATED:
        since = params.get("IncludedDeletedBackTo")
        if params.get("IncludeDeleted") is False or (since and environment.updated_at < since):
            return False
    ids, names = params.get("EnvironmentIds"), params.get("EnvironmentNames")
    return (
        params.get("ApplicationName") in {None, environment.application}
        and params.get("VersionLabel") in {None, environment.label}
        and (not ids or environment.id in ids)
        and (not names or environment.name in names)
    )


def _is_told(event: Event, params: Params) -> bool:
    """Whether DescribeEvents was asked for it: StartTime is inclusive, EndTime is not, Severity is the least."""
    environment = event.environment
    values: Mapping[str, Any] = {
        "ApplicationName": event.application,
        "VersionLabel": event.label,
        "EnvironmentName": environment and environment.name,
        "EnvironmentId": environment and environment.id,
        "RequestId": event.request,
    }
    least = params.get("Severity", Severity.TRACE)
    start, end = params.get("StartTime", event.at), params.get("EndTime")
    return (
        all(params.get(name) in {None, value} for name, value in values.items())
        and SEVERITIES.index(event.severity) >= SEVERITIES.index(Severity(least))
        and start <= event.at
        and (end is None or event.at < end)
    )


def _describe_event(event: Event) -> Params:
    return {
        "EventDate": event.at,
        "Message": event.message,
        "ApplicationName": event.application,
        "VersionLabel": event.label,
        "EnvironmentName": event.environment and event.environment.name,
        "RequestId": event.request,
        "Severity": event.severity,
    }
