"""The wish to stop a claim: who asks, which reason counts, and who hears of it."""

import itertools

import pytest

from runner.stopping import Stopped, Stopping, Why


def test_nobody_has_asked_and_everybody_goes_on():
    stopping = Stopping()
    stopping.check()
    assert stopping.why is None


@pytest.mark.parametrize("why", [*Why])
def test_who_was_asked_stops_and_says_why(why):
    stopping = Stopping()
    stopping.ask(why)
    with pytest.raises(Stopped) as stopped:
        stopping.check()
    assert stopped.value.why is stopping.why is why


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(Why, 2)])
def test_the_weightier_reason_counts_whichever_came_first(first, second):
    stopping = Stopping()
    stopping.ask(first)
    stopping.ask(second)
    order = [Why.HANDED_BACK, Why.SUPERSEDED, Why.TOO_LONG, Why.ASKED, Why.LOST]
    assert stopping.why is max(first, second, key=order.index)


def test_who_listens_is_called_once_for_each_reason_that_is_weightier():
    stopping, heard = Stopping(), []
    with stopping.telling(lambda: heard.append(stopping.why)):
        for why in (Why.HANDED_BACK, Why.HANDED_BACK, Why.ASKED, Why.HANDED_BACK, Why.LOST, Why.ASKED):
            stopping.ask(why)
    assert heard == [Why.HANDED_BACK, Why.ASKED, Why.LOST]


def test_who_begins_to_listen_too_late_is_called_at_once():
    stopping, heard = Stopping(), []
    stopping.ask(Why.ASKED)
    with stopping.telling(lambda: heard.append(stopping.why)):
        assert heard == [Why.ASKED]


def test_who_listens_no_longer_is_called_no_more_also_after_a_failure():
    stopping, heard = Stopping(), []
    with pytest.raises(ZeroDivisionError), stopping.telling(lambda: heard.append(1)):
        raise ZeroDivisionError
    stopping.ask(Why.ASKED)
    assert heard == []


def test_several_listen_and_each_leaves_for_itself():
    stopping, heard = Stopping(), []
    with stopping.telling(lambda: heard.append("outer")):
        with stopping.telling(lambda: heard.append("inner")):
            pass
        stopping.ask(Why.ASKED)
    assert heard == ["outer"]


def test_the_same_call_may_listen_twice_and_leave_once():
    stopping, heard = Stopping(), []

    def call():
        heard.append(1)

    with stopping.telling(call):
        with stopping.telling(call):
            pass
        stopping.ask(Why.ASKED)
    assert heard == [1]


def test_a_claim_that_may_be_anothers_by_now_counts_as_lost_before_an_effect():
    stopping = Stopping()
    stopping.fresh = lambda: False
    with pytest.raises(Stopped) as stopped:
        stopping.check()
    assert stopped.value.why is Why.LOST
    assert stopping.why is None, "the next beat may get through"


def test_no_step_can_take_a_stop_for_its_own_failure():
    assert not issubclass(Stopped, Exception)
