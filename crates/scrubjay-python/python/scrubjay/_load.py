"""What happens on a miss: wait for whoever loads, or load, and store what came of it.

A `Loader` knows the function and how its values are kept. Memoized functions call `enter`, run the function themselves,
and call `succeed` or `fail`: so a level of recursion takes one Python frame, as without a cache. Coroutine functions and
refreshes go through the same three steps here.
"""

import asyncio
import itertools
import threading
import time
import types

from scrubjay._flight import Flight
from scrubjay._native import Counts, Lead
from scrubjay._options import tag_list
from scrubjay._trace import mark
from scrubjay._warn import warn_once

# What `Lead.begin` answers.
SERVE, FAILED, JOIN, LEAD, REFRESH = range(5)
# What `Memory.settle` answers.
OVERTAKEN, STORED, REJECTED = range(3)

# Refreshes that run on event loops, which themselves keep weak references only.
_refreshes: set[asyncio.Task[None]] = set()


class Loader:
    """Loads by calling `function`, and keeps values as the options say. See `_options.Keeping`.

    With `disk`, whoever leads asks that tier first; see `_disk.DiskTier`.
    """

    def __init__(self, function, keeping, when=None, name=None):
        self.function = function
        self._name = name or getattr(function, "__qualname__", None) or repr(function)
        self.keeping = keeping
        self.when = when
        self.disk = None
        self.counts = Counts()

    @property
    def reader(self):
        """What answers plain calls from disk; None unless what is found there is simply kept and handed out."""
        keeping = self.keeping
        is_changed = keeping.copy is None and keeping.snapshot is not None
        if self.disk is None or self.when is not None or keeping.weigh is not None or is_changed:
            return None
        return self.disk.reader

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
                found = None if self.disk is None else self.disk.find(lead, args)
                if found is None:
                    lead.flight.depart()
                    return lead
                answer = self._promote(lead, found)
                if answer is not None:
                    return answer
                # What the disk has is stale: now that it is in memory, it is refreshed from there.
                lead = Lead(memory, key, Flight())
                continue
            if state == JOIN:
                if _is_lost(memory, key, found):
                    continue
                self.counts.waited()
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

    def look_below(self, memory, key, default):
        """What the disk has for a key that nothing computes, kept in memory from now on; or the default."""
        lead = Lead(memory, key, Flight())
        try:
            state, served = lead.begin()
            if state == SERVE:
                return served
            found = self.disk.look(key)
            if found is None:
                return default
            if state == LEAD:
                return self._promote(lead, found)[0]
            return found.value
        finally:
            lead.land()

    async def miss_async(self, memory, key, args, kwargs):
        """As `enter`, and leads itself."""
        if not self._wants(memory, args, kwargs):
            return await self.function(*args, **kwargs)
        loop = asyncio._get_running_loop()
        lead = Lead(memory, key, Flight.on(loop))
        while True:
            state, found = lead.begin()
            if state == LEAD:
                found = None if self.disk is None else await self.disk.find_async(lead, args)
                if found is None:
                    return await self._lead_async(lead, args, kwargs)
                answer = self._promote(lead, found)
                if answer is not None:
                    return answer[0]
                lead = Lead(memory, key, Flight.on(loop))
                continue
            if state == JOIN:
                if _is_lost(memory, key, found):
                    continue
                self.counts.waited()
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

    async def _lead_async(self, lead, args, kwargs):
        lead.flight.depart()
        try:
            value = await self.function(*args, **kwargs)
        except BaseException as error:
            self.fail(lead, error)
            raise
        return self._succeed(lead, value, args, kwargs, _finish_elsewhere)

    def _promote(self, lead, found):
        """Keep in memory what the disk has, and share it with those who wait. The answer in a tuple; None if it is stale
        and in memory now, where it can be refreshed."""
        keeping, memory, key = self.keeping, lead.memory, lead.key
        try:
            # What was decoded is nobody else's; only a frozen form is another object.
            kept = (
                found.value if keeping.copy is not None or keeping.snapshot is None else keeping.snapshot(found.value)
            )
            settled = memory.settle(
                key,
                lead.flight,
                kept,
                fresh=found.fresh,
                stale=found.stale,
                weight=1 if keeping.weigh is None else keeping.weigh(key.parts, kept),
                tags=found.tags,
            )
            if found.fresh == 0.0 and settled == STORED:
                return None
            mark("disk")
            if settled != OVERTAKEN:
                lead.flight.outcome = (kept, False)
            return (self._share((kept, False)),)
        finally:
            lead.land()

    def _wants(self, memory, args, kwargs):
        """Count a miss; whether its result is to be stored."""
        mark("miss")
        memory.count_miss()
        return self.when is None or self.when(*args, **kwargs)

    def succeed(self, lead, value, args, kwargs):
        """Store what the function returned, and wake the waiters. What the leader returns."""
        return self._succeed(lead, value, args, kwargs, _finish)

    def _succeed(self, lead, value, args, kwargs, finish):
        flight = lead.flight
        try:
            flight.arrive()
            took = time.perf_counter() - flight.begun
            self.counts.loaded(took)
            return self._store(lead, value, took, args, kwargs)
        finally:
            lead.land()
            if flight.ticket is not None:
                finish(self.disk, flight)

    def fail(self, lead, error):
        """The function raised: waiters get the error too, unless it concerns the leader alone (it was cancelled)."""
        flight = lead.flight
        try:
            flight.arrive()
            self.counts.failed()
            if isinstance(error, Exception):
                flight.outcome = (error, True)
                if self.keeping.errors is not None:
                    lead.memory.settle(lead.key, flight, error, failed=True, fresh=self.keeping.errors)
        finally:
            lead.land()
            _hand_over(flight)

    def _store(self, lead, value, took, args, kwargs):
        """Store a value, and share it with those who wait. What the leader returns."""
        keeping, memory, key, flight = self.keeping, lead.memory, lead.key, lead.flight
        if _can_be_consumed_once(type(value)):
            kind = type(value)
            advice = "memoize the coroutine function itself" if kind is types.CoroutineType else "return a list"
            why = f"because it can be consumed once only: {advice}"
            warn_once(self, kind, f"{self._name}: a {kind.__qualname__} is not kept, {why}")
            return value
        try:
            kept = value if keeping.snapshot is None else keeping.snapshot(value)
        except Exception as error:
            kind = type(value)
            name = f"{kind.__module__}.{kind.__qualname__}"
            why = f"because they cannot be copied: {error!r}"
            warn_once(self, kind, f"{self._name}: results of type {name} are not kept, {why}")
            flight.outcome = (value, False)
            return value
        tags = tag_list(keeping.tags(*args, **kwargs)) if callable(keeping.tags) else keeping.tags
        fresh, ticket = keeping.life_of(value), flight.ticket
        settled = memory.settle(
            key,
            flight,
            kept,
            fresh=fresh,
            stale=keeping.stale,
            weight=1 if keeping.weigh is None else keeping.weigh(key.parts, kept),
            tags=tags if ticket is None else [*tags, *ticket.marks],
        )
        # Who joined after the invalidation that overtook it must not get this value; so waiters ask again.
        if settled != OVERTAKEN:
            flight.outcome = (kept, False)
            if ticket is not None:
                self.disk.loaded(ticket, value, fresh=fresh, stale=keeping.stale, tags=tags, took=took)
        else:
            _hand_over(flight)
        return kept if keeping.copy is None else value

    def _share(self, outcome):
        """What a caller gets who did not load."""
        value, failed = outcome
        if failed:
            raise value.with_traceback(None)
        return value if self.keeping.copy is None else self.keeping.copy(value)

    def _refresh(self, lead, args, kwargs):
        self.counts.refreshed()
        refresh = threading.Thread(
            target=self._refresh_now, args=(lead, args, kwargs), name="scrubjay-refresh", daemon=True
        )
        try:
            refresh.start()
        except RuntimeError:
            # No more threads, or the interpreter is shutting down: the stale value has to do.
            lead.land()

    def _refresh_now(self, lead, args, kwargs):
        if self._refreshed_elsewhere(lead, args):
            return
        lead.flight.depart()
        try:
            value = self.function(*args, **kwargs)
        except BaseException:
            self._refresh_failed(lead)
        else:
            self.succeed(lead, value, args, kwargs)

    def _refresh_async(self, lead, args, kwargs):
        self.counts.refreshed()
        refresh = asyncio.get_running_loop().create_task(self._refresh_now_async(lead, args, kwargs))
        _refreshes.add(refresh)
        refresh.add_done_callback(_refreshes.discard)

    async def _refresh_now_async(self, lead, args, kwargs):
        if self._refreshed_elsewhere(lead, args):
            return
        lead.flight.depart()
        try:
            value = await self.function(*args, **kwargs)
        except BaseException as error:
            self._refresh_failed(lead)
            if not isinstance(error, Exception):
                raise
        else:
            self._succeed(lead, value, args, kwargs, _finish_elsewhere)

    def _refreshed_elsewhere(self, lead, args):
        """Whether another process refreshed the value, which is in memory then, or does so now."""
        found = None if self.disk is None else self.disk.find_newer(lead, args)
        if found:
            self._promote(lead, found)
        elif found is not None:
            lead.land()
        return found is not None

    def _refresh_failed(self, lead):
        """The stale value stays for as long as it may be served; then callers see the error themselves."""
        lead.flight.arrive()
        self.counts.failed()
        lead.land()
        _hand_over(lead.flight)


def _can_be_consumed_once(kind):
    """Whether the first who uses an object of a type leaves nothing for others, and it is of no other use: coroutines,
    and the iterators of Python itself. A file or a cursor may be what a program wants to have once."""
    if kind.__module__ == "itertools":
        return kind not in (itertools.count, itertools.cycle)
    is_iterator = hasattr(kind, "__next__") or kind in (types.CoroutineType, types.AsyncGeneratorType)
    return is_iterator and kind.__module__ == "builtins"


def _is_lost(memory, key, flight):
    """Whether nobody will end a flight; then another load of the key may begin."""
    is_orphan = flight.is_orphan()
    if not (is_orphan or flight.is_stranded()):
        return False
    memory.abandon(key, flight)
    if not is_orphan:
        _hand_over(flight)
    return True


def _finish(disk, flight):
    """Let other processes load the key, once they find what this one brought."""
    ticket, flight.ticket = flight.ticket, None
    disk.finish(ticket)


def _finish_elsewhere(disk, flight):
    """As `_finish`, in another thread: an event loop must not wait for a disk."""
    ticket, flight.ticket = flight.ticket, None
    if ticket.lead is None:
        return
    try:
        asyncio.get_running_loop().run_in_executor(None, disk.finish, ticket)
    except RuntimeError:
        # The loop or the interpreter is shutting down.
        disk.finish(ticket)


def _hand_over(flight):
    """Let other processes load the key, at once: this one brought nothing."""
    ticket, flight.ticket = flight.ticket, None
    if ticket is not None:
        ticket.release()
