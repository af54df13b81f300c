"""A Dockerfile in, an image out: by BuildKit, through the `docker` command; its secrets lie in memory for the call."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from docker.errors import NotFound

from chalicelib.errors import StepErrored
from runner import credentials, images, shell, streams
from runner.building import Wanted
from runner.context import Context
from runner.progress import Progress
from runner.refusals import refusal

# How the client finds the engine. https://docs.docker.com/reference/cli/docker/#environment-variables
_OF_THE_ENGINE = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "PATH")
_GRACE_S = 2


@dataclass(frozen=True)
class BuildKit:
    """BuildKit, as a client of this machine asks the engine for it.

    Args:
        client: the path of a `docker` command that can.
        environ: our own environment, of which it gets how to find the engine and no more.
        engine_id: nobody but whoever may talk to the engine knows it.
    """

    client: str
    because: str
    environ: Mapping[str, str] = field(repr=False)
    engine_id: str = field(repr=False)
    name: str = "BuildKit"
    takes_secrets: bool = True
    keeps_bases: bool = False

    def build(self, wanted: Wanted, context: Context) -> str:
        """See `Builder`."""
        dockerfile = context.folder / "Dockerfile"
        # A copy: beside the original lies whatever the repository has, such as an ignore file of another kind.
        dockerfile.write_text(wanted.dockerfile, encoding="utf-8")
        with credentials.build_folder() as private:
            made = private / "image"
            argv = (*self._command(wanted, dockerfile, made), *_secrets(wanted.secrets, private), str(wanted.folder))
            self._follow(argv, private, context)
            return _in_the_engine(made.read_text().strip() if made.is_file() else "", context)

    @property
    def _with_us(self) -> tuple[str, ...]:
        """Where util-linux is, the client dies with a runner that is killed: nobody else would end its build."""
        setpriv = shutil.which("setpriv", path=self.environ.get("PATH", ""))
        return (setpriv, "--pdeathsig", "KILL") if setpriv else ()

    def _command(self, wanted: Wanted, dockerfile: Path, made: Path) -> Iterator[str]:
        yield from (self.client, "build", "--progress=plain", f"--iidfile={made}", f"--file={dockerfile}")
        yield from (f"--label={name}={value}" for name, value in wanted.labels.items())
        yield from (f"--build-arg={name}={value}" for name, value in wanted.args.items())
        yield from (f"--build-arg={name}={value}" for name, value in self._ours(wanted).items())
        yield from (f"--cache-from={image}" for image in wanted.caches)
        yield from ((f"--tag={wanted.tag}",) if wanted.tag else ())
        yield from ((f"--target={wanted.target}",) if wanted.target else ())
        yield from ((f"--platform={wanted.platform}",) if wanted.platform else ())

    def _ours(self, wanted: Wanted) -> Mapping[str, str]:
        """What BuildKit itself reads.

        Its caches of layers go by content. Those of `RUN --mount=type=cache` go by a name, so strangers' are others;
        and a path that leads out of theirs would have to guess ours.
        """
        whose = "fork" if wanted.from_fork else "trusted"
        namespace = sha256(f"{self.engine_id} {whose}".encode()).hexdigest()[:32]
        # With what the next build of this branch needs to take layers over, also when the engine's cache was emptied.
        inline = {} if wanted.from_fork else {"BUILDKIT_INLINE_CACHE": "1"}
        return {"BUILDKIT_CACHE_MOUNT_NS": namespace, **inline}

    def _follow(self, argv: tuple[str, ...], private: Path, context: Context) -> None:
        progress = Progress(context.log.write, context.log.line)
        try:
            code = shell.follow(
                (*self._with_us, *argv),
                progress.feed,
                env=environment(self.environ, private),
                folder=context.folder,
                timeout_s=context.remaining_s(),
                stopping=context.stopping,
                grace_s=_GRACE_S,
            )
        except shell.TimedOut as error:
            raise streams.too_long("build", context) from error
        except OSError as error:
            raise StepErrored(f"{self.client} cannot be started: {error.strerror}") from error
        finally:
            progress.finish()
        if code < 0:
            raise StepErrored(f"{self.client} was killed by signal {-code} in the middle of the build")
        if code:
            raise refusal(progress.error or f"{self.client} exited with {code} and said nothing", progress.tail)


def environment(environ: Mapping[str, str], private: Path) -> Mapping[str, str]:
    """The client's whole environment: the way to the engine, and a configuration without anything in it."""
    engine = {name: environ[name] for name in _OF_THE_ENGINE if name in environ}
    ours = {"HOME": str(private), "DOCKER_CONFIG": str(private), "DOCKER_BUILDKIT": "1"}
    # What was built is one image, not an index of it and of statements about it.
    return {**engine, **ours, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def _secrets(values: Mapping[str, str], private: Path) -> Iterator[str]:
    for number, (name, value) in enumerate(values.items()):
        path = private / f"secret-{number}"
        path.touch(mode=0o600)
        path.write_text(value)
        yield f"--secret=id={name},src={path}"


def _in_the_engine(image_id: str, context: Context) -> str:
    """The image that the client says it has built, as the engine calls it."""
    if not image_id:
        raise StepErrored("BuildKit ended the build without an image and without an error")
    with images.answering():
        try:
            return str(context.docker.api.inspect_image(image_id)["Id"])
        except NotFound as error:
            raise StepErrored(f"BuildKit built {image_id}, and the engine does not have it") from error
