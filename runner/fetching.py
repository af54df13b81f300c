"""An address that somebody signed for us in, what lies there out: no login of ours goes with it."""

from __future__ import annotations

import requests

from chalicelib.errors import TauError

MOST_BYTES = 1024 * 1024
_TIMEOUT_S = 10


class NotFetched(TauError):
    """It did not come. The address is not told: whoever has it may read what lies there."""


def fetch(address: str) -> bytes:
    """What lies there, as far as it is not too much.

    Raises:
        NotFetched: it says no, or does not answer.
    """
    try:
        with requests.get(address, timeout=_TIMEOUT_S, stream=True, allow_redirects=False) as answer:
            if answer.status_code != requests.codes.ok:
                raise NotFetched(f"the answer was {answer.status_code}")
            return answer.raw.read(MOST_BYTES, decode_content=True) or b""
    except (requests.RequestException, OSError) as error:
        raise NotFetched(f"there was no answer ({type(error).__name__})") from error
