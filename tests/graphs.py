"""Images that are known to the records, and what each stands on."""

from chalicelib.graph import Base, Known
from chalicelib.model import Provider
from tests.installation import NOW

CMFIVE, CRM, CLIENT = "2pisoftware/cmfive:latest", "2pisoftware/crm:latest", "2pisoftware/client-a:latest"


def known(named, *on, digest="sha256:1", run="01", ref="refs/heads/master", **changes):
    name, _, tag = named.rpartition(":")
    bases = tuple(Base("docker.io", *one.rsplit(":", 1), "sha256:1") for one in on)
    fields = {
        "digests": {"docker.io": digest},
        "id": f"sha256:id-of-{named}",
        "pipeline": name.rpartition("/")[2],
        "pushed_at": NOW,
        "forge": "github.com",
        "provider": Provider.GITHUB,
        "repository": f"{name}_deploy",
        "ref_name": ref.rpartition("/")[2],
    }
    return Known(name, tag, run=run, ref=ref, bases=bases, **{**fields, **changes})
