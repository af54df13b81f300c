"""A world in which the runners', the functions' and the registry's calls are seen, and may be struck."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from infra.local import stacks
from infra.local.cloud import STAGE
from tests.proof.interceptor import Interceptor
from tests.whole.world import World


@dataclass(frozen=True)
class Put:
    """A manifest that the registry took under a tag."""

    image: str
    tag: str
    digest: str


class Watched(World):
    """A world whose parts speak to each other through interceptors.

    `runner_calls`: what runners ask of the cloud. `registry_calls`: what anybody asks of the registry.
    `function_calls`: what functions ask of table and queue, once `watch_functions` was called.
    """

    @cached_property
    def runner_calls(self) -> Interceptor:
        return self._parts.enter_context(Interceptor(self.cloud.url))

    @cached_property
    def registry_calls(self) -> Interceptor:
        return self._parts.enter_context(Interceptor(f"http://{self.registry.host}", self._note))

    @cached_property
    def function_calls(self) -> Interceptor:
        return self._parts.enter_context(Interceptor(self.cloud.url))

    @cached_property
    def puts(self) -> list[Put]:
        """Every tag that was set or moved at the registry, oldest first."""
        return []

    def _note(self, call, answer):
        before, at, tag = call.path.rpartition("/manifests/")
        if at and call.method == "PUT" and answer.status == 201:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            self.puts.append(Put(before.removeprefix("/v2/"), tag, headers["docker-content-digest"]))

    def ci_yml(self):
        return super().ci_yml().replace(self.registry.host, self.registry_calls.host)

    def _start(self):
        super()._start()
        self.endpoint = self.runner_calls.url

    def watch_functions(self):
        """From now on the functions reach table and queue through `function_calls`."""
        functions, app = self.cloud.client("lambda"), f"tau-{STAGE}-app"
        for name in ("APIHandler", "Ticker"):
            function = stacks.resource(self.cloud.client("cloudformation"), app, name)
            variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
            for service in ("DYNAMODB", "SQS"):
                variables[f"AWS_ENDPOINT_URL_{service}"] = self.function_calls.url
            functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    def updates(self, client):
        """How often Elastic Beanstalk began to update a client's environment, by the version's label."""
        pages = self.cloud.client("elasticbeanstalk").get_paginator("describe_events")
        return Counter(
            event["VersionLabel"]
            for page in pages.paginate(EnvironmentName=f"{client}-production")
            for event in page["Events"]
            if event["Message"] == "Environment update is starting."
        )

    def locks_held(self):
        """The names of the locks that somebody holds."""
        return [item["name"] for (pk, _), item in self.items().items() if pk.startswith("lock#") and "holder" in item]

    def containers(self):
        """Ids of the engine's containers that stand on this world's base image and are no environment's."""
        found = self.docker.api.containers(all=True, filters={"ancestor": self.base})
        return frozenset(one["Id"] for one in found if "tau.environment" not in one["Labels"])
