"""A canary: a secret that a build's own tests print in every way they know is found nowhere afterwards."""

import base64
import json
import threading
from pathlib import Path

import pytest

from chalicelib.model import RunState
from infra.local import samples
from runner.disguises import disguises

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

CANARY = "c4nary/of+the=mine&'\"9f3b"
TELLTALE = r"""
echo "BUILD PASSED"
printf '[tau] 3 passed, 0 failed\n\033[2J\033]8;;javascript:alert(1)\033\\all is well\033]8;;\033\\\n'
printf '%s' "$TOKEN" | cut -c1-9 | tr -d '\n'; sleep 1; printf '%s\n' "$TOKEN" | cut -c10-
printf '%s' "$TOKEN" | base64
printf '%s\n' "x$TOKEN" | base64
printf '%s' "$TOKEN" | hexdump -ve '1/1 "%.2x"'
echo
env
mkdir -p /results
xml=$(printf '%s' "$TOKEN" | sed "s/&/\&amp;/g; s/'/\&apos;/g; s/\"/\&quot;/g")
printf '<testsuite><testcase name="a"><failure message="401 for %s">in %s</failure></testcase></testsuite>' \
    "$xml" "$xml" > /results/one.xml
mkdir /shots
echo '<script>alert(1)</script>' > /shots/page.html
printf 'last words: %s\n' "$TOKEN"
exit 1
"""


class Onlooker:
    """Reads, as `ps` would, the command line of every process there is, until the block is over."""

    def __init__(self):
        self.seen = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue  # it has ended meanwhile


@pytest.fixture(scope="module")
def told(installation):
    """The run of a push whose tests tell what they were given, and what everybody saw meanwhile."""
    installation.cloud.put_secret("canary", CANARY)
    (runner,) = installation.runners(1)
    files = samples.hello()
    files["Dockerfile"] += "\nCOPY telltale /opt/telltale\n"
    with Onlooker() as onlooker:
        sent = installation.push("telltale", {**files, "telltale": TELLTALE})
        run = installation.wait_for_end(sent.run)
    return run, runner, onlooker.seen


def kept(installation, told):
    """Everything that is left of it, by where it lies."""
    run, runner, command_lines = told
    objects = installation.edge.objects
    folder = runner.log.with_suffix("")
    mails = installation.mails(run.id)
    assert folder.is_dir()
    return {
        "log": b"".join(objects.get(key) for key in objects.keys(f"logs/{run.id}/")),
        "what the bucket says of it": repr([objects.metadata(key) for key in objects.keys(f"logs/{run.id}/")]).encode(),
        "records": repr(installation.items()).encode(),
        "mails": "".join(f"{mail.subject}{mail.text}{mail.html}" for mail in mails).encode(),
        "artifacts": b"".join(objects.get(key) for key in objects.keys(f"artifacts/{run.id}/")),
        "journal": runner.log.read_bytes(),
        "command lines": b"\n".join(command_lines),
        "folder": b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()),
        "tau log": installation.tau("log", run.id).stdout.encode(),
        "tau explain": installation.tau("explain", run.id).stdout.encode(),
    }


def test_a_secret_that_a_build_prints_is_found_nowhere_in_any_spelling(installation, told):
    places = kept(installation, told)
    assert all(places.values()), {name: len(text) for name, text in places.items()}
    login = base64.b64encode(f"tau:{installation.password}".encode())
    secret = {*disguises(CANARY), installation.password.encode(), login}
    found = [(name, form) for name, text in places.items() for form in secret if form in text]
    assert found == []


def test_the_log_and_the_record_say_which_secret_it_was(installation, told):
    run, _, _ = told
    assert run.results["2"].facts["printed_secrets"] == ["canary"]
    log = b"".join(piece for piece in kept(installation, told)["log"].splitlines(keepends=True))
    assert b"[tau] the secret canary was printed by this step" in log
    assert log.count(b"***") >= 6
    assert "401 for ***" in json.dumps(run.results["2"].facts["tests"])


def test_an_artifact_in_which_it_stands_is_left_out_and_another_is_fetched_and_never_a_page(
    installation, told, tmp_path
):
    run, _, _ = told
    (key,) = installation.edge.objects.keys(f"artifacts/{run.id}/")
    assert run.results["2"].facts["artifacts"] == {
        "files": [{"name": "/shots/page.html", "bytes": 26, "key": key}],
        "left_out": 1,
    }
    assert b"[tau] left out: /results/one.xml (" in kept(installation, told)["log"]
    head = installation.edge.client("s3").head_object(Bucket=installation.edge.objects.bucket, Key=key)
    assert (head["ContentType"], head["ContentDisposition"]) == ("text/plain; charset=utf-8", "attachment")
    (mail,) = installation.mails(run.id)
    assert f"tau artifacts {run.id} --to DIR" in mail.text
    assert installation.tau("artifacts", run.id, "--to", str(tmp_path / "new")).returncode == 0
    assert (tmp_path / "new/3-test/shots/page.html").read_text() == "<script>alert(1)</script>\n"


def test_what_a_build_says_of_itself_decides_nothing_and_does_a_mail_no_harm(installation, told):
    run, _, _ = told
    assert (run.state, run.results["2"].reason) == (RunState.FAILED, "1 of 1 tests failed")
    (mail,) = installation.mails(run.id)
    assert mail.subject.startswith("failed: ")
    assert "\x1b" not in mail.text + mail.html
    assert "javascript:" not in mail.html
