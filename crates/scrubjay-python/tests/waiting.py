"""What tests of concurrent callers wait for, and for how long at most."""

import threading

WAIT = 20


class Gate:
    """Lets a run begin, and holds it until it is opened."""

    def __init__(self):
        self.begun = threading.Event()
        self.opened = threading.Event()

    def pass_through(self):
        self.begun.set()
        assert self.opened.wait(WAIT)


def wait_until_waiting(memo, count):
    """Until so many callers wait. There is no event for it, so this looks again and again."""
    loader = memo._parts.loader if hasattr(memo, "_parts") else memo._loader
    ticks = threading.Event()
    for _ in range(WAIT * 1000):
        if loader.counts.waits >= count:
            return
        ticks.wait(0.001)
    raise AssertionError(f"{loader.counts.waits} of {count} callers wait")
