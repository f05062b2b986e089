"""The disk tier: a store whose entries are named by DSPy's keys.

It opens its folder when it is first used, not before. Invariants: whatever fails is a miss, said once; and values are
encoded by the safe codec, so nothing that is read is executed.
"""

import logging
import os
import sys
import threading

from scrubjay._codec import Codec, Unstorable
from scrubjay._native import Store, key_digest

logger = logging.getLogger("scrubjay.dspy")

# The packages whose models are answers of language models.
PACKAGES = ("litellm.types", "openai.types")
# The store keeps itself apart from what else is in DSPy's folder.
FOLDER = "scrubjay"
_SMALLEST = 1 << 20


class DiskCache:
    """What `dspy.cache.disk_cache` is: `in`, `get`, `set`, `delete`, `len`, `volume`, `clear`, `close`."""

    def __init__(self, directory, capacity_bytes, codec=None):
        self.directory = os.path.join(os.fspath(directory), FOLDER)
        self._capacity = max(_SMALLEST, int(capacity_bytes))
        self._codec = Codec(packages=PACKAGES) if codec is None else codec
        self._lock = threading.Lock()
        self._opened = None
        self._is_off = False
        self._warned = set()

    @property
    def __class__(self):
        # Code that asks whether the disk tier of DSPy is its FanoutCache is answered as if it were.
        diskcache = sys.modules.get("diskcache")
        return DiskCache if diskcache is None else diskcache.FanoutCache

    def __contains__(self, key):
        return self._record(key) is not None

    def __len__(self):
        store = self.store()
        return 0 if store is None else store.stats()["entries"]

    def get(self, key, default=None):
        """The value of a key. One that is damaged, unknown or expired is a miss."""
        record = self._record(key)
        if record is None:
            return default
        try:
            return self._codec.decode(record.codec, record.payload, record.digest)
        except ValueError as error:
            self.warn("decode", "an entry of %s is taken as a miss: %s", self.directory, error)
            return default

    def set(self, key, value, function="", description=None):
        """Store a value; whether it was. It is committed when this returned."""
        store, digest = self.store(), digest_of(key)
        if store is None:
            return False
        try:
            codec, payload = self._codec.encode(value, digest)
            store.put(digest, payload, codec=codec, function=function, description=description)
        except Unstorable as error:
            self.warn(str(error), "kept in memory only: %s", error)
            return False
        except (OSError, ValueError) as error:
            self.warn("put", "an entry was not stored in %s: %s", self.directory, error)
            return False
        return True

    def delete(self, key):
        """Discard a key; whether it was there."""
        store = self.store()
        return store is not None and store.invalidate(digest_of(key)) > 0

    def clear(self):
        """Discard everything; how many entries there were."""
        store = self.store()
        return 0 if store is None else store.clear()

    def volume(self):
        """Bytes that the folder takes."""
        store = self.store()
        return 0 if store is None else store.stats()["used_bytes"]

    def close(self):
        """Let go of the folder; it is opened again when it is used again."""
        with self._lock:
            self._opened = None

    def store(self):
        """The store, opened at the first call; None if the folder cannot be used."""
        if self._opened is None and not self._is_off:
            with self._lock:
                if self._opened is None and not self._is_off:
                    self._open()
        return self._opened

    def _open(self):
        try:
            # Answers are paid for: each is committed before its call returns.
            self._opened = Store(self.directory, capacity_bytes=self._capacity, write_through=True)
        except (OSError, ValueError) as error:
            self._is_off = True
            self.warn("open", "caching in memory only: %s", error)

    def _record(self, key):
        store = self.store()
        try:
            return None if store is None else store.get(digest_of(key))
        except OSError as error:
            self.warn("read", "an entry of %s is taken as a miss: %s", self.directory, error)
            return None

    def warn(self, about, message, *arguments):
        """Say something once."""
        if about not in self._warned:
            self._warned.add(about)
            logger.warning(message, *arguments)

    def locks(self):
        """What must not be held when the process forks."""
        return self._lock

    def renew_locks(self):
        """Called in the child of a fork."""
        self._lock = threading.Lock()


def digest_of(key):
    """The name of an entry in the store: DSPy's key itself where it is one."""
    try:
        digest = bytes.fromhex(key)
    except (TypeError, ValueError):
        digest = b""
    return digest if len(digest) == 32 else key_digest("scrubjay.dspy", str(key).encode())
