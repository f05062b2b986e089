"""Brings the entries of a folder that diskcache 5.6 wrote into a cache of this package. The folder stays as it is."""

import time

from scrubjay._codec import Unstorable
from scrubjay.compat._diskcache_folder import count, entries


def bring(folder, cache, allow_pickle=False, progress=None):
    """`(brought, left)`: how many entries came, and how many stayed behind.

    Pickled keys and values come only with `allow_pickle`, which runs whatever they say: for folders that nobody else could
    write to. `progress(done, total)` is called for each entry. Expired entries are neither brought nor counted as left.
    """
    brought = left = 0
    total = count(folder)
    for entry in entries(folder):
        came = _bring_one(entry, cache, allow_pickle)
        brought, left = brought + came, left + (not came)
        if progress is not None:
            progress(brought + left, total)
    return brought, left


def _bring_one(entry, cache, allow_pickle):
    is_pickled = entry.pickled is not None or entry.pickled_key is not None
    if is_pickled and not allow_pickle:
        return False
    try:
        key, value = entry.unrestricted()
        expire = None if entry.expires is None else entry.expires - time.time()
        return cache.set(key, value, expire, tag=entry.tag, retry=True)
    except Unstorable:
        return False
    except Exception:
        if is_pickled:
            # A pickle may raise anything.
            return False
        raise
