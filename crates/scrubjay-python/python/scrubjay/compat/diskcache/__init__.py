"""diskcache's `Cache` and `FanoutCache` on Scrubjay's store, without pickle.

    import scrubjay.compat.diskcache as diskcache

The interface is that of diskcache 5.6. Values and keys are encoded by the safe codec: what it does not know raises
`TypeError`, unless `allow_pickle=True` is given, and then pickles are signed. `Deque`, `Index` and the recipes are no caches
and are not here.
"""

from scrubjay.compat.diskcache._cache import Cache
from scrubjay.compat.diskcache._fanout import FanoutCache
from scrubjay.compat.diskcache._names import (
    DEFAULT_SETTINGS,
    ENOVAL,
    EVICTION_POLICY,
    UNKNOWN,
    Disk,
    EmptyDirWarning,
    JSONDisk,
    Timeout,
    UnknownFileWarning,
)

__all__ = [
    "DEFAULT_SETTINGS",
    "ENOVAL",
    "EVICTION_POLICY",
    "UNKNOWN",
    "Cache",
    "Disk",
    "EmptyDirWarning",
    "FanoutCache",
    "JSONDisk",
    "Timeout",
    "UnknownFileWarning",
]
