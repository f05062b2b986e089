"""Warnings that are given once for each kind of object."""

import warnings


def warn_once(owner, kind, message):
    """Warn unless `owner` has warned of this kind before."""
    warned = owner.__dict__.setdefault("_warned", set())
    if kind not in warned:
        warned.add(kind)
        warnings.warn(message, RuntimeWarning, stacklevel=4)
