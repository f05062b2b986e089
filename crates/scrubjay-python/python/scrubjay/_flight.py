"""Single-flight: concurrent callers of one key share one load.

The first caller to miss leads a flight; later ones join it and wait. Threads wait on a lock of their own, tasks on a
future of their own loop, and both may wait for the same flight. Whatever a leader does, its flight lands and everyone who
waits is woken; a flight that brought nothing leaves its waiters to begin again, and one of them leads.

The native flight knows who waits, and refuses a wait that would close a cycle: then the caller computes for itself, and
recursion ends as it would without a cache.
"""

import asyncio
import math
import os
import threading
import time
from contextvars import ContextVar

from scrubjay import _native

# How often those who wait for another loop's task look whether that loop still runs.
_LOOK_AT_LEAST = 1.0

# The flights whose loads the current code runs inside of, outermost first. Tasks and `asyncio.to_thread` inherit it.
_inside: ContextVar[tuple[_native.Flight, ...]] = ContextVar("scrubjay_flights", default=())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.forked)


class Flight(_native.Flight):
    """One load. Its leader departs before it runs the function, arrives after it, and lands when all is stored."""

    __slots__ = ("_loop", "_token", "begun", "outcome", "thread", "ticket")

    def __init__(self):
        self._loop = None
        self._token = None
        self.thread = None
        self.begun = 0.0
        # What the tier below memory has to be given back; see `_disk.Ticket`.
        self.ticket = None
        # `(value, failed)` once there is something that its waiters may share.
        self.outcome = None

    @classmethod
    def on(cls, loop):
        """One that is led by a task of a loop; None if another library drives the coroutine."""
        flight = cls()
        flight._loop = loop
        return flight

    def depart(self):
        """The load begins: what runs from here on runs inside of it."""
        self.thread = threading.get_ident()
        self._token = _inside.set((*_inside.get(), self))
        self.begun = time.perf_counter()

    def arrive(self):
        """The load is over."""
        token, self._token = self._token, None
        if token is not None:
            try:
                _inside.reset(token)
            except ValueError:
                # A coroutine that the collector closes ends in another context than it began in.
                pass

    def is_stranded(self):
        """Whether its leader is a task of a loop that does not run: perhaps it never will again."""
        return self._loop is not None and not self._loop.is_running()

    def wait(self, timeout=None):
        """Wait until it landed or is stranded. False, at once, if that would be for ever; False after `timeout` seconds."""
        if self.thread == threading.get_ident():
            # Its leader is further up this thread's stack, or a task of the loop that this thread would block.
            return False
        landed = threading.Lock()
        landed.acquire()
        inside, wake, joined = _inside.get(), landed.release, None
        try:
            joined = self.join(inside, wake)
            return self._wait_on(landed, timeout) if joined else self.landed
        finally:
            # Also after an interrupt that came with the answer of `join`.
            if joined is not False:
                self.leave(inside, wake)

    def _wait_on(self, landed, timeout):
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            if self._loop is not None:
                left = min(left, _LOOK_AT_LEAST)
            if landed.acquire(timeout=-1 if left == math.inf else left) or self.is_stranded():
                return True
            if time.monotonic() >= deadline:
                return False

    async def wait_async(self):
        """As `wait`, for a task."""
        loop = asyncio.get_running_loop()
        landed = loop.create_future()

        def wake():
            # Nobody waits any more where the loop was closed.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_finish, landed)

        inside = _inside.get()
        if not self.join(inside, wake):
            return self.landed
        try:
            if self._loop is None or self._loop is loop:
                await landed
            while not (landed.done() or self.is_stranded()):
                await asyncio.wait([landed], timeout=_LOOK_AT_LEAST)
        finally:
            self.leave(inside, wake)
        return True


def keeps_others_waiting():
    """Whether the current code runs inside of a load for which other processes may wait."""
    # Flights may land meanwhile, in the threads that lead them.
    tickets = [flight.ticket for flight in _inside.get()]
    return any(ticket is not None and ticket.lead is not None for ticket in tickets)


def until_waiting(count, timeout):
    """Wait until at least so many callers wait for flights, of whichever functions. Whether they do. For tests."""
    reached = threading.Lock()
    reached.acquire()
    _native.watch(count, reached.release)
    return reached.acquire(timeout=timeout)


def _finish(future):
    if not future.done():
        future.set_result(None)
