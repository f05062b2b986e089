"""A pytest plugin that puts Scrubjay's caches in the place of diskcache, for diskcache's own tests."""

import sys

import pytest
import scrubjay.compat.diskcache

ours = scrubjay.compat.diskcache
sys.modules["diskcache"] = sys.modules["diskcache.core"] = ours.core = ours

INSIDE = "replaces or reads diskcache's insides: its connection, its SQLite file, its pragmas, its shards or its `open`"
DISK = "subclasses or configures `Disk`, the class that lays out diskcache's files"
POLICY = "expects victims in the exact order of a policy; the store evicts what was not used lately among some picked by chance"
SWEEP = "expects `set` to discard what is expired; the store does so when it needs the room"
FILE = "opens a value's file by its name after it was closed; here `read` gives a temporary copy"
LAYOUT = "counts the files of the folder, which are others here"
PICKLED_KEY = "has an open file as a key, which only pickle can encode"

EXCLUDED: dict[str, dict[str, list[str]]] = {
    "test_core.py": {
        INSIDE: [
            "test_pragma_error", "test_close_error", "test_get_keyerror4", "test_set_timeout",
            "test_get_ioerror_fast_path", "test_pop_ioerror", "test_integrity_check",
            "test_add_timeout", "test_pull_ioerror", "test_disk_write_os_error", "test_check",
        ],
        DISK: ["test_custom_filename_disk"],
        POLICY: [
            "test_least_recently_stored", "test_least_recently_used", "test_least_frequently_used",
            "test_custom_eviction_policy",
        ],
        SWEEP: ["test_expire_rows"],
        FILE: ["test_path"],
        LAYOUT: ["test_cleanup_dirs"],
        PICKLED_KEY: ["test_getsetdel"],
    },
    "test_fanout.py": {
        INSIDE: [
            "test_set_timeout", "test_touch_timeout", "test_add_timeout", "test_incr_timeout", "test_decr_timeout",
            "test_get_timeout", "test_pop_timeout", "test_delete_timeout", "test_remove_timeout", "test_reset_timeout",
            "test_volume",
        ],
        DISK: ["test_custom_filename_disk"],
        PICKLED_KEY: ["test_getsetdel"],
    },
}  # fmt: skip


def pytest_collection_modifyitems(items):
    for item in items:
        for reason, names in EXCLUDED.get(item.path.name, {}).items():
            if item.originalname in names:
                item.add_marker(pytest.mark.skip(reason=reason))
