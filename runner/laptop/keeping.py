"""An engine in, the same one out that keeps a copy of each step's container when it goes."""

from __future__ import annotations

import contextlib
from typing import Any

from docker.errors import APIError

from chalicelib.errors import StepErrored
from runner import images

REPOSITORY = "tau-kept"


class Keeping:
    """The engine's client, as far as a run uses it. `copies`: the images that were made, in their order."""

    def __init__(self, docker: Any, run: str) -> None:
        self.copies: list[str] = []
        self.api = _Api(docker.api, run.lower(), self.copies)


class _Api:
    def __init__(self, api: Any, run: str, copies: list[str]) -> None:
        self._api = api
        self._run = run
        self._copies = copies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def remove_container(self, container: str, **how: Any) -> None:
        # What cannot be copied is removed all the same: nothing may stay in the engine for the sake of a copy.
        with contextlib.suppress(APIError):
            inspected = self._api.inspect_container(container)
            if inspected["Config"]["Labels"].get("tau.kind") == "step":
                tag = f"{self._run}-{len(self._copies) + 1}"
                self._api.commit(container, repository=REPOSITORY, tag=tag)
                self._copies.append(f"{REPOSITORY}:{tag}")
        self._api.remove_container(container, **how)


def forget(docker: Any, copies: list[str]) -> None:
    """Remove copies that nobody needs."""
    for copy in copies:
        with images.answering():
            docker.api.remove_image(copy)


def forget_older_images(docker: Any, system: str, lock: str, run: str) -> None:
    """Keep the newest image of a lock (a branch of a pipeline), which is the next build's cache; older ones go."""
    labels = [f"tau.{name}={images.label_value(value)}" for name, value in (("system", system), ("lock", lock))]
    with images.answering():
        older = [one for one in docker.api.images(filters={"label": labels}) if one["Labels"].get("tau.run") != run]
    for image in older:
        for name in image["RepoTags"] or [image["Id"]]:
            # In use by a container: it stays until the next time.
            with contextlib.suppress(StepErrored), images.answering():
                docker.api.remove_image(name if name != "<none>:<none>" else image["Id"])
