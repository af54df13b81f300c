"""How each deployment ended, held against what befell its version; and what runs, against what the records say."""

from infra.local.eb_faults import Fault
from tests.sim.edges.eb_fates import GOOD, NO_WAY_BACK, RED_LATER, ROLLED_BACK, UNANSWERED
from tests.sim.errors import Broken

_NEVER_DEPLOYED = {Fault.CANNOT_PROCESS, Fault.NEVER_PROCESS}
_UNDONE = {
    ROLLED_BACK,
    Fault.SILENT_ROLLBACK,
    Fault.STUCK,
    Fault.RED,
    Fault.YELLOW,
    Fault.GREY,
    Fault.MIXED,
    UNANSWERED,
}
_LOST = {Fault.TERMINATE, Fault.STUCK_FOR_GOOD}
"""Nothing can be done any more with an environment that met these."""
_RUN_ENDS = {
    "live": {"passed", "errored"},
    "failed": {"failed", "errored"},
    "rolled_back": {"failed", "cancelled", "errored"},
    "rollback_failed": {"errored"},
    "superseded": {"superseded", "errored"},
    "cancelled": {"cancelled", "errored"},
}


def check_ends(world, runs):
    """When it is over."""
    beanstalk = world.cloud.beanstalk
    deployments = [item for place, item in world.cloud.table.items.items() if place[1] == "deployment"]
    lost = any(what in _LOST for what, _ in beanstalk.fates.met)
    for item in deployments:
        _check_end(item, beanstalk.fates, lost=lost)
        run = runs[item["run"]]
        if run.state not in _RUN_ENDS[item["state"]]:
            raise Broken(f"{item['id']} is {item['state']}, and its run is {run.state}: {run.reason}")
        if item["state"] == "failed" and item["ours"] and run.state != "errored":
            raise Broken(f"{item['id']} failed, no version is to blame, and its run is {run.state}")
    for name in {*beanstalk.environments, *beanstalk.gone}:
        _check_environment(world, name, deployments)


def _check_end(item, fates, *, lost):
    """Whether it may have ended so; what befell its version says it.

    Args:
        lost: whether its environment is one of which nothing can be made any more.
    """
    label, state, reason = item["label"], item["state"], item.get("reason") or ""
    fate = fates(label).what
    # That one counts what was denied; it is red as soon as it runs.
    what = fate if (fate, label) in fates.met or fate == NO_WAY_BACK else GOOD
    # Who waits behind one that does not end waits for its own time.
    in_line = "another deployment" in reason
    # What is denied may be the way to this version, or away from the one that runs.
    denied = "AWS does not let Tau" in reason and (
        what == Fault.DENY or any(one == NO_WAY_BACK for one, _ in fates.met)
    )
    # What ran before was red itself by then, and no other was ever live.
    nowhere = "No earlier version is known to be well" in reason and what in _UNDONE | {RED_LATER, NO_WAY_BACK}
    sick_before = item.get("previous_health") in {"Warning", "Severe"}
    good = {
        "live": what not in _UNDONE | _NEVER_DEPLOYED | _LOST | {NO_WAY_BACK} or (what == Fault.YELLOW and sick_before),
        "rolled_back": what in _UNDONE | {RED_LATER} or "stopped_by" in item,
        "rollback_failed": lost or what == NO_WAY_BACK or fates(item.get("back_to") or label).what == RED_LATER,
        "failed": lost or in_line or denied or nowhere or what in _NEVER_DEPLOYED,
    }
    if not good.get(state, True):
        raise Broken(f"{item['id']} is {state}, and {label} met {what}: {reason}")
    if state == "failed" and item["ours"] != denied:
        raise Broken(f"{item['id']} failed by {what}, and is {'' if item['ours'] else 'not '}ours: {reason}")


def _check_environment(world, name, deployments):
    """What runs is what the last deployment left."""
    beanstalk, met = world.cloud.beanstalk, {what for what, _ in world.cloud.beanstalk.fates.met}
    if name in beanstalk.gone:
        if Fault.TERMINATE not in met:
            raise Broken(f"{name} is gone")
        return
    environment = beanstalk.environments[name]
    called = [item for item in deployments if "intended_at" in item and not item["ours"]]
    last = max(called, key=lambda item: item["intended_at"], default=None)
    if environment.status != "Ready":
        # Nobody aborts an update that does not end where there is nothing to go back to.
        given_up = last and _stays(last) and environment.met.what == Fault.STUCK
        if met.isdisjoint(_LOST) and not given_up:
            raise Broken(f"{name} is {environment.status}")
    elif environment.label not in _left_by(last, name, world.cloud.table.items):
        raise Broken(f"{name} runs {environment.label}, and the last one to it was {last}")


def _left_by(last, name, items):
    """The versions of which one runs after the deployment that was the last to call."""
    if last and last["state"] == "rollback_failed":
        return {last["label"], last["back_to"]}
    if last and _stays(last):
        return {last["label"]}
    if last and last["state"] == "rolled_back":
        # Where an earlier way back had failed, Elastic Beanstalk itself goes back to what that one left.
        return {last["back_to"]}
    return {items.get(("live", f"ap-southeast-2/{name}"), {"label": "v0"})["label"]}


def _stays(item):
    return item["state"] == "failed" and "so it stays" in item["reason"]
