import itertools

from hypothesis import given
from hypothesis import strategies as st

from runner.hiding import Hiding
from tests.running import Log


def through(pieces, *secrets):
    log = Log()
    hiding = Hiding(log, secrets)
    for piece in pieces:
        hiding.write(piece)
    hiding.finish()
    return log


def test_a_secret_does_not_stand_in_the_log():
    assert through([b"login s3cret!\n"], "s3cret!").text == "login ***\n"


@given(cuts=st.lists(st.integers(0, 24), max_size=6))
def test_a_secret_that_comes_in_pieces_does_not_either(cuts):
    text, at = b"a s3cret! and s3c, s3cret!", [0, *sorted(cuts), 26]
    pieces = [text[start:end] for start, end in itertools.pairwise(at)]
    assert through(pieces, "s3cret!").text == "a *** and s3c, ***"


def test_what_is_no_secret_passes_at_once():
    log = Log()
    Hiding(log, ["s3cret!"]).write(b"building\n")
    assert log.text == "building\n"


def test_each_line_of_a_key_and_the_longer_of_two_secrets_is_hidden():
    assert through([b"AAAABBBB CCCCDDDD"], "AAAABBBB\nCCCCDDDD\n").text == "*** ***"
    assert through([b"password1234"], "password", "password1234").text == "***"


def test_a_secret_of_three_letters_is_no_reason_to_hide_half_of_a_log():
    assert through([b"the cat"], "cat", "").text == "the cat"


def test_our_own_lines_tell_no_secret_either():
    log = Log()
    Hiding(log, ["s3cret!"]).line("failed: s3cret! refused")
    assert log.ours == ["failed: *** refused"]


def test_what_a_secret_might_have_begun_is_not_lost_at_the_end():
    assert through([b"it ends in s3cr"], "s3cret!").text == "it ends in s3cr"
