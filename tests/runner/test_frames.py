"""An engine's frames, however the socket cuts them, are what the container printed."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from runner.frames import payloads


def framed(stream, text):
    return struct.pack(">BxxxL", stream, len(text)) + text


def read_in(text, sizes):
    """`text` as a socket gives it, in pieces of these sizes, the last one for ever."""
    at, sizes = 0, [*sizes, 5]

    def read():
        nonlocal at
        piece = text[at : at + (sizes.pop(0) if len(sizes) > 1 else sizes[0])]
        at += len(piece)
        return piece

    return b"".join(payloads(read))


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=12), st.lists(st.integers(1, 60)))
def test_what_was_printed_comes_out_in_its_order_however_it_is_cut(frames, sizes):
    sent = b"".join(framed(stream, text) for stream, text in frames)
    assert read_in(sent, sizes) == b"".join(text for _, text in frames)


def test_what_has_come_of_a_frame_does_not_wait_for_its_rest():
    pieces = iter([framed(1, b"0123456789")[:12], b""])
    assert next(payloads(lambda: next(pieces))) == b"0123"


def test_a_conversation_that_breaks_off_in_a_header_or_a_frame_ends_there():
    assert read_in(framed(1, b"one") + framed(1, b"two")[:4], []) == b"one"
    assert read_in(framed(1, b"one") + framed(1, b"two")[:9], []) == b"onet"
