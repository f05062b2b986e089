"""`memoize`: computes each answer once, and keeps it by the options given."""

import dataclasses
import functools
import inspect
import itertools
import weakref

from scrubjay import _native
from scrubjay._content import content
from scrubjay._load import Loader
from scrubjay._lru import CacheInfo
from scrubjay._options import STORING_ADVICE, Keeping, capacity, check_clock, check_disk, name_list
from scrubjay._stats import stats_of
from scrubjay._warn import warn_once

_numbers = itertools.count(1)


def memoize(
    function=None,
    /,
    *,
    maxsize=None,
    ttl=None,
    ignore=(),
    key=None,
    when=None,
    errors=None,
    stale=None,
    jitter=0.0,
    tags=(),
    weigh=None,
    copy="none",
    clock=None,
    disk=None,
    version=None,
    code="source",
    allow_pickle=False,
    classes=(),
):
    """Remember what a function returned. Works on functions, coroutine functions and methods.

    Concurrent callers of one key share one run: threads and tasks wait for whoever came first. A call inside its own
    run computes, as without a cache. Equal calls are one key however they pass their arguments (`f(1)`, `f(x=1)`).
    Methods keep their results in the instance and share nothing between instances.

    maxsize: the most that is kept: results, or their weights if `weigh` is given. The one used longest ago leaves.
    ttl:     seconds (or a timedelta) for which a result is fresh, or a function of the result that returns them.
    ignore:  names of parameters that are not part of the key.
    key:     a function of the arguments that returns the key.
    when:    a function of the arguments; where it is false, the call is neither waited for nor stored.
    errors:  seconds for which an exception is remembered and raised again. By default none is.
    stale:   seconds after `ttl` in which a stale result is returned at once while one caller refreshes it.
    jitter:  the part of `ttl`, from 0 to 1, by which it is shortened at random.
    tags:    strings, or a function of the arguments that returns some; see `invalidate_tag`.
    weigh:   a function of the result that returns its weight, or "bytes".
    copy:    what callers get: the same object ("none"), a "shallow" or "deep" copy, or an immutable form ("freeze").
    clock:   a `ManualClock`, for tests.
    disk:    a folder below memory, shared by processes: a name (`~` is the home), or a `Cache` that has one. Nothing is
             opened before the first miss. Instances whose methods are kept there must be dataclasses or the like.
    version: an integer or string that stands for the state of the function's code, instead of a digest of it.
    code:    what that digest is of: "source" (comments, docstring, layout and decorators do not count), "bytecode", or
             "off": then results of an edited function are its old ones.
    allow_pickle: whether results that the safe codec does not know are pickled, signed with a key of the user's.
    classes: classes whose objects may come back from disk besides dataclasses, enums and named tuples.
    """
    options = dict(
        maxsize=maxsize, ttl=ttl, ignore=ignore, key=key, when=when, errors=errors, stale=stale, jitter=jitter,
        tags=tags, weigh=weigh, copy=copy, clock=clock, disk=disk, version=version, code=code,
        allow_pickle=allow_pickle, classes=classes,
    )  # fmt: skip
    if function is None:
        _check(options)
        return lambda function: memoize(function, **options)
    for kind in (classmethod, staticmethod):
        if isinstance(function, kind):
            return kind(memoize(function.__func__, **options))
    if isinstance(function, property):
        return property(memoize(function.fget, **options), function.fset, function.fdel, function.__doc__)
    return _wrap(function, **options)


def _check(options):
    """Refuse nonsense where it is written, not where the decorator is applied. How values are to be kept."""
    for name in ("key", "when"):
        hook = options[name]
        if hook is not None and not callable(hook):
            raise TypeError(f"{name}= is a function of the arguments, not {type(hook).__name__}")
    name_list(options["ignore"])
    capacity(options["maxsize"])
    check_clock(options["clock"])
    check_disk(options)
    return Keeping(**{name: options[name] for name in Keeping.OPTIONS})


def _wrap(function, **options):
    if not callable(function):
        raise TypeError(
            f"memoize needs a function, not {type(function).__name__}; options are given by name, as in @memoize(ttl=60)"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{_name(function)} is a generator function: a generator can be consumed once only, so remembering it "
            "would serve an empty one. Return a list or tuple instead"
        )
    keeping = _check(options)
    key, maxsize = options["key"], options["maxsize"]
    coroutine = inspect.iscoroutinefunction(function)
    loader = Loader(function, keeping, options["when"])
    shape = _shape(function, options["ignore"])
    memory = _native.Memory(capacity(maxsize), options["clock"])
    parts = _Parts(loader, memory, shape, options, coroutine)
    if options["disk"] is not None:
        loader.disk = _disk_below(function, parts)
    enter, give = loader.enter, None
    if coroutine:
        enter, give = _coroutines(loader, function)
    memo = _native.make_memo(
        function=function,
        memory=memory,
        parameters=shape.parameters,
        positional=shape.positional,
        rest=shape.rest,
        keywords=shape.keywords,
        key=key,
        freeze=content,
        enter=enter,
        succeed=loader.succeed,
        fail=loader.fail,
        copy=keeping.copy,
        give=give,
        bind=Bound,
        reader=loader.reader,
    )
    functools.update_wrapper(memo, function)
    memo._parts = parts
    if coroutine:
        _mark_as_coroutine_function(memo)
    if shape.first == "self" and _is_in_class(function):
        # A decorator outside, as `property`, would keep this from being told.
        memo.__set_name__(None, function.__name__)
    return memo


def _disk_below(function, parts):
    # Those who keep everything in memory need not import it.
    from scrubjay._codec import Codec
    from scrubjay._disk import DiskTier, Origin
    from scrubjay._folder import Folder

    options, parameters = parts.options, parts.shape.parameters or ()
    names = ["key"] if options["key"] is not None else [name for name, _, _, ignored in parameters if not ignored]
    return DiskTier(
        Folder(options["disk"]),
        Origin.of(function, options["version"], options["code"]),
        Codec(classes=options["classes"], allow_pickle=options["allow_pickle"], advice=STORING_ADVICE),
        parts.loader.keeping,
        parts.all_memories,
        names=names,
        clock=options["clock"],
    )


def _name(function):
    return getattr(function, "__qualname__", None) or repr(function)


def _is_in_class(function):
    around, _, _name_ = _name(function).rpartition(".")
    return bool(around) and not around.endswith("<locals>")


def _coroutines(loader, function):
    """What makes the coroutines of a miss and of a hit. They are named as the function's own, for whoever reads of them in a
    warning or in a list of tasks."""

    async def give(value):
        return value

    functools.update_wrapper(give, function, ("__name__", "__qualname__"), ())

    def enter(memory, key, args, kwargs):
        coroutine = loader.miss_async(memory, key, args, kwargs)
        coroutine.__name__, coroutine.__qualname__ = give.__name__, give.__qualname__
        return coroutine

    return enter, give


def _mark_as_coroutine_function(memo):
    """Frameworks ask whether a function is a coroutine function before they call it."""
    if hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(memo)
    import asyncio.coroutines

    mark = getattr(asyncio.coroutines, "_is_coroutine", None)
    if mark is not None:
        memo._is_coroutine = mark


class _Memories:
    """Memories for as long as they live. May be added to while others iterate, as a `WeakSet` may not."""

    def __init__(self):
        self._references = {}

    def add(self, memory):
        number = id(memory)

        def forget(reference, references=self._references):
            if references.get(number) is reference:
                del references[number]

        if number not in self._references:
            self._references[number] = weakref.ref(memory, forget)

    def __iter__(self):
        living = (reference() for reference in list(self._references.values()))
        return (memory for memory in living if memory is not None)


class _Parts:
    """What a memo consists of besides its native part."""

    __slots__ = ("attribute", "coroutine", "elsewhere", "loader", "memories", "memory", "options", "shape")

    def __init__(self, loader, memory, shape, options, coroutine):
        self.loader = loader
        self.memory = memory
        self.shape = shape
        self.options = options
        self.coroutine = coroutine
        # The memories of instances, for what concerns all of them.
        self.memories = _Memories()
        # The memories of instances that have no dictionary, by `id`, each with a weak reference to the instance.
        self.elsewhere = {}
        self.attribute = None

    def all_memories(self):
        return [self.memory, *self.memories]


@dataclasses.dataclass
class _Shape:
    """The parameters of a function, as the native part takes them."""

    # `(name, [default] or [], by position only, ignored)` of each; None if they are not known.
    parameters: list[tuple[str, list[object], bool, bool]] | None = None
    # How many may be passed by position.
    positional: int = 0
    # Whether `*args` and `**kwargs` are ignored; None if there are none.
    rest: bool | None = None
    keywords: bool | None = None
    # The name of the first parameter.
    first: str | None = None


def _shape(function, ignore):
    ignore, shape = name_list(ignore), _Shape()
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        if ignore:
            raise ValueError(
                f"ignore= needs the names of the parameters, which {_name(function)} does not tell"
            ) from None
        return shape
    unknown = set(ignore).difference(signature.parameters)
    if unknown:
        raise ValueError(
            f"ignore= names {', '.join(sorted(map(repr, unknown)))}, but {_name(function)} has the parameters {signature}"
        )
    shape.parameters = []
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        ignored = name in ignore
        if parameter.kind is parameter.VAR_POSITIONAL:
            shape.rest = ignored
        elif parameter.kind is parameter.VAR_KEYWORD:
            shape.keywords = ignored
        else:
            defaults = [] if parameter.default is parameter.empty else [parameter.default]
            unnamed = parameter.kind is parameter.POSITIONAL_ONLY
            shape.parameters.append((name, defaults, unnamed, ignored))
            shape.positional += parameter.kind is not parameter.KEYWORD_ONLY
            if position == 0:
                shape.first = name
    return shape


def _set_name(self, owner, name):
    """The wrapper is an attribute of a class: its first parameter is the instance, and results belong to that."""
    parts = self._parts
    parameters = parts.shape.parameters
    if parts.attribute is not None or parts.options["key"] is not None or not parameters:
        return
    _first, _defaults, _unnamed, ignored = parameters[0]
    if not ignored and parts.shape.positional:
        parts.attribute = f"_scrubjay_{next(_numbers)}_{name}"
        if parts.loader.disk is not None:
            parts.loader.disk.belong_to_instances()
        _native.keep_in_instances(self, parts.attribute, functools.partial(_attach, parts))


def _attach(parts, instance):
    """The memory of an instance: in its dictionary, or beside it; None if it can have neither."""
    try:
        owner = weakref.ref(instance)
    except TypeError:
        _warn_of_slots(parts, type(instance))
        return None
    attributes = None if isinstance(instance, type) else getattr(instance, "__dict__", None)
    if type(attributes) is not dict:
        return _memory_beside(parts, instance)
    memory = parts.memory.child(owner).install(attributes, parts.attribute, instance)
    parts.memories.add(memory)
    return memory


def _memory_beside(parts, instance):
    number = id(instance)
    found = parts.elsewhere.get(number)
    if found is not None and found[0]() is instance:
        return found[1]

    def forget(owner, elsewhere=parts.elsewhere):
        if elsewhere.get(number, (None,))[0] is owner:
            del elsewhere[number]

    owner = weakref.ref(instance, forget)
    memory = parts.elsewhere.setdefault(number, (owner, parts.memory.child(owner)))[1]
    parts.memories.add(memory)
    return memory


def _warn_of_slots(parts, kind):
    name = f"{kind.__module__}.{kind.__qualname__}"
    warn_once(
        parts.loader,
        kind,
        f"methods of {name} are not memoized: its instances have neither a dictionary nor weak references; "
        'add "__weakref__" to its __slots__',
    )


class Bound:
    """A memoized method as the attribute of an instance: what it reports and forgets concerns that instance."""

    __slots__ = ("__func__", "__self__", "__weakref__")

    def __init__(self, memo, instance):
        self.__func__ = memo
        self.__self__ = instance

    def __call__(self, /, *args, **kwargs):
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name):
        return getattr(self.__func__, name)

    def __eq__(self, other):
        if not isinstance(other, Bound):
            return NotImplemented
        return self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self):
        return hash((id(self.__func__), id(self.__self__)))

    def __repr__(self):
        return f"<bound method {self.__qualname__} of {self.__self__!r}>"

    def __reduce__(self):
        return getattr, (self.__self__, self.__name__)

    @property
    def __signature__(self):
        signature = inspect.signature(self.__func__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @property
    def __doc__(self):
        return self.__func__.__doc__

    def invalidate(self, /, *args, **kwargs):
        """Forget the result for these arguments; whether there was one."""
        return self.__func__.invalidate(self.__self__, *args, **kwargs)

    def contains(self, /, *args, **kwargs):
        """Whether a call with these arguments would be a hit."""
        return self.__func__.contains(self.__self__, *args, **kwargs)

    def invalidate_tag(self, tag, /):
        """Forget the instance's results with a tag; how many there were. With `disk`, whatever there has the tag."""
        return _invalidate_tagged(self.__func__._parts, self._memories(), tag)

    def cache_clear(self):
        """Forget the instance's results. With `disk`, those of equal instances too."""
        for memory in self._memories():
            memory.clear()
        disk = self.__func__._parts.loader.disk
        if disk is not None:
            disk.clear_instance(self.__self__)

    def _memories(self):
        parts = self.__func__._parts
        if parts.attribute is None:
            return [parts.memory]
        memory = getattr(self.__self__, "__dict__", {}).get(parts.attribute)
        beside = parts.elsewhere.get(id(self.__self__))
        return [found for found in (memory, beside and beside[1]) if found is not None]


def _memories(self):
    return self._parts.all_memories()


def _invalidate_tagged(parts, memories, tag):
    count, disk = sum(memory.invalidate_tag(tag) for memory in memories), parts.loader.disk
    return count if disk is None else max(count, disk.invalidate_tag(tag))


def _cache_info(self):
    """Report hits, misses, maxsize and current size, as functools does; over all instances for a method."""
    parts = self._parts
    size = sum(len(memory) for memory in _memories(self))
    hits, misses, *_ = parts.memory.counts()
    return CacheInfo(hits, misses, parts.options["maxsize"], size)


def _cache_clear(self):
    """Forget all results, of all instances for a method, and count from zero. On disk, whatever the code was."""
    for memory in _memories(self):
        memory.clear()
    disk = self._parts.loader.disk
    if disk is not None:
        disk.clear()
        disk.reset()
    self._parts.memory.reset()
    self._parts.loader.counts.reset()


def _cache_parameters(self):
    """The options: a new dictionary each time."""
    return dict(self._parts.options)


def _located(memo, args, kwargs):
    """The memory and the key of a call; None if it is not memoized. TypeError, as the call's, if it cannot be made."""
    located = memo.locate(*args, **kwargs)
    if located is None:
        inspect.signature(memo.__wrapped__).bind(*args, **kwargs)
    return located


def _invalidate(self, /, *args, **kwargs):
    """Forget the result for these arguments; whether there was one. A run that is under way is not stored."""
    located, disk = _located(self, args, kwargs), self._parts.loader.disk
    if located is None:
        return False
    memory, key = located
    in_memory = memory.invalidate(key)
    return (disk is not None and disk.invalidate(key, args)) or in_memory


def _invalidate_tag(self, tag, /):
    """Forget the results with a tag; how many there were. A run that is under way and brings the tag is not stored.

    With `disk`, all results in the folder that have the tag go, of whatever function.
    """
    return _invalidate_tagged(self._parts, _memories(self), tag)


def _contains(self, /, *args, **kwargs):
    """Whether a call with these arguments would be a hit."""
    located, disk = _located(self, args, kwargs), self._parts.loader.disk
    if located is None:
        return False
    memory, key = located
    return memory.contains(key) or (disk is not None and disk.contains(key, args))


def _stats(self):
    """What was counted so far: see `Stats`."""
    for memory in self._parts.memories:
        len(memory)
    return stats_of(self._parts.memory, self._parts.loader)


def _repr(self):
    return f"<memoized {_name(self.__wrapped__)}>"


# The native type has what a call needs; the rest is given to it here.
for _method_name, _method in {
    "__set_name__": _set_name,
    "__repr__": _repr,
    "cache_info": _cache_info,
    "cache_clear": _cache_clear,
    "cache_parameters": _cache_parameters,
    "invalidate": _invalidate,
    "invalidate_tag": _invalidate_tag,
    "contains": _contains,
    "stats": _stats,
}.items():
    setattr(_native.memo, _method_name, _method)


def cached_property(function=None, /, **options):
    """A property that is computed once for each instance, and again when `ttl` is over or it was deleted.

    Takes the options of `memoize`. `del instance.name` forgets the value; the property cannot be assigned to.
    """
    if function is None:
        decorate = memoize(**options)
        return lambda function: CachedProperty(decorate(function))
    return CachedProperty(memoize(function, **options))


class CachedProperty:
    """What `cached_property` makes of a method."""

    # As with the native types: pydantic takes what is in a class for a field unless the module of its type is this one.
    __module__ = "functools"

    def __init__(self, memo):
        self._memo = memo
        self.__wrapped__ = memo.__wrapped__
        self.__doc__ = memo.__doc__

    def __set_name__(self, owner, name):
        self._memo.__set_name__(owner, name)

    def __get__(self, instance, owner=None):
        return self if instance is None else self._memo(instance)

    def __set__(self, instance, value):
        raise AttributeError(f"property {self._memo.__name__!r} is computed; delete it to have it computed again")

    def __delete__(self, instance):
        self._memo.invalidate(instance)

    def stats(self):
        """What was counted so far, over all instances: see `Stats`."""
        return self._memo.stats()
