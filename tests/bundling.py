"""Trees as `git archive` packs them, and trees that no git writes."""

import io
import json
import os
import subprocess
import tarfile
import zipfile

from runner.bundle.placeholders import Image

IMAGE = "code.2pisoftware.com:5000/2pisoftware/crm@sha256:" + "a" * 64
OURS = Image(IMAGE, "2pisoftware/crm")
GOOD = '{"AWSEBDockerrunVersion": "1", "Image": {"Name": "<IMAGE>"}, "Ports": [{"ContainerPort": 80}]}'


def git(folder, *arguments, **environment):
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **environment}
    identity = ("-c", "user.name=dev", "-c", "user.email=dev@2pisoftware.com")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, env=env, check=True, capture_output=True).stdout


def committed(folder, files, *, executable=(), links=None):
    """A repository of one commit."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name in executable else 0o644)
    for name, target in (links or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "a tree")


def archived(folder, files, **more):
    """The tree as `git archive` packs it."""
    committed(folder, files, **more)
    return git(folder, "archive", "--format=tar", "HEAD")


def tarred(files, links=None):
    """A tree as tar, with whatever names."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in files if isinstance(files, list) else files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text if isinstance(text, bytes) else text.encode()))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return packed.getvalue()


def opened(made):
    return zipfile.ZipFile(io.BytesIO(made.body))


def names(made):
    with opened(made) as archive:
        return archive.namelist()


def read(made, name="Dockerrun.aws.json"):
    with opened(made) as archive:
        text = archive.read(name).decode()
    return json.loads(text) if name.endswith(".json") else text
