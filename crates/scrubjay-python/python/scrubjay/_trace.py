"""`trace()`: the tree of calls of memoized and `lru_cache`d functions, with what each of them came to.

A trace belongs to the context that began it, and to the tasks and threads that inherit that context. Without one, a call
pays one comparison.
"""

import contextlib
import functools
import reprlib
import sys
import time
from contextvars import ContextVar

from scrubjay import _native
from scrubjay._stats import duration

# The call that the current code runs inside of, while a trace is recorded.
_current = ContextVar("scrubjay_trace", default=None)


class Call:
    """One call: `label`, `outcome` ("hit", "miss", "wait", "stale"), `seconds`, `calls` inside of it, `error` or None."""

    __slots__ = ("calls", "error", "label", "outcome", "seconds")

    def __init__(self, label):
        self.label = label
        self.outcome = "hit"
        self.seconds = 0.0
        self.error = None
        self.calls = []

    def __repr__(self):
        return f"<{self.label} {self.outcome}>"


class trace:
    """Record memoized calls, and print their tree at the end.

    ```python
    with trace():            # prints to standard error; file= takes another stream, None prints nothing
        fib(5)
    ```
    `calls` has the outermost calls; `str()` is the tree.
    """

    def __init__(self, *, file=...):
        self._root = Call("")
        self._file = sys.stderr if file is ... else file
        self._token = None

    @property
    def calls(self):
        return self._root.calls

    def __enter__(self):
        if self._token is not None:
            raise RuntimeError("a trace is recorded once at a time")
        self._token = _current.set(self._root)
        _native.recording(True)
        return self

    def __exit__(self, exc_type=None, exc=None, traceback=None, /):
        _native.recording(False)
        token, self._token = self._token, None
        _current.reset(token)
        if self._file is not None:
            print(self, file=self._file)

    def __str__(self):
        lines = [line for call in self.calls for line in _tree(call, "", "")]
        if not lines:
            return "no memoized calls"
        width = max(len(label) for label, _ in lines)
        return "\n".join(f"{label:<{width}}  {rest}" for label, rest in lines)


def _traced(wrapper, args, kwargs):
    """A call while some trace is recorded, perhaps another context's."""
    parent = _current.get()
    if parent is None:
        return wrapper.untraced(*args, **kwargs)
    call = Call(_label(wrapper, args, kwargs))
    parent.calls.append(call)
    # An `lru_cache` of a coroutine function keeps coroutines, as functools' does: its call ends when it returns one.
    finish = _finish_async if type(wrapper) is _native.memo and wrapper._parts.coroutine else _finish
    return finish(call, wrapper, args, kwargs)


def mark(outcome):
    """Say what the current call came to, if it is recorded."""
    call = _current.get()
    if call is not None:
        call.outcome = outcome


_native.listen(_traced, functools.partial(mark, "miss"))


def _finish(call, wrapper, args, kwargs):
    with _recorded(call):
        return wrapper.untraced(*args, **kwargs)


async def _finish_async(call, wrapper, args, kwargs):
    with _recorded(call):
        return await wrapper.untraced(*args, **kwargs)


@contextlib.contextmanager
def _recorded(call):
    token, begun = _current.set(call), time.perf_counter()
    try:
        yield
    except BaseException as error:
        call.error = type(error).__name__
        raise
    finally:
        call.seconds = time.perf_counter() - begun
        _current.reset(token)


def _label(wrapper, args, kwargs):
    name = getattr(wrapper, "__qualname__", None) or reprlib.repr(wrapper.__wrapped__)
    parts = [reprlib.repr(arg) for arg in args]
    parts += [f"{keyword}={reprlib.repr(value)}" for keyword, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def _tree(call, first, rest):
    told = f"{call.outcome:<5}  {duration(call.seconds)}"
    yield first + call.label, told + (f"  raised {call.error}" if call.error else "")
    for position, inner in enumerate(call.calls):
        last = position == len(call.calls) - 1
        yield from _tree(inner, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
