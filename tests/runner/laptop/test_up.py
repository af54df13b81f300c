"""`tau up` as somebody calls it: an image and its services, reached by what is printed, and gone after Ctrl-C."""

import contextlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from tests.runner.laptop.developer import of_laptops

pytestmark = pytest.mark.engine

CI_YML = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {{provider: github, clone: "http://127.0.0.1:9/{{repository}}.git", webhook: [hook-local]}}
registries:
  127.0.0.1:9: {{}}
pipelines:
  hello:
    repository: github.com/2pisoftware/hello
    trigger: {{push: [develop]}}
    steps:
      - build: {{image: {image}}}
      - test:
          command: [/opt/testrunner/run]
          timeout: 2m
          environment: {{GREETING: good day}}
          services:
            side:
              image: {side}
              command: [sh, -c, "mkdir /www; echo from the side > /www/page; exec httpd -f -p 8080 -h /www"]
              ready: {{port: 8080}}
      - push: {{to: ["127.0.0.1:9"], tags: [latest]}}
"""
# This busybox finds no names by itself where there is no libc beside it.
SERVES = (
    "CMD side=$(nslookup side 127.0.0.11 | awk '/^Address/ { found = $NF } END { print found }');"
    " echo $GREETING $(wget -q -O - http://$side:8080/page) > /www/page; exec httpd -f -p 80 -h /www"
)


@pytest.fixture
def image(lab):
    """Makes an image of the base with these instructions; all are gone at the end."""
    made = []

    def make(name, *instructions):
        container = lab.client.api.create_container(lab.base, labels={"tau.system": lab.system})["Id"]
        lab.client.api.commit(container, repository=lab.name(name), tag="1", changes=list(instructions))
        lab.client.api.remove_container(container)
        made.append(f"{lab.name(name)}:1")
        return made[-1]

    yield make
    for one in made:
        lab.client.api.remove_image(one, force=True)


@pytest.fixture(autouse=True)
def side(sam, image):
    """A pipeline, whose test has a service of an image that exposes a port."""
    name = image("side", "EXPOSE 8080", 'CMD ["sleep", "600"]')
    sam.config.write_text(CI_YML.format(image=sam.image, side=name))
    sam.write("Dockerfile", (sam.copy / "Dockerfile").read_text().rpartition("CMD")[0] + SERVES)
    return name


class Up:
    """`tau up` under way: what it has printed so far, and how each port is reached."""

    def __init__(self, process):
        self.process, self.said = process, []

    def addresses(self):
        """Where each port is, by `port N of NAME`, as soon as it stands."""
        for line in iter(self.process.stdout.readline, ""):
            self.said.append(line)
            if "Ctrl-C ends it" in line:
                found = re.findall(r"^\[tau\] (\S+)  (port .*)$", "".join(self.said), re.MULTILINE)
                return {port: address for address, port in found}
        raise AssertionError("".join(self.said))

    def interrupted(self):
        """The exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self):
        self.said += self.process.stdout.readlines()
        return self.process.wait(20)


@contextlib.contextmanager
def up(sam, *words, **secrets):
    with subprocess.Popen(
        sam.command("up", *words),
        env=sam.environment(**secrets),
        cwd=sam.config.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Up(process)
        finally:
            process.kill()


def read(address):
    """What is served there; a container that runs may not listen yet."""
    until = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(f"{address}/page", timeout=5) as answer:
                return answer.read().decode().strip()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def test_a_working_copy_stands_with_its_services_until_ctrl_c_and_nothing_stays(sam, lab):
    with up(sam, "hello") as standing:
        found = standing.addresses()
        assert sorted(found) == ["port 80 of hello", "port 8080 of side"], standing.said
        assert all(address.startswith("http://127.0.0.1:") for address in found.values())
        assert (read(found["port 80 of hello"]), read(found["port 8080 of side"])) == (
            "good day from the side",
            "from the side",
        )
        # Out of it nothing finds back.
        (network,) = (one for one in lab.client.api.networks() if one["Name"].startswith("tau-"))
        assert network["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
        assert network["IPAM"]["Config"][0]["Subnet"].startswith(("198.18.", "198.19."))
        assert standing.interrupted() == 0, standing.said
    assert standing.said[-1] == "[tau] all of it is gone\n"
    assert of_laptops(lab) == []


def test_an_image_is_started_as_it_is_and_a_port_is_chosen_unless_it_is_taken(sam, lab, image):
    serves = 'CMD ["sh", "-c", "mkdir /www; echo as it is > /www/page; exec httpd -f -p 81 -h /www"]'
    name = image("serves", serves, "EXPOSE 80")
    with socket.create_server(("127.0.0.1", 0)) as other:
        here = other.getsockname()[1]
        with up(sam, name, "--port", f"{here}:81") as standing:
            assert standing.ended() == 2, standing.said
        assert f"something else on this machine has a port of --port {here}:81" in "".join(standing.said)
    with up(sam, name, "--port", f"{here}:81") as standing:
        found = standing.addresses()
        assert (sorted(found), found[f"port 81 of {name}"]) == (
            [f"port 80 of {name}", f"port 81 of {name}"],
            f"127.0.0.1:{here}",
        )
        assert read(f"http://127.0.0.1:{here}") == "as it is"
        assert standing.interrupted() == 0
    assert of_laptops(lab) == []


def test_one_that_ends_by_itself_says_its_exit_code_and_its_last_lines(sam, lab, image):
    with up(sam, image("ends", 'CMD ["sh", "-c", "echo no database; exit 3"]')) as standing:
        assert standing.ended() == 1
    said = "".join(standing.said)
    assert "has ended by itself, with exit code 3\n[tau]    | no database\n" in said
    assert of_laptops(lab) == []


def test_a_word_that_is_neither_a_pipeline_nor_an_image_is_never_fetched(sam):
    with up(sam, "helo") as standing:
        assert standing.ended() == 2
    (line,) = standing.said
    assert line.startswith(f'tau: {sam.config} has no pipeline helo (did you mean "hello"?)')
    assert "write its tag too: helo:latest" in line


@pytest.mark.parametrize("what", ["hello", "side:1"])
def test_a_port_of_nothing_that_is_there_is_a_slip_and_nothing_is_begun(sam, what):
    with up(sam, what, "--port", "8080:web:80") as standing:
        assert standing.ended() == 2
    (line,) = standing.said
    assert line.startswith("tau: --port 8080:web:80: there is no service web")


def test_what_one_that_was_killed_has_left_is_gone_with_the_next_start(sam, lab, side):
    with up(sam, side) as standing:
        standing.addresses()
        standing.process.kill()
        standing.process.wait()
    left = of_laptops(lab)
    assert len(left) == 2
    with up(sam, side) as standing:
        standing.addresses()
        assert set(left).isdisjoint(of_laptops(lab))
        standing.interrupted()
    assert of_laptops(lab) == []
