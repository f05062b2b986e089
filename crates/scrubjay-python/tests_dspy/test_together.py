"""Equal requests that run at once are asked once: threads, tasks, processes, evaluations."""

import asyncio
import json
import subprocess
import sys
import threading

import dspy
import pytest
import scrubjay.dspy
from conftest import model, wait_until_waiting


def ask_in_threads(count, ask):
    answers = []

    def run():
        try:
            answers.append(ask())
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def finish(threads):
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_sixteen_threads_ask_once(lm, cache, upstream):
    upstream.gate.clear()
    threads, answers = ask_in_threads(16, lambda: lm("hello"))
    wait_until_waiting(15)
    upstream.gate.set()
    finish(threads)
    assert upstream.calls == 1
    assert len(answers) == 16 and all(answer == answers[0] for answer in answers)


def test_sixteen_tasks_ask_once(lm, cache, upstream):
    upstream.gate.clear()

    async def ask_all():
        tasks = [asyncio.ensure_future(lm.acall("hello")) for _ in range(16)]
        await asyncio.to_thread(wait_until_waiting, 15)
        upstream.gate.set()
        return await asyncio.gather(*tasks)

    answers = asyncio.run(ask_all())
    assert upstream.calls == 1 and all(answer == answers[0] for answer in answers)


def test_a_cancelled_leader_hands_over(lm, cache, upstream):
    upstream.gate.clear()

    async def ask():
        leader = asyncio.ensure_future(lm.acall("hello"))
        await asyncio.to_thread(upstream.wait_for_calls, 1)
        others = [asyncio.ensure_future(lm.acall("hello")) for _ in range(3)]
        await asyncio.to_thread(wait_until_waiting, 3)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        upstream.gate.set()
        return await asyncio.gather(*others)

    answers = asyncio.run(ask())
    assert upstream.calls == 2 and all(answer == answers[0] for answer in answers)


def test_those_who_wait_for_a_call_that_fails_ask_one_after_the_other(lm, cache, upstream):
    upstream.gate.clear()
    upstream.failures = [400, 400]
    threads, answers = ask_in_threads(6, lambda: lm("hello"))
    wait_until_waiting(5)
    upstream.gate.set()
    finish(threads)
    failed = [answer for answer in answers if isinstance(answer, Exception)]
    assert len(failed) == 2 and upstream.calls == 3
    assert len({str(answer) for answer in answers if answer not in failed}) == 1


def test_whoever_waited_long_enough_asks_for_itself(upstream, tmp_path):
    cache = scrubjay.dspy.install(disk_cache_dir=tmp_path / "cache", patience=0.05)
    try:
        lm = model(upstream)
        upstream.gate.clear()
        threads, answers = ask_in_threads(2, lambda: lm("hello"))
        upstream.wait_for_calls(2)
        upstream.gate.set()
        finish(threads)
        assert cache.stats().joined == 1 and len(answers) == 2
    finally:
        scrubjay.dspy.uninstall()


def test_a_leader_that_is_interrupted_before_it_asks_hands_over(cache):
    flights = cache.flights
    flight, leader = flights._join("key", False)
    assert flights._join("key", False) == (flight, None)
    # As an interrupt between two lines would: what the leader held goes with its frame.
    del leader
    assert flight.landed and flights._join("key", False)[1] is not None


def test_calls_that_bypass_the_cache_do_not_wait(upstream, cache):
    lm = model(upstream, cache=False)
    upstream.gate.clear()
    threads, _ = ask_in_threads(3, lambda: lm("hello"))
    upstream.wait_for_calls(3)
    upstream.gate.set()
    finish(threads)
    assert cache.stats().joined == 0


def test_what_cannot_be_kept_is_asked_at_once_and_not_one_after_the_other(cache):
    arrived, go = threading.Semaphore(0), threading.Event()

    @scrubjay.dspy.request_cache()
    def ask(q):
        arrived.release()
        assert go.wait(60)

    threads, answers = ask_in_threads(4, lambda: ask(q=1))
    assert arrived.acquire(timeout=60)
    wait_until_waiting(3)
    go.set()
    finish(threads)
    go.clear()
    threads, answers = ask_in_threads(1, lambda: ask(q=1))
    go.set()
    finish(threads)
    assert answers == [None]


class Watched(scrubjay.dspy.Cache):
    """A cache of a user's, with `get` and `put` of their own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []

    def get(self, request, ignored_args_for_cache_key=None):
        self.asked.append("get")
        return super().get(request, ignored_args_for_cache_key)

    def put(self, request, value, ignored_args_for_cache_key=None, enable_memory_cache=True):
        self.asked.append("put")
        super().put(request, value, ignored_args_for_cache_key, enable_memory_cache)


@pytest.fixture
def watched(tmp_path):
    yield scrubjay.dspy.install(Watched(disk_cache_dir=tmp_path / "cache"))
    scrubjay.dspy.uninstall()


def test_functions_ask_the_get_and_put_of_a_cache_that_has_its_own(watched):
    @scrubjay.dspy.request_cache()
    def ask(q):
        return f"answer to {q}"

    @scrubjay.dspy.request_cache()
    async def ask_async(q):
        return f"answer to {q}"

    assert ask(q=1) == ask(q=1) == "answer to 1" and watched.asked == ["get", "put", "get"]
    watched.asked.clear()
    assert asyncio.run(ask_async(q=1)) == asyncio.run(ask_async(q=1)) == "answer to 1"
    assert watched.asked == ["get", "put", "get"]


def test_an_answer_is_kept_for_the_arguments_as_they_came(cache):
    @scrubjay.dspy.request_cache()
    def ask(messages):
        messages.append("changed")
        return len(messages)

    assert ask(messages=["a"]) == 2 and ask(messages=["a"]) == 2
    assert ask(messages=["a", "changed"]) == 3


def test_an_answer_to_arguments_without_a_key_is_not_kept_for_what_they_became(cache):
    @scrubjay.dspy.request_cache()
    def ask(messages):
        messages[:] = ["plain"]
        return len(messages)

    assert ask(messages=[object()]) == 1 and len(cache.disk_cache) == 0
    assert cache.stats().uncacheable == 1


def test_a_function_that_asks_for_its_own_key_computes(cache):
    @scrubjay.dspy.request_cache()
    def ask(depth):
        levels.append(1)
        return "done" if len(levels) == 3 else ask(depth=depth)

    levels = []
    assert ask(depth=1) == "done" and len(levels) == 3


def test_two_threads_that_would_wait_for_each_other_compute(cache):
    both_lead = threading.Barrier(2, timeout=60)

    @scrubjay.dspy.request_cache()
    def ask(name):
        if len(calls) < 2:
            calls.append(name)
            both_lead.wait()
            return name + ask(name="b" if name == "a" else "a")
        return name

    calls, names = [], iter("ab")
    threads, answers = ask_in_threads(2, lambda: ask(name=next(names)))
    finish(threads)
    assert len(answers) == 2 and not any(isinstance(answer, Exception) for answer in answers)


def evaluate(lm, upstream):
    dspy.configure(lm=lm)
    questions = [f"question {number % 8}" for number in range(64)]
    devset = [dspy.Example(question=question, answer="").with_inputs("question") for question in questions]
    program = dspy.Predict("question -> answer")
    metric = lambda example, prediction, trace=None: prediction.answer.startswith("answer")
    return dspy.Evaluate(devset=devset, metric=metric, num_threads=16, display_progress=False)(program)


def test_an_evaluation_of_64_examples_of_which_8_differ_makes_8_calls(lm, upstream):
    result = evaluate(lm, upstream)
    assert result.score == 100.0
    assert upstream.calls == 8
    evaluate(lm, upstream)
    assert upstream.calls == 8


def test_what_an_executor_sends_again_joins_the_call_that_runs(lm, cache, upstream):
    from dspy.utils.parallelizer import ParallelExecutor

    upstream.gate.clear()
    executor = ParallelExecutor(num_threads=4, timeout=0.01, straggler_limit=3, disable_progress_bar=True)
    threads, answers = ask_in_threads(1, lambda: executor.execute(lambda text: lm(text), ["a", "b"]))
    wait_until_waiting(1)
    upstream.gate.set()
    finish(threads)
    assert upstream.calls == 2


PROCESS = """
import sys, threading, json
import dspy, scrubjay.dspy
url, folder = sys.argv[1:]
scrubjay.dspy.install(disk_cache_dir=folder)
lm = dspy.LM("openai/gpt-4o-mini", api_base=url, api_key="k", num_retries=0)
print("ready", flush=True)
sys.stdin.readline()
answers = []
threads = [threading.Thread(target=lambda: answers.append(lm("hello"))) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(answers), flush=True)
"""


def test_four_processes_of_four_threads_ask_once(upstream, tmp_path):
    upstream.gate.clear()
    command = [sys.executable, "-c", PROCESS, upstream.url, str(tmp_path)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **options) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    upstream.wait_for_calls(1)
    upstream.gate.set()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    answers = [answer for output in outputs for answer in json.loads(output)]
    assert upstream.calls == 1 and len(answers) == 16 and all(answer == answers[0] for answer in answers)


def test_a_process_that_is_killed_while_it_asks_is_succeeded(lm, cache, upstream):
    upstream.gate.clear()
    folder = cache.disk_cache_dir
    command = [sys.executable, "-c", PROCESS, upstream.url, folder]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("go\n")
    other.stdin.flush()
    upstream.wait_for_calls(1)
    threads, answers = ask_in_threads(1, lambda: lm("hello"))
    other.kill()
    other.communicate()
    upstream.wait_for_calls(2)
    upstream.gate.set()
    finish(threads)
    assert len(answers) == 1 and not isinstance(answers[0], Exception)
