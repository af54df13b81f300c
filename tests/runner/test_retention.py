"""Which images stay, and why, decided from what is there and what the records say."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.model import Deployment, DeploymentState
from runner.retention import Fate, Inventory, Known, Made, Policy, judge, order
from tests.installation import NOW, later

LINE = "cmfive-dev/github.com/2pisoftware/cmfive/refs/heads/develop"
OVER = Known(line=LINE)


def made(number, **changes):
    run = f"01{number}"
    fields = {"id": f"sha256:{run}", "run": run, "lock": LINE, "names": (f"hello:r-{run}",), "used_at": later(number)}
    return Made(**{**fields, **changes})


def inventory(*images, known=OVER, **fields):
    by_run = fields.pop("by_run", {})
    runs = {image.run: by_run.get(image.run, known) for image in images}
    parents = fields.pop("parents", {image.id: image.parent for image in images})
    return Inventory(images, parents, {image.id: image.run for image in images}, known=runs, **fields)


def fates(there, keep=1):
    return {one.image.run: one.fate for one in judge(there, Policy(keep))}


def reason(there, run):
    return next(one.reason for one in judge(there, Policy(1)) if one.image.run == run)


def deployed(run, state=DeploymentState.LIVE, environment="acme-production"):
    one = Deployment(f"{run}.3", run, "ap-southeast-2", "acme", environment, "v1", state, 1, NOW, NOW, None)
    return Known(line=f"tags of {run}", deployments=(one,))


def test_the_newest_images_of_a_branch_are_kept_and_the_older_ones_are_too_many():
    there = inventory(made(1), made(2), made(3))
    assert fates(there, keep=2) == {"013": Fate.KEPT, "012": Fate.KEPT, "011": Fate.SURPLUS}
    assert reason(there, "011") == f"2 newer runs of {LINE}"


def test_every_branch_has_its_own_newest():
    there = inventory(made(1), made(2), by_run={"011": replace(OVER, line="another branch")})
    assert set(fates(there).values()) == {Fate.KEPT}


def test_a_run_that_nobody_remembers_is_counted_by_its_lock():
    there = inventory(made(1), made(2), made(3, lock="another"), by_run={"011": Known(), "013": Known()})
    assert fates(there) == {"011": Fate.SURPLUS, "012": Fate.KEPT, "013": Fate.KEPT}


def test_several_images_of_one_run_count_once():
    there = inventory(made(1), made(2), replace(made(2), id="sha256:tool", names=("tool:r-012",)))
    assert [one.fate for one in judge(there, Policy(2))] == [Fate.KEPT] * 3


def test_what_a_run_waits_for_is_needed_however_old_it_is():
    waits = Known(waits="run 011 is waiting")
    there = inventory(made(1), made(2), made(3), by_run={"011": waits})
    assert fates(there) == {"011": Fate.NEEDED, "012": Fate.SURPLUS, "013": Fate.KEPT}
    assert reason(there, "011") == "run 011 is waiting"


def test_an_image_of_which_somebody_made_a_container_is_needed():
    there = inventory(made(1), made(2), used={"sha256:011": "site-develop"})
    assert fates(there)["011"] is Fate.NEEDED
    assert reason(there, "011") == "the container site-develop is made of it"


def test_an_image_that_somebody_gave_another_name_is_his_too():
    there = inventory(made(1, others=("sams-own:latest",)), made(2))
    assert fates(there)["011"] is Fate.NEEDED


def test_of_an_environment_the_live_version_stays_and_the_one_before_it_and_no_older_one():
    runs = {f"01{number}": deployed(f"01{number}") for number in (1, 2, 3)}
    there = inventory(made(1), made(2), made(3), by_run={run: replace(one, line=LINE) for run, one in runs.items()})
    assert fates(there) == {"013": Fate.NEEDED, "012": Fate.NEEDED, "011": Fate.SURPLUS}
    assert reason(there, "013") == "it is live in acme-production"
    assert reason(there, "012") == "it is what would be rolled back to in acme-production"


def test_a_version_that_failed_is_neither_live_nor_anything_to_go_back_to():
    runs = {"011": deployed("011"), "012": deployed("012", DeploymentState.FAILED), "013": deployed("013")}
    there = inventory(made(1), made(2), made(3), by_run={run: replace(one, line=LINE) for run, one in runs.items()})
    assert fates(there) == {"013": Fate.NEEDED, "012": Fate.SURPLUS, "011": Fate.NEEDED}


def test_a_version_on_its_way_is_needed():
    there = inventory(made(1), made(2), by_run={"011": deployed("011", DeploymentState.UPDATING)})
    assert reason(there, "011") == "it is on its way to acme-production"


def test_of_a_branch_that_is_gone_nothing_is_kept():
    there = inventory(made(1), known=replace(OVER, is_gone=True))
    assert fates(there) == {"011": Fate.SURPLUS}


@pytest.mark.parametrize("how", ["by parents", "by layers"])
def test_what_a_needed_image_stands_on_is_needed_too(how):
    if how == "by parents":
        there = inventory(made(1), made(2), made(3), parents={"sha256:013": "layer", "layer": "sha256:011"})
    else:
        below, above = made(1, layers=("a",)), made(3, layers=("a", "b"))
        there = inventory(below, made(2, layers=("c",)), above)
    there = replace(there, used={"sha256:013": "web"})
    assert fates(there) == {"013": Fate.NEEDED, "012": Fate.SURPLUS, "011": Fate.NEEDED}
    assert reason(there, "011") == "hello:r-013 stands on it"


def test_what_a_kept_image_stands_on_is_kept_as_long():
    there = inventory(made(1), made(3), parents={"sha256:013": "sha256:011", "sha256:011": ""})
    assert fates(there) == {"013": Fate.KEPT, "011": Fate.KEPT}


def test_what_somebody_elses_image_stands_on_is_needed():
    there = inventory(made(1), made(2), parents={"sha256:theirs": "sha256:011"})
    assert reason(there, "011") == "another image stands on it"


def test_what_somebody_built_on_an_image_of_ours_bears_our_labels_and_is_not_ours():
    theirs = Made("sha256:theirs", "011", LINE, (), parent="sha256:011")
    there = inventory(made(1), made(2), theirs)
    verdict = next(one for one in judge(there, Policy(1)) if one.image == theirs)
    assert (verdict.fate, verdict.reason) == (Fate.NEEDED, "somebody built it on an image of ours")


def test_an_image_of_ours_that_lost_its_name_goes():
    built = Made("sha256:x", "011", LINE, (), parent="layer")
    pulled = Made("sha256:y", "011", LINE, (), fetched=True)
    there = inventory(built, pulled, made(1))
    assert [one.fate for one in judge(there, Policy(1))] == [Fate.SURPLUS, Fate.SURPLUS, Fate.KEPT]


@pytest.mark.parametrize(("age_days", "fate"), [(0, Fate.KEPT), (6, Fate.KEPT), (8, Fate.SURPLUS)])
def test_what_a_build_left_beside_its_image_is_the_next_ones_cache_for_a_week(age_days, fate):
    layer = Made("sha256:layer", "011", LINE, (), is_layer=True, used_at=NOW)
    there = replace(inventory(layer), read_at=NOW + timedelta(days=age_days))
    assert [one.fate for one in judge(there, Policy(1))] == [fate]


def test_a_layer_that_somebody_named_or_made_a_container_of_is_needed():
    layer = Made("sha256:layer", "", "", (), is_layer=True, others=("sams:own",))
    assert [one.fate for one in judge(inventory(layer), Policy(1))] == [Fate.NEEDED]
    there = inventory(replace(layer, others=()), used={"sha256:layer": "debugging"})
    assert [one.fate for one in judge(there, Policy(1))] == [Fate.NEEDED]


def test_the_least_recently_used_goes_first_and_what_is_kept_goes_last_and_only_where_the_disk_is_short():
    there = inventory(made(1, used_at=later(9)), made(2), made(3), known=OVER)
    verdicts = judge(there, Policy(1))
    assert [one.image.run for one in order(verdicts, is_short=False)] == ["012", "011"]
    assert [one.image.run for one in order(verdicts, is_short=True)] == ["012", "011", "013"]


def test_what_is_needed_never_goes():
    there = inventory(made(1), made(2), known=Known(waits="a newer program holds it"))
    assert order(judge(there, Policy(1)), is_short=True) == []
