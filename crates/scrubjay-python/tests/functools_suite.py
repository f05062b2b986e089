"""CPython's own tests of `lru_cache`, from the interpreter's `test` package, unmodified, with ours substituted.

Run as a program: `python functools_suite.py`. Exits with 3 where the interpreter came without its `test` package.
"""

import faulthandler
import functools
import sys
import types
import unittest

try:
    from test import test_functools
except ImportError:
    print("the interpreter came without its `test` package", file=sys.stderr)
    sys.exit(3)

import scrubjay

# The suite reaches everything through a module: functools, but for what is substituted.
module = types.ModuleType("functools_with_scrubjay")
module.__dict__.update(vars(functools))
module.lru_cache = scrubjay.lru_cache
module.cache = scrubjay.cache


@module.lru_cache()
def ours_cached_func(x, y):
    return 3 * x + y


class TestLRUOfScrubjay(test_functools.TestLRU, unittest.TestCase):
    module = module
    cached_func = (ours_cached_func,)

    @module.lru_cache()
    def cached_meth(self, x, y):
        return 3 * x + y

    @staticmethod
    @module.lru_cache()
    def cached_staticmeth(x, y):
        return 3 * x + y


class TestCacheOfScrubjay(test_functools.TestCache, unittest.TestCase):
    module = module


if __name__ == "__main__":
    faulthandler.dump_traceback_later(100, exit=True)
    unittest.main()
