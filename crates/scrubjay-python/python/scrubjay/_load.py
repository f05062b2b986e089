"""What happens on a miss: wait for whoever loads, or load, and store what came of it.

A `Loader` knows the function and how its values are kept. Memoized functions call `enter`, run the function themselves,
and call `succeed` or `fail`: so a level of recursion takes one Python frame, as without a cache. Coroutine functions and
refreshes go through the same three steps here.
"""

import asyncio
import threading
import time
import types

from scrubjay._flight import Flight
from scrubjay._native import Lead
from scrubjay._trace import mark
from scrubjay._warn import warn_once

# What `Lead.begin` answers.
SERVE, FAILED, JOIN, LEAD, REFRESH = range(5)
# What `Memory.settle` answers.
OVERTAKEN, STORED, REJECTED = range(3)

# What only one caller could use.
_CONSUMED: tuple[type, ...] = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)

# Refreshes that run on event loops, which themselves keep weak references only.
_refreshes: set[asyncio.Task[None]] = set()


class Counts:
    """What is counted on the way of a miss. Threads that count at the same time may lose a count, never a result."""

    __slots__ = ("errors", "load_time", "loads", "refreshes", "waits")

    def __init__(self):
        self.reset()

    def reset(self):
        self.loads = self.errors = self.waits = self.refreshes = 0
        self.load_time = 0.0


class Loader:
    """Loads by calling `function`, and keeps values as the options say. See `_options.Keeping`."""

    def __init__(self, function, keeping, when=None):
        self.function = function
        self.keeping = keeping
        self.when = when
        self.counts = Counts()

    def enter(self, memory, key, args, kwargs):
        """Answer a call that found nothing fresh.

        `(value,)` is the answer. A lead is to be taken: the caller runs the function, then calls `succeed` or `fail`.
        `None` is neither: the caller runs the function, and that is all.
        """
        if not self._wants(memory, args, kwargs):
            return None
        lead = Lead(memory, key, Flight())
        while True:
            state, found = lead.begin()
            if state == LEAD:
                lead.flight.depart()
                return lead
            if state == JOIN:
                if found.is_orphan():
                    memory.abandon(key, found)
                    continue
                self.counts.waits += 1
                mark("wait")
                if not found.wait():
                    return None
                if found.outcome is None:
                    continue
                return (self._share(found.outcome),)
            mark("hit")
            if state == REFRESH:
                mark("stale")
                self._refresh(lead, args, kwargs)
            return (self._share((found, state == FAILED)),)

    async def miss_async(self, memory, key, args, kwargs):
        """As `enter`, and leads itself."""
        if not self._wants(memory, args, kwargs):
            return await self.function(*args, **kwargs)
        lead = Lead(memory, key, Flight())
        while True:
            state, found = lead.begin()
            if state == LEAD:
                lead.flight.depart()
                try:
                    value = await self.function(*args, **kwargs)
                except BaseException as error:
                    self.fail(lead, error)
                    raise
                return self.succeed(lead, value, args, kwargs)
            if state == JOIN:
                if found.is_orphan():
                    memory.abandon(key, found)
                    continue
                self.counts.waits += 1
                mark("wait")
                if not await found.wait_async():
                    return await self.function(*args, **kwargs)
                if found.outcome is None:
                    continue
                return self._share(found.outcome)
            mark("hit")
            if state == REFRESH:
                mark("stale")
                self._refresh_async(lead, args, kwargs)
            return self._share((found, state == FAILED))

    def _wants(self, memory, args, kwargs):
        """Count a miss; whether its result is to be stored."""
        mark("miss")
        memory.count_miss()
        return self.when is None or self.when(*args, **kwargs)

    def succeed(self, lead, value, args, kwargs):
        """Store what the function returned, and wake the waiters. What the leader returns."""
        try:
            lead.flight.arrive()
            self.counts.loads += 1
            self.counts.load_time += time.perf_counter() - lead.flight.begun
            return self._store(lead, value, args, kwargs)
        finally:
            lead.land()

    def fail(self, lead, error):
        """The function raised: waiters get the error too, unless it concerns the leader alone (it was cancelled)."""
        flight = lead.flight
        try:
            flight.arrive()
            self.counts.errors += 1
            if isinstance(error, Exception):
                flight.outcome = (error, True)
                if self.keeping.errors is not None:
                    lead.memory.settle(lead.key, flight, error, failed=True, fresh=self.keeping.errors)
        finally:
            lead.land()

    def _store(self, lead, value, args, kwargs):
        """Store a value, and share it with those who wait. What the leader returns."""
        keeping, memory, key, flight = self.keeping, lead.memory, lead.key, lead.flight
        if type(value) in _CONSUMED:
            warn_once(
                self,
                type(value),
                f"a {type(value).__name__} is not kept, because it can be consumed once only: memoize the coroutine "
                "function itself, or return a list instead of a generator",
            )
            return value
        try:
            kept = value if keeping.snapshot is None else keeping.snapshot(value)
        except Exception as error:
            kind = type(value)
            name = f"{kind.__module__}.{kind.__qualname__}"
            warn_once(self, kind, f"results of type {name} are not kept, because they cannot be copied: {error!r}")
            flight.outcome = (value, False)
            return value
        tags = keeping.tags(*args, **kwargs) if callable(keeping.tags) else keeping.tags
        settled = memory.settle(
            key,
            flight,
            kept,
            fresh=keeping.life_of(value),
            stale=keeping.stale,
            weight=1 if keeping.weigh is None else keeping.weigh(key.parts, kept),
            tags=list(tags),
        )
        # Who joined after the invalidation that overtook it must not get this value; so waiters ask again.
        if settled != OVERTAKEN:
            flight.outcome = (kept, False)
        return kept if keeping.copy is None else value

    def _share(self, outcome):
        """What a caller gets who did not load."""
        value, failed = outcome
        if failed:
            raise value.with_traceback(None)
        return value if self.keeping.copy is None else self.keeping.copy(value)

    def _refresh(self, lead, args, kwargs):
        self.counts.refreshes += 1
        refresh = threading.Thread(
            target=self._refresh_now, args=(lead, args, kwargs), name="scrubjay-refresh", daemon=True
        )
        try:
            refresh.start()
        except RuntimeError:
            # No more threads, or the interpreter is shutting down: the stale value has to do.
            lead.land()

    def _refresh_now(self, lead, args, kwargs):
        lead.flight.depart()
        try:
            value = self.function(*args, **kwargs)
        except BaseException:
            self._refresh_failed(lead)
        else:
            self.succeed(lead, value, args, kwargs)

    def _refresh_async(self, lead, args, kwargs):
        self.counts.refreshes += 1
        refresh = asyncio.get_running_loop().create_task(self._refresh_now_async(lead, args, kwargs))
        _refreshes.add(refresh)
        refresh.add_done_callback(_refreshes.discard)

    async def _refresh_now_async(self, lead, args, kwargs):
        lead.flight.depart()
        try:
            value = await self.function(*args, **kwargs)
        except BaseException as error:
            self._refresh_failed(lead)
            if not isinstance(error, Exception):
                raise
        else:
            self.succeed(lead, value, args, kwargs)

    def _refresh_failed(self, lead):
        """The stale value stays for as long as it may be served; then callers see the error themselves."""
        lead.flight.arrive()
        self.counts.errors += 1
        lead.land()
