"""Somebody at a laptop, as tests have them: a working copy, the command as a process of its own, the real engine."""

import os
import subprocess
import sys

from infra.local import samples
from infra.local.cloud import ROOT


class Developer:
    """Somebody with a working copy of the sample application, in which everything is committed."""

    def __init__(self, lab, folder):
        self.image = lab.name("laptop")
        self.copy = folder / "hello"
        self.config = folder / "ci.yml"
        self._folder = folder
        for path, text in samples.hello().items():
            self.write(path, text.replace(samples.BASE_IMAGE, lab.base))
        (self.copy / "tests" / "run").chmod(0o755)
        self.git("init", "--quiet", "-b", "develop")
        self.commit()

    def write(self, path, text):
        file = self.copy / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def git(self, *words):
        who = ("-c", "user.name=Sam", "-c", "user.email=sam@2pisoftware.com")
        return subprocess.run(("git", *who, "-C", self.copy, *words), check=True, capture_output=True, text=True).stdout

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "Work")

    def command(self, *words):
        """`tau` with these words, on this copy."""
        argv = (sys.executable, "-c", "from runner.cli import main; main()", *words)
        return (*argv, "--path", str(self.copy), "--config", str(self.config), "--folder", str(self._folder / "cache"))

    def environment(self, **secrets):
        return {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(self._folder), **secrets}

    def run(self, *words, **secrets):
        """The exit code of `tau run`, and all that was printed."""
        done = subprocess.run(
            self.command("run", *words),
            env=self.environment(**secrets),
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout


def of_laptops(lab):
    """The containers and networks that runs on laptops have in the engine."""
    mine = {"label": ["tau.run"]}
    things = [*lab.client.api.containers(all=True, filters=mine), *lab.client.api.networks(filters=mine)]
    return [one["Id"] for one in things if one["Labels"]["tau.system"].startswith("laptop-")]
