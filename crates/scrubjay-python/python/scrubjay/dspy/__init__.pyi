import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple, TypeVar

__all__ = ["Cache", "Stats", "install", "request_cache", "uninstall"]

_F = TypeVar("_F", bound=Callable[..., Any])
_Path = str | os.PathLike[str]

class Stats(NamedTuple):
    memory_hits: int
    disk_hits: int
    misses: int
    joined: int
    uncacheable: int
    saved_cost: float
    memory_entries: int
    memory_bytes: int

class Cache:
    enable_disk_cache: bool
    enable_memory_cache: bool
    disk_cache_dir: str | None
    memory_cache: MutableMapping[str, Any]
    disk_cache: Any
    flights: Any
    def __init__(
        self,
        enable_disk_cache: bool = True,
        enable_memory_cache: bool = True,
        disk_cache_dir: _Path | None = None,
        disk_size_limit_bytes: int | None = 30_000_000_000,
        memory_max_entries: float = 1_000_000,
        restrict_pickle: bool = False,
        safe_types: Iterable[type[Any]] | None = None,
        *,
        memory_size_limit_bytes: int = 268435456,
        strict_keys: bool = False,
        strict_callables: bool = False,
        key_endpoint: bool = False,
        unify_async: bool = False,
        patience: float = 300.0,
    ) -> None: ...
    def __contains__(self, key: str) -> bool: ...
    def cache_key(self, request: Mapping[str, Any], ignored_args_for_cache_key: Iterable[str] | None = None) -> str: ...
    def key_or_none(
        self, request: Mapping[str, Any], ignored_args_for_cache_key: Iterable[str] | None = None
    ) -> str | None: ...
    def get(self, request: Mapping[str, Any], ignored_args_for_cache_key: Iterable[str] | None = None) -> Any: ...
    def put(
        self,
        request: Mapping[str, Any],
        value: Any,
        ignored_args_for_cache_key: Iterable[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None: ...
    def get_key(self, key: str) -> Any: ...
    def put_key(self, key: str, value: Any, enable_memory_cache: bool = True, function: str = "dspy") -> None: ...
    def reset_memory_cache(self) -> None: ...
    def save_memory_cache(self, filepath: _Path) -> None: ...
    def load_memory_cache(self, filepath: _Path, allow_pickle: bool = False) -> None: ...
    def import_diskcache(self, directory: _Path) -> tuple[int, int]: ...
    def stats(self) -> Stats: ...
    @property
    def saved_cost(self) -> float: ...
    def locks(self) -> list[Any]: ...
    def renew_locks(self) -> None: ...

def install(
    cache: Cache | None = None,
    *,
    enable_disk_cache: bool = True,
    enable_memory_cache: bool = True,
    disk_cache_dir: _Path | None = None,
    disk_size_limit_bytes: int | None = ...,
    memory_max_entries: float = 1_000_000,
    restrict_pickle: bool = False,
    safe_types: Iterable[type[Any]] | None = None,
    memory_size_limit_bytes: int = 268435456,
    strict_keys: bool = False,
    strict_callables: bool = False,
    key_endpoint: bool = False,
    unify_async: bool = False,
    patience: float = 300.0,
) -> Cache: ...
def uninstall() -> None: ...
def request_cache(
    cache_arg_name: str | None = None,
    ignored_args_for_cache_key: list[str] | None = None,
    enable_memory_cache: bool = True,
    *,
    maxsize: int | None = None,
) -> Callable[[_F], _F]: ...
