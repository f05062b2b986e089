"""DSPy's cache on Scrubjay's store: the same keys, no pickle, and equal requests that run at once are asked once.

    import scrubjay.dspy
    scrubjay.dspy.install()

Or put a cache in place by hand, without single-flight: `dspy.cache = scrubjay.dspy.Cache(...)`. Importing this module and
constructing a cache import no DSPy and touch no disk. For DSPy 3.3 and 3.4.
"""

from scrubjay.dspy._cache import Cache, Stats
from scrubjay.dspy._install import install, request_cache, uninstall

__all__ = ["Cache", "Stats", "install", "request_cache", "uninstall"]
