"""`FanoutCache`: as `Cache`, but a write that waits too long is given up in silence.

diskcache shards so that writers do not wait for each other; the store has one writer at a time anyway, so there is one
folder, and the number of shards only divides `size_limit` as users of diskcache expect.
"""

import functools
import os

from scrubjay.compat.diskcache._cache import Cache
from scrubjay.compat.diskcache._names import Disk, Timeout


class FanoutCache(Cache):
    """A cache whose writes return False, or None, instead of raising `Timeout`; the item syntax goes on trying."""

    def __init__(self, directory=None, shards=8, timeout=0.010, disk=Disk, **settings):
        self._shard_count = shards
        settings.setdefault("size_limit", 1 << 30)
        settings["size_limit"] //= shards
        super().__init__(directory, timeout, disk, **settings)

    def _capacity(self):
        return self._settings["size_limit"] * self._shard_count

    def cache(self, name, timeout=60, disk=Disk, **settings):
        """A cache of its own in a folder below this one's."""
        return Cache(_below(self._directory, name), timeout, disk, **settings)

    def __getstate__(self):
        return {**super().__getstate__(), "shards": self._shard_count}

    def __setstate__(self, state):
        settings = {**state["settings"], "size_limit": state["settings"]["size_limit"] * state["shards"]}
        allow_pickle, key_file = state["pickle"]
        self.__init__(
            state["directory"], shards=state["shards"], timeout=state["timeout"], disk=state["disk"],
            allow_pickle=allow_pickle, key_file=key_file, **settings,
        )  # fmt: skip


def _below(directory, name):
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return os.path.join(directory, "cache", *parts)


def _quiet(name):
    """The method of this name, returning what says so instead of raising `Timeout`."""
    loud = getattr(Cache, name)

    @functools.wraps(loud)
    def method(self, *args, **kwargs):
        try:
            return loud(self, *args, **kwargs)
        except Timeout:
            return _GIVEN_UP[name]

    return method


_GIVEN_UP = {"set": False, "add": False, "touch": False, "delete": False, "incr": None, "decr": None, "pop": None}

for _name in _GIVEN_UP:
    setattr(FanoutCache, _name, _quiet(_name))
