"""What tests of concurrent callers wait for, and for how long at most."""

import threading

from scrubjay._flight import until_waiting

WAIT = 20


class Gate:
    """Lets a run begin, and holds it until it is opened."""

    def __init__(self):
        self.begun = threading.Event()
        self.opened = threading.Event()

    def pass_through(self):
        self.begun.set()
        assert self.opened.wait(WAIT)


def wait_until_waiting(count):
    """Until so many callers wait for the runs of others."""
    assert until_waiting(count, WAIT), f"fewer than {count} callers wait"
