"""One file = one way to tell somebody how a run ended; rendering is pure, sending is elsewhere."""
