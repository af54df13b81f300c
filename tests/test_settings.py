import pytest

from chalicelib.settings import MissingSetting, Settings

LEAST = {"TAU_STAGE": "prod", "TAU_BUCKET": "2pisoftware-tau-prod", "TAU_SENDER": "Tau <ci@2pisoftware.com>"}


def test_the_stage_names_everything_that_is_not_named():
    settings = Settings.from_env(LEAST)
    assert (settings.table, settings.queue_prefix, settings.system) == ("tau-prod", "tau-prod", "tau-prod")
    assert settings.secrets_prefix == "/tau/prod/secrets/"
    assert (settings.lease_s, settings.retry_s) == (30, 30)


def test_what_is_named_is_taken():
    named = {"TAU_TABLE": "t", "TAU_QUEUE_PREFIX": "q", "TAU_SYSTEM": "s", "TAU_LEASE_S": "2.5", "TAU_RETRY_S": "1"}
    settings = Settings.from_env({**LEAST, **named, "PATH": "/bin"})
    assert (settings.table, settings.queue_prefix, settings.system) == ("t", "q", "s")
    assert (settings.lease_s, settings.retry_s) == (2.5, 1)


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_a_variable_that_is_missing_is_named_with_its_meaning(name, value):
    environ = {key: text for key, text in {**LEAST, name: value}.items() if text is not None}
    with pytest.raises(MissingSetting, match=rf"{name} is not set: the \w+"):
        Settings.from_env(environ)


@pytest.mark.parametrize("name", ["TAU_LEASE_S", "TAU_RETRY_S"])
@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", ""])
def test_a_time_that_is_none_is_refused_by_its_name(name, value):
    with pytest.raises(MissingSetting, match=f"{name}.*seconds"):
        Settings.from_env({**LEAST, name: value})
