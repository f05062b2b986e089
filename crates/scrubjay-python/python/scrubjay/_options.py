"""The options that say how values are kept, checked where they are given."""

import copy as copying
import datetime
import math
import numbers
import random
import sys

from scrubjay._copy import freeze
from scrubjay._native import ManualClock
from scrubjay._weigh import weigh_entry

# So that the weights of more entries than there is memory for can be added up.
_HEAVIEST = 1 << 40


class Keeping:
    """How the values of one function or cache are kept. Times are in seconds; `None` is for ever."""

    OPTIONS = ("ttl", "errors", "stale", "jitter", "tags", "weigh", "copy")

    __slots__ = ("copy", "errors", "jitter", "snapshot", "stale", "tags", "ttl", "weigh")

    def __init__(self, *, ttl=None, errors=None, stale=None, jitter=0.0, tags=(), weigh=None, copy="none"):
        self.ttl = ttl if callable(ttl) else seconds("ttl", ttl)
        self.errors = seconds("errors", errors)
        self.stale = seconds("stale", stale) or 0.0
        if self.stale and ttl is None:
            raise ValueError("stale= is the time after ttl= in which a stale value may be served: it needs ttl=")
        self.jitter = _fraction("jitter", jitter)
        if self.jitter and ttl is None:
            raise ValueError("jitter= shortens ttl= by a random part: it needs ttl=")
        self.tags = tags if callable(tags) else tag_list(tags)
        self.weigh = _weigher(weigh)
        self.snapshot, self.copy = _copier(copy)

    def life_of(self, value):
        """The seconds for which a value is fresh."""
        life = seconds("ttl", self.ttl(value)) if callable(self.ttl) else self.ttl
        if life is not None and self.jitter:
            life *= 1.0 - self.jitter * random.random()
        return life


def seconds(name, value):
    """A time to live as a number of seconds; None stays None."""
    if value is None:
        return None
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}= is a number of seconds or a timedelta, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name}= is a time to live and cannot be {value}")
    return None if math.isinf(value) else float(value)


def check_disk(options):
    """Refuse nonsense about what is on disk."""
    if options.get("code", "source") not in ("source", "bytecode", "off"):
        raise ValueError(f'code= is "source", "bytecode" or "off", not {options["code"]!r}')
    version = options.get("version")
    if isinstance(version, bool) or not isinstance(version, (int, str, type(None))):
        raise TypeError(f"version= is an integer or a string, not {type(version).__name__}")
    if options["disk"] is None:
        for name, absent in (("version", None), ("code", "source"), ("allow_pickle", False), ("classes", ())):
            if options.get(name, absent) != absent:
                raise ValueError(f"{name}= is about what is on disk: it needs disk=")


def capacity(maxsize):
    """`maxsize` as the native memory takes it."""
    if maxsize is None:
        return None
    if isinstance(maxsize, bool) or not isinstance(maxsize, numbers.Integral):
        raise TypeError(f"maxsize= is an integer or None, not {type(maxsize).__name__}")
    # No more than this can be counted.
    return min(max(int(maxsize), 0), sys.maxsize)


# What to do about results that the codec does not know.
STORING_ADVICE = "; classes= names classes that may be stored, and allow_pickle=True pickles what is left"


def check_clock(clock):
    if not isinstance(clock, (ManualClock, type(None))):
        raise TypeError(f"clock= is a scrubjay.ManualClock, not {type(clock).__name__}")


def name_list(ignore):
    """The names of parameters that are not part of the key."""
    if isinstance(ignore, str):
        return (ignore,)
    if not hasattr(ignore, "__iter__"):
        raise TypeError(f"ignore= is the name of a parameter or an iterable of names, not {ignore!r}")
    return tuple(ignore)


def tag_list(tags):
    """The tags of an iterable, as the user gave it or a function of the user's returned it."""
    if isinstance(tags, str) or not hasattr(tags, "__iter__"):
        given = f"a single string ({tags!r})" if isinstance(tags, str) else repr(tags)
        raise TypeError(f"tags= is an iterable of strings, or a function that returns one; not {given}")
    tags = list(tags)
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"a tag is a string, not {type(tag).__name__}")
    return tags


def _fraction(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}= is a number from 0 to 1, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}= is a number from 0 to 1, not {value}")
    return value


def _weigher(weigh):
    if weigh is None:
        return None
    if weigh == "bytes":
        return weigh_entry
    if not callable(weigh):
        raise TypeError('weigh= is "bytes" or a function of the value')

    def weigh_value(_parts, value):
        weight = weigh(value)
        if isinstance(weight, bool) or not isinstance(weight, numbers.Integral) or not 0 <= weight <= _HEAVIEST:
            raise ValueError(
                f"weigh= returns a weight that is an integer of at least 0 and at most {_HEAVIEST}, not {weight!r}"
            )
        return int(weight)

    return weigh_value


def _copier(copy):
    """What is kept of a value, and what a hit hands out of it; None where it is the object itself."""
    if copy == "none":
        return None, None
    if copy == "shallow":
        return copying.copy, copying.copy
    if copy == "deep":
        return copying.deepcopy, copying.deepcopy
    if copy == "freeze":
        return freeze, None
    raise ValueError(f'copy= is "none", "shallow", "deep" or "freeze", not {copy!r}')
