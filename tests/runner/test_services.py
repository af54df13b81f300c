"""What runs beside a command: reached by its name, ready before it, gone after it."""

import re
from dataclasses import replace

import pydantic
import pytest

from chalicelib.errors import StepErrored, StepFailed
from runner.actions import script, test
from runner.context import Image
from runner.said import MOST_BYTES, Said
from runner.services import Ready, Service, question
from runner.stopping import Stopped, Stopping
from tests.installation import job as make_job
from tests.running import Log, context, stopping_soon, within

SUITE = "mkdir -p /results; echo '<testsuite><testcase name=\"a\"/></testsuite>' > /results/a.xml;"
# This busybox finds no names by itself where there is no libc beside it.
ADDRESS = "address() { nslookup $1 127.0.0.11 | awk '/^Address/ { found = $NF } END { print found }'; }; "
WEB = ["sh", "-c", "echo starting; mkdir /www; echo served > /www/page; sleep 1; exec httpd -f -p 80 -h /www"]


@pytest.fixture
def run(lab, tmp_path):
    """Run a shell command as a test step beside services; the result, with the log."""

    def run(command, services, stopping=None, secrets=None, **changes):
        held = context(
            lab.client,
            tmp_path,
            system=lab.system,
            images={"tested": Image("tested", lab.client.images.get(lab.base).id)},
            stopping=stopping or Stopping(),
            secret=(secrets or {}).__getitem__,
        )
        services = {name: {"image": lab.base, **one} for name, one in services.items()}
        given = {"command": ["sh", "-c", command], "image": "tested", "services": services, **changes}
        try:
            return test.run(test.Settings.model_validate(given), held), held.log
        finally:
            assert (lab.containers(), lab.networks()) == ([], [])

    return run


def log_of(run, *args, **changes):
    return run(*args, **changes)[1]


# --- in the engine ----------------------------------------------------------------------------------


@pytest.mark.engine
def test_a_service_is_ready_before_the_command_begins_and_reached_by_its_name(run):
    log = log_of(
        run,
        f"{ADDRESS} timeout 5 wget -q -O - http://$(address web)/page; {SUITE}",
        {"web": {"command": WEB, "ready": {"port": "80"}}, "other": {"command": ["sleep", "600"]}},
    )
    assert log.text == "served\n"
    assert "web | starting" in log.ours
    assert any(line.startswith("service web is ready after ") for line in log.ours)
    assert "service other runs; nothing says when it can be used (see `ready`)" in log.ours


@pytest.mark.engine
def test_services_reach_each_other_and_the_command(run):
    asks = f"{ADDRESS} until nc $(address main) 4000 </dev/null; do sleep 0.2; done; echo met; sleep 600"
    log = log_of(run, f"echo hello | nc -l -p 4000; sleep 0.5; {SUITE}", {"browser": {"command": ["sh", "-c", asks]}})
    assert "browser | hello" in log.ours


@pytest.mark.engine
def test_without_a_network_the_services_are_all_that_is_reached(run, lab):
    host = lab.client.api.inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]
    script = (
        f"{ADDRESS} gateway=$(route -n | awk '$1 == \"0.0.0.0\" {{ print $2 }}'); "
        f"for one in {host} $gateway 169.254.169.254; do nc -w 1 $one 80 </dev/null && echo reached $one; done;"
        " timeout 2 nslookup deb.debian.org && echo reached;"
        f" timeout 5 wget -q -O - http://$(address web)/page; {SUITE}"
    )
    log = log_of(run, script, {"web": {"command": WEB, "ready": {"port": "80"}}})
    assert "reached" not in log.text
    assert log.text.endswith("served\n")


@pytest.mark.engine
def test_the_healthcheck_of_an_image_is_asked_and_the_engine_does_not_ask_on(run, lab):
    name = lab.name("with-a-healthcheck")
    container = lab.client.api.create_container(lab.base, labels={"tau.system": lab.system})["Id"]
    lab.client.api.commit(
        container, repository=name, changes=["HEALTHCHECK --interval=30s CMD echo x >> /asked; test -e /ready"]
    )
    lab.client.api.remove_container(container)
    starts = "sleep 1; touch /ready; sleep 4; wc -l < /asked; sleep 2; wc -l < /asked; sleep 600"
    log = log_of(run, f"sleep 8; {SUITE}", {"db": {"image": name, "command": ["sh", "-c", starts]}})
    counted = [line.removeprefix("db | ") for line in log.ours if line.startswith("db | ")]
    assert len(counted) == 2
    assert counted[0] == counted[1] >= "2"
    assert [line for line in log.ours if line.startswith("service db is ready after ")], log.ours


@pytest.mark.engine
def test_a_service_that_ends_before_it_is_ready_has_failed_with_its_last_lines(run):
    with pytest.raises(StepFailed, match="the service db exited with 3 before it could be used") as said:
        run(
            "true", {"db": {"command": ["sh", "-c", "echo no space for a database; exit 3"], "ready": {"port": "3306"}}}
        )
    assert said.value.lines == ("no space for a database",)


@pytest.mark.engine
def test_a_service_that_is_not_ready_in_time_has_failed_with_its_last_lines(run):
    slow = {"command": ["sh", "-c", "echo recovering; sleep 600"], "ready": {"command": ["false"], "within": "1s"}}
    with pytest.raises(StepFailed, match="the service db was not ready within 1s") as said:
        run("true", {"db": slow})
    assert said.value.lines == ("recovering",)


@pytest.mark.engine
def test_a_question_that_hangs_is_not_waited_for(run):
    hangs = {"command": ["sleep", "600"], "ready": {"command": ["sleep", "600"], "within": "1s"}}
    with within(8), pytest.raises(StepFailed, match="not ready within 1s"):
        run("true", {"db": hangs})


@pytest.mark.engine
def test_a_question_that_the_image_cannot_be_asked_is_named(run):
    with pytest.raises(StepFailed, match="the service db has no mysqladmin by which to see whether it is ready"):
        run("true", {"db": {"command": ["sleep", "600"], "ready": {"command": ["mysqladmin", "ping"]}}})


@pytest.mark.engine
def test_a_service_that_needs_too_much_memory_is_told_the_limit(run):
    eats = {"command": ["sh", "-c", "x=x; while true; do x=$x$x; done"], "memory": "32MB", "ready": {"port": "1"}}
    with pytest.raises(StepFailed, match=r"the service db (ran out of memory \(limit 32MB\)|exited with)"):
        run("true", {"db": eats})


@pytest.mark.engine
def test_what_a_service_has_written_counts_for_the_disk_of_the_step(run):
    fills = ["sh", "-c", "dd if=/dev/zero of=/big bs=1M count=30; exec sleep 600"]
    with within(30), pytest.raises(StepFailed, match=r"the tests, services counted, filled the disk .*limit 20MB"):
        run("sleep 60", {"db": {"command": fills}}, disk="20MB")


@pytest.mark.engine
def test_a_suite_without_evidence_is_told_which_service_went_meanwhile(run):
    with pytest.raises(StepFailed, match=r"the suite ran no test: .*; meanwhile the service db exited with 5"):
        run("sleep 2; echo cannot connect to the database", {"db": {"command": ["sh", "-c", "sleep 1; exit 5"]}})


@pytest.mark.engine
def test_whoever_asks_to_stop_does_not_wait_for_a_service(run):
    stopping = Stopping()
    slow = {"command": ["sleep", "600"], "ready": {"port": "80", "within": "10m"}}
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        run("true", {"db": slow}, stopping)


@pytest.mark.engine
def test_a_services_secret_is_in_its_environment(run):
    log = log_of(
        run,
        f"sleep 1; {SUITE}",
        {"db": {"command": ["sh", "-c", "echo $PASSWORD; sleep 600"], "secrets": {"PASSWORD": "db-password"}}},
        secrets={"db-password": "correct horse"},
    )
    # A step's own log hides what was handed out, in lines like these too.
    assert "db | correct horse" in log.ours


def test_a_services_secret_is_not_for_a_fork(tmp_path):
    fork = replace(make_job(), event=replace(make_job().event, fork=True))
    held = context(None, tmp_path, job=fork, images={"a": Image("a", "sha256:1")})
    services = {"db": {"image": "a", "secrets": {"PASSWORD": "db-password"}}}
    given = test.Settings.model_validate({"command": ["true"], "image": "a", "services": services})
    with pytest.raises(StepFailed, match="no secret is ever given to a fork's code"):
        test.run(given, held)


@pytest.mark.engine
def test_an_image_that_no_registry_gives_is_named_and_nothing_has_started(run):
    with pytest.raises((StepErrored, StepFailed), match=r"127\.0\.0\.1:9/no/such:1 cannot be fetched"):
        run("true", {"db": {"image": "127.0.0.1:9/no/such:1"}})


@pytest.mark.engine
def test_an_image_that_this_pipeline_built_can_be_a_service(run):
    log = log_of(run, f"sleep 1; {SUITE}", {"app": {"image": "tested", "command": ["sh", "-c", "echo own; sleep 60"]}})
    assert "app | own" in log.ours


@pytest.mark.engine
def test_a_script_has_services_too(lab, tmp_path):
    held = context(
        lab.client, tmp_path, system=lab.system, job=None, images={"a": Image("a", lab.client.images.get(lab.base).id)}
    )
    given = {
        "run": ["sh", "-c", f"{ADDRESS} timeout 5 wget -q -O - http://$(address web)/page"],
        "image": "a",
        "services": {"web": {"image": "a", "command": WEB, "ready": {"port": "80"}}},
    }
    settings = script.Settings.model_validate(given)
    with script.commands.container(settings, held, settings.run, held.images["a"], {}) as made:
        assert script.commands.watch(settings, held, made, Stopping()).code == 0
    assert held.log.text == "served\n"


# --- what ci.yml may say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ready", "image", "asked"),
    [
        (Ready(command=("a", "b")), {"Healthcheck": {"Test": ["CMD", "c"]}}, ("a", "b")),
        (Ready(), {"Healthcheck": {"Test": ["CMD", "c", "d"]}}, ("c", "d")),
        (Ready(), {"Healthcheck": {"Test": ["CMD-SHELL", "c && d"]}}, ("/bin/sh", "-c", "c && d")),
        (
            Ready(),
            {"Healthcheck": {"Test": ["CMD-SHELL", "c"]}, "Shell": ["/bin/bash", "-ec"]},
            ("/bin/bash", "-ec", "c"),
        ),
        (Ready(), {"Healthcheck": {"Test": ["NONE"]}}, None),
        (Ready(), {"Healthcheck": {"Test": []}}, None),
        (Ready(), {}, None),
    ],
)
def test_what_shows_that_a_service_is_ready_is_ci_ymls_or_its_images(ready, image, asked):
    assert question(ready, image) == asked


@pytest.mark.parametrize(
    ("line", "is_open"),
    [
        ("   0: 00000000:0CEA 00000000:0000 0A 00000000:00000000", True),
        ("   0: 030011AC:0CEA 00000000:0000 0A 00000000:00000000", True),
        ("   0: 00000000000000000000000000000000:0CEA 00000000000000000000000000000000:0000 0A 0", True),
        ("   0: 0000000000000000FFFF0000030011AC:0CEA 00000000000000000000000000000000:0000 0A 0", True),
        ("   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000", False),
        ("   0: 0000000000000000FFFF00000100007F:0CEA 00000000000000000000000000000000:0000 0A 0", False),
        ("   0: 00000000000000000000000001000000:0CEA 00000000000000000000000000000000:0000 0A 0", False),
        ("   0: 00000000:0CEB 00000000:0000 0A 00000000:00000000", False),
        ("   0: 030011AC:0CEA 020011AC:9C40 01 00000000:00000000", False),
    ],
)
def test_a_port_is_open_where_others_reach_it(line, is_open):
    pattern = question(Ready(port=3306), {})[2]
    assert bool(re.search(pattern, line)) is is_open


@pytest.mark.parametrize(
    ("services", "complaint"),
    [
        ({"DB": {"image": "a"}}, "expected a name of small letters"),
        ({"main": {"image": "a"}}, "is taken"),
        ({"db": {"image": "a", "ready": {"port": "1", "command": ["x"]}}}, "not both"),
        ({"db": {"image": "a", "ready": {"port": "70000"}}}, "expected a port up to 65535"),
        ({"db": {}}, "Field required"),
        ({f"d{number}": {"image": "a"} for number in range(11)}, "expected 10 services at most, got 11"),
    ],
)
def test_what_cannot_be_a_service_is_complained_of(services, complaint):
    with pytest.raises(pydantic.ValidationError, match=complaint):
        test.Settings.model_validate({"command": ["x"], "image": "a", "services": services})


def test_a_script_on_the_runner_has_no_services():
    with pytest.raises(pydantic.ValidationError, match="services run beside a container"):
        script.Settings.model_validate({"run": ["x"], "on": "runner", "services": {"db": Service(image="a")}})


# --- the output -------------------------------------------------------------------------------------


def test_a_service_speaks_in_whole_lines_under_its_name():
    log = Log()
    said = Said("db", log)
    for chunk in (b"star", b"ting\r\nrea", b"dy \xff\n", b"bye"):
        said.write(chunk)
    said.finish()
    assert log.ours == ["db | starting", "db | ready \ufffd", "db | bye"]
    assert said.tail() == ("starting", "ready \ufffd", "bye")


def test_what_a_service_says_too_much_is_counted_and_its_last_words_are_known():
    log = Log()
    said = Said("db", log)
    for _ in range(3):
        said.write((b"x" * 99 + b"\n") * (MOST_BYTES // 200))
    said.write(b"y" * 10_000)
    said.finish()
    assert sum(len(line) for line in log.ours) < 1.1 * MOST_BYTES
    assert log.ours[-1].endswith("bytes more were left out")
    assert said.tail()[-1] == "y" * 2000
