"""`cache` and `lru_cache`: the decorators of functools over the native wrapper."""

import functools

from scrubjay import _native

# What `cache_info()` returns: functools' own type, so that both kinds of wrapper report the same.
CacheInfo = functools._CacheInfo


def lru_cache(maxsize=128, typed=False):
    """Remember the results of the `maxsize` most recently used calls; `None` is unbounded.

    The contract is that of `functools.lru_cache`. Concurrent callers of one key each run the function;
    `memoize` runs it once. `f.invalidate(*args)` forgets one result, `f.contains(*args)` tells whether there is one.
    """
    if isinstance(maxsize, int):
        maxsize = max(maxsize, 0)
    elif callable(maxsize) and isinstance(typed, bool):
        return _wrap(maxsize, 128, typed)
    elif maxsize is not None:
        raise TypeError("Expected first argument to be an integer, a callable, or None")
    return lambda function: _wrap(function, maxsize, typed)


def cache(user_function, /):
    """Remember all results. The contract is that of `functools.cache`."""
    return lru_cache(maxsize=None)(user_function)


def _wrap(function, maxsize, typed):
    wrapper = _native.lru_cache_wrapper(function, maxsize, typed, CacheInfo)
    wrapper.cache_parameters = lambda: {"maxsize": maxsize, "typed": typed}
    return functools.update_wrapper(wrapper, function)
