"""`Cache`: a mapping with the lives, bounds and tags of `memoize`."""

from collections.abc import ItemsView, MutableMapping, ValuesView

from scrubjay import _native
from scrubjay._load import Loader
from scrubjay._options import Keeping, capacity, seconds, tag_list
from scrubjay._stats import stats_of

_MISSING = object()


class Cache(MutableMapping):
    """A dictionary that forgets: bounded, with times to live, and with one run for each key that is computed.

    Threads and tasks may use it at the same time. Expired entries are never returned and never counted. Looking a key
    up makes it the one used last; iterating, `in` and `peek` do not.

    The options are those of `memoize`; `ttl` may be a function of the value, `tags` an iterable of strings.
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
    ):
        if callable(tags):
            raise TypeError("tags= of a Cache is an iterable of strings: an entry's own are given where it is stored")
        self._keeping = Keeping(ttl=ttl, errors=errors, stale=stale, jitter=jitter, tags=tags, weigh=weigh, copy=copy)
        self._memory = _native.Memory(capacity(maxsize), clock)
        self._loader = Loader(_call, self._keeping)

    # Lookups

    def __getitem__(self, key):
        value = self._memory.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return self._copied(value)

    def get(self, key, default=None):
        """The fresh value of a key, or the default."""
        value = self._memory.get(key, _MISSING)
        return default if value is _MISSING else self._copied(value)

    def peek(self, key, default=None):
        """As `get`; counts nothing, and leaves the order of use alone."""
        value = self._memory.peek(self._memory.key(key), _MISSING)
        return default if value is _MISSING else self._copied(value)

    def __contains__(self, key):
        return self._memory.contains(self._memory.key(key))

    def ttl_left(self, key):
        """Seconds until the key's value expires; None if it never does. KeyError without a fresh value."""
        return self._memory.ttl_left(self._memory.key(key))

    def __len__(self):
        return len(self._memory)

    def __iter__(self):
        for (key,), _value, _left, _tags in self._memory.entries():
            yield key

    def items(self):
        """The fresh entries at this moment, the one used longest ago first; counts nothing."""
        return _Items(self)

    def values(self):
        """The fresh values at this moment, the one used longest ago first; counts nothing."""
        return _Values(self)

    def __repr__(self):
        bound = "" if self._memory.capacity is None else f" of {self._memory.capacity:,}"
        return f"<scrubjay.Cache: {len(self):,} entries, weight {self._memory.weight:,}{bound}>"

    # Changes

    def __setitem__(self, key, value):
        self.set(key, value)

    def set(self, key, value, *, ttl=_MISSING, tags=()):
        """Store a value, with a time to live of its own and tags besides the cache's. Whether there was room for it."""
        key = self._memory.key(key)
        keeping = self._keeping
        kept = value if keeping.snapshot is None else keeping.snapshot(value)
        return self._memory.insert(
            key,
            kept,
            fresh=keeping.life_of(value) if ttl is _MISSING else seconds("ttl", ttl),
            stale=keeping.stale,
            weight=1 if keeping.weigh is None else keeping.weigh(key.parts, kept),
            tags=[*keeping.tags, *tag_list(tags)],
        )

    def __delitem__(self, key):
        if not self.invalidate(key):
            raise KeyError(key)

    def pop(self, key, default=_MISSING):
        """Take a key's entry out and return its value; the default, or KeyError, without a fresh one."""
        try:
            return self._copied(self._memory.pop(self._memory.key(key)))
        except _native.NoEntry:
            if default is _MISSING:
                raise KeyError(key) from None
            return default

    def popitem(self):
        """Take out the entry used longest ago."""
        for (key,), value, _left, _tags in self._memory.entries():
            if self.invalidate(key):
                return key, self._copied(value)
        raise KeyError("the cache is empty")

    def setdefault(self, key, default=None):
        """The fresh value of a key; the default, stored, if there is none."""
        return self.get_or_compute(key, lambda: default)

    def invalidate(self, key):
        """Forget a key, and keep a run for it that is under way from being stored. Whether there was a fresh value."""
        return self._memory.invalidate(self._memory.key(key))

    def invalidate_tag(self, tag):
        """Forget the entries with a tag; how many there were. Runs under way that bring the tag are not stored."""
        return self._memory.invalidate_tag(tag)

    def clear(self):
        """Forget everything. Runs under way are not stored."""
        self._memory.clear()

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

    def stats(self):
        """What was counted so far: see `Stats`."""
        return stats_of(self._memory, self._loader.counts)

    def _copied(self, value):
        return value if self._keeping.copy is None else self._keeping.copy(value)


def _call(function, /, *args, **kwargs):
    return function(*args, **kwargs)


class _Items(ItemsView):
    def __iter__(self):
        for (key,), value, _left, _tags in self._mapping._memory.entries():
            yield key, self._mapping._copied(value)


class _Values(ValuesView):
    def __iter__(self):
        for _key, value, _left, _tags in self._mapping._memory.entries():
            yield self._mapping._copied(value)
