"""Warnings that are given once for each kind of object."""

import sys
import warnings

_PACKAGE = __name__.partition(".")[0]


def warn_once(owner, kind, message):
    """Warn, at the line that called into this package, unless `owner` has warned of this kind before."""
    ours = object()
    if owner.__dict__.setdefault("_warned", {}).setdefault(kind, ours) is ours:
        warnings.warn(message, RuntimeWarning, stacklevel=_levels_up())


def _levels_up():
    """How far up the first caller from elsewhere is, as `warn` counts from the function that calls this."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level
