"""A pytest plugin that puts Scrubjay's cache in the place of DSPy's, for DSPy's own tests (`DSPY_TESTS`)."""

import dspy.clients
import dspy.clients.cache
import pytest
import scrubjay.dspy

dspy.clients.cache.Cache = dspy.clients.Cache = scrubjay.dspy.Cache

# Each with the reason why it is no test of the interface.
EXCLUDED = {
    "test_corrupt_disk_entries_return_none": "writes into the SQLite files of diskcache's shards, which there are none of",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.originalname in EXCLUDED:
            item.add_marker(pytest.mark.skip(reason=EXCLUDED[item.originalname]))
