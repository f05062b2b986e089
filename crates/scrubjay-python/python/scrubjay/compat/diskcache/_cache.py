"""`Cache`: diskcache's interface over a store.

An entry's name in the store is a digest of its encoded key; the encoded key itself is the entry's description, so that
keys can be gone through. Invariant: whatever writes holds one lock among all threads and processes on the folder, so that
`add`, `incr`, `pop` and the like are single steps for everyone. Reads take no lock.
"""

import contextlib
import functools
import io
import os
import tempfile
import threading
import time
import weakref

from scrubjay._codec import Codec
from scrubjay._native import Counter, Store, key_digest
from scrubjay.compat.diskcache._names import DEFAULT_SETTINGS, ENOVAL, Disk, Timeout
from scrubjay.compat.diskcache._settings import Settings

_NAMESPACE = "diskcache"
_LOCK = key_digest("diskcache lock", b"")
_SMALLEST = 1 << 20
_POLL = 0.001
# The number that diskcache gives the first of a queue.
_FIRST = 500_000_000_000_000

# One lock for the threads of this process on a folder, so that they queue instead of polling.
_turns: "weakref.WeakValueDictionary[str, _Turn]" = weakref.WeakValueDictionary()
_turns_lock = threading.Lock()


def _turn_at(directory):
    """The turn of a folder: one object for as long as anybody has it or waits for it."""
    with _turns_lock:
        return _turns.setdefault(os.path.realpath(directory), _Turn())


def _forked():
    """Whose turn it was in the parent is nobody's in the child."""
    global _turns_lock
    _turns_lock = threading.Lock()
    _turns.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Turn:
    """Whose turn it is to write, among the threads of this process."""

    def __init__(self):
        self.lock = threading.RLock()
        self.depth = 0
        self.lead = None
        # What the entries were that a transaction has changed so far, by digest; None outside of one.
        self.before = None


class Cache:
    """A mapping on disk, shared by threads and processes. See diskcache's documentation for its methods.

    Unlike there: `size_limit` is a bound that the store itself keeps, by evicting what was not used lately; and readers see
    what a transaction has written so far.
    """

    def __init__(self, directory=None, timeout=60, disk=Disk, *, allow_pickle=False, key_file=None, **settings):
        if not (isinstance(disk, type) and issubclass(disk, Disk)):
            raise ValueError("disk must be Disk or JSONDisk: values are kept in one way here")
        directory = tempfile.mkdtemp(prefix="scrubjay-diskcache-") if directory is None else os.fspath(directory)
        self._directory = os.path.expandvars(os.path.expanduser(directory))
        self._timeout = timeout
        self._pickle = allow_pickle, key_file
        advice = "; Cache(…, allow_pickle=True) stores it pickled, and signed with a key of yours"
        self._codec = Codec(allow_pickle=allow_pickle, key_file=key_file, advice=advice)
        self._hits, self._misses = Counter(), Counter()
        self._opened = None
        self._kept = Settings(self._directory)
        kept = self._kept.read()
        self._settings = {**DEFAULT_SETTINGS, **kept, **settings}
        os.makedirs(self._directory, 0o700, exist_ok=True)
        self._disk = disk(self._directory, self.disk_min_file_size, self.disk_pickle_protocol)
        self._store  # noqa: B018 a folder that cannot be used is an error now
        if any(name not in kept or kept[name] != value for name, value in settings.items()):
            self._keep(settings)

    @property
    def directory(self):
        """The folder."""
        return self._directory

    @property
    def timeout(self):
        """How many seconds a write waits for others."""
        return self._timeout

    @property
    def disk(self):
        """How values are kept."""
        return self._disk

    def __getattr__(self, name):
        settings = self.__dict__.get("_settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute or setting {name!r}")

    def reset(self, key, value=ENOVAL, update=True):
        """Set a setting, in the folder too unless `update` is false; or take it over from the folder. Returns it.

        `size_limit` is a limit for `cull` at once, and the folder's bound when it is opened next.
        """
        if value is ENOVAL:
            self._settings[key] = self._kept.read().get(key, self._settings[key])
        else:
            self._settings[key] = value
            if update:
                self._keep({key: value})
        if key.startswith("disk_"):
            setattr(self._disk, key.removeprefix("disk_"), self._settings[key])
        return self._settings[key]

    def _keep(self, settings):
        with self._transact(True):
            self._kept.write({**self._kept.read(), **settings})

    @property
    def _store(self):
        store = self._opened
        if store is None:
            capacity = max(_SMALLEST, int(self._capacity()))
            store = self._opened = Store(self._directory, capacity_bytes=capacity, write_through=True)
        return store

    def _capacity(self):
        """The bytes that the folder may take."""
        return self._settings["size_limit"]

    @contextlib.contextmanager
    def transact(self, retry=False):
        """Keep everyone else from writing to the folder, and undo what was written if the block raises.

        The same thread may do so again inside; only the outermost block undoes. Readers see what was written so far, and
        what the store evicted meanwhile stays away. `clear` inside reads every entry.
        """
        with self._transact(retry) as turn:
            if turn.before is not None:
                yield
                return
            turn.before = {}
            try:
                yield
            except BaseException:
                self._restore(turn.before)
                raise
            finally:
                turn.before = None

    @contextlib.contextmanager
    def _transact(self, retry=False):
        """The turn to write."""
        turn = _turn_at(self._directory)
        end = None if retry else time.monotonic() + self._timeout
        if not turn.lock.acquire(timeout=-1 if end is None else self._timeout):
            raise Timeout
        try:
            if turn.depth == 0:
                turn.lead = self._lead(end)
            turn.depth += 1
            try:
                yield turn
            finally:
                turn.depth -= 1
                if turn.depth == 0:
                    turn.lead.release()
        finally:
            turn.lock.release()

    def _restore(self, before):
        for digest, record in before.items():
            if record is None:
                self._store.invalidate(digest)
            else:
                self._put_again(record, record.expires)

    def _put_again(self, record, expires):
        self._store.put(
            record.digest, record.payload, codec=record.codec, tags=record.tags, expires=expires,
            description=record.description, function="diskcache", written=record.written,
        )  # fmt: skip

    def _discard(self, digest):
        """How many entries went: one or none."""
        self._remember(digest)
        return self._store.invalidate(digest)

    def _remember(self, *digests):
        """These entries are about to change: a transaction that fails puts them back. Called by whoever has the turn."""
        before = _turn_at(self._directory).before
        if before is not None:
            for digest in digests:
                if digest not in before:
                    before[digest] = self._store.get(digest, expired=True)

    def _lead(self, end):
        while True:
            lead = self._store.try_lead(_LOCK)
            if lead is not None:
                return lead
            if end is not None and time.monotonic() >= end:
                raise Timeout
            time.sleep(_POLL)

    def set(self, key, value, expire=None, read=False, tag=None, retry=False):
        """Store a value, for `expire` seconds, with a tag. With `read`, it is what a binary file has."""
        value = value.read() if read else value
        with self._transact(retry):
            return self._put(key, value, _end_of(expire), tag)

    def _put(self, key, value, expires, tag):
        digest, description = self._name(key)
        codec, payload = self._codec.encode(value, digest)
        tags = [] if tag is None else [_text_of(tag)]
        self._remember(digest)
        self._store.put(
            digest, payload, codec=codec, tags=tags, expires=expires, description=description, function="diskcache"
        )
        return True

    def _name(self, key):
        # A pickled key has no digest of its own to be signed with: those of one key must be equal.
        _, encoded = self._codec.encode(key, b"")
        # SQLite takes 1 and 1.0 for one key.
        named = self._codec.encode(int(key), b"")[1] if type(key) is float and key.is_integer() else encoded
        return key_digest(_NAMESPACE, named), encoded

    def __setitem__(self, key, value):
        self.set(key, value, retry=True)

    def add(self, key, value, expire=None, read=False, tag=None, retry=False):
        """Store a value if there is none; whether it did."""
        with self._transact(retry):
            return key not in self and self.set(key, value, expire, read, tag, retry)

    def touch(self, key, expire=None, retry=False):
        """Give a value another time to live; whether it is there."""
        with self._transact(retry):
            record = self._record(key)
            if record is None:
                return False
            self._remember(record.digest)
            self._put_again(record, _end_of(expire))
            return True

    def incr(self, key, delta=1, default=0, retry=False):
        """Add to a number, or to `default` if it is not there (`KeyError` if that is None); the sum."""
        with self._transact(retry):
            record = self._record(key)
            if record is None and default is None:
                raise KeyError(key)
            number = (default if record is None else self._value(record)) + delta
            expires, tag = (None, None) if record is None else (record.expires, _tag_of(record))
            self._put(key, number, expires, tag)
            return number

    def decr(self, key, delta=1, default=0, retry=False):
        """As `incr`, downwards."""
        return self.incr(key, -delta, default, retry)

    def get(self, key, default=None, read=False, expire_time=False, tag=False, retry=False):
        """A value, or `default`; with `read`, bytes come as a file; with `expire_time` and `tag`, those come too."""
        record = self._record(key)
        value = ENOVAL if record is None else self._value(record)
        if self._settings["statistics"]:
            (self._misses if value is ENOVAL else self._hits).count()
        if value is ENOVAL:
            return _with(default, None, None, expire_time, tag)
        if read and type(value) is bytes and len(value) >= self.disk_min_file_size:
            value = _as_file(value)
        return _with(value, record.expires, _tag_of(record), expire_time, tag)

    def _record(self, key):
        try:
            return self._store.get(self._name(key)[0])
        except OSError:
            # A value file that is damaged is a miss.
            return None

    def _value(self, record):
        try:
            return self._codec.decode(record.codec, record.payload, record.digest)
        except ValueError:
            return ENOVAL

    def __getitem__(self, key):
        value = self.get(key, ENOVAL, retry=True)
        if value is ENOVAL:
            raise KeyError(key)
        return value

    def read(self, key, retry=False):
        """A value as a file."""
        value = self.get(key, ENOVAL, read=True, retry=retry)
        if value is ENOVAL:
            raise KeyError(key)
        return value

    def __contains__(self, key):
        return self._record(key) is not None

    def pop(self, key, default=None, expire_time=False, tag=False, retry=False):
        """As `get`, and discard it."""
        with self._transact(retry):
            found = self.get(key, default, expire_time=expire_time, tag=tag)
            self._discard(self._name(key)[0])
            return found

    def delete(self, key, retry=False):
        """Discard a value; whether it was there."""
        with self._transact(retry):
            return key in self and self._discard(self._name(key)[0]) > 0

    def __delitem__(self, key, retry=True):
        if not self.delete(key, retry):
            raise KeyError(key)

    def push(self, value, prefix=None, side="back", expire=None, read=False, tag=None, retry=False):
        """Store a value at an end of a queue; its key."""
        with self._transact(retry):
            numbers = [number for number, _ in self._queue(prefix)]
            beyond = (max(numbers) + 1 if side == "back" else min(numbers) - 1) if numbers else _FIRST
            key = beyond if prefix is None else f"{prefix}-{beyond:015d}"
            self.set(key, value, expire, read, tag)
            return key

    def pull(self, prefix=None, default=(None, None), side="front", expire_time=False, tag=False, retry=False):
        """The `(key, value)` at an end of a queue, which is discarded."""
        with self._transact(retry):
            found = self._end(prefix, side)
            if found is None:
                return _with(default, None, None, expire_time, tag)
            key, record, value = found
            self._discard(record.digest)
            return _with((key, value), record.expires, _tag_of(record), expire_time, tag)

    def peek(self, prefix=None, default=(None, None), side="front", expire_time=False, tag=False, retry=False):
        """As `pull`, and it stays."""
        with self._transact(retry):
            found = self._end(prefix, side)
            if found is None:
                return _with(default, None, None, expire_time, tag)
            key, record, value = found
            return _with((key, value), record.expires, _tag_of(record), expire_time, tag)

    def _queue(self, prefix):
        for key in self:
            if prefix is None and type(key) is int:
                yield key, key
            elif prefix is not None and type(key) is str and key[: len(prefix) + 1] == f"{prefix}-":
                digits = key[len(prefix) + 1 :]
                if len(digits) == 15 and digits.isdigit():
                    yield int(digits), key

    def _end(self, prefix, side):
        """The key, record and value at an end of a queue; what is expired there is discarded."""
        for _, key in sorted(self._queue(prefix), reverse=side == "back"):
            record = self._record(key)
            value = ENOVAL if record is None else self._value(record)
            if value is not ENOVAL:
                return key, record, value
            self._discard(self._name(key)[0])
        return None

    def peekitem(self, last=True, expire_time=False, tag=False, retry=False):
        """The `(key, value)` that was stored first or last; what is expired there is discarded."""
        with self._transact(retry):
            for key in list(reversed(self)) if last else list(self):
                record = self._record(key)
                value = ENOVAL if record is None else self._value(record)
                if value is not ENOVAL:
                    return _with((key, value), record.expires, _tag_of(record), expire_time, tag)
                self._discard(self._name(key)[0])
        raise KeyError("dictionary is empty")

    def memoize(self, name=None, typed=False, expire=None, tag=None, ignore=()):
        """A decorator that keeps what a function returned. `ignore` names arguments, or says their positions."""
        if callable(name):
            raise TypeError("name cannot be callable")

        def decorator(function):
            base = name if name is not None else f"{function.__module__}.{function.__qualname__}"

            def key_of(*args, **kwargs):
                args = tuple(arg for position, arg in enumerate(args) if position not in ignore)
                named = sorted((key, value) for key, value in kwargs.items() if key not in ignore)
                types = tuple(map(type_name, [*args, *(value for _, value in named)])) if typed else ()
                return (base, *args, None, *(part for pair in named for part in pair), *types)

            @functools.wraps(function)
            def call(*args, **kwargs):
                key = key_of(*args, **kwargs)
                found = self.get(key, ENOVAL, retry=True)
                if found is ENOVAL:
                    found = function(*args, **kwargs)
                    if expire is None or expire > 0:
                        self.set(key, found, expire, tag=tag, retry=True)
                return found

            call.__cache_key__ = key_of
            return call

        return decorator

    def check(self, fix=False, retry=False):
        """What is wrong with the folder: a list of messages. There is nothing to fix: what is damaged is a miss."""
        report = self._store.verify()
        return [f"damaged: {digest}" for digest in report.damaged] + report.index

    def create_tag_index(self):
        """Tags are indexed always."""
        self._settings["tag_index"] = 1

    def drop_tag_index(self):
        """Tags are indexed always."""
        self._settings["tag_index"] = 0

    def evict(self, tag, retry=False):
        """Discard what has a tag; how many."""
        text = _text_of(tag)
        with self._transact(retry) as turn:
            if turn.before is not None:
                self._remember(*(head.digest for head in self._heads() if text in head.tags))
            return self._store.invalidate_tag(text)

    def expire(self, now=None, retry=False):
        """Discard what is expired; how many."""
        now = time.time() if now is None else now
        with self._transact(retry):
            expired = [head.digest for head in self._heads() if head.expires is not None and head.expires < now]
            return sum(map(self._discard, expired))

    def cull(self, retry=False):
        """Discard what is expired, and then what was stored first, until the rest is within `size_limit`; how many."""
        with self._transact(retry):
            count = self.expire()
            if self.eviction_policy == "none":
                return count
            heads = sorted(self._heads(), key=lambda head: head.written)
            volume = sum(head.stored_bytes for head in heads)
            for head in heads:
                if volume <= self._capacity():
                    break
                volume -= head.stored_bytes
                count += self._discard(head.digest)
            return count

    def clear(self, retry=False):
        """Discard everything; how many."""
        with self._transact(retry) as turn:
            if turn.before is not None:
                self._remember(*(head.digest for head in self._heads()))
            return self._store.clear()

    def iterkeys(self, reverse=False):
        """The keys in their own order: numbers, then texts, then bytes, then all others as they are encoded."""
        keys = [(_rank(key, head.description), key) for head, key in self._keys(self._heads())]
        return iter([key for _, key in sorted(keys, key=lambda pair: pair[0], reverse=reverse)])

    def __iter__(self):
        """The keys in the order in which they were stored first, expired ones included, as they are now."""
        return (key for _, key in self._keys(self._heads()))

    def __reversed__(self):
        return (key for _, key in self._keys(self._heads()[::-1]))

    def _keys(self, heads):
        for head in heads:
            with contextlib.suppress(ValueError):
                # A pickled key is longer than an encoded one by its signature; its first byte says which it is.
                codec = 3 if head.description[:1] == b"\x01" else 4
                yield head, self._codec.decode(codec, head.description, b"")

    def _heads(self):
        return [head for head in self._store if head.function == "diskcache"]

    def stats(self, enable=True, reset=False):
        """`(hits, misses)` of this object since counting was enabled."""
        counts = self._hits.total, self._misses.total
        if reset:
            self._hits.reset()
            self._misses.reset()
        self._settings["statistics"] = int(enable)
        return counts

    def volume(self):
        """Bytes that the entries take."""
        return self._totals()[1]

    def _totals(self):
        """How many entries there are, and their bytes."""
        for function, _code, entries, stored_bytes in self._store.stats()["functions"]:
            if function == "diskcache":
                return entries, stored_bytes
        return 0, 0

    def close(self):
        """Let go of the folder; it is opened again when it is used again."""
        self._opened = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __len__(self):
        return self._totals()[0]

    def __getstate__(self):
        return {
            "directory": self._directory,
            "timeout": self._timeout,
            "pickle": self._pickle,
            "disk": type(self._disk),
            "settings": self._settings,
        }

    def __setstate__(self, state):
        allow_pickle, key_file = state["pickle"]
        self.__init__(
            state["directory"], timeout=state["timeout"], disk=state["disk"], allow_pickle=allow_pickle,
            key_file=key_file, **state["settings"],
        )  # fmt: skip


def type_name(value):
    """How a type is told from others in a key."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _end_of(expire):
    return None if expire is None else time.time() + expire


def _text_of(tag):
    """A tag as the store keeps it: a text as it is, anything else by its type and value."""
    if type(tag) is str:
        return f"str:{tag}" if tag.startswith(("str:", "int:", "float:", "bytes:")) else tag
    return f"bytes:{tag.hex()}" if type(tag) is bytes else f"{type(tag).__name__}:{tag!r}"


def _tag_of(record):
    if not record.tags:
        return None
    kind, colon, text = record.tags[0].partition(":")
    read = {"str": str, "int": int, "float": float, "bytes": bytes.fromhex}.get(kind) if colon else None
    return record.tags[0] if read is None else read(text)


def _with(value, expires, tag, with_expires, with_tag):
    extras = ((expires,) if with_expires else ()) + ((tag,) if with_tag else ())
    return (value, *extras) if extras else value


def _as_file(content):
    file = tempfile.NamedTemporaryFile(prefix="scrubjay-", buffering=io.DEFAULT_BUFFER_SIZE)  # noqa: SIM115 the caller's
    file.write(content)
    file.seek(0)
    return file


def _rank(key, encoded):
    kind = type(key)
    if kind in (int, float, bool):
        return 0, key, b""
    if kind is str:
        return 1, 0, key.encode("utf-8", "surrogatepass")
    return (2, 0, key) if kind is bytes else (3, 0, encoded)
