"""Remembers what functions returned.

`cache` and `lru_cache` keep functools' contract and are faster. See the README for what else there is.
"""

from scrubjay._lru import cache, lru_cache
from scrubjay._native import __version__

__all__ = ["__version__", "cache", "lru_cache"]
