"""Which calls of a language model are asked, and which are answered from the cache."""

import asyncio

import dspy
import pytest
from conftest import IS_3_3, model


def texts(answers):
    return [answer if isinstance(answer, str) else answer["text"] for answer in answers]


def test_the_second_call_is_a_hit_in_memory_and_the_third_on_disk(lm, cache, upstream):
    first = lm("hello")
    assert lm("hello") == first and upstream.calls == 1
    assert cache.stats().memory_hits == 1
    cache.reset_memory_cache()
    assert lm("hello") == first and upstream.calls == 1
    assert cache.stats().disk_hits == 1
    # It was brought back to memory.
    assert len(cache.memory_cache) == 1
    assert lm("hello") == first and cache.stats().memory_hits == 2


def test_another_request_is_another_call(lm, upstream):
    assert lm("hello") != lm("goodbye")
    assert upstream.calls == 2


def test_a_hit_has_no_usage_and_says_what_it_is(lm, cache, upstream):
    with dspy.track_usage() as first:
        lm("hello")
    assert first.get_total_tokens()["openai/gpt-4o-mini"]["total_tokens"] == 15
    with dspy.track_usage() as again:
        lm("hello")
    assert again.get_total_tokens() == {}
    assert not lm.history[-1]["usage"]
    # What is kept still has it.
    (kept,) = cache.memory_cache.values()
    assert "15" in str(kept) or getattr(kept, "usage", {}).get("total_tokens") == 15


def test_history_keeps_the_cost_and_the_cache_says_what_was_saved(lm, cache):
    lm("hello")
    cost = lm.history[-1]["cost"]
    assert cost and cache.saved_cost == 0
    lm("hello")
    assert cache.saved_cost == pytest.approx(cost)
    lm("hello")
    assert cache.saved_cost == pytest.approx(2 * cost)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_rollouts_are_calls_of_their_own_at_every_temperature(lm, upstream, temperature):
    counts = []
    for rollout in (1, 1, 2, None, None, 1):
        lm("hello", rollout_id=rollout, temperature=temperature)
        counts.append(upstream.calls)
    assert counts == [1, 1, 2, 3, 3, 3]
    assert all("rollout_id" not in body for _, body, _ in upstream.requests)


def test_the_api_key_and_the_endpoint_are_not_in_the_key_and_headers_are(lm, cache, upstream):
    lm("hello")
    model(upstream, api_key="another")("hello")
    model(upstream, api_base=upstream.url + "/")("hello")
    assert upstream.calls == 1
    model(upstream, extra_headers={"x-team": "7"})("hello")
    assert upstream.calls == 2


def test_sync_and_async_are_apart_unless_they_are_unified(lm, cache, upstream, tmp_path):
    lm("hello")
    asyncio.run(lm.acall("hello"))
    assert upstream.calls == 2
    asyncio.run(lm.acall("hello"))
    assert upstream.calls == 2
    import scrubjay.dspy

    scrubjay.dspy.install(disk_cache_dir=tmp_path / "unified", unify_async=True)
    lm("hello")
    asyncio.run(lm.acall("hello"))
    assert upstream.calls == 3


def test_failures_are_never_kept(lm, cache, upstream):
    upstream.failures = [400]
    with pytest.raises(Exception, match="failed"):
        lm("hello")
    assert len(cache.memory_cache) == 0 and len(cache.disk_cache) == 0
    lm("hello")
    assert upstream.calls == 2


def test_none_is_never_kept(cache):
    cache.put({"a": 1}, None)
    assert cache.get({"a": 1}) is None and len(cache.disk_cache) == 0


def test_cache_false_asks_and_keeps_nothing(upstream, cache):
    lm = model(upstream, cache=False)
    lm("hello")
    lm("hello")
    assert upstream.calls == 2 and len(cache.disk_cache) == 0


def test_whoever_changes_an_answer_changes_only_theirs(cache):
    first = {"outputs": ["a"], "usage": {"total_tokens": 3}}
    cache.put({"q": 1}, first)
    first["outputs"].append("changed by who asked first")
    hit = cache.get({"q": 1})
    assert hit["outputs"] == ["a"]
    hit["outputs"].append("changed by who was answered")
    assert cache.get({"q": 1})["outputs"] == ["a"]
    cache.reset_memory_cache()
    assert cache.get({"q": 1}) == {"outputs": ["a"], "usage": {"total_tokens": 3}}


def test_embeddings_are_kept_as_they_are(cache, upstream):
    embed = dspy.Embedder("openai/text-embedding-3-small", api_base=upstream.url, api_key="secret")
    first = embed(["a", "b"])
    cache.reset_memory_cache()
    again = embed(["a", "b"])
    assert upstream.calls == 1
    assert first.dtype == again.dtype and (first == again).all()


def tool(body):
    call = {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    return {"content": None, "tool_calls": [call]}


ANSWERS = {
    "chat": ({}, {}, None),
    "three choices": ({}, {"n": 3, "temperature": 1.0}, None),
    "log probabilities": ({}, {"logprobs": True}, None),
    "tool calls": ({}, {}, tool),
    "reasoning": ({}, {}, lambda body: {"content": "a", "reasoning_content": "because"}),
    "responses": ({"model_type": "responses"}, {}, None),
    "text": ({"name": "text-completion-openai/gpt-3.5-turbo-instruct", "model_type": "text"}, {}, None),
}


@pytest.mark.parametrize("engine", ["auto"] if IS_3_3 else ["auto", "litellm"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_every_kind_of_answer_comes_back_from_disk(kind, engine, cache, upstream):
    options, arguments, message = ANSWERS[kind]
    options = dict(options) if IS_3_3 else {**options, "engine": engine}
    if message:
        upstream.message = message
    lm = model(upstream, **options)
    first = lm("hello", **arguments)
    calls = upstream.calls
    cache.reset_memory_cache()
    assert lm("hello", **arguments) == first
    assert upstream.calls == calls and cache.stats().disk_hits == 1


def test_what_litellm_and_openai_return_comes_back_equal(cache):
    import litellm
    import numpy

    message = litellm.Message(content="a", tool_calls=tool({})["tool_calls"], reasoning_content="because")
    choice = litellm.Choices(message=message, finish_reason="tool_calls")
    response = litellm.ModelResponse(choices=[choice], model="m", usage=litellm.Usage(**{"total_tokens": 3}))
    response._hidden_params = {"response_cost": 0.5, "additional_headers": {"a": "b"}}
    values = [response, [[0.5, 1.0]], [{"text": "a"}, "b"], {"_dspy_format": "x", "usage": {}}]
    for number, value in enumerate(values):
        cache.put({"n": number}, value)
    cache.put({"n": "array"}, numpy.ones((2, 3), "f4"))
    cache.reset_memory_cache()
    hit = cache.get({"n": 0})
    assert hit.choices == response.choices and hit._hidden_params == response._hidden_params
    assert (hit.usage, hit.cache_hit, response.usage.total_tokens) == ({}, True, 3)
    assert [cache.get({"n": number}) for number in (1, 2, 3)] == values[1:]
    array = cache.get({"n": "array"})
    assert array.dtype == "f4" and array.shape == (2, 3)
