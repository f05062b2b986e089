"""The tier below memory: the results of one function, or the entries of one `Cache`, in a folder.

Whoever leads a miss asks here before the function runs, and brings here what it returned. Invariants: whatever fails is a
miss, counted and said once; nothing that was read is executed; an entry is named by the function's name, the state of its
code and the arguments, so it is found by that function alone; and a load that leads a key among processes, and what
runs inside it, waits for no other process, so no processes wait in a circle.
"""

import asyncio
import json
import time
import types

from scrubjay import _canonical, _native
from scrubjay._code import state_of
from scrubjay._codec import Unstorable
from scrubjay._content import Content
from scrubjay._flight import keeps_others_waiting
from scrubjay._native import mark_of
from scrubjay._warn import warn_once

# Loads that take less are not worth a lock among processes.
_WORTH_A_LOCK = 1e-3
# Part of every name: another way to name things finds other entries.
_NAMING = 2
_NAMESPACE = "python"
_SHOWN_TEXT = 100
_SHOWN_NUMBER = 1 << 63
# What a manual clock counts from: so far ahead that a store, which knows the calendar only, sweeps nothing of it.
_BEGINNING = time.time() + 1e9


class Origin:
    """Whose entries they are: a function's, with the state of its code; or a cache's."""

    def __init__(self, name, code="", closure=None, keeps_keys=False):
        self.name = name
        self._code = code
        # Returns what the function closes over; None if it closes over nothing.
        self.closure = closure
        # Entries are pairs of key and value: somebody may ask which keys there are.
        self.keeps_keys = keeps_keys

    @property
    def code(self):
        code = self._code
        if callable(code):
            code = self._code = code()
        return code

    @classmethod
    def of(cls, function, version=None, mode="source"):
        """A function's. Its text is read when its first entry is named, not before."""
        code = getattr(function, "__code__", None)
        if not isinstance(getattr(function, "__qualname__", None), str):
            raise ValueError(f"disk= needs a function with a name of its own, which {function!r} has not")
        if version is not None:
            mode, state = "off", f"version {version}"
        elif type(code) is types.CodeType:
            state = lambda: state_of(code, mode)
        elif mode == "off":
            state = ""
        else:
            raise ValueError(f"{function!r} has no Python code to notice changes of: pass version= or code='off'")
        closure = (lambda: _canonical.closure(function, mode)) if getattr(function, "__closure__", None) else None
        return cls(_canonical.function_name(function), state, closure)


class Ticket:
    """The name of a call, and what is remembered from a miss to the end of its load."""

    __slots__ = ("digest", "fence", "key", "lead", "tags")

    def __init__(self, digest, tags, key):
        self.digest = digest
        self.tags = tags
        self.key = key
        self.fence = self.lead = None

    @property
    def marks(self):
        """The tags by which memories find the entry when it is invalidated."""
        return [*self.tags, mark_of(self.digest)]

    def release(self):
        lead, self.lead = self.lead, None
        if lead is not None:
            lead.release()


def without_marks(tags):
    """The tags that users gave."""
    return [tag for tag in tags if not tag.startswith("\0")]


def _described(arguments):
    """Arguments as the tools of a store show them: JSON, cut short."""
    return json.dumps({name: _shown(part) for name, part in arguments}, ensure_ascii=False).encode(errors="replace")


def _shown(part):
    if part is None or type(part) in (bool, int, float):
        return part if abs(part or 0) < _SHOWN_NUMBER else "a large number"
    if type(part) is str:
        return part if len(part) <= _SHOWN_TEXT else part[:_SHOWN_TEXT] + "…"
    # The content of a list or the like begins with what it is.
    kind = part._parts[0] if type(part) is Content else type(part)
    return f"<{kind.__qualname__}>"


class DiskTier:
    """The disk below the memories of `origin`. `hear` is told what is no longer true; `memories()` are where it matters."""

    def __init__(self, folder, origin, codec, keeping, memories, *, names=(), clock=None):
        self.folder = folder
        self.origin = origin
        self.codec = codec
        self._keeping = keeping
        self._memories = memories
        self._clock = clock
        # Entries of a mapping have lives of their own; a manual clock says nothing of when something was written.
        is_one_for_all = isinstance(keeping.ttl, float) and not origin.keeps_keys and clock is None
        self._reader = _native.DiskReader(
            function=origin.name,
            restore=codec.restore,
            decode=codec.decode,
            longest=keeping.ttl if is_one_for_all else None,
            stale=keeping.stale,
            pairs=origin.keeps_keys,
        )
        # The parameters that keys consist of.
        self._names = names
        self._is_of_instances = False
        self._head = None
        self._attached = None
        self._mean_load = 0.0
        self.misses, self.writes, self.failures = _native.Counter(), _native.Counter(), _native.Counter()

    def belong_to_instances(self):
        """The function is a method: its first parameter is the instance, and no part of its keys."""
        self._is_of_instances, self._names, self._head = True, self._names[1:], None

    def reset(self):
        """Count from zero."""
        for counter in (self._reader, self.misses, self.writes, self.failures):
            counter.reset()

    @property
    def hits(self):
        return self._reader.hits

    @property
    def reader(self):
        """What answers plain calls without a lead; None if a clock of the caller's says what is fresh."""
        return self._reader if self._clock is None else None

    # The names of entries

    def name(self, key, args):
        """The ticket of a call; None if it has no name below memory, which is said once."""
        plain = None if self.origin.keeps_keys or self._is_of_instances else self._reader.name(key)
        if plain is not None:
            return Ticket(plain, [], key)
        instance = self._named_instance(args[0]) if self._is_of_instances else None
        try:
            head = self._head or self._named_head(instance)
        except Exception as error:
            return self._unnamed(None, f"what it closes over has no name in another process: {error}")
        # A mapping's keys are compared by `==`, arguments by type too.
        name_of = _canonical.equal if self.origin.keeps_keys else _canonical.argument
        named, part_name = [], None
        try:
            for part_name, part in self._named(key):
                named += (part_name, name_of(part))
        except Exception as error:
            return self._unnamed(part_name, f"the argument {part_name!r} has no name in another process: {error}")
        digest = _native.key_digest(_NAMESPACE, head + _canonical.encoded(named))
        return Ticket(digest, [] if instance is None else [self._tag_of(instance)], key)

    def _named_head(self, instance):
        """What all calls have in common, as bytes that say where they end; kept if it is the same for all."""
        closure = self.origin.closure and self.origin.closure()
        head = _canonical.encoded([_NAMING, self.origin.name, self.origin.code, closure, instance])
        if closure is None and instance is None:
            self._head = head
            self._reader.begin_names(_NAMESPACE, head, self._names)
        return head

    def _tag_of(self, instance):
        """The tag of all entries of an instance, and of those that are equal to it."""
        return f"self:{_native.digest(_canonical.encoded([self.origin.name, instance]))[:8].hex()}"

    def _named(self, key):
        """The parts of a key with the names of their parameters."""
        parts, names = key.parts, key.names
        if names is None and len(parts) == len(self._names):
            return zip(self._names, parts, strict=True)
        parts, names = (parts, ()) if names is None else (parts[:-1], names)
        rest = len(parts) - len(self._names) - len(names)
        return zip((*self._names, *(f"*{number}" for number in range(rest)), *names), parts, strict=True)

    def _unnamed(self, name, why):
        advice = f"; pass key= with a function that names the call, or ignore={name!r}" if name else ""
        self._failed(("name", name), f"calls of {self.origin.name} are kept in memory only: {why}{advice}")

    def _named_instance(self, instance):
        try:
            return _canonical.instance(instance)
        except Exception as error:
            kind = type(instance).__qualname__
            raise TypeError(
                f"{self.origin.name} cannot be kept on disk, because an instance of {kind} cannot be told from others in "
                f"another process: {error}. Make {kind} a dataclass (field(compare=False) leaves a field out) or a pydantic "
                "model, pass key= with a function that names the call, or ignore='self'"
            ) from None

    # Lookups

    def find(self, lead, args):
        """What the disk has for a lead's key. None: the lead is to load, and has a ticket if what it brings is to be stored.

        Waits while another process loads the key.
        """
        ticket, opened = self.name(lead.key, args), self._opened()
        if ticket is None or opened is None:
            return None
        find = self._find_led if lead.has_missed else self._find
        return self._counted(opened, lead, ticket, self._unless_it_fails(find, opened, ticket))

    def _find(self, opened, ticket):
        found = self._look(opened, ticket)
        return self._find_led(opened, ticket) if found is None else found

    def _find_led(self, opened, ticket):
        """Lead a key among processes that the disk did not have, if that pays, and look again."""
        if not self._is_worth_a_lock():
            return None
        if keeps_others_waiting():
            ticket.lead = opened.store.try_lead(ticket.digest)
        else:
            ticket.lead = opened.store.lead(ticket.digest)
        # Somebody may have stored it between the lookup and the lead.
        return self._look(opened, ticket)

    async def find_async(self, lead, args):
        """As `find`, for tasks: asks again and again, so that the loop goes on."""
        ticket, opened = self.name(lead.key, args), self._opened()
        if ticket is None or opened is None:
            return None
        found = None if lead.has_missed else self._unless_it_fails(self._look, opened, ticket)
        if found is None and self._is_worth_a_lock():
            pause, waits = 1e-3, not keeps_others_waiting()
            while self._unless_it_fails(self._is_led_elsewhere, opened, ticket) and waits and found is None:
                await asyncio.sleep(pause)
                pause = min(0.01, pause * 1.5)
                found = self._unless_it_fails(self._look, opened, ticket)
            found = found or self._unless_it_fails(self._look, opened, ticket)
        return self._counted(opened, lead, ticket, found)

    def find_newer(self, lead, args):
        """What another process made of a value that is stale here; False if it is at that, or None: the caller loads."""
        ticket, opened = self.name(lead.key, args), self._opened()
        if ticket is None or opened is None:
            return None
        if self._unless_it_fails(self._is_led_elsewhere, opened, ticket):
            return False
        found = self._unless_it_fails(self._look, opened, ticket)
        is_newer = found is not None and found.fresh != 0.0
        return self._counted(opened, lead, ticket, found if is_newer else None)

    def _is_led_elsewhere(self, opened, ticket):
        """Try to lead a key among processes; whether somebody else does."""
        ticket.lead = opened.store.try_lead(ticket.digest)
        return ticket.lead is None

    def _unless_it_fails(self, look, opened, ticket):
        try:
            return look(opened, ticket)
        except OSError as error:
            self._failed("read", f"{self.origin.name}: {error}")
            return None

    def peek(self, key, args=()):
        """What the disk has for a key; nobody is waited for, nothing made and nothing counted."""
        ticket, opened = self.name(key, args), self._opened(make=False)
        if ticket is None or opened is None:
            return None
        return self._unless_it_fails(self._look, opened, ticket)

    def peek_fresh(self, key, args=()):
        """As `peek`, unless it is stale."""
        found = self.peek(key, args)
        return None if found is None or found.fresh == 0.0 else found

    def contains(self, key, args=()):
        """Whether the disk has something fresh for a key."""
        return self.peek_fresh(key, args) is not None

    def look(self, key):
        """As `peek_fresh`, counted."""
        found = self.peek_fresh(key)
        if found is None:
            self.misses.count()
        else:
            self.count(found)
        return found

    def heads(self):
        """The heads of all fresh entries, each with its mark."""
        opened = self._opened(make=False)
        if opened is None or opened.store.is_distrusted:
            return
        try:
            for head in opened.store:
                is_fresh = head.expires is None or head.expires > self.now()
                if is_fresh and (head.function, head.code) == (self.origin.name, self.origin.code):
                    yield mark_of(head.digest), head
        except OSError as error:
            self._failed("read", f"{self.origin.name}: {error}")

    def read(self, head):
        """The pair of key and value of an entry; None if it is gone or damaged."""
        try:
            record = self._opened().store.get(head.digest, expired=True)
            return None if record is None else self.codec.decode(record.codec, record.payload, record.digest)
        except (OSError, ValueError) as error:
            self._failed("decode", f"an entry of {self.origin.name} is left out: {error}")
            return None

    def _look(self, opened, ticket):
        try:
            return self._reader.look(ticket.digest, self.now())
        except ValueError as error:
            self._failed("decode", f"an entry of {self.origin.name} is taken as a miss: {error}")
            return None

    def _counted(self, opened, lead, ticket, found):
        if found is not None and found.fresh == 0.0 and lead.memory.capacity == 0:
            # What is stale is refreshed from memory, and none is kept there.
            found = None
        if found is None:
            self.misses.count()
            # What is said from here on overtakes the load that begins now.
            ticket.fence = opened.store.fence()
            lead.flight.ticket = ticket
        else:
            ticket.release()
            self.count(found)
        return found

    def count(self, found):
        """Count a hit."""
        self._reader.count(found.load_cost)

    # Changes

    def put(self, ticket, value, *, fresh, stale=0.0, tags=(), took=0.0, replaces=False):
        """Queue a value for the disk; whether it will be there."""
        opened = self._opened()
        if opened is None:
            return False
        now = self.now()
        expires = None if fresh is None else now + fresh
        try:
            entry = (ticket.key.parts[0], value) if self.origin.keeps_keys else value
            codec, payload = self.codec.encode(entry, ticket.digest)
            opened.store.put(
                ticket.digest, payload, codec=codec, function=self.origin.name, code=self.origin.code,
                tags=[*tags, *ticket.tags], expires=expires, stale_until=None if expires is None else expires + stale,
                written=now if self._clock is None else None, load_cost=took, replaces=replaces, fence=ticket.fence,
                description=_described(self._named(ticket.key)),
            )  # fmt: skip
        except Unstorable as error:
            self._failed(type(value), f"some of {self.origin.name} is kept in memory only: {error}")
        except (OSError, ValueError) as error:
            self._failed("write", f"{self.origin.name}: a result is kept in memory only: {error}")
        else:
            self.writes.count()
            return True
        return False

    def replace(self, key, value, fresh, tags):
        """Put a value in the place of whatever is there; the marks of its entry, none if it is in memory only."""
        ticket = self.name(key, ())
        if ticket is None:
            return ()
        lives = fresh is None or fresh + self._keeping.stale > 0
        is_there = lives and self.put(ticket, value, fresh=fresh, stale=self._keeping.stale, tags=tags, replaces=True)
        opened = self._opened()
        if opened is not None:
            if not is_there:
                # The old value must not come back.
                self.discard(ticket)
            opened.tell("key", ticket.digest)
        return ticket.marks if is_there else ()

    def loaded(self, ticket, value, *, fresh, stale, tags, took):
        """Queue what a load brought."""
        self._mean_load = took if not self._mean_load else self._mean_load * 0.875 + took * 0.125
        stored = (fresh is None or fresh + stale > 0) and self.put(
            ticket, value, fresh=fresh, stale=stale, tags=tags, took=took
        )
        opened = self._opened()
        if opened is not None:
            opened.store.count_load(self.origin.name, took)
        if not stored or took < _WORTH_A_LOCK:
            ticket.release()

    def finish(self, ticket):
        """Let others lead a key again, once they find what this one brought."""
        if ticket.lead is None:
            return
        try:
            self._opened().store.flush()
        except OSError as error:
            self._failed("write", f"{self.origin.name}: results are kept in memory only: {error}")
        finally:
            ticket.release()

    def invalidate(self, key, args=()):
        """Discard an entry, here and in the memories above; whether there was one."""
        ticket = self.name(key, args)
        return ticket is not None and self.discard(ticket) > 0

    def discard(self, ticket):
        return self._say("key", ticket.digest, lambda store: store.invalidate(ticket.digest))

    def invalidate_tag(self, tag):
        """Discard the entries with a tag, of whatever function; how many there were."""
        return self._say("tag", tag, lambda store: store.invalidate_tag(tag))

    def clear_instance(self, instance):
        """Discard the entries of an instance, and of those that are equal to it."""
        return self.invalidate_tag(self._tag_of(self._named_instance(instance)))

    def clear(self):
        """Discard all entries of the function, whatever its code."""
        return self._say("function", self.origin.name, lambda store: store.invalidate_function(self.origin.name))

    def _say(self, kind, target, invalidate):
        opened = self._opened(make=False)
        if opened is None:
            return 0
        try:
            count = invalidate(opened.store)
        except OSError as error:
            opened.store.distrust()
            self._failed("invalidate", f"{self.origin.name}: nothing is taken from the disk any more: {error}")
            count = 0
        opened.tell(kind, target)
        return count

    def hear(self, kind, target):
        """Something is no longer true: what the memories above have of it goes, and loads of it are not stored."""
        for memory in self._memories():
            if kind == "key":
                memory.invalidate_tag(mark_of(target))
            elif kind == "tag":
                memory.invalidate_tag(target)
            elif kind != "function" or target == self.origin.name:
                memory.clear()

    # The rest

    def now(self):
        """The calendar's time, in seconds since 1970."""
        return time.time() if self._clock is None else _BEGINNING + self._clock.now()

    def _opened(self, make=True):
        opened = self.folder.opened(make)
        if opened is not None and self._attached is not opened:
            # The last step tells other threads that they need not do this.
            opened.attach(self)
            self._reader.open(opened.store)
            self._attached = opened
        return opened

    def _is_worth_a_lock(self):
        return not self._mean_load or self._mean_load >= _WORTH_A_LOCK

    def _failed(self, kind, message):
        self.failures.count()
        warn_once(self, kind, message)
