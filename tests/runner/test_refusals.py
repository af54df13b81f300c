import pytest

from chalicelib.errors import StepErrored, StepFailed
from runner.refusals import refusal


@pytest.mark.parametrize(
    "error",
    [
        "write /x: no space left on device",
        'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host',
        'Get "https://x/v2/": dial tcp: lookup x on 10.0.0.2:53: connect: network is unreachable',
        "toomanyrequests: You have reached your pull rate limit",
        "received unexpected HTTP status: 503 Service Unavailable",
        'Get "https://x/v2/": net/http: TLS handshake timeout',
        "error pulling image: unexpected EOF",
        'unable to find image "sha256:c8f049b4864ed3efa48b2d6f371b5c44949b75e409b0c6d037117fb31ea9681d"',
        "failed to export image: failed to set parent sha256:95de7e76: unknown parent image ID sha256:95de7e76",
        "The command '/bin/sh -c make' returned a non-zero code: 137",
        "executor failed running [/bin/sh -c make]: exit code: 137",
        'ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 137',
        (
            "executor failed running [/bin/sh -c make]: failed to create endpoint x on network bridge:"
            " adding interface veth1 to bridge docker0 failed: could not find bridge docker0: no such network interface"
        ),
        'ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: failed to mount: device busy',
        "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "error during connect: Post http://…/build: EOF",
        "cannot write /dev/shm/tau-build-x/image because server did not provide an image ID",
        "failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF",
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: unexpected status: 503",
    ],
)
def test_disk_network_and_registry_are_not_the_committers_fault(error):
    assert isinstance(refusal(error, ()), StepErrored)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "The command '/bin/sh -c composer   install\n --no-dev' returned a non-zero code: 2",
            "the Dockerfile's command `composer install --no-dev` exited with 2",
        ),
        (
            "COPY failed: file not found in build context: stat nothing: file does not exist",
            "the Dockerfile does not build: COPY failed: file not found in build context: stat nothing",
        ),
        (
            "executor failed running [/bin/sh -c composer   install --no-dev]: exit code: 2",
            "the Dockerfile's command `composer install --no-dev` exited with 2",
        ),
        (
            (
                'ERROR: failed to build: failed to solve: process "/bin/sh -c make" did not complete successfully: '
                "exit code: 2"
            ),
            "the Dockerfile's command `make` exited with 2",
        ),
        (
            'executor failed running [nothing]: exec: "nothing": executable file not found in $PATH',
            "the Dockerfile does not build: executor failed running [nothing]: ",
        ),
        (
            (
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
                "the Dockerfile cannot be empty"
            ),
            "the Dockerfile does not build: the Dockerfile cannot be empty",
        ),
        (
            'ERROR: failed to solve: failed to compute cache key: "/nothing": not found',
            'the Dockerfile does not build: failed to compute cache key: "/nothing": not found',
        ),
        ("manifest for x:y not found: manifest unknown", "the Dockerfile does not build: manifest for x:y not found"),
    ],
    ids=["command", "copy", "BuildKit 20.10", "buildx", "no such command", "empty", "no file", "base image"],
)
def test_everything_else_is_the_dockerfiles(error, reason):
    failed = refusal(error, ("the last line",))
    assert isinstance(failed, StepFailed)
    assert str(failed).startswith(reason)
    assert failed.lines == ("the last line",)


def test_a_command_of_a_thousand_lines_is_named_by_its_beginning():
    failed = refusal(f"The command '/bin/sh -c {'x ' * 5000}' returned a non-zero code: 2", ())
    assert len(str(failed)) < 200
