"""How environments fare: the operations that tell it, and the look at every container by which it is known."""

from __future__ import annotations

from collections import Counter
from typing import Any

from infra.local.eb_background import Work
from infra.local.eb_container import Running, Runs
from infra.local.eb_hosts import Hosts
from infra.local.eb_instances import Instances
from infra.local.eb_protocol import Params, Refused
from infra.local.eb_state import COLOURS, Deployed, Environment, Health, Records, Status

# A container that is slow once, on a machine that is busy, is not ill.
_SILENCES = 3


class HealthOperations:
    """Each public method is the operation of its name; it gets checked members and the request's id."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def describe_environment_health(self, params: Params, _: str) -> Params:
        environment = self._enhanced(params, "DescribeEnvironmentHealth")
        health = environment.shown_health
        counts = dict.fromkeys(("NoData", "Unknown", "Pending", "Ok", "Info", "Warning", "Degraded", "Severe"), 0)
        attributes: Params = {
            "Status": environment.status,
            "HealthStatus": health,
            "Color": COLOURS[health],
            "Causes": _causes(environment),
            "ApplicationMetrics": {"RequestCount": 0},
            "InstancesHealth": {**counts, health.value: len(environment.instances)},
            "RefreshedAt": self._records.now(),
        }
        return {"EnvironmentName": environment.name, **_chosen(attributes, params)}

    def describe_instances_health(self, params: Params, _: str) -> Params:
        environment = self._enhanced(params, "DescribeInstancesHealth")
        listed = [_instance(name, runs, environment, params) for name, runs in environment.instances.items()]
        return {"InstanceHealthList": listed, "RefreshedAt": self._records.now()}

    def describe_environment_resources(self, params: Params, _: str) -> Params:
        environment = self._records.environment(params)
        resources = {"EnvironmentName": environment.name, "Instances": [{"Id": one} for one in environment.instances]}
        return {"EnvironmentResources": resources}

    def _enhanced(self, params: Params, operation: str) -> Environment:
        """The environment that a request names.

        Raises:
            Refused: it has basic health, and nothing more is told of it.
        """
        environment = self._records.environment(params)
        if not environment.enhanced:
            raise Refused("InvalidRequestException", f"{operation} is not supported.")
        return environment


class Watch:
    """Asks each container of an environment that is Ready, again and again; what does not answer is Severe."""

    def __init__(self, records: Records, hosts: Hosts, containers: Runs, instances: Instances, every_s: float) -> None:
        self._records = records
        self._hosts = hosts
        self._containers = containers
        self._instances = instances
        self._every_s = every_s
        self._silences: Counter[int] = Counter()

    def __call__(self, work: Work) -> None:
        while True:
            work.pause(self._every_s)
            for environment in self._watched():
                self._look(environment)

    def _watched(self) -> list[Environment]:
        with self._records.lock:
            return [one for one in self._records.living() if one.status is Status.READY and one.live]

    def _look(self, environment: Environment) -> None:
        host = self._hosts.get(environment.id)
        if host is None or host.running is None or host.ill:
            return
        running = host.running
        health = self._health(running)
        with self._records.lock:
            now = self._records.environments[environment.id]
            if host.running is running and now.status is Status.READY and now.health is not health:
                self._instances.transition(environment.id, health)

    def _health(self, running: Running) -> Health:
        if self._containers.answers(running):
            self._silences.pop(running.port, None)
            return Health.OK
        self._silences[running.port] += 1
        return Health.SEVERE if self._silences[running.port] >= _SILENCES else Health.OK


def _instance(name: str, runs: Deployed | None, environment: Environment, params: Params) -> dict[str, Any]:
    """One instance; what it runs is told where something was deployed to it."""
    health = environment.shown_health
    deployed = runs and {
        "VersionLabel": runs.label,
        "DeploymentId": runs.deployment,
        "Status": "Deployed",
        "DeploymentTime": runs.at,
    }
    attributes: Params = {
        "HealthStatus": health,
        "Color": COLOURS[health],
        "Causes": _causes(environment),
        "LaunchedAt": environment.created_at,
        "Deployment": deployed,
    }
    return {"InstanceId": name, **_chosen(attributes, params)}


def _causes(environment: Environment) -> list[str]:
    if environment.busy:
        return ["An operation is in progress."]
    if environment.live is None:
        return ["No version has answered yet."]
    return [] if environment.health is Health.OK else ["The version that runs does not answer as it should."]


def _chosen(attributes: Params, params: Params) -> dict[str, Any]:
    """The attributes that a request names."""
    names = params.get("AttributeNames", [])
    return {name: value for name, value in attributes.items() if name in names or "All" in names}
