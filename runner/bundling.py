"""What a run has built and pushed in; the bundle for its environment, and the credentials of its registries, out."""

from __future__ import annotations

from chalicelib.errors import StepFailed
from runner.bundle.dockerrun import ECS, Place, dockercfg
from runner.bundle.making import Bundle, Source, build
from runner.bundle.placeholders import Image
from runner.context import Context
from runner.image_names import HUB, parts, split
from runner.registry import credentials

# As SolutionStackName says it, as PlatformArn does, and as both did before Amazon Linux 2.
_OF_ECS = ("running ECS", "ECS running", "Multi-container Docker")


def wanted(name: str | None, context: Context, *, built_there: bool) -> Image | Source:
    """What is to run; of several registries it is pulled from the first that is our own.

    Args:
        built_there: Elastic Beanstalk builds the Dockerfile, on what the image of this run stands on.

    Raises:
        StepFailed: the image was not built, or not pushed before this step.
    """
    image = context.image(name)
    if built_there:
        return Source(image.bases, context.job.event.commit)
    if not image.digests:
        raise StepFailed(f"{image.name} was not pushed: ci.yml needs a push step before deploy_eb")
    registry = min(image.digests, key=lambda host: (host == "docker.io", host))
    return Image(f"{registry}/{image.name}@{image.digests[registry]}", image.name)


def bundled(what: Image | Source, context: Context) -> Bundle:
    """The bundle of the run's commit; what is not as it should be is said in the log.

    Raises:
        StepFailed: there can be none.
    """
    event, repository = context.job.event, context.job.source.name
    commit = context.checkout(repository, event.ref or "HEAD", event.commit, context.folder / "bundle")
    made = build(
        context.archive(repository, commit),
        what,
        login=lambda hosts: place_of(hosts, context),
        ignored=lambda rules: context.ignored(repository, commit, rules),
    )
    for remark in made.remarks:
        context.log.line(f"eb: {remark}")
    if isinstance(what, Source):
        _look_for_bases(made, context)
    return made


def _look_for_bases(made: Bundle, context: Context) -> None:
    """What the instances will pull is there now, as far as ci.yml knows the registry; Docker Hub keeps what it has."""
    for image in made.images:
        (host, name, _), digest = parts(image), split(image)[1]
        if host == HUB or host not in context.job.registries:
            continue
        secret = context.job.registries[host]
        login = credentials(context.secret(secret), secret) if secret else None
        if context.registry(host, name, login).digest(digest) is None:
            raise StepFailed(
                f"{host} does not have {name}@{digest} (any more), on which the Dockerfile was tested: push it,"
                " and the tag again"
            )


def check_platform(environment: str, platform: str, made: Bundle) -> None:
    """Version 2 is for the platform of ECS, and everything else for that of Docker.

    Raises:
        StepFailed: the environment has another one.
    """
    if platform and "Docker" not in platform and not any(words in platform for words in _OF_ECS):
        raise StepFailed(
            f"{environment} runs {platform}, which runs no images: make an environment with the platform Docker"
        )
    is_ecs = any(words in platform for words in _OF_ECS)
    if is_ecs and made.version != ECS:
        raise StepFailed(
            f"{environment} runs {platform}, which takes a Dockerrun.aws.json of version 2 alone: write that, or make"
            " an environment with the platform Docker"
        )
    if made.version == ECS and "Docker" in platform and not is_ecs:
        raise StepFailed(
            f"{environment} runs {platform}, which does not know version 2 of Dockerrun.aws.json: write version 3 and a"
            " docker-compose.yml, or make an environment with the platform ECS"
        )


def place_of(hosts: frozenset[str], context: Context) -> Place | None:
    """Where the instances find the credentials of these registries; None where none of them has any.

    Their profile must be allowed to read it.
    """
    named = "+".join(_secrets(hosts, context))
    return Place(context.aws.objects.bucket, f"bundles/auth/{named}.dockercfg") if named else None


def write_credentials(hosts: frozenset[str], context: Context) -> None:
    """Written anew each time, since a secret may change."""
    place = place_of(hosts, context)
    if place is None:
        return
    logins = {host: credentials(context.secret(name), name) for host, name in _secrets(hosts, context).items()}
    body = dockercfg({host: (login.user, login.password) for host, login in logins.items()})
    context.aws.client("s3", context.aws.region).put_object(Bucket=place.bucket, Key=place.key, Body=body)


def _secrets(hosts: frozenset[str], context: Context) -> dict[str, str]:
    """Registry -> name of the secret with its credentials, where it has one."""
    return {host: name for host in sorted(hosts) if (name := context.job.registries.get(host))}
