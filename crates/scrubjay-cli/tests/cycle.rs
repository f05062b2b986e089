//! `scrubjay run` inside commands that `scrubjay run` runs: nothing waits for ever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use fixtures::{Place, stderr, stdout};

const SCRUBJAY: &str = env!("CARGO_BIN_EXE_scrubjay");

#[test]
fn a_command_that_asks_for_its_own_answer_is_told_so() {
    let place = Place::new();
    place.counted("work", &format!("exec {SCRUBJAY} run -- ./work"));
    let output = place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("`./work` asks for its own answer"),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_command_that_asks_for_its_own_answer_through_another_is_told_so() {
    let place = Place::new();
    place.counted("a", &format!("exec {SCRUBJAY} run -- ./b"));
    place.counted("b", &format!("exec {SCRUBJAY} run -- ./a"));
    let output = place.scrubjay(&["run", "--", "./a"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("`./a` asks for its own answer"),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_command_that_clears_its_environment_is_told_of_the_circle_too() {
    let place = Place::new();
    let store = place.path("store");
    let ask = |name: &str| {
        let store = store.display();
        format!("env -i PATH=\"$PATH\" SCRUBJAY_STORE={store} {SCRUBJAY} run -- ./{name}")
    };
    place.counted("work", &ask("work"));
    place.counted("a", &ask("b"));
    place.counted("b", &ask("a"));
    for name in ["work", "a"] {
        let output = place.scrubjay(&["run", "--", &format!("./{name}")]);
        assert_eq!(output.status.code(), Some(125));
        let said = format!("`./{name}` asks for its own answer");
        assert!(stderr(&output).contains(&said), "{}", stderr(&output));
    }
    assert_eq!(place.runs(), 3);
}

#[test]
fn commands_inside_commands_are_remembered_each_for_itself() {
    let place = Place::new();
    place.counted("inner", "echo inner");
    place.counted("outer", &format!("{SCRUBJAY} run -- ./inner; echo outer"));
    for _ in 0..2 {
        assert_eq!(
            stdout(&place.scrubjay(&["run", "--", "./outer"])),
            "inner\nouter\n"
        );
    }
    assert_eq!(
        stdout(&place.scrubjay(&["run", "--", "./inner"])),
        "inner\n"
    );
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_command_inside_a_command_waits_for_somebody_elses_run() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("inner", "echo inner; read _ < gate");
    place.counted("outer", &format!("echo outer; {SCRUBJAY} run -- ./inner"));
    let mut inner = place.start(&["run", "--", "./inner"]);
    assert_eq!(inner.line(), "inner\n");
    let mut outer = place.start(&["run", "--", "./outer"]);
    assert_eq!(
        (outer.line(), outer.line()),
        ("outer\n".into(), "inner\n".into())
    );
    place.open_gate("gate");
    assert!(inner.end().status.success() && outer.end().status.success());
    assert_eq!(place.runs(), 2);
}

/// Two runs of two processes, each of which asks for the other's answer when both have begun.
fn crossed(place: &Place, ask: impl Fn(&str) -> String) -> [std::process::Output; 2] {
    for (name, other) in [("a", "b"), ("b", "a")] {
        place.fifo(&format!("gate-{name}"));
        let begun = format!("test -e begun-{name} && exit 0; touch begun-{name}");
        let body = format!("{begun}; echo {name}; read _ < gate-{name}; {}", ask(other));
        place.counted(name, &body);
    }
    let [mut a, mut b] = ["./a", "./b"].map(|name| place.start(&["run", "--", name]));
    assert_eq!((a.line(), b.line()), ("a\n".into(), "b\n".into()));
    place.open_gate("gate-a");
    place.open_gate("gate-b");
    [a.end(), b.end()]
}

#[test]
fn runs_of_two_processes_that_ask_for_each_others_answer_end() {
    let place = Place::new();
    // Run a second time, each command ends at once, so both can be answered.
    let outputs = crossed(&place, |other| {
        format!("{SCRUBJAY} run -- ./{other}; echo done")
    });
    for output in outputs {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).ends_with("done\n"), "{}", stdout(&output));
    }
    assert!((3..=4).contains(&place.runs()), "{} runs", place.runs());
    let left = std::fs::read_dir(place.path("store/scratch"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no file of a wait or a run is left");
}

#[test]
fn a_circle_of_three_processes_ends_too() {
    let place = Place::new();
    let names = ["a", "b", "c"];
    for (name, other) in names.into_iter().zip(["b", "c", "a"]) {
        place.fifo(&format!("gate-{name}"));
        let begun = format!("test -e begun-{name} && exit 0; touch begun-{name}");
        let ask = format!("{SCRUBJAY} run -- ./{other}");
        place.counted(
            name,
            &format!("{begun}; echo {name}; read _ < gate-{name}; {ask}"),
        );
    }
    let mut running = names.map(|name| place.start(&["run", "--", &format!("./{name}")]));
    for (running, name) in running.iter_mut().zip(names) {
        assert_eq!(running.line(), format!("{name}\n"));
    }
    for name in names {
        place.open_gate(&format!("gate-{name}"));
    }
    for running in running {
        assert_eq!(running.end().status.code(), Some(0));
    }
}

#[test]
fn what_a_run_left_behind_may_ask_for_its_answer() {
    let place = Place::new();
    place.fifo("gate");
    place.fifo("late");
    let ask = format!("(read _ < gate; {SCRUBJAY} run -- ./work > late) > /dev/null 2>&1 &");
    place.counted(
        "work",
        &format!("echo done; test -e again || {{ touch again; {ask} }}"),
    );
    let first = place.scrubjay(&["run", "--ttl", "0s", "--", "./work"]);
    assert_eq!(stdout(&first), "done\n");
    place.open_gate("gate");
    assert_eq!(place.read("late"), "done\n");
    assert_eq!(place.runs(), 2);
}
