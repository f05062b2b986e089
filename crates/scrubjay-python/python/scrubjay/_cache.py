"""`Cache`: a mapping with the lives, bounds and tags of `memoize`."""

from collections.abc import ItemsView, MutableMapping, ValuesView

from scrubjay import _native
from scrubjay._load import Loader
from scrubjay._options import STORING_ADVICE, Keeping, capacity, check_clock, seconds, tag_list
from scrubjay._stats import stats_of

_MISSING = object()
# Whose entries they are, as the tools of a folder list them.
_ON_DISK = "scrubjay.Cache"


class Cache(MutableMapping):
    """A dictionary that forgets: bounded, with times to live, and with one run for each key that is computed.

    Threads and tasks may use it at the same time. Expired entries are never returned and never counted. Looking a key
    up makes it the one used last; iterating, `in` and `peek` do not.

    The options are those of `memoize`; `ttl` may be a function of the value, `tags` an iterable of strings.

    With `disk`, a folder, the mapping is what memory and folder have together: all caches on one folder, of whatever
    process, are one mapping. `maxsize` bounds what is in memory. `len`, iteration and what builds on them look at every
    entry of the folder; what has no name or no encoding there is in memory only, which is said once.
    """

    def __init__(
        self,
        *,
        maxsize=None,
        ttl=None,
        errors=None,
        stale=None,
        jitter=0.0,
        tags=(),
        weigh=None,
        copy="none",
        clock=None,
        disk=None,
        allow_pickle=False,
        classes=(),
    ):
        if callable(tags):
            raise TypeError("tags= of a Cache is an iterable of strings: an entry's own are given where it is stored")
        self._keeping = Keeping(ttl=ttl, errors=errors, stale=stale, jitter=jitter, tags=tags, weigh=weigh, copy=copy)
        check_clock(clock)
        self._memory = _native.Memory(capacity(maxsize), clock)
        self._loader = Loader(_call, self._keeping, name="a Cache")
        self._codec_options = dict(classes=classes, allow_pickle=allow_pickle)
        self._disk = None
        if disk is not None:
            self._disk = self._loader.disk = self._disk_at(disk, clock)

    def _disk_at(self, place, clock):
        # Those who keep everything in memory need not import it.
        from scrubjay._disk import DiskTier, Origin
        from scrubjay._folder import Folder

        memories = [self._memory]
        self._folder = Folder(place)
        return DiskTier(
            self._folder,
            Origin(_ON_DISK, keeps_keys=True),
            self._codec(),
            self._keeping,
            lambda: memories,
            names=["key"],
            clock=clock,
        )

    def _codec(self):
        from scrubjay._codec import Codec

        return Codec(**self._codec_options, advice=STORING_ADVICE)

    # Lookups

    def __getitem__(self, key):
        value = self._find(key)
        if value is _MISSING:
            raise KeyError(key)
        return self._copied(value)

    def get(self, key, default=None):
        """The fresh value of a key, or the default."""
        value = self._find(key)
        return default if value is _MISSING else self._copied(value)

    def _find(self, key):
        value = self._memory.get(key, _MISSING)
        if value is not _MISSING or self._disk is None:
            return value
        return self._loader.look_below(self._memory, self._memory.key(key), _MISSING)

    def peek(self, key, default=None):
        """As `get`; counts nothing, and leaves the order of use alone."""
        key = self._memory.key(key)
        value = self._memory.peek(key, _MISSING)
        if value is _MISSING and self._disk is not None:
            found = self._disk.peek_fresh(key)
            value = _MISSING if found is None else found.value
        return default if value is _MISSING else self._copied(value)

    def __contains__(self, key):
        key = self._memory.key(key)
        return self._memory.contains(key) or (self._disk is not None and self._disk.contains(key))

    def ttl_left(self, key):
        """Seconds until the key's value expires; None if it never does. KeyError without a fresh value."""
        name = self._memory.key(key)
        if self._disk is not None and not self._memory.contains(name):
            found = self._disk.peek_fresh(name)
            if found is not None:
                return found.fresh
        try:
            return self._memory.ttl_left(name)
        except _native.NoEntry:
            raise KeyError(key) from None

    def __len__(self):
        return len(self._memory) if self._disk is None else sum(1 for _ in self._names())

    def __iter__(self):
        for key, _value in self._pairs():
            yield key

    def _pairs(self):
        """The fresh entries: first those on disk, in the order in which they came there; then those in memory only, the
        one used longest ago first."""
        if self._disk is None:
            yield from ((key, value) for (key,), value, _left, _tags in self._memory.entries())
            return
        for entry in self._names():
            if type(entry) is tuple:
                yield entry
                continue
            pair = self._disk.read(entry)
            if pair is not None:
                yield pair

    def _names(self):
        """The fresh entries: heads of those on disk, pairs of those in memory only."""
        seen = set()
        for mark, head in self._disk.heads():
            seen.add(mark)
            yield head
        for (key,), value, _left, tags in self._memory.entries():
            if seen.isdisjoint(tags):
                yield key, value

    def items(self):
        """The fresh entries at this moment, the one used longest ago first; counts nothing."""
        return _Items(self)

    def values(self):
        """The fresh values at this moment, the one used longest ago first; counts nothing."""
        return _Values(self)

    def __repr__(self):
        bound = "" if self._memory.capacity is None else f" of {self._memory.capacity:,}"
        return f"<scrubjay.Cache: {len(self):,} entries, weight {self._memory.weight:,}{bound}>"

    def __reduce__(self):
        raise TypeError(
            "a Cache is neither copied nor pickled, because what runs for it and who waits cannot be: dict(cache) has its "
            "entries, save() and load() carry them with the lives that they have left, and disk= shares them"
        )

    # Changes

    def __setitem__(self, key, value):
        self.set(key, value)

    def set(self, key, value, *, ttl=_MISSING, tags=()):
        """Store a value, with a time to live of its own and tags besides the cache's. Whether there was room for it."""
        key, tags = self._memory.key(key), [*self._keeping.tags, *tag_list(tags)]
        fresh = self._keeping.life_of(value) if ttl is _MISSING else seconds("ttl", ttl)
        # The disk first: who finds the old value there now cannot keep it, because of what follows.
        marks = () if self._disk is None else self._disk.replace(key, value, fresh, tags)
        return self._insert(key, value, fresh, [*tags, *marks]) or bool(marks)

    def _insert(self, key, value, fresh, tags):
        keeping = self._keeping
        kept = value if keeping.snapshot is None else keeping.snapshot(value)
        weight = 1 if keeping.weigh is None else keeping.weigh(key.parts, kept)
        return self._memory.insert(key, kept, fresh=fresh, stale=keeping.stale, weight=weight, tags=tags)

    def __ior__(self, other):
        self.update(other)
        return self

    def __delitem__(self, key):
        if not self.invalidate(key):
            raise KeyError(key)

    def pop(self, key, default=_MISSING):
        """Take a key's entry out and return its value; the default, or KeyError, without a fresh one."""
        name = self._memory.key(key)
        below = None if self._disk is None else self._disk.peek_fresh(name)
        try:
            value = self._memory.pop(name)
        except _native.NoEntry:
            if below is None:
                if default is _MISSING:
                    raise KeyError(key) from None
                return default
            value = below.value
        if self._disk is not None:
            self._disk.invalidate(name)
        return self._copied(value)

    def popitem(self):
        """Take out the entry that iteration comes to first."""
        for key, value in self._pairs():
            if self.invalidate(key):
                return key, self._copied(value)
        raise KeyError("the cache is empty")

    def setdefault(self, key, default=None):
        """The fresh value of a key; the default, stored, if there is none."""
        return self.get_or_compute(key, lambda: default)

    def invalidate(self, key):
        """Forget a key, and keep a run for it that is under way from being stored. Whether there was a fresh value."""
        key = self._memory.key(key)
        in_memory = self._memory.invalidate(key)
        return (self._disk is not None and self._disk.invalidate(key)) or in_memory

    def invalidate_tag(self, tag):
        """Forget the entries with a tag; how many there were. Runs under way that bring the tag are not stored.

        With `disk`, all entries in the folder that have the tag go, results of functions too.
        """
        count = self._memory.invalidate_tag(tag)
        return count if self._disk is None else max(count, self._disk.invalidate_tag(tag))

    def clear(self):
        """Forget everything. Runs under way are not stored."""
        self._memory.clear()
        if self._disk is not None:
            self._disk.clear()

    def set_capacity(self, maxsize):
        """Change the bound; what no longer fits leaves at once, the one used longest ago first."""
        self._memory.set_capacity(capacity(maxsize))

    # Computing

    def get_or_compute(self, key, function, /, *args, **kwargs):
        """The value of a key, computed by `function(*args, **kwargs)` if there is none: once, whoever asks meanwhile."""
        found = self._memory.hit(key, _MISSING)
        if found is not _MISSING:
            return self._copied(found)
        key = self._memory.key(key)
        args = (function, *args)
        entered = self._loader.enter(self._memory, key, args, kwargs)
        if entered is None:
            return function(*args[1:], **kwargs)
        if type(entered) is tuple:
            return entered[0]
        try:
            value = function(*args[1:], **kwargs)
        except BaseException as error:
            self._loader.fail(entered, error)
            raise
        return self._loader.succeed(entered, value, args, kwargs)

    async def get_or_compute_async(self, key, function, /, *args, **kwargs):
        """As `get_or_compute`, for a coroutine function. Threads and tasks share one run."""
        found = self._memory.hit(key, _MISSING)
        if found is not _MISSING:
            return self._copied(found)
        key = self._memory.key(key)
        return await self._loader.miss_async(self._memory, key, (function, *args), kwargs)

    def warm(self, items):
        """Store many entries: a mapping, or pairs of key and value. How many there was room for."""
        pairs = items.items() if hasattr(items, "items") else items
        return sum(self.set(key, value) for key, value in pairs)

    def save(self, target):
        """Write the fresh entries in memory to a path or a binary file, for `load`; how many.

        A path is replaced in one step: it has the old content or the new. TypeError, and nothing is written, if an entry
        cannot be encoded. Remembered exceptions are left out.
        """
        from scrubjay._disk import without_marks
        from scrubjay._snapshot import save

        listed = self._memory.entries()
        entries = [(key, value, left, without_marks(tags)) for (key,), value, left, tags in listed]
        return save(entries, self._codec(), target)

    def load(self, source):
        """Store the entries of a snapshot from a path or a binary file; how many there was room for.

        They live as long from now on as they had left when they were saved. ValueError, and nothing changes, if it is not
        a whole snapshot.
        """
        from scrubjay._snapshot import load

        entries = load(self._codec(), source)
        return sum(self._take(*entry) for entry in entries)

    def _take(self, key, value, left, tags):
        key = self._memory.key(key)
        marks = () if self._disk is None else self._disk.replace(key, value, left, tags)
        return self._insert(key, value, left, [*tags, *marks]) or bool(marks)

    def stats(self):
        """What was counted so far: see `Stats`."""
        return stats_of(self._memory, self._loader)

    def _copied(self, value):
        return value if self._keeping.copy is None else self._keeping.copy(value)


def _call(function, /, *args, **kwargs):
    return function(*args, **kwargs)


class _Items(ItemsView):
    def __iter__(self):
        for key, value in self._mapping._pairs():
            yield key, self._mapping._copied(value)


class _Values(ValuesView):
    def __iter__(self):
        for _key, value in self._mapping._pairs():
            yield self._mapping._copied(value)
