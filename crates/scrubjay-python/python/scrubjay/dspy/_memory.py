"""The memory tier: DSPy's LRU mapping with a bound by bytes besides the one by count.

It is a `cachetools.LRUCache`, as users of `dspy.cache.memory_cache` expect. Both bounds hold after every call; an entry
heavier than the bound is not kept and evicts nothing.
"""

from cachetools import LRUCache

from scrubjay._weigh import weigh_entry


class MemoryCache(LRUCache):
    """Entries by key, the least recently used evicted first. Not thread-safe by itself, like its base."""

    def __init__(self, maxsize, max_bytes):
        super().__init__(maxsize)
        self.max_bytes = max_bytes
        self.bytes = 0
        self._weights = {}

    def __setitem__(self, key, value):
        self.insert(key, value, weigh_entry((key,), value))

    def insert(self, key, value, weight):
        """As `cache[key] = value`, for those who weighed the entry already."""
        if weight > self.max_bytes:
            self.pop(key, None)
            return
        super().__setitem__(key, value)
        self.bytes += weight - self._weights.get(key, 0)
        self._weights[key] = weight
        while self.bytes > self.max_bytes:
            self.popitem()

    def __delitem__(self, key):
        super().__delitem__(key)
        self.bytes -= self._weights.pop(key)

    def clear(self):
        """Forget everything."""
        while self:
            self.popitem()
