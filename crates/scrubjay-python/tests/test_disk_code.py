"""Edited functions do not serve answers of their old selves; edits that change nothing cost nothing."""

import contextlib
import logging
import textwrap
import threading

import pytest
from other_process import run
from scrubjay import memoize

PRICES = '''
from scrubjay import memoize

RUNS = []
FOLDER = "cache"

@memoize(disk=FOLDER, OPTIONS)
def price(n):
    """What n cost."""
    # For now.
    total = n * 2
    return total
'''

ASK = """
import sys
sys.path.insert(0, ".")
sys.dont_write_bytecode = True
import prices
print(prices.price.stats().loads, prices.price(3), prices.price.stats().loads)
"""


def answers(folder, text, options):
    (folder / "prices.py").write_text(text.replace("OPTIONS", options))
    _before, answer, loads = run(ASK, cwd=folder).split()
    return answer, loads


HARMLESS = {
    "comment": lambda text: text.replace("# For now.", "# As everybody knows."),
    "docstring": lambda text: text.replace("What n cost.", "The price."),
    "no docstring": lambda text: text.replace('    """What n cost."""\n', ""),
    "layout": lambda text: text.replace("n * 2", "(n\n        *   2)"),
    "place": lambda text: "# A line more.\n\n" + text,
    "other function": lambda text: text + "\n\ndef other():\n    return 1\n",
    "other option": lambda text: text.replace("@memoize(", "@memoize(ttl=100, "),
}
EDITS = {
    "constant": lambda text: text.replace("n * 2", "n * 3"),
    "operator": lambda text: text.replace("n * 2", "n + 2"),
    "nested": lambda text: text.replace("total = n * 2", "total = (lambda m: m * 5)(n)"),
}


@pytest.mark.parametrize("edit", HARMLESS)
def test_an_edit_that_changes_no_code_finds_the_old_answers_by_source(tmp_path, edit):
    assert answers(tmp_path, PRICES, "") == ("6", "1")
    assert answers(tmp_path, HARMLESS[edit](PRICES), "") == ("6", "0")


@pytest.mark.parametrize("mode", ["source", "bytecode"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_function_does_not_serve_its_old_answers(tmp_path, edit, mode):
    options = f"code='{mode}'"
    assert answers(tmp_path, PRICES, options) == ("6", "1")
    edited = EDITS[edit](PRICES)
    expected = {"constant": "9", "operator": "5", "nested": "15"}[edit]
    assert answers(tmp_path, edited, options) == (expected, "1")
    # Whoever goes back finds what was there.
    assert answers(tmp_path, PRICES, options) == ("6", "0")
    assert answers(tmp_path, edited, options) == (expected, "0")


@pytest.mark.parametrize("edit", ["comment", "layout", "place", "other function"])
def test_bytecode_is_the_same_in_every_process(tmp_path, edit):
    assert answers(tmp_path, PRICES, "code='bytecode'") == ("6", "1")
    assert answers(tmp_path, HARMLESS[edit](PRICES), "code='bytecode'") == ("6", "0")


def test_sets_among_the_constants_have_one_order(tmp_path):
    text = PRICES.replace("total = n * 2", "total = n * 2 if n in {'a', 'b', 'c', 'd', 3} else 0")
    assert answers(tmp_path, text, "code='bytecode'") == ("6", "1")
    for _ in range(3):
        assert answers(tmp_path, text, "code='bytecode'") == ("6", "0")


def test_with_code_off_the_old_answers_stay(tmp_path):
    assert answers(tmp_path, PRICES, "code='off'") == ("6", "1")
    assert answers(tmp_path, EDITS["constant"](PRICES), "code='off'") == ("6", "0")


def test_a_version_stands_for_the_code(tmp_path):
    assert answers(tmp_path, PRICES, "version=1") == ("6", "1")
    assert answers(tmp_path, EDITS["constant"](PRICES), "version=1") == ("6", "0")
    assert answers(tmp_path, EDITS["constant"](PRICES), "version=2") == ("9", "1")


def test_text_that_was_edited_while_the_program_ran_is_not_taken_for_its_code(tmp_path):
    text = PRICES.replace("OPTIONS", "")
    (tmp_path / "prices.py").write_text(text)
    edits = """
        import sys, pathlib
        sys.path.insert(0, ".")
        sys.dont_write_bytecode = True
        import prices
        path = pathlib.Path("prices.py")
        path.write_text(path.read_text().replace("n * 2", "n * 3"))
        print(prices.price(3))
    """
    assert run(edits, cwd=tmp_path) == "6\n"
    # The new code must not find what the old one computed while the new text was there.
    assert run(ASK, cwd=tmp_path).split() == ["0", "9", "1"]


def test_functions_without_a_text_go_by_their_bytecode(tmp_path):
    program = """
        import sys
        from scrubjay import memoize
        space = {"memoize": memoize, "__name__": "shell", "folder": sys.argv[1]}
        exec("@memoize(disk=folder)\\ndef f(n):\\n    return n * %s\\n" % sys.argv[2], space)
        print(space["f"](3), space["f"].stats().loads)
    """
    assert run(program, tmp_path, 2) == "6 1\n"
    assert run(program, tmp_path, 2) == "6 0\n"
    assert run(program, tmp_path, 5) == "15 1\n"


def test_two_lambdas_of_one_line_share_nothing(tmp_path):
    one, other = memoize(lambda n: n + 1, disk=tmp_path), memoize(lambda n: n + 2, disk=tmp_path)
    assert one(1) == 2 and other(1) == 3


def test_functions_that_close_over_different_things_share_nothing(tmp_path):
    def times(factor, also=None):
        @memoize(disk=tmp_path)
        def product(n):
            return n * factor if also is None else also(n)

        return product

    assert times(2)(3) == 6 and times(3)(3) == 9 and times([1])(2) == [1, 1] and times([2])(2) == [2, 2]
    assert times(2, lambda n: n + 1)(3) == 4 and times(2, lambda n: n + 2)(3) == 5
    again = times(2)
    assert again(3) == 6 and again.stats().loads == 0


def test_what_a_function_closes_over_and_cannot_be_named_keeps_it_in_memory(tmp_path):
    class Client:
        def ask(self, n):
            return n

    def asker(client):
        @memoize(disk=tmp_path)
        def ask(n):
            return client.ask(n)

        return ask

    ask = asker(Client())
    with pytest.warns(RuntimeWarning, match="what it closes over has no name in another process: client"):
        assert ask(1) == 1
    assert ask(1) == 1 and ask.stats().loads == 1 and ask.stats().disk_writes == 0


def test_what_is_used_for_its_effect_only_is_no_part_of_the_name(tmp_path):
    def make(seen, count, lock, log):
        @memoize(disk=tmp_path)
        def answer(n):
            nonlocal count
            log.info("asked")
            with lock:
                seen.append(n)
                seen[0] = n
                count += 1
            return n

        return answer

    assert make([], 0, threading.Lock(), logging.getLogger("a"))(1) == 1
    again = make([1, 2], 5, threading.RLock(), logging.getLogger("b"))
    assert again(1) == 1 and again.stats().loads == 0


def test_what_fails_where_errors_are_caught_is_part_of_the_name(tmp_path):
    def make(slots):
        @memoize(disk=tmp_path)
        def caught(n):
            try:
                slots[n] = n
            except IndexError:
                return "no slot"
            return "slot"

        @memoize(disk=tmp_path)
        def suppressed(n):
            with contextlib.suppress(ValueError):
                slots.remove(n)
                return "was there"
            return "was not there"

        return caught, suppressed

    assert [memo(1) for memo in make([0, 1])] == ["slot", "was there"]
    assert [memo(1) for memo in make([])] == ["no slot", "was not there"]


def test_what_may_change_the_answer_in_another_way_is_part_of_the_name(tmp_path):
    class Setting:
        def apply(self):
            global FACTOR
            FACTOR = 2

    def make(setting, seen):
        @memoize(disk=tmp_path)
        def answer(n):
            setting.apply()
            seen.append(n)
            return n * FACTOR + len(seen)

        return answer

    with pytest.warns(RuntimeWarning, match="in another process: setting: "):
        assert make(Setting(), [])(1) == 3


def test_programs_of_one_name_are_told_apart_by_their_files(tmp_path):
    text = textwrap.dedent("""
        from scrubjay import memoize
        factor = FACTOR
        @memoize(disk="cache")
        def f(n):
            return n * factor
        if __name__ == "__main__":
            print(f(3))
    """)
    import subprocess
    import sys

    for name, factor in (("one", 2), ("other", 5)):
        (tmp_path / f"{name}.py").write_text(text.replace("FACTOR", str(factor)))
        done = subprocess.run([sys.executable, f"{name}.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == f"{3 * factor}\n"
