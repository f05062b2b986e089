"""Single-flight: concurrent callers of one key share one load.

The first caller to miss leads a flight; later ones join it and wait. Threads wait on a lock of their own, tasks on a
future of their own loop, and both may wait for the same flight. Whatever a leader does, its flight lands and everyone who
waits is woken; a flight that brought nothing leaves its waiters to begin again, and one of them leads.

The native flight knows who waits, and refuses a wait that would close a cycle: then the caller computes for itself, and
recursion ends as it would without a cache.
"""

import asyncio
import os
import threading
import time
from contextvars import ContextVar

from scrubjay import _native

# The flights whose loads the current code runs inside of, outermost first. Tasks and `asyncio.to_thread` inherit it.
_inside: ContextVar[tuple[_native.Flight, ...]] = ContextVar("scrubjay_flights", default=())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.forked)


class Flight(_native.Flight):
    """One load. Its leader departs before it runs the function, arrives after it, and lands when all is stored."""

    __slots__ = ("_token", "begun", "outcome", "thread", "ticket")

    def __init__(self):
        self._token = None
        self.thread = None
        self.begun = 0.0
        # What the tier below memory has to be given back; see `_disk.Ticket`.
        self.ticket = None
        # `(value, failed)` once there is something that its waiters may share.
        self.outcome = None

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

    def wait(self, timeout=None):
        """Wait until it landed. False, at once, if that would be for ever, and False after `timeout` seconds."""
        if self.thread == threading.get_ident():
            # Its leader is further up this thread's stack, or a task of the loop that this thread would block.
            return False
        landed = threading.Lock()
        landed.acquire()
        inside, wake, joined = _inside.get(), landed.release, None
        try:
            joined = self.join(inside, wake)
            return landed.acquire(timeout=-1 if timeout is None else max(0.0, timeout)) if joined else self.landed
        finally:
            # Also after an interrupt that came with the answer of `join`.
            if joined is not False:
                self.leave(inside, wake)

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
            await landed
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
