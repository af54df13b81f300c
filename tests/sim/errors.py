"""What is said when something does not hold."""


class Broken(AssertionError):
    """An invariant does not hold."""
