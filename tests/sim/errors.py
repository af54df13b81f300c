"""What is said when something does not hold."""

from contextlib import contextmanager

from chalicelib import leaving


class Broken(BaseException):
    """An invariant does not hold. No program's `except Exception` may keep that to itself."""


@contextmanager
def nothing_is_only_logged():
    """What breaks in a tick holds up nobody there; here it is what is looked for."""

    def broke(kind, name, error):
        raise Broken(f"{kind} {name}: {type(error).__name__}: {error}") from error

    old, leaving.broke = leaving.broke, broke
    try:
        yield
    finally:
        leaving.broke = old
