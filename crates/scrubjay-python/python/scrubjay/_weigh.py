"""`weigh="bytes"`: about how much memory an entry takes, its key and the cache's own part included.

Sizes come from the types themselves; no `__sizeof__` of the user's runs. An object that several places refer to is
counted once. What other programs also hold on to (modules, functions, classes) weighs nothing.
"""

import sys
import types
from collections import deque

# What the native memory keeps for an entry besides key and value.
ENTRY = 160

_CONTAINERS = (tuple, list, set, frozenset, deque)
_SIZED = frozenset((*_CONTAINERS, dict, str, bytes, bytearray, int, float, complex, bool))
_SHARED: tuple[type, ...] = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.CodeType,
)


def weigh_entry(parts, value):
    """The weight of an entry in bytes."""
    seen = {id(None), id(True), id(False), id(Ellipsis)}
    return ENTRY + _weigh([*parts, value], seen)


def _weigh(todo, seen):
    total = 0
    while todo:
        part = todo.pop()
        if id(part) in seen or isinstance(part, _SHARED):
            continue
        seen.add(id(part))
        total += _size(part)
        kind = type(part)
        if kind in _CONTAINERS:
            todo.extend(part)
        elif kind is dict:
            todo.extend(part)
            todo.extend(part.values())
        else:
            todo.extend(_attributes(part))
    return total


def _size(part):
    kind = type(part)
    if kind in _SIZED:
        return sys.getsizeof(part)
    buffer = getattr(part, "nbytes", 0) if kind.__module__.partition(".")[0] in ("numpy", "array") else 0
    # The header of the collector is in front of the object.
    return kind.__basicsize__ + 16 + buffer


def _attributes(part):
    held = []
    attributes = getattr(part, "__dict__", None)
    if type(attributes) is dict:
        held.append(attributes)
    for kind in type(part).__mro__:
        for name in kind.__dict__.get("__slots__", ()):
            slot = kind.__dict__.get(name)
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    held.append(slot.__get__(part))
                except AttributeError:
                    pass
    return held
