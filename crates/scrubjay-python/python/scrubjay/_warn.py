"""Warnings that are given once for each kind of object."""

import warnings


def warn_once(owner, kind, message):
    """Warn unless `owner` has warned of this kind before."""
    ours = object()
    if owner.__dict__.setdefault("_warned", {}).setdefault(kind, ours) is ours:
        warnings.warn(message, RuntimeWarning, stacklevel=4)
