"""Single-flight: concurrent callers of one key share one load.

The first caller to miss leads a flight; later ones join it and wait. Threads wait on a lock of their own, tasks on a
future of their own loop, and both may wait for the same flight. Whatever a leader does, its flight lands and everyone who
waits is woken; a flight that brought nothing leaves its waiters to begin again, and one of them leads.

Who waits for whom is a graph of flights: a flight is blocked on those that callers inside its load wait for. A wait that
would close a cycle is refused, and the caller computes for itself: recursion ends as it would without a cache.

The one lock here guards that graph and the lists of waiters. No code of the user's runs under it.
"""

import asyncio
import os
import threading
import time
from contextvars import ContextVar

from scrubjay._lock import Lock

# The flights whose loads the current code runs inside of, outermost first. Tasks and `asyncio.to_thread` inherit it.
_inside = ContextVar("scrubjay_flights", default=())

_lock = Lock()
# Grows in a child process: flights of the parent have no leader there.
_generation = 0


def _after_fork():
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Flight:
    """One load. Its leader departs before it runs the function, arrives after it, and lands when all is stored."""

    __slots__ = ("_blocked_on", "_generation", "_token", "_waiters", "begun", "landed", "outcome", "thread")

    def __init__(self):
        self._generation = _generation
        self.landed = False
        self._waiters = []
        self._blocked_on = []
        self._token = None
        self.thread = None
        self.begun = 0.0
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

    def land(self):
        """Wake everyone who waits."""
        with _lock.raw:
            self.landed = True
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()

    def is_orphan(self):
        """Whether it belongs to the process that this one was forked from."""
        return self._generation != _generation

    def wait(self):
        """Wait until it landed. False, at once, if that would be for ever."""
        if self.thread == threading.get_ident():
            # Its leader is further up this thread's stack, or a task of the loop that this thread would block.
            return False
        landed = threading.Lock()
        landed.acquire()
        path = self._join(landed.release)
        if path is None:
            return self._has_landed()
        try:
            landed.acquire()
        finally:
            self._leave(landed.release, path)
        return True

    async def wait_async(self):
        """As `wait`, for a task."""
        loop = asyncio.get_running_loop()
        landed = loop.create_future()

        def wake():
            try:
                loop.call_soon_threadsafe(_finish, landed)
            except RuntimeError:
                # The loop of the waiter was closed: nobody waits there any more.
                pass

        path = self._join(wake)
        if path is None:
            return self._has_landed()
        try:
            await landed
        finally:
            self._leave(wake, path)
        return True

    def _join(self, wake):
        """Register a waiter; None if it has landed, or if waiting would be for ever."""
        inside = _inside.get()
        with _lock.raw:
            if self.landed or self._leads_to(inside):
                return None
            for flight in inside:
                flight._blocked_on.append(self)
            self._waiters.append(wake)
        return inside

    def _leave(self, wake, inside):
        with _lock.raw:
            for flight in inside:
                flight._blocked_on.remove(self)
            if wake in self._waiters:
                self._waiters.remove(wake)

    def _has_landed(self):
        with _lock.raw:
            return self.landed

    def _leads_to(self, inside):
        """Whether this flight is, or waits for, one of these. Called under the lock."""
        seen, todo = set(), [self]
        while todo:
            flight = todo.pop()
            if flight in inside:
                return True
            if flight not in seen:
                seen.add(flight)
                todo.extend(flight._blocked_on)
        return False


def _finish(future):
    if not future.done():
        future.set_result(None)
