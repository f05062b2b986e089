"""Puts the cache in DSPy's place, and equal requests in flight together.

DSPy reads `dspy.cache` whenever it needs it, and calls `get` and `put`; that alone cannot tell a call that runs. So `install`
also wraps what calls: `request_cache`, and the execution of a call (from 3.4 on). Invariant: a call that bypasses the cache
bypasses single-flight too.
"""

import contextlib
import functools
import inspect
import types

from scrubjay.dspy._cache import Cache, default_directory, default_limit

IGNORED = ["api_key", "api_base", "base_url"]

# What was replaced: `(module, name, what was there)`, the last first.
_replaced: list[tuple[types.ModuleType, str, object]] = []


def install(cache=None, **options):
    """Make a cache DSPy's, with single-flight; returns it. `options` are those of `Cache`, if none is given.

    Without options it keeps its entries where DSPy keeps its own, `DSPY_CACHEDIR` or `~/.dspy_cache`, in a folder named
    `scrubjay`, and the memory of this process. `dspy.configure_cache` builds caches of this kind from then on.
    """
    import dspy

    if cache is None:
        options.setdefault("disk_cache_dir", default_directory())
        options.setdefault("disk_size_limit_bytes", default_limit())
        cache = Cache(**options)
    if not _replaced:
        _replace_parts()
    with _cache_lock(dspy):
        if not any(name == "cache" for _, name, _ in _replaced):
            # From 3.4 on there may be none yet: DSPy makes it at the first use.
            _replaced.append((dspy, "cache", vars(dspy).get("cache")))
        dspy.cache = cache
    return cache


def uninstall():
    """Put DSPy's own parts back, and the cache that it had, or none yet if it had none."""
    import dspy

    with _cache_lock(dspy):
        while _replaced:
            module, name, before = _replaced.pop()
            if before is None:
                delattr(module, name)
            else:
                setattr(module, name, before)


def _cache_lock(dspy):
    """What DSPy holds while it makes or replaces its cache, from 3.4 on."""
    return getattr(dspy, "_cache_lock", contextlib.nullcontext())


def request_cache(cache_arg_name=None, ignored_args_for_cache_key=None, enable_memory_cache=True, *, maxsize=None):
    """DSPy's decorator of this name, with single-flight while `dspy.cache` is one of Scrubjay's."""
    ignored = ignored_args_for_cache_key or IGNORED

    def decorator(function):
        identifier = f"{function.__module__}.{function.__qualname__}"
        plain = _stock_request_cache()(cache_arg_name, ignored, enable_memory_cache)(function)

        def request_of(args, kwargs):
            request = dict(kwargs[cache_arg_name]) if cache_arg_name else dict(kwargs)
            if not cache_arg_name:
                request.update((f"positional_arg_{i}", arg) for i, arg in enumerate(args))
            request["_fn_identifier"] = identifier
            return request

        def keep(cache, key, request, answer):
            if cache.key_or_none(request, ignored) == key:
                cache.put(request, answer, ignored, enable_memory_cache)
            elif key is not None:
                # The call changed its arguments.
                cache.put_key(key, answer, enable_memory_cache, identifier)
            return answer

        @functools.wraps(function)
        def call(*args, **kwargs):
            cache = _current()
            if cache is None:
                return plain(*args, **kwargs)
            request = request_of(args, kwargs)
            key = cache.key_or_none(request, ignored)

            def ask():
                found = cache.get(request, ignored)
                return keep(cache, key, request, function(*args, **kwargs)) if found is None else found

            return ask() if key is None else cache.flights.run(key, ask)

        @functools.wraps(function)
        async def call_async(*args, **kwargs):
            cache = _current()
            if cache is None:
                return await plain(*args, **kwargs)
            request = request_of(args, kwargs)
            key = cache.key_or_none(request, ignored)

            async def ask():
                found = cache.get(request, ignored)
                return keep(cache, key, request, await function(*args, **kwargs)) if found is None else found

            return await (ask() if key is None else cache.flights.run_async(key, ask))

        return call_async if inspect.iscoroutinefunction(function) else call

    return decorator


def _current():
    """DSPy's cache, if it is one of ours."""
    import dspy

    return dspy.cache if isinstance(dspy.cache, Cache) else None


def _stock_request_cache():
    from dspy.clients import cache

    for module, name, before in _replaced:
        if (module, name) == (cache, "request_cache"):
            return before
    return cache.request_cache


def _replace_parts():
    import dspy.clients
    import dspy.clients.cache
    import dspy.clients.embedding
    import dspy.clients.lm
    import dspy.dsp.colbertv2

    stock = dspy.clients.cache
    for module in (dspy.clients.embedding, dspy.dsp.colbertv2):
        for name, value in list(vars(module).items()):
            if (
                inspect.isfunction(value)
                and value.__code__.co_filename == stock.__file__
                and value is not stock.request_cache
            ):
                _replace(module, name, request_cache()(value.__wrapped__))
    for module in (stock, dspy.clients.lm, dspy.clients.embedding, dspy.dsp.colbertv2):
        _replace(module, "request_cache", request_cache)
    for module in (stock, dspy.clients):
        _replace(module, "Cache", Cache)
    try:
        from dspy.clients import execution
    except ImportError:
        return
    _replace(execution, "execute", _together(execution.execute))
    _replace(execution, "aexecute", _together_async(execution.aexecute))


def _replace(module, name, by):
    _replaced.append((module, name, getattr(module, name)))
    setattr(module, name, by)


def _flight_of(lm, call, asynchronous):
    """The cache and the key of a call that may wait for another; the key is None for one that may not."""
    cache = _current() if call.cache else None
    if cache is None:
        return None, None
    try:
        request = call.key(lm, asynchronous)
    except Exception:
        # DSPy comes to the same error by itself, and says what it means.
        return cache, None
    return cache, cache.key_or_none(request, IGNORED)


def _together(execute):
    @functools.wraps(execute)
    def together(lm, call):
        cache, key = _flight_of(lm, call, False)
        ask = functools.partial(execute, lm, call)
        return ask() if key is None else cache.flights.run(key, ask)

    return together


def _together_async(execute):
    @functools.wraps(execute)
    async def together(lm, call):
        cache, key = _flight_of(lm, call, True)
        ask = functools.partial(execute, lm, call)
        return await (ask() if key is None else cache.flights.run_async(key, ask))

    return together
