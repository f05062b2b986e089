import datetime
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, MutableMapping
from functools import _CacheInfo
from types import TracebackType
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TextIO,
    TypeAlias,
    TypedDict,
    TypeVar,
    final,
    overload,
    type_check_only,
)  # fmt: skip

from _typeshed import SupportsRead, SupportsWrite
from typing_extensions import Self

from scrubjay._native import ManualClock, Store, __version__
from scrubjay._stats import Stats

__all__ = ["Cache", "ManualClock", "Stats", "__version__", "cache", "cached_property", "lru_cache", "memoize", "trace"]

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_T = TypeVar("_T")
_K = TypeVar("_K")
_V = TypeVar("_V")
_D = TypeVar("_D")

_Seconds: TypeAlias = float | datetime.timedelta
# A folder's name, or a cache that has one.
_Place: TypeAlias = str | os.PathLike[str] | Cache[Any, Any] | Store
_Copy: TypeAlias = Literal["none", "shallow", "deep", "freeze"]

@type_check_only
class _Parameters(TypedDict):
    maxsize: int | None
    typed: bool

# What `cache` and `lru_cache` make of a function. As an attribute of an instance it is a bound method; what it has
# besides a call concerns all instances.
@final
@type_check_only
class _LruCached(Generic[_P, _R]):
    @property
    def __wrapped__(self) -> Callable[_P, _R]: ...
    __name__: str
    __qualname__: str
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def cache_info(self) -> _CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> _Parameters: ...
    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    def contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> _LruCached[_P, _R]: ...
    @overload
    def __get__(
        self: _LruCached[Concatenate[Any, _Q], _T], instance: object, owner: type | None = None, /
    ) -> _LruMethod[_Q, _T]: ...

@type_check_only
class _LruMethod(Protocol[_P, _R_co]):
    __name__: str
    __qualname__: str
    @property
    def __self__(self) -> object: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def cache_info(self) -> _CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> _Parameters: ...

@type_check_only
class _LruDecorator(Protocol):
    def __call__(self, function: Callable[_P, _R], /) -> _LruCached[_P, _R]: ...

@overload
def lru_cache(maxsize: Callable[_P, _R], typed: bool = False) -> _LruCached[_P, _R]: ...
@overload
def lru_cache(maxsize: int | None = 128, typed: bool = False) -> _LruDecorator: ...
def cache(user_function: Callable[_P, _R], /) -> _LruCached[_P, _R]: ...

# What `memoize` makes of a function.
@final
@type_check_only
class _Memoized(Generic[_P, _R]):
    @property
    def __wrapped__(self) -> Callable[_P, _R]: ...
    __name__: str
    __qualname__: str
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def cache_info(self) -> _CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> dict[str, Any]: ...
    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    def invalidate_tag(self, tag: str, /) -> int: ...
    def contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    def stats(self) -> Stats: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> _Memoized[_P, _R]: ...
    @overload
    def __get__(
        self: _Memoized[Concatenate[Any, _Q], _T], instance: object, owner: type | None = None, /
    ) -> _MemoizedMethod[_Q, _T]: ...

# A memoized method of an instance: what it reports and forgets concerns that instance, but for the counts.
@type_check_only
class _MemoizedMethod(Protocol[_P, _R_co]):
    __name__: str
    __qualname__: str
    @property
    def __self__(self) -> object: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def cache_info(self) -> _CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> dict[str, Any]: ...
    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    def invalidate_tag(self, tag: str, /) -> int: ...
    def contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    def stats(self) -> Stats: ...

@type_check_only
class _MemoizeDecorator(Protocol):
    @overload
    def __call__(self, function: classmethod[_T, _P, _R], /) -> classmethod[_T, _P, _R]: ...
    # A static method is callable itself; it comes before other callables.
    @overload
    def __call__(self, function: staticmethod[_P, _R], /) -> staticmethod[_P, _R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: property, /) -> property: ...
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> _Memoized[_P, _R]: ...

@overload
def memoize(
    function: None = None,
    /,
    *,
    maxsize: int | None = None,
    ttl: _Seconds | Callable[[Any], _Seconds | None] | None = None,
    ignore: str | Iterable[str] = (),
    key: Callable[..., object] | None = None,
    when: Callable[..., object] | None = None,
    errors: _Seconds | None = None,
    stale: _Seconds | None = None,
    jitter: float = 0.0,
    tags: Iterable[str] | Callable[..., Iterable[str]] = (),
    weigh: Literal["bytes"] | Callable[[Any], int] | None = None,
    copy: _Copy = "none",
    clock: ManualClock | None = None,
    disk: _Place | None = None,
    version: int | str | None = None,
    code: Literal["source", "bytecode", "off"] = "source",
    allow_pickle: bool = False,
    classes: Iterable[type] = (),
) -> _MemoizeDecorator: ...
@overload
def memoize(function: classmethod[_T, _P, _R], /) -> classmethod[_T, _P, _R]: ...
@overload
def memoize(function: staticmethod[_P, _R], /) -> staticmethod[_P, _R]: ...  # type: ignore[overload-overlap]
@overload
def memoize(function: property, /) -> property: ...
@overload
def memoize(
    function: Callable[_P, _R],
    /,
    *,
    maxsize: int | None = None,
    ttl: _Seconds | Callable[[_R], _Seconds | None] | None = None,
    ignore: str | Iterable[str] = (),
    key: Callable[_P, object] | None = None,
    when: Callable[_P, object] | None = None,
    errors: _Seconds | None = None,
    stale: _Seconds | None = None,
    jitter: float = 0.0,
    tags: Iterable[str] | Callable[_P, Iterable[str]] = (),
    weigh: Literal["bytes"] | Callable[[_R], int] | None = None,
    copy: _Copy = "none",
    clock: ManualClock | None = None,
    disk: _Place | None = None,
    version: int | str | None = None,
    code: Literal["source", "bytecode", "off"] = "source",
    allow_pickle: bool = False,
    classes: Iterable[type] = (),
) -> _Memoized[_P, _R]: ...

@final
@type_check_only
class _CachedProperty(Generic[_R]):
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> _CachedProperty[_R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> _R: ...
    def __delete__(self, instance: object, /) -> None: ...
    def stats(self) -> Stats: ...

@type_check_only
class _CachedPropertyDecorator(Protocol):
    def __call__(self, function: Callable[[Any], _R], /) -> _CachedProperty[_R]: ...

@overload
def cached_property(function: Callable[[Any], _R], /) -> _CachedProperty[_R]: ...
@overload
def cached_property(
    function: None = None,
    /,
    *,
    maxsize: int | None = None,
    ttl: _Seconds | Callable[[Any], _Seconds | None] | None = None,
    when: Callable[..., object] | None = None,
    errors: _Seconds | None = None,
    stale: _Seconds | None = None,
    jitter: float = 0.0,
    tags: Iterable[str] | Callable[..., Iterable[str]] = (),
    weigh: Literal["bytes"] | Callable[[Any], int] | None = None,
    copy: _Copy = "none",
    clock: ManualClock | None = None,
    disk: _Place | None = None,
    version: int | str | None = None,
    code: Literal["source", "bytecode", "off"] = "source",
    allow_pickle: bool = False,
    classes: Iterable[type] = (),
) -> _CachedPropertyDecorator: ...

class Cache(MutableMapping[_K, _V]):
    def __init__(
        self,
        *,
        maxsize: int | None = None,
        ttl: _Seconds | Callable[[_V], _Seconds | None] | None = None,
        errors: _Seconds | None = None,
        stale: _Seconds | None = None,
        jitter: float = 0.0,
        tags: Iterable[str] = (),
        weigh: Literal["bytes"] | Callable[[_V], int] | None = None,
        copy: _Copy = "none",
        clock: ManualClock | None = None,
        disk: _Place | None = None,
        allow_pickle: bool = False,
        classes: Iterable[type] = (),
    ) -> None: ...
    def __getitem__(self, key: _K) -> _V: ...
    def __setitem__(self, key: _K, value: _V) -> None: ...
    def __delitem__(self, key: _K) -> None: ...
    def __iter__(self) -> Iterator[_K]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool: ...
    def __ior__(self, other: Mapping[_K, _V] | Iterable[tuple[_K, _V]]) -> Self: ...
    @overload
    def get(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _V) -> _V: ...
    @overload
    def get(self, key: _K, default: _D) -> _V | _D: ...
    @overload
    def peek(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def peek(self, key: _K, default: _D) -> _V | _D: ...
    @overload
    def pop(self, key: _K) -> _V: ...
    @overload
    def pop(self, key: _K, default: _V) -> _V: ...
    @overload
    def pop(self, key: _K, default: _D) -> _V | _D: ...
    @overload
    def setdefault(self: Cache[_K, _D | None], key: _K, default: None = None) -> _D | None: ...
    @overload
    def setdefault(self, key: _K, default: _V) -> _V: ...
    def set(self, key: _K, value: _V, *, ttl: _Seconds | None = ..., tags: Iterable[str] = ()) -> bool: ...
    def ttl_left(self, key: _K) -> float | None: ...
    def invalidate(self, key: _K) -> bool: ...
    def invalidate_tag(self, tag: str) -> int: ...
    def set_capacity(self, maxsize: int | None) -> None: ...
    def get_or_compute(self, key: _K, function: Callable[_P, _V], /, *args: _P.args, **kwargs: _P.kwargs) -> _V: ...
    async def get_or_compute_async(
        self, key: _K, function: Callable[_P, Coroutine[Any, Any, _V]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _V: ...
    def warm(self, items: Mapping[_K, _V] | Iterable[tuple[_K, _V]]) -> int: ...
    def save(self, target: str | os.PathLike[str] | SupportsWrite[bytes]) -> int: ...
    def load(self, source: str | os.PathLike[str] | SupportsRead[bytes]) -> int: ...
    def stats(self) -> Stats: ...

@type_check_only
class _Call(Protocol):
    label: str
    outcome: str
    seconds: float
    error: str | None
    calls: list[_Call]

class trace:
    def __init__(self, *, file: TextIO | None = ...) -> None: ...
    @property
    def calls(self) -> list[_Call]: ...
    def __enter__(self) -> trace: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
