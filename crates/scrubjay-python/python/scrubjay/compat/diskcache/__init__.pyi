import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, TypeVar

from typing_extensions import Self

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

_F = TypeVar("_F", bound=Callable[..., Any])
_Path = str | os.PathLike[str]
_Side = Literal["back", "front"]

class Cache:
    def __init__(
        self,
        directory: _Path | None = None,
        timeout: float = 60,
        disk: type[Disk] = ...,
        *,
        allow_pickle: bool = False,
        key_file: _Path | None = None,
        **settings: Any,
    ) -> None: ...
    @property
    def directory(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def disk(self) -> Disk: ...
    def __getattr__(self, name: str) -> Any: ...
    def reset(self, key: str, value: Any = ..., update: bool = True) -> Any: ...
    def transact(self, retry: bool = False) -> AbstractContextManager[None]: ...
    def set(
        self,
        key: Any,
        value: Any,
        expire: float | None = None,
        read: bool = False,
        tag: Any = None,
        retry: bool = False,
    ) -> bool: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def add(
        self,
        key: Any,
        value: Any,
        expire: float | None = None,
        read: bool = False,
        tag: Any = None,
        retry: bool = False,
    ) -> bool: ...
    def touch(self, key: Any, expire: float | None = None, retry: bool = False) -> bool: ...
    def incr(self, key: Any, delta: int = 1, default: int | None = 0, retry: bool = False) -> Any: ...
    def decr(self, key: Any, delta: int = 1, default: int | None = 0, retry: bool = False) -> Any: ...
    def get(
        self,
        key: Any,
        default: Any = None,
        read: bool = False,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any: ...
    def __getitem__(self, key: Any) -> Any: ...
    def read(self, key: Any, retry: bool = False) -> Any: ...
    def __contains__(self, key: Any) -> bool: ...
    def pop(
        self, key: Any, default: Any = None, expire_time: bool = False, tag: bool = False, retry: bool = False
    ) -> Any: ...
    def delete(self, key: Any, retry: bool = False) -> bool: ...
    def __delitem__(self, key: Any, retry: bool = True) -> None: ...
    def push(
        self,
        value: Any,
        prefix: str | None = None,
        side: _Side = "back",
        expire: float | None = None,
        read: bool = False,
        tag: Any = None,
        retry: bool = False,
    ) -> Any: ...
    def pull(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: _Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any: ...
    def peek(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: _Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any: ...
    def peekitem(self, last: bool = True, expire_time: bool = False, tag: bool = False, retry: bool = False) -> Any: ...
    def memoize(
        self,
        name: str | None = None,
        typed: bool = False,
        expire: float | None = None,
        tag: Any = None,
        ignore: Collection[int | str] = (),
    ) -> Callable[[_F], _F]: ...
    def check(self, fix: bool = False, retry: bool = False) -> list[str]: ...
    def create_tag_index(self) -> None: ...
    def drop_tag_index(self) -> None: ...
    def evict(self, tag: Any, retry: bool = False) -> int: ...
    def expire(self, now: float | None = None, retry: bool = False) -> int: ...
    def cull(self, retry: bool = False) -> int: ...
    def clear(self, retry: bool = False) -> int: ...
    def iterkeys(self, reverse: bool = False) -> Iterator[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __reversed__(self) -> Iterator[Any]: ...
    def stats(self, enable: bool = True, reset: bool = False) -> tuple[int, int]: ...
    def volume(self) -> int: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None: ...
    def __len__(self) -> int: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...

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
