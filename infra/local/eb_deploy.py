"""Environments on their way: launched, updated, terminated, with the events that Elastic Beanstalk emits meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from infra.local.eb_background import Background, Stopping, Work
from infra.local.eb_faults import OF_LAUNCHES, OF_UPDATES, Fault, Faults
from infra.local.eb_hosts import Hosts
from infra.local.eb_instances import Change, Instances, Options
from infra.local.eb_state import Environment, Records, Severity, Status


class Deployer:
    """Does in the background what an operation began. The operation has already written status and target."""

    def __init__(
        self,
        records: Records,
        hosts: Hosts,
        instances: Instances,
        background: Background,
        faults: Faults,
        seconds_per_step: float,
    ) -> None:
        self._records = records
        self._hosts = hosts
        self._instances = instances
        self._background = background
        self._faults = faults
        self._step_s = seconds_per_step

    def open_address(self, environment_id: str) -> int:
        """The port of an environment's address, open until it is terminated."""
        return self._hosts.open(environment_id).address.port

    def launch(self, environment: Environment, options: Options, request: str) -> None:
        self._begin(self._launch, environment, options, request)

    def update(self, environment: Environment, options: Options, request: str) -> None:
        self._begin(self._update, environment, options, request)

    def terminate(self, environment: Environment, request: str) -> None:
        self._begin(self._terminate, environment, environment.options, request)

    def restart(self, environment: Environment, request: str) -> None:
        self._begin(self._restart, environment, environment.options, request)

    def rebuild(self, environment: Environment, request: str) -> None:
        self._begin(self._rebuild, environment, environment.options, request)

    def swap(self, source: Environment, destination: Environment, request: str) -> None:
        self._begin(partial(self._swap, destination), source, source.options, request)

    def abort(self, environment: Environment) -> None:
        """Let an update end at its next step; the old version stays."""
        if work := self._hosts[environment.id].work:
            work.abort()

    def _begin(self, do: Callable[[Change], None], environment: Environment, options: Options, request: str) -> None:
        def work_on(work: Work) -> None:
            do(Change(work, environment, options, request))

        self._hosts[environment.id].work = self._background.start(work_on)

    def _launch(self, change: Change) -> None:
        self._tell(change, Severity.INFO, "createEnvironment is starting.")
        order = self._faults.take([change.environment.name], OF_LAUNCHES)
        change.work.pause(self._step_s)
        self._tell(change, Severity.INFO, "Waiting for EC2 instances to launch. This may take a few minutes.")
        if order:
            self._ordered(order.fault, change)
        if self._instances.deployed(change):
            name = change.environment.name
            self._end(change, Severity.INFO, f"Successfully launched environment: {name}")
        else:
            self._end(
                change,
                Severity.ERROR,
                "Create environment operation is complete, but with errors. "
                "For more information, see troubleshooting documentation.",
            )

    def _update(self, change: Change) -> None:
        self._tell(change, Severity.INFO, "Environment update is starting.")
        order = self._faults.take([change.environment.name], OF_UPDATES)
        try:
            change.work.pause(self._step_s)
            if order and order.fault is Fault.TERMINATE:
                change.work.pause(order.after_s)
                self._records.change(change.environment.id, status=Status.TERMINATING)
                self._terminate(change)
                return
            deployed = self._ordered(order.fault, change) if order else self._instances.deployed(change)
        except Stopping:
            if not change.work.aborted:
                raise
            self._end(change, Severity.INFO, "The environment update was aborted; the previous version was kept.")
            return
        if deployed:
            self._end(change, Severity.INFO, "Environment update completed successfully.")
        else:
            self._end(change, Severity.ERROR, "Failed to deploy application.")

    def _ordered(self, fault: Fault, change: Change) -> bool:
        """An update that does what was ordered: it says that all is well and changes nothing, or does not end."""
        if fault is Fault.SILENT_ROLLBACK:
            change.work.pause(self._step_s)
            return True
        pause = change.work.pause if fault is Fault.STUCK else change.work.ignore_abort
        while True:
            pause(self._step_s)

    def _terminate(self, change: Change) -> None:
        self._tell(change, Severity.INFO, "terminateEnvironment is starting.")
        change.work.pause(self._step_s)
        host = self._hosts.pop(change.environment.id)
        self._instances.remove(host)
        host.address.close()
        with self._records.lock:
            self._tell(change, Severity.INFO, "terminateEnvironment completed successfully.")
            self._records.change(change.environment.id, status=Status.TERMINATED, target=None, abortable=False)

    def _restart(self, change: Change) -> None:
        """A new container of the version that runs, behind the same address."""
        self._tell(change, Severity.INFO, "restartAppServer is starting.")
        if self._instances.deployed(change):
            self._end(change, Severity.INFO, "Restarted application server on all ec2 instances.")
        else:
            self._end(change, Severity.ERROR, "Failed to restart application server.")

    def _rebuild(self, change: Change) -> None:
        """Everything is removed, then made anew: in between nothing answers."""
        self._tell(change, Severity.INFO, "rebuildEnvironment is starting.")
        self._instances.remove(self._hosts[change.environment.id])
        change.work.pause(self._step_s)
        if self._instances.deployed(change):
            self._end(change, Severity.INFO, "rebuildEnvironment completed successfully.")
        else:
            self._end(change, Severity.ERROR, "Rebuild environment operation is complete, but with errors.")

    def _swap(self, destination: Environment, change: Change) -> None:
        source = change.environment
        names = f"'{source.name}' and '{destination.name}'"
        self._tell(change, Severity.INFO, "swapEnvironmentCNAMEs is starting.")
        change.work.pause(self._step_s)
        self._tell(change, Severity.INFO, f"Swapping CNAMEs for environments {names}.")
        self._hosts.swap(source.id, destination.id)
        with self._records.lock:
            for one, other in ((source, destination), (destination, source)):
                self._records.change(one.id, prefix=other.prefix, port=other.port)
                self._tell(change, Severity.INFO, f"'127.0.0.1:{other.port}' now points to '{one.name}'.")
            self._records.change(destination.id, status=Status.READY)
            self._end(change, Severity.INFO, f"Completed swapping CNAMEs for environments {names}.")

    def _end(self, change: Change, severity: Severity, message: str) -> None:
        """The last event, then Ready: whoever sees Ready finds every event."""
        with self._records.lock:
            self._tell(change, severity, message)
            self._records.change(change.environment.id, status=Status.READY, target=None, abortable=False)

    def _tell(self, change: Change, severity: Severity, message: str) -> None:
        self._instances.tell(change, severity, message)
