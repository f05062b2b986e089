"""Remembers what functions returned.

`cache` and `lru_cache` keep functools' contract and are faster. `memoize` computes each answer once, however many threads
and tasks ask, and has the options for keeping it. See the README for examples.
"""

from scrubjay._cache import Cache
from scrubjay._lru import cache, lru_cache
from scrubjay._memoize import cached_property, memoize
from scrubjay._native import ManualClock, __version__
from scrubjay._stats import Stats
from scrubjay._trace import trace

__all__ = ["Cache", "ManualClock", "Stats", "__version__", "cache", "cached_property", "lru_cache", "memoize", "trace"]
