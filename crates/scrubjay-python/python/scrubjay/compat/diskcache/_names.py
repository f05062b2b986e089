"""The names of diskcache that are no caches: settings, exceptions, markers."""


class Timeout(Exception):
    """Others kept writing for longer than `timeout` seconds."""


class UnknownFileWarning(UserWarning):
    """Given by diskcache's `check`; never given here."""


class EmptyDirWarning(UserWarning):
    """Given by diskcache's `check`; never given here."""


class Constant:
    """A value that is no other's."""

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return self._name


ENOVAL = Constant("ENOVAL")
UNKNOWN = Constant("UNKNOWN")


class Disk:
    """How diskcache keeps values. Here there is one way, so this class and its subclasses know settings and do nothing."""

    def __init__(self, directory, min_file_size=0, pickle_protocol=0):
        self._directory = directory
        self.min_file_size = min_file_size
        self.pickle_protocol = pickle_protocol


class JSONDisk(Disk):
    """As `Disk`: what is JSON comes back as it was."""


# Those of diskcache that mean something here, and those that are accepted and mean nothing.
DEFAULT_SETTINGS = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",
    "size_limit": 1 << 30,
    "cull_limit": 10,
    "disk_min_file_size": 1 << 15,
    "disk_pickle_protocol": 5,
}

# The store evicts what was not used lately; `cull` goes by the time of storing, or does nothing.
EVICTION_POLICY = {
    "none": None,
    "least-recently-stored": None,
    "least-recently-used": None,
    "least-frequently-used": None,
}
