"""The cache that DSPy sees: memory over disk, with DSPy's interface and DSPy's keys.

Invariants: what a caller gets is a copy, and what is kept is a copy, so no caller changes what others get; a failure of
either tier is a miss; no code of the user's runs under a lock; and both sides of a fork go on.
"""

import contextlib
import copy
import os
import threading
import weakref
from typing import NamedTuple

from scrubjay._codec import Codec
from scrubjay._native import decode, encode
from scrubjay._weigh import weigh_entry
from scrubjay.dspy._disk import PACKAGES, DiskCache, logger
from scrubjay.dspy._flights import Flights
from scrubjay.dspy._keys import Keys

_MEMORY_FILE = b"scrubjay dspy memory 1\n"


class Stats(NamedTuple):
    """What a cache did in this process, and what its memory holds now."""

    memory_hits: int
    disk_hits: int
    misses: int
    #: Calls that waited for an equal one.
    joined: int
    #: Calls without a key, because their request cannot be written as JSON.
    uncacheable: int
    #: What the hits would have cost, in the unit of the stored costs (dollars).
    saved_cost: float
    memory_entries: int
    memory_bytes: int


class Cache:
    """A substitute for `dspy.clients.Cache`; the arguments up to `safe_types` are DSPy's.

    There is no pickle. What may be stored are the standard types, numpy's arrays, the models of litellm and openai, and
    dataclasses, enums and named tuples; `safe_types` are further classes. With `restrict_pickle`, dataclasses and the
    like must be among those too. `memory_size_limit_bytes` bounds what the
    memory tier takes. `strict_keys`, `strict_callables`, `key_endpoint` and `unify_async` depart from DSPy's keys.
    `patience` is how many seconds a caller waits for an equal call before it asks for itself.
    """

    def __init__(
        self,
        enable_disk_cache=True,
        enable_memory_cache=True,
        disk_cache_dir=None,
        disk_size_limit_bytes=30_000_000_000,
        memory_max_entries=1_000_000,
        restrict_pickle=False,
        safe_types=None,
        *,
        memory_size_limit_bytes=1 << 28,
        strict_keys=False,
        strict_callables=False,
        key_endpoint=False,
        unify_async=False,
        patience=300.0,
    ):
        self.enable_disk_cache = enable_disk_cache
        self.enable_memory_cache = enable_memory_cache
        directory = default_directory() if disk_cache_dir is None and enable_disk_cache else disk_cache_dir
        self.disk_cache_dir = None if directory is None else os.fspath(directory)
        classes = _checked(safe_types or ())
        self._codec = Codec(packages=PACKAGES, classes=classes, listed_only=restrict_pickle)
        self.memory_cache = _memory(memory_max_entries, memory_size_limit_bytes) if enable_memory_cache else {}
        self.disk_cache = {}
        if enable_disk_cache:
            limit = default_limit() if disk_size_limit_bytes is None else disk_size_limit_bytes
            self.disk_cache = DiskCache(self.disk_cache_dir, limit, self._codec)
        self._keys = Keys(strict_keys, strict_callables, key_endpoint, unify_async)
        self.flights = Flights(self._holds, self._store, patience)
        self._lock = threading.RLock()
        self._hits = {"memory": 0, "disk": 0}
        self._misses = self._uncacheable = 0
        self._saved_cost = 0.0
        _live.add(self)

    def __contains__(self, key):
        return key in self.memory_cache or key in self.disk_cache

    def cache_key(self, request, ignored_args_for_cache_key=None):
        """The key of a request, as DSPy computes it. Raises where the request cannot be written as JSON."""
        return self._keys.key(request, ignored_args_for_cache_key)

    def key_or_none(self, request, ignored_args_for_cache_key=None):
        """As `cache_key`, but None where that raises, or where both tiers are off."""
        if not self.enable_memory_cache and not self.enable_disk_cache:
            return None
        try:
            return self.cache_key(request, ignored_args_for_cache_key)
        except Exception as error:
            logger.debug("a request has no key, so it is not cached: %s", error)
            return None

    def get(self, request, ignored_args_for_cache_key=None):
        """The answer to a request: a copy, with `usage` cleared and `cache_hit` set. None is a miss."""
        key = self.key_or_none(request, ignored_args_for_cache_key)
        if key is not None:
            return self.get_key(key)
        with self._lock:
            self._uncacheable += self.enable_memory_cache or self.enable_disk_cache
        return None

    def put(self, request, value, ignored_args_for_cache_key=None, enable_memory_cache=True):
        """Keep a copy of an answer. None is not kept."""
        key = self.key_or_none(request, ignored_args_for_cache_key)
        if key is not None:
            identifier = request.get("_fn_identifier")
            self.put_key(key, value, enable_memory_cache, identifier if type(identifier) is str else "dspy")

    def get_key(self, key):
        """As `get`, by key."""
        kept, tier = self._in_memory(key), "memory"
        if kept is None:
            kept, tier = self.disk_cache.get(key), "disk"
        self._count(kept, tier)
        if kept is None:
            return None
        if tier == "disk":
            self._keep(key, kept)
        return self._prepare_cached_response(kept)

    def put_key(self, key, value, enable_memory_cache=True, function="dspy"):
        """As `put`, by key."""
        if value is None:
            return
        try:
            kept = copy.deepcopy(value)
        except Exception as error:
            # What cannot be copied could not be handed out either.
            logger.warning("%s is not cached, because it cannot be copied: %s", type(value).__qualname__, error)
            return
        if enable_memory_cache:
            self._keep(key, kept)
        if self.enable_disk_cache:
            self.disk_cache.set(key, kept, function=function)

    def reset_memory_cache(self):
        """Forget what is in memory; what is on disk stays."""
        with self._lock:
            self.memory_cache.clear()

    def save_memory_cache(self, filepath):
        """Write what is in memory to a file, by the safe codec; values that it does not know are left out."""
        if not self.enable_memory_cache:
            return
        with self._lock:
            entries = list(self.memory_cache.items())
        with open(filepath, "wb") as file:
            file.write(_MEMORY_FILE)
            file.write(encode([part for part in map(self._packed, entries) if part is not None], None))

    def load_memory_cache(self, filepath, allow_pickle=False):
        """Read a file that `save_memory_cache` wrote, in place of what is in memory.

        `allow_pickle=True` must be given, as DSPy asks for it; the file is not one. One that DSPy itself wrote is refused:
        reading it would run whatever it says.
        """
        if not allow_pickle:
            raise ValueError("pass allow_pickle=True, as for DSPy's own cache; Scrubjay's files hold no pickle")
        if not self.enable_memory_cache:
            return
        with open(filepath, "rb") as file:
            if file.readline() != _MEMORY_FILE:
                raise ValueError(f"{filepath} was not written by scrubjay.dspy; a pickle of DSPy's own is not read")
            packed = decode(file.read(), None)
        with self._lock:
            self.memory_cache.clear()
        for key, codec, payload in packed:
            self._keep(key, self._codec.decode(codec, payload, b""))

    def import_diskcache(self, directory):
        """Bring in the answers that DSPy's own disk cache has in a folder; `(brought, left)`.

        Its pickles are read by rules: litellm's and openai's models, numpy arrays and `safe_types` come back, and nothing
        else, whatever they say. Answers that are here already stay as they are.
        """
        from scrubjay.compat._diskcache_folder import entries

        if not self.enable_disk_cache:
            raise ValueError("there is no disk tier to bring answers into; construct the cache with one")
        brought = left = 0
        for entry in entries(os.path.expanduser(directory)):
            value = entry.restricted(self._codec)
            if value is None or type(entry.key) is not str:
                left += 1
            elif entry.key in self.disk_cache or self.disk_cache.set(entry.key, value, function="dspy"):
                brought += 1
            else:
                left += 1
        return brought, left

    def stats(self):
        """What this cache did in this process."""
        with self._lock:
            entries, used = len(self.memory_cache), getattr(self.memory_cache, "bytes", 0)
        hits = self._hits["memory"], self._hits["disk"]
        counts = *hits, self._misses, self.flights.joined, self._uncacheable
        return Stats(*counts, self._saved_cost, entries, used)

    @property
    def saved_cost(self):
        """What the hits of this process would have cost. `lm.history` goes on showing the stored cost, as in DSPy."""
        return self._saved_cost

    def _prepare_cached_response(self, response):
        answer = copy.deepcopy(response)
        if hasattr(answer, "usage"):
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                answer.usage = {}
            # Past the checks of models that refuse fields they do not declare.
            object.__setattr__(answer, "cache_hit", True)
        return answer

    def _count(self, kept, tier):
        with self._lock:
            if kept is None:
                self._misses += 1
            else:
                self._hits[tier] += 1
                self._saved_cost += _cost_of(kept)

    def _in_memory(self, key):
        with self._lock:
            return self.memory_cache.get(key)

    def _keep(self, key, kept):
        if self.enable_memory_cache:
            weight = weigh_entry((key,), kept)
            with self._lock:
                self.memory_cache.insert(key, kept, weight)

    def _packed(self, entry):
        key, value = entry
        try:
            return (key, *self._codec.encode(value, b""))
        except TypeError as error:
            logger.warning("left out of the file: %s", error)
            return None

    def _holds(self, key):
        if self.enable_memory_cache:
            return self._in_memory(key) is not None
        return key in self.disk_cache

    def _store(self):
        return self.disk_cache.store() if self.enable_disk_cache else None

    def locks(self):
        """What must not be held when the process forks, in the order in which they are taken."""
        disk = [self.disk_cache.locks()] if self.enable_disk_cache else []
        return [self.flights.locks(), self._lock, *disk]

    def renew_locks(self):
        """Called in the child of a fork."""
        self._lock = threading.RLock()
        self.flights.renew_locks()
        if self.enable_disk_cache:
            self.disk_cache.renew_locks()


def default_directory():
    """Where DSPy keeps its cache."""
    return os.environ.get("DSPY_CACHEDIR") or os.path.join(os.path.expanduser("~"), ".dspy_cache")


def default_limit():
    """How many bytes DSPy gives its disk cache."""
    return int(float(os.environ.get("DSPY_CACHE_LIMIT", 3e10)))


def _memory(max_entries, max_bytes):
    # cachetools comes with DSPy, but only those who keep a memory tier need it.
    from scrubjay.dspy._memory import MemoryCache

    if max_entries is None:
        raise ValueError("`memory_max_entries` cannot be None. Use `math.inf` if you need an unbounded cache.")
    if max_entries <= 0:
        raise ValueError(f"`memory_max_entries` must be a positive number, but received {max_entries}")
    return MemoryCache(max_entries, max_bytes)


def _checked(safe_types):
    for kind in safe_types:
        if not isinstance(kind, type):
            raise TypeError(f"safe_types entries must be types, and {kind!r} is none")
    return safe_types


def _cost_of(kept):
    """What an answer cost, as DSPy's native records and litellm's responses say it."""
    hidden = getattr(kept, "_hidden_params", None)
    cost = kept.get("cost") if type(kept) is dict else hidden.get("response_cost") if type(hidden) is dict else None
    return float(cost) if isinstance(cost, (int, float)) else 0.0


# The caches of this process, whose locks are taken before a fork, so that no thread is in the middle of a change.
_live: "weakref.WeakSet[Cache]" = weakref.WeakSet()
_held: list[list[threading.Lock]] = []


def _before_fork():
    locks = [lock for cache in list(_live) for lock in cache.locks()]
    for lock in locks:
        lock.acquire()
    _held.append(locks)


def _after_fork_in_parent():
    for lock in reversed(_held.pop()):
        lock.release()


def _after_fork_in_child():
    _held.clear()
    for cache in list(_live):
        cache.renew_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
