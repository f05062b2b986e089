"""The name of a call below memory: its arguments as bytes that are the same in every process.

Invariants: arguments that are one key in memory are one here, and different ones have different bytes, because every part
says what it is. Whatever is told apart by its identity, which no other process knows, has no name: `Unnamed`.

A name is made of lists, texts, bytes, integers and None, and encoded by the codec; anything that is not such an atom is a
list that begins with what it is.
"""

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import logging
import os
import pathlib
import sys
import threading
import types

from scrubjay import _native
from scrubjay._code import state_of, used_for_effect
from scrubjay._codec import _REDUCERS as REDUCERS
from scrubjay._content import Content, content, model_parts

_ATOMS = (str, bytes, int, type(None))
_NUMBERS = (int, float, complex, decimal.Decimal, fractions.Fraction)


class Unnamed(TypeError):
    """The value cannot be told from others in another process; the message says which."""


def encoded(name):
    """A name as bytes."""
    return _native.encode(name, None)


def argument(value):
    """The name of an argument: compared by type and value, or by content."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is Content:
        return _frozen(value)
    if kind in _UNTYPED:
        return equal(value)
    return ["typed", class_name(kind), equal(value)]


def instance(value):
    """The name of the instance of a method: its type and content."""
    kind = type(value)
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.compare]
        held = [[name, _exact(getattr(value, name))] for name in fields]
    elif hasattr(kind, "__pydantic_fields__"):
        held = [_exact(part) for part in model_parts(value)]
    else:
        return argument(value)
    return ["instance", class_name(kind), held]


def equal(value):
    """The name of a value that is compared by `==` alone: 1, 1.0 and True are one."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    for base, name in _BY_BASE:
        # A subclass with an `==` of its own is not what its base is.
        if isinstance(value, base) and kind.__eq__ is base.__eq__:
            return name(value)
    known = REDUCERS.get(kind)
    if known is not None:
        name, state = _zoned(value) or known(value)
        return ["value", name, equal(state)]
    return _object(value, kind)


def class_name(kind):
    """`module:qualname` of a class that can be found by it."""
    found = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not kind:
        raise Unnamed(f"{kind.__module__}.{kind.__qualname__} cannot be found by its name")
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"


def module_name(module):
    """A module's name; of the program, the name or the file that it was started by."""
    if module not in ("__main__", "__mp_main__"):
        # Where CPython 3.13 keeps its classes is nobody's business.
        return "pathlib" if module == "pathlib._local" else module
    # While multiprocessing runs the program in a process that it spawned, `__main__` is still its own.
    main = sys.modules.get(module) or sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return spec.name
    return "__main__" if file is None else os.path.realpath(file)


def function_name(function):
    """Module and qualified name of a function."""
    return f"{module_name(function.__module__)}.{function.__qualname__}"


def closure(function, mode, above=()):
    """What a function closes over: two functions of one text differ in it."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or not cells:
        return []
    above = (*above, code)
    # The class is known by the instance.
    named = [(name, cell) for name, cell in zip(code.co_freevars, cells, strict=True) if name != "__class__"]
    for_effect = used_for_effect(code)
    return [[name, _cell(name, cell, name in for_effect, mode, above)] for name, cell in named]


def _cell(name, cell, for_effect, mode, above):
    try:
        value = cell.cell_contents
    except ValueError:
        return ["empty"]
    if isinstance(value, _SYNCHRONIZING) or for_effect and type(value) in _PASSIVE:
        # Nothing of it can get into what the function returns.
        return ["any"]
    try:
        value = getattr(value, "__wrapped__", value) if type(value) is _native.memo else value
        if type(value) is types.FunctionType:
            return _function(value, mode, above)
        return _exact(value)
    except TypeError as error:
        raise Unnamed(f"{name}: {error}") from None


def _function(function, mode, above=()):
    name, code = function_name(function), function.__code__
    if code in above:
        return ["again", name]
    defaults = [*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
    return [
        "function", name, state_of(code, mode), closure(function, mode, above), [_exact(part) for part in defaults],
    ]  # fmt: skip


def _exact(value):
    """The name of any value: by content where it cannot be hashed, else by type and value."""
    try:
        hash(value)
    except TypeError:
        value = content(value)
    return argument(value)


def _frozen(part):
    """What `content` made: tuples and sets are its own, the user's are in a `Content` themselves."""
    kind = type(part)
    if kind is Content:
        return ["content", _frozen(part._parts)]
    if kind is tuple:
        return ["parts", *map(_frozen, part)]
    if kind is frozenset:
        return ["set", *sorted(encoded(_frozen(item)) for item in part)]
    return equal(part)


def _number(value):
    if isinstance(value, complex):
        if value.imag:
            return ["complex", _number(value.real), _number(value.imag)]
        value = value.real
    if isinstance(value, decimal.Decimal) and value.is_finite() and abs(value.adjusted()) > 400:
        # Its ratio would have more digits than there is memory.
        return ["decimal", str(value.normalize())]
    try:
        above, below = value.as_integer_ratio()
    except OverflowError:
        return ["infinity", int(value > 0)]
    except ValueError:
        return ["nan"]
    return above if below == 1 else ["ratio", above, below]


# Their types have no names, but nothing else is equal to them.
_UNTYPED: tuple[type, ...] = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    type(...),
    type(NotImplemented),
)
# What only says when code runs, or that it ran.
_SYNCHRONIZING = (
    type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore, threading.Event,
    threading.Barrier, asyncio.Lock, asyncio.Condition, asyncio.Semaphore, asyncio.Event, logging.Logger,
)  # fmt: skip
# What changes nothing but itself when it is told to.
_PASSIVE = (
    list, dict, set, bytearray, int, float, complex, collections.deque, collections.Counter, collections.OrderedDict,
    collections.defaultdict,
)  # fmt: skip
# What each is compared by; subclasses that leave `==` alone are equal to their bases.
_BY_BASE = [(base, _number) for base in _NUMBERS] + [
    (str, lambda value: str.__str__(value)),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (tuple, lambda value: ["tuple", *map(equal, value)]),
    (frozenset, lambda value: ["set", *sorted(encoded(equal(part)) for part in value)]),
    (pathlib.PurePath, lambda value: ["path", int(isinstance(value, pathlib.PureWindowsPath)), str(value)]),
    (type, lambda value: ["class", class_name(value)]),
]


def _zoned(value):
    """A time in a zone that has a name, as `zoneinfo`'s have."""
    zone = value.tzinfo if isinstance(value, (datetime.datetime, datetime.time)) else None
    name = getattr(zone, "key", None)
    return isinstance(name, str) and ("zoned", (value.replace(tzinfo=None).isoformat(), value.fold, name))


def _object(value, kind):
    if isinstance(value, enum.Enum):
        return ["enum", class_name(kind), value.name if value.name is not None else equal(value.value)]
    if kind.__module__ == "numpy" and hasattr(value, "item"):
        return equal(value.item())
    if kind is types.FunctionType:
        # Its code is part of the key: a function is not what one of its name was before.
        return _function(value, "source")
    if kind is types.ModuleType:
        return ["module", module_name(value.__name__)]
    if kind is types.BuiltinFunctionType and isinstance(value.__self__, types.ModuleType):
        return ["builtin", value.__module__, value.__qualname__]
    if kind.__hash__ is None:
        return _frozen(content(value))
    if kind.__hash__ is not object.__hash__:
        if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value) if field.compare]
            return ["object", class_name(kind), *([name, equal(getattr(value, name))] for name in fields)]
        if hasattr(kind, "__pydantic_fields__"):
            return ["object", class_name(kind), *map(equal, model_parts(value))]
    raise Unnamed(f"objects of {kind.__module__}.{kind.__qualname__} are told apart by what no other process knows")
