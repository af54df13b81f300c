"""The local cloud: everything that is outside Tau, on this machine, for the demo and the tests."""
