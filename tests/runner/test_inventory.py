"""What the records say of the runs whose images are in an engine."""

from dataclasses import replace

from chalicelib.model import VERSION, Deployment, DeploymentState, RunState, Step
from chalicelib.records.runs import new_run
from chalicelib.records.table import Change
from runner.inventory import known_by, line
from tests.installation import NOW, event, later
from tests.installation import job as make_job
from tests.installation import run as make_run


def written(edge, number, *steps, ended=True, **changes):
    run = make_run(number, *steps, **changes)
    edge.store.table.write(new_run(run))
    if ended:
        held = edge.store.claim(run, "r1", NOW)
        edge.store.end(held, RunState.PASSED, reason=None, tell={}, now=NOW)
    return run.id


def test_whatever_is_not_at_its_end_waits_for_its_image(edge):
    run = written(edge, 1, ended=False)
    assert known_by(edge)(run).waits == f"run {run} is queued"


def test_a_run_of_which_a_newer_program_wrote_is_left_to_that_one(edge):
    run = written(edge, 1)
    edge.store.table.write(Change((f"run#{run}", "run"), values={"v": VERSION + 1}))
    assert "version" in known_by(edge)(run).waits


def test_of_a_run_that_nobody_remembers_nothing_is_known(edge):
    known = known_by(edge)("01KAQ000000000000000000099")
    assert (known.waits, known.line, known.is_gone, known.deployments) == (None, None, False, ())


def test_a_branch_is_counted_by_itself_and_all_tags_of_a_pipeline_together():
    tags = [make_run(1, job=make_job(event=event(ref=f"refs/tags/v{n}", name=f"v{n}"))) for n in (1, 2)]
    assert line(make_run()) == make_job().lock
    assert {line(run) for run in tags} == {"cmfive-dev/github.com/2pisoftware/cmfive/refs/tags"}


def test_a_branch_is_gone_when_somebody_said_so_and_there_when_nobody_ever_spoke_of_it(edge):
    run, known = written(edge, 1), known_by(edge)
    assert not known(run).is_gone
    edge.store.take_as_it_stands("github.com", "2pisoftware/cmfive", "refs/heads/develop", "2" * 40, NOW)
    assert not known(run).is_gone
    ref = edge.store.refs_of("github.com", "2pisoftware/cmfive")["refs/heads/develop"]
    edge.store.settle("github.com", "2pisoftware/cmfive", ref, "", later(60))
    assert known(run).is_gone


def test_the_deployments_of_a_run_are_those_of_its_steps(edge):
    run = written(edge, 1, Step("build", {}), Step("deploy_eb", {}), Step("deploy_eb", {}))
    live = Deployment(f"{run}.1", run, "here", "acme", "acme-live", "v1", DeploymentState.LIVE, 1, NOW, NOW, None)
    assert edge.store.create_deployment(live)
    assert edge.store.create_deployment(replace(live, id=f"{run}.2", environment="acme-test"))
    assert [one.environment for one in known_by(edge)(run).deployments] == ["acme-live", "acme-test"]
