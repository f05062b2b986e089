"""Which state of its code a function is in, as a digest.

By source: the text of the function without decorators, docstrings, comments and layout, so that only what may change an
answer counts. By bytecode: what the interpreter runs, constants and nested functions included; another version of Python is
another state. Invariant: a digest is of the code that runs. Text that was edited since the module was imported compiles to
something else than what runs; then, and where there is no text, the bytecode decides.
"""

import ast
import copy
import importlib.util
import linecache
import sys
import types

from scrubjay import _native
from scrubjay._lru import lru_cache

# Half of a BLAKE3 digest: no two states of a function share one by chance.
_BYTES = 16


def state_of(code, mode):
    """The state of a code object: the mode that decided, and a digest; empty for "off"."""
    # Code objects are equal wherever they are from; their texts need not be.
    return _state_of(code, code.co_filename, mode)


@lru_cache(maxsize=1024)
def _state_of(code, _file, mode):
    if mode == "off":
        return ""
    text = _text(code) if mode == "source" else None
    if text is not None:
        return f"source {_digest(text)}"
    return f"bytecode {_digest([sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER, _instructions(code)])}"


def _digest(state):
    return _native.digest(_native.encode(state, None))[:_BYTES].hex()


@lru_cache(maxsize=1024)
def used_for_effect(code):
    """The names that a function uses in nothing but statements that throw their results away, such as `seen.append(…)`,
    `seen[n] = …` or `count += 1`."""
    function = _source(code)
    if function is None:
        return frozenset()
    for_effect = {id(name) for node in ast.walk(function) for name in _used_by(node)}
    # Whether it failed is something that the function gets to know.
    guarded = [statement for node in ast.walk(function) if _goes_on_after_errors(node) for statement in node.body]
    for_effect.difference_update(id(name) for statement in guarded for name in ast.walk(statement))
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    return frozenset(code.co_freevars).difference(name.id for name in names if id(name) not in for_effect)


def _used_by(statement):
    """The names that a statement uses for their effect only."""
    if isinstance(statement, ast.Expr):
        used = [statement.value.func] if isinstance(statement.value, ast.Call) else []
    elif isinstance(statement, ast.Assign):
        used = [target for target in statement.targets if not isinstance(target, ast.Name)]
    elif isinstance(statement, ast.AugAssign):
        used = [statement.target]
    else:
        used = []
    return [root for node in used if isinstance(root := _root(node), ast.Name)]


def _goes_on_after_errors(node):
    if isinstance(node, ast.With):
        calls = [item.context_expr.func for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any("suppress" in (getattr(called, "id", None), getattr(called, "attr", None)) for called in calls)
    return bool(getattr(node, "handlers", None))


def _root(node):
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


def _text(code):
    """The normalised source of what runs, or None."""
    function = _source(code)
    try:
        return None if function is None else _normalised(function)
    except RecursionError:
        return None


def _source(code):
    """The definition of what runs, or None."""
    # The text of a file is kept from its first use on: where that is not what runs, it is read again.
    for refresh in (False, True):
        if refresh:
            linecache.checkcache(code.co_filename)
        try:
            found = _find(code, "".join(linecache.getlines(code.co_filename)))
        except (SyntaxError, ValueError, RecursionError, UnicodeError):
            return None
        if found is not None:
            return found
    return None


def _find(code, text):
    tree, compiled = _parsed(text, code.co_filename)
    if not any(code == other for other in _nested(compiled)):
        return None
    found = [node for node in ast.walk(tree) if _begins(node) == (code.co_name, code.co_firstlineno)]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=4)
def _parsed(text, file):
    return ast.parse(text), compile(text, file, "exec", dont_inherit=True)


def _nested(code):
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _nested(constant)


def _begins(node):
    """The name of a function and the line where its code begins: a lambda has no name that would tell it from others."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    return node.name, min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)


def _normalised(function):
    function = copy.deepcopy(function)
    function.decorator_list = []
    for node in ast.walk(function):
        is_documented = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if is_documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(function)


def _instructions(code):
    return [
        code.co_name, code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
        code.co_code, getattr(code, "co_exceptiontable", b""), list(code.co_names), list(code.co_varnames),
        list(code.co_cellvars), list(code.co_freevars), [_constant(constant) for constant in code.co_consts],
    ]  # fmt: skip


def _constant(constant):
    kind = type(constant)
    if kind is types.CodeType:
        return ["code", _instructions(constant)]
    if kind is tuple:
        return ["tuple", *map(_constant, constant)]
    if kind is frozenset:
        # In an order that does not depend on the process.
        return ["set", *sorted(_native.encode(_constant(part), None) for part in constant)]
    return [kind.__name__, repr(constant)]
