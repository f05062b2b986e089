import os
from typing import Any

from scrubjay.compat.diskcache._cache import Cache
from scrubjay.compat.diskcache._names import Disk

_Path = str | os.PathLike[str]

class FanoutCache(Cache):
    def __init__(
        self,
        directory: _Path | None = None,
        shards: int = 8,
        timeout: float = 0.010,
        disk: type[Disk] = ...,
        *,
        allow_pickle: bool = False,
        key_file: _Path | None = None,
        **settings: Any,
    ) -> None: ...
    def cache(self, name: str, timeout: float = 60, disk: type[Disk] = ..., **settings: Any) -> Cache: ...
