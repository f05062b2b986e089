"""What names a request: DSPy's own key, byte for byte, and stricter ones for those who ask.

The key is the SHA-256 of the request as JSON with sorted members, by the orjson that DSPy uses. So entries are found by
whoever computes keys as DSPy does. Whatever cannot be written as JSON raises, and the caller goes on without a cache.
"""

import hashlib
import inspect

_ASYNC = {
    "dspy.clients.lm15.complete.async": "dspy.clients.lm15.complete",
    "dspy.clients.lm.alitellm_completion": "dspy.clients.lm.litellm_completion",
    "dspy.clients.lm.alitellm_text_completion": "dspy.clients.lm.litellm_text_completion",
    "dspy.clients.lm.alitellm_responses_completion": "dspy.clients.lm.litellm_responses_completion",
    "dspy.clients.embedding._cached_acompute_embeddings": "dspy.clients.embedding._cached_compute_embeddings",
}


class Keys:
    """Computes keys; without options as DSPy does.

    `strict` looks into lists and tuples too, where DSPy finds no models or functions and so caches nothing;
    `strict_callables` tells functions of one source apart by what they are bound to and close over; `key_endpoint` keeps
    `api_base` and `base_url` in the key; `unify_async` gives a call and its asynchronous twin one key.
    """

    def __init__(self, strict=False, strict_callables=False, key_endpoint=False, unify_async=False):
        self._strict = strict
        self._strict_callables = strict_callables
        self._key_endpoint = key_endpoint
        self._unify_async = unify_async

    def key(self, request, ignored):
        """64 hexadecimal digits."""
        import orjson

        ignored = set(ignored or ())
        if self._key_endpoint:
            ignored -= {"api_base", "base_url"}
        fields = {name: self._plain(value) for name, value in request.items() if name not in ignored}
        if self._unify_async:
            identifier = fields.get("_fn_identifier")
            fields["_fn_identifier"] = _ASYNC.get(identifier, identifier)
        return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def _plain(self, value):
        kind = type(value)
        if kind in (str, int, float, bool, type(None)):
            return value
        if kind is dict or isinstance(value, dict):
            return {name: self._plain(part) for name, part in value.items()}
        if kind in (list, tuple):
            return [self._plain(part) for part in value] if self._strict else value
        return self._plain_object(value)

    def _plain_object(self, value):
        import pydantic

        if isinstance(value, type) and issubclass(value, pydantic.BaseModel):
            return value.model_json_schema()
        if isinstance(value, pydantic.BaseModel):
            return value.model_dump(mode="json")
        if callable(value):
            return self._bound(value) if self._strict_callables else _source_of(value)
        return value

    def _bound(self, function):
        """A function by its source, and by all that its results depend on besides."""
        inner = getattr(function, "__func__", function)
        cells = getattr(inner, "__closure__", None) or ()
        owner = getattr(function, "__self__", None)
        return {
            "name": f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', '')}",
            "source": _source_of(function),
            "self": self._plain(getattr(owner, "__dict__", owner)),
            "closure": [self._plain(cell.cell_contents) for cell in cells],
            "defaults": self._plain([inner_default for inner_default in getattr(inner, "__defaults__", None) or ()]),
        }


def _source_of(function):
    try:
        return f"<callable_source:{inspect.getsource(function)}>"
    except (TypeError, OSError):
        return f"<callable:{getattr(function, '__name__', 'lambda')}>"
