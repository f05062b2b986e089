"""`copy="freeze"`: an immutable form of a value, handed out to everyone alike."""

import types
from collections import Counter, OrderedDict, defaultdict, deque


def freeze(value):
    """Lists become tuples, dictionaries read-only views, sets frozensets, bytearrays bytes; arrays refuse writes.

    Named tuples stay what they are, of frozen parts. Objects of other types stay as they are.
    """
    kind = type(value)
    if kind in (list, tuple, deque):
        return tuple(freeze(part) for part in value)
    if kind in (dict, OrderedDict, Counter, defaultdict):
        parts = {key: freeze(part) for key, part in value.items()}
        # One with a factory of defaults would still grow.
        return types.MappingProxyType(parts if kind in (dict, defaultdict) else kind(parts))
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return tuple.__new__(kind, map(freeze, value))
    if kind in (set, frozenset):
        return frozenset(value)
    if kind is bytearray:
        return bytes(value)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        value = value.copy()
        value.flags.writeable = False
    return value
