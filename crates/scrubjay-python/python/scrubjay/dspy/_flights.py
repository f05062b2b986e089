"""Single-flight for requests: threads and tasks of a process, and processes on one folder.

Whoever asks first leads; the others wait and find the answer in the cache. A leader that fails hands over to one of
those who wait; one that stored nothing lets them all go on. Nobody waits longer than `patience` for one answer: after that,
and where waiting would be for ever, the caller asks for itself.
"""

import asyncio
import contextlib
import threading
import time

from scrubjay._flight import Flight
from scrubjay.dspy._disk import digest_of

_POLL = 0.01


class Flights:
    """The requests that are under way in this process."""

    def __init__(self, holds, store, patience):
        # `holds(key)`: whether a caller would find an answer. `store()`: the store, or None.
        self._holds = holds
        self._store = store
        self.patience = patience
        self.joined = 0
        self._open = {}
        # Taken again by a leader that the collector ends while its thread holds it.
        self._lock = threading.RLock()

    def run(self, key, call):
        """`call()`, unless an equal call is under way: then after that one. `call` asks the cache by itself."""
        end, waited = time.monotonic() + self.patience, False
        while not self._holds(key):
            flight, leader = self._join(key, waited)
            if leader is not None:
                with leader, self._lead(key, end):
                    return leader.asked(call())
            waited = True
            if not flight.wait(end - time.monotonic()) or flight.outcome == "asked" and not self._holds(key):
                break
        return call()

    async def run_async(self, key, call):
        """As `run`, for tasks, whose calls are awaited."""
        end, waited = time.monotonic() + self.patience, False
        while not self._holds(key):
            flight, leader = self._join(key, waited)
            if leader is not None:
                with leader, await self._lead_async(key, end):
                    return leader.asked(await call())
            waited = True
            if not await _wait(flight, end) or flight.outcome == "asked" and not self._holds(key):
                break
        return await call()

    def _join(self, key, waited):
        """The flight of a key, and what its leader holds if the caller leads it."""
        with self._lock:
            flight = self._open.get(key)
            if flight is None or flight.is_orphan():
                flight = Flight()
                leader = _Leader(self, key, flight)
                self._open[key] = flight
                return flight, leader
            self.joined += not waited
            return flight, None

    def close(self, key, flight):
        """The flight is over, however it ended."""
        with self._lock:
            if self._open.get(key) is flight:
                del self._open[key]
        flight.land()

    def _lead(self, key, end):
        """Leads among processes; or waits until there is an answer, or the time is over."""
        store = self._store()
        try:
            lead = None if store is None else store.lead(digest_of(key), max(0.0, end - time.monotonic()))
        except OSError:
            lead = None
        return contextlib.nullcontext() if lead is None else lead

    async def _lead_async(self, key, end):
        # Asked again and again rather than in a thread: the threads that would wait are those that the leaders need.
        store, digest = self._store(), digest_of(key)
        try:
            while store is not None and time.monotonic() < end:
                lead = store.try_lead(digest)
                if lead is not None:
                    return lead
                if self._holds(key):
                    break
                await asyncio.sleep(_POLL)
        except OSError:
            pass
        return contextlib.nullcontext()

    def locks(self):
        """What must not be held when the process forks."""
        return self._lock

    def renew_locks(self):
        """Called in the child of a fork, where nobody leads."""
        self._lock = threading.RLock()
        self._open = {}


class _Leader:
    """What the leader of a flight holds; the flight lands when it goes, wherever the leader was interrupted."""

    def __init__(self, flights, key, flight):
        self._flights, self._key, self._flight = flights, key, flight

    def __enter__(self):
        self._flight.depart()

    def __exit__(self, *_exception):
        self._flight.arrive()
        self._flights.close(self._key, self._flight)

    def __del__(self):
        if not self._flight.landed:
            self._flights.close(self._key, self._flight)

    def asked(self, answer):
        """The call came to an end; whether its answer was kept, the others see."""
        self._flight.outcome = "asked"
        return answer


async def _wait(flight, end):
    try:
        return await asyncio.wait_for(flight.wait_async(), end - time.monotonic())
    except asyncio.TimeoutError:
        return False
