"""One request to a forge: what goes out with it, and what never shows."""

import base64

import pytest

from chalicelib.errors import BadConfig
from chalicelib.forges.calls import Calls, LeftAlone, NotCompared
from tests.forge_stand_ins import TOKEN, GitHubStandIn, Trouble, sha
from tests.hooks import REPOSITORY
from tests.installation import NOW


def calls(forge, token=TOKEN):
    return Calls("github.com", forge.api, token, lambda: NOW, timeout_s=0.5)


def test_a_token_goes_out_as_a_bearer_and_a_name_with_one_as_both():
    with GitHubStandIn() as forge:
        forge.repository(REPOSITORY).branches["develop"] = sha("x")
        for token, sent in (
            (TOKEN, f"Bearer {TOKEN}"),
            ("sam:secret", f"Basic {base64.b64encode(b'sam:secret').decode()}"),
        ):
            forge.asked = []
            calls(forge, token).get(f"/repos/{REPOSITORY}/git/ref/heads/develop")
            assert forge.asked[0][1]["Authorization"] == sent


@pytest.mark.parametrize("token", ["two words", "a\nb", "é", ""])
def test_a_token_that_cannot_be_sent_is_refused_without_showing_it(token):
    with GitHubStandIn() as forge, pytest.raises(BadConfig) as error:
        calls(forge, token)
    assert not token or token not in str(error.value)


def test_no_error_shows_the_token():
    with GitHubStandIn() as forge:
        asked = calls(forge)
    with pytest.raises(NotCompared) as error:
        asked.get("/x")
    assert TOKEN not in f"{error.value!r} {error.value.__cause__!r}"


def test_who_is_left_alone_is_not_asked():
    with GitHubStandIn() as forge:
        asked = calls(forge)
        forge.trouble = lambda _: Trouble(429)
        for _ in range(3):
            with pytest.raises(LeftAlone):
                asked.get("/x")
        assert len(forge.asked) == 1
