"""A forge and its repository: commits, branches and tags, and the signed deliveries that tell of them."""

import hashlib
import hmac
import io
import json
import tarfile
from functools import cache

from chalicelib.errors import StepFailed
from chalicelib.superseding import Ancestry

SECRET = "a secret made for the occasion"
REPOSITORY, OTHER_REPOSITORY = "2pisoftware/app", "2pisoftware/tools"
NOTHING = "0" * 40


class Forge:
    """One repository, as git has it.

    Args:
        salt: what becomes of a commit in a build follows from its sha, and no two schedules shall have the same.

    `people`: commit -> the address of whoever pushed it.
    """

    def __init__(self, repository=REPOSITORY, salt=0):
        self.repository, self._salt = repository, salt
        self.parents, self.refs, self.people = {}, {}, {}

    def commit(self, ref, who, *, onto=None):
        """A new commit at the tip of a ref; on top of `onto`, or of where the ref stands."""
        parent = onto or self.refs.get(ref)
        said = f"{self._salt}.{self.repository}.{len(self.parents)}.{parent}"
        sha = hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()
        self.parents[sha] = parent
        self.people[sha] = who
        return self.move(ref, sha)

    def move(self, ref, sha):
        """Where it stood, and where it stands."""
        before = self.refs.get(ref)
        self.refs[ref] = sha
        return before, sha

    def ancestry(self, ref):
        return Ancestry(self.refs.get(ref), self.is_ancestor)

    def is_ancestor(self, older, newer):
        while newer:
            if newer == older:
                return True
            newer = self.parents.get(newer)
        return False

    def told(self, ref, before, after):
        """GitHub's push: headers as the intake gets them, and the exact bytes."""
        who = self.people[after]
        head = {"id": after, "message": f"Change {after[:4]}", "author": {"name": "x", "email": who}}
        payload = {
            "ref": ref,
            "before": before or NOTHING,
            "after": after,
            "forced": bool(before) and not self.is_ancestor(before, after),
            "deleted": False,
            "repository": {"id": len(self.repository), "full_name": self.repository},
            "pusher": {"name": who.partition("@")[0], "email": who},
            "commits": [head],
            "head_commit": head,
        }
        body = json.dumps(payload).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "content-type": ("application/json",),
            "x-github-event": ("push",),
            "x-github-delivery": (hashlib.md5(body, usedforsecurity=False).hexdigest(),),
            "x-hub-signature-256": (f"sha256={signature}",),
        }
        return headers, body


class Workspace:
    """runner.workspace.Workspace without a disk.

    Args:
        forges: repository -> its Forge.
    """

    def __init__(self, forges, scheduler):
        self._forges, self._scheduler = forges, scheduler

    def run_folder(self, claim, lock=None):  # noqa: ARG002 - the real one's arguments
        return _Folder(claim)

    def checkout(self, source, ref, commit, into, **waits):  # noqa: ARG002 - the real one's arguments
        self._scheduler.wait(self._scheduler.random() * 2)
        return commit or self._forges[source.repository].refs[ref]

    def tip(self, source, ref, stopping=None):  # noqa: ARG002 - the real one's arguments
        self._scheduler.wait(self._scheduler.random())
        tip = self._forges[source.repository].refs.get("refs/heads/develop" if ref == "HEAD" else ref)
        if tip is None:
            raise StepFailed(f"{source.name} has no {ref}")
        return tip

    def archive(self, source, commit):  # noqa: ARG002 - every commit has the same tree
        return tree()

    def ancestry(self, source, ref, stopping=None):  # noqa: ARG002 - the real one's arguments
        self._scheduler.wait(self._scheduler.random())
        return self._forges[source.repository].ancestry(ref)


class _Folder:
    def __init__(self, claim):
        self._claim = claim

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __truediv__(self, name):
        return self


@cache
def tree():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        text = b'{"AWSEBDockerrunVersion": "1", "Ports": [{"ContainerPort": 80}]}'
        member = tarfile.TarInfo("Dockerrun.aws.json")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return file.getvalue()
