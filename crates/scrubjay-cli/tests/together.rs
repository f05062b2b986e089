//! `scrubjay run`, several processes at a time: one runs, the others watch, and somebody takes over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;

use fixtures::{Place, stderr, stdout};

const RUN: [&str; 3] = ["run", "--", "./work"];

fn gated() -> Place {
    let place = Place::new();
    // A gate for each run: one that is about to die must not take the other's turn.
    place.fifo("gate1");
    place.fifo("gate2");
    place.counted(
        "work",
        "echo first; read _ < gate$(wc -l < runs); echo last; exit 0",
    );
    place
}

#[test]
fn a_waiter_prints_what_the_leader_prints_while_it_runs() {
    let place = gated();
    let mut leader = place.start(&RUN);
    assert_eq!(leader.line(), "first\n");
    let mut waiters: Vec<_> = (0..4).map(|_| place.start(&RUN)).collect();
    for waiter in &mut waiters {
        assert_eq!(waiter.line(), "first\n");
    }
    place.open_gate("gate1");
    for running in waiters.into_iter().chain([leader]) {
        let output = running.end();
        assert_eq!((stdout(&output), output.status.code()), ("last\n", Some(0)));
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_waiter_is_not_kept_waiting_by_the_reader_of_the_leader() {
    let place = Place::new();
    place.fifo("gate");
    place.counted(
        "work",
        "echo first; read _ < gate; for i in 1 2 3; do head -c 200000 /dev/zero; echo $i >&2; done",
    );
    let mut leader = place.start(&RUN);
    assert_eq!(leader.line(), "first\n");
    let mut waiter = place.start(&RUN);
    assert_eq!(waiter.line(), "first\n");
    place.open_gate("gate");
    // Nobody reads what the leader prints before the waiter has ended.
    for running in [waiter, leader] {
        let output = running.end();
        assert_eq!(
            (output.stdout.len(), stderr(&output)),
            (600_000, "1\n2\n3\n")
        );
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_waiter_whose_reader_is_slow_takes_no_lead_that_others_wait_for() {
    let place = Place::new();
    place.fifo("gate");
    place.counted(
        "work",
        "echo first; test -e again || read _ < gate; head -c 300000 /dev/zero; test -e again || read _ < gate",
    );
    let mut leader = place.start(&RUN);
    leader.line();
    let [mut slow, mut other] = [place.start(&RUN), place.start(&RUN)];
    for waiter in [&mut slow, &mut other] {
        assert_eq!(waiter.line(), "first\n");
        waiter.signal("STOP");
    }
    place.open_gate("gate");
    assert_eq!(leader.read(300_000), 300_000);
    place.write("again", "");
    leader.signal("KILL");
    leader.end();
    slow.signal("CONT");
    slow.wait_for_unread(60_000);
    other.signal("CONT");
    for running in [other, slow] {
        assert_eq!(running.end().stdout.len(), 300_000);
    }
    assert_eq!(place.runs(), 2);
}

#[test]
fn waiters_share_a_failure_that_is_not_stored() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "echo first; read _ < gate; exit 9");
    let mut leader = place.start(&RUN);
    leader.line();
    let mut waiter = place.start(&RUN);
    waiter.line();
    place.open_gate("gate");
    assert_eq!(waiter.end().status.code(), Some(9));
    assert_eq!(leader.end().status.code(), Some(9));
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_waiter_goes_on_after_what_it_printed_when_the_leader_is_killed() {
    let place = gated();
    let mut leader = place.start(&RUN);
    leader.line();
    let mut waiter = place.start(&RUN);
    assert_eq!(waiter.line(), "first\n");
    leader.signal("KILL");
    assert_eq!(leader.end().status.signal(), Some(9));
    place.open_gate("gate2");
    let output = waiter.end();
    assert_eq!((stdout(&output), output.status.code()), ("last\n", Some(0)));
    assert_eq!(stderr(&output), "");
    assert_eq!(place.runs(), 2);
    assert_eq!(stdout(&place.scrubjay(&RUN)), "first\nlast\n");
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_command_that_ignores_the_end_of_its_leader_is_ended_before_another_one_runs() {
    let place = Place::new();
    place.fifo("gate");
    // The first one waits for ever; the second one looks whether it is still there.
    place.counted(
        "work",
        "echo first; if test -e pid; then test -e /proc/$(cat pid)/exe && echo together; echo last; exit; fi
         trap '' TERM; echo $$ > pid; echo begun; read _ < gate",
    );
    for is_waited_for in [true, false] {
        let mut leader = place.start(&RUN);
        assert_eq!(
            (leader.line(), leader.line()),
            ("first\n".into(), "begun\n".into())
        );
        let waiter = is_waited_for.then(|| {
            let mut waiter = place.start(&RUN);
            assert_eq!(waiter.line(), "first\n");
            waiter
        });
        leader.signal("KILL");
        leader.end();
        let output = match waiter {
            Some(waiter) => waiter.end(),
            None => place.scrubjay(&RUN),
        };
        let printed = stdout(&output);
        assert!(printed.ends_with("first\nlast\n"), "{printed}");
        assert!(!printed.contains("together"), "{printed}");
        let said = "an earlier run, whose leader was killed, did not end by itself";
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        place.scrubjay(&["purge", "--all"]);
        std::fs::remove_file(place.path("pid")).unwrap();
    }
    assert_eq!(place.runs(), 4);
}

#[test]
fn a_waiter_takes_over_when_the_leader_is_interrupted() {
    let place = gated();
    let mut leader = place.start(&RUN);
    leader.line();
    let mut waiter = place.start(&RUN);
    waiter.line();
    leader.signal("INT");
    assert_eq!(leader.end().status.signal(), Some(2));
    place.open_gate("gate2");
    assert_eq!(stdout(&waiter.end()), "last\n");
    assert_eq!(place.runs(), 2);
}

/// Eight waiters who have all printed what the leader printed.
fn leader_and_eight_waiters(place: &Place) -> (fixtures::Running, Vec<fixtures::Running>) {
    let mut leader = place.start(&RUN);
    assert_eq!(leader.line(), "first\n");
    let mut waiters: Vec<_> = (0..8).map(|_| place.start(&RUN)).collect();
    for waiter in &mut waiters {
        assert_eq!(waiter.line(), "first\n");
    }
    (leader, waiters)
}

fn one_takes_over_and_all_get_the_answer_once(place: &Place, waiters: Vec<fixtures::Running>) {
    place.open_gate("gate2");
    for waiter in waiters {
        let output = waiter.end();
        let seen = (stdout(&output), stderr(&output), output.status.code());
        assert_eq!(
            seen,
            ("last\n", "", Some(0)),
            "goes on after what was printed"
        );
    }
    assert_eq!(place.runs(), 2, "one of eight started the command again");
    assert_eq!(stdout(&place.scrubjay(&RUN)), "first\nlast\n");
    assert_eq!(place.runs(), 2);
}

#[test]
fn of_eight_waiters_one_takes_over_when_the_leader_is_killed() {
    let place = gated();
    let (leader, waiters) = leader_and_eight_waiters(&place);
    leader.signal("KILL");
    assert_eq!(leader.end().status.signal(), Some(9));
    one_takes_over_and_all_get_the_answer_once(&place, waiters);
}

#[test]
fn of_eight_waiters_one_takes_over_when_the_leader_is_interrupted() {
    let place = gated();
    let (leader, waiters) = leader_and_eight_waiters(&place);
    leader.signal("INT");
    assert_eq!(leader.end().status.signal(), Some(2));
    one_takes_over_and_all_get_the_answer_once(&place, waiters);
}

#[test]
fn an_interrupted_waiter_ends_alone() {
    let place = gated();
    let (leader, mut waiters) = leader_and_eight_waiters(&place);
    let one = waiters.remove(3);
    one.signal("INT");
    assert_eq!(one.end().status.signal(), Some(2));
    place.open_gate("gate1");
    for running in waiters.into_iter().chain([leader]) {
        assert_eq!(stdout(&running.end()), "last\n");
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn an_interrupted_run_without_waiters_leaves_nothing() {
    let place = gated();
    let mut leader = place.start(&RUN);
    leader.line();
    leader.signal("TERM");
    assert_eq!(leader.end().status.signal(), Some(15));
    assert_eq!(place.keys(), [""; 0]);
    let left = std::fs::read_dir(place.path("store/scratch"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
    assert_eq!(place.scrubjay(&["verify"]).status.code(), Some(0));
}

#[test]
fn waiters_get_a_file_whole_though_the_leader_was_killed_while_it_kept_it() {
    let place = Place::new();
    place.counted("work", "echo made; truncate -s 64M made");
    let work = place.path("work").display().to_string();
    let run = ["run", "--any-cwd", "--out", "made", "--", &work];
    let start = |name: &str| {
        std::fs::create_dir(place.path(name)).unwrap();
        let mut command = place.command(&run);
        place.start_as(command.current_dir(place.path(name)))
    };
    let mut leader = start("leader");
    assert_eq!(leader.line(), "made\n");
    let waiters = ["one", "other"].map(|name| (name, start(name)));
    for (name, waiter) in &waiters {
        let restored = format!("{name}/made.scrubjay-{}", waiter.child.id());
        // It may be too late to see the beginning; then the file is there, whole.
        while !place.path(&restored).exists() && !place.path(&format!("{name}/made")).exists() {
            std::thread::yield_now();
        }
    }
    leader.signal("KILL");
    leader.end();
    for (name, waiter) in waiters {
        let output = waiter.end();
        assert_eq!(
            (stdout(&output), output.status.code()),
            ("made\n", Some(0)),
            "{}",
            stderr(&output)
        );
        let made = std::fs::metadata(place.path(&format!("{name}/made"))).unwrap();
        assert_eq!(made.len(), 64 << 20);
    }
}

#[test]
fn a_signal_ends_a_run_that_keeps_what_its_command_made() {
    let place = Place::new();
    // Without blocks on the disk, and longer than anybody would wait for.
    place.script("work", "echo made; truncate -s 64G made");
    let mut running = place.start(&["run", "--out", "made", "--", "./work"]);
    assert_eq!(running.line(), "made\n");
    running.wait_for_file("/made");
    running.signal("TERM");
    assert_eq!(running.end().status.signal(), Some(15));
    assert_eq!(place.keys(), [""; 0]);
}

#[test]
fn a_run_begun_again_that_prints_something_else_is_said_to() {
    let place = Place::new();
    place.fifo("gate1");
    place.fifo("gate2");
    place.counted(
        "work",
        "wc -l < runs; read _ < gate$(wc -l < runs); echo last",
    );
    let mut leader = place.start(&RUN);
    leader.line();
    let mut waiter = place.start(&RUN);
    assert_eq!(waiter.line(), "1\n");
    leader.signal("KILL");
    leader.end();
    assert_eq!(waiter.line(), "2\n");
    place.open_gate("gate2");
    let output = waiter.end();
    assert_eq!(stdout(&output), "last\n");
    assert!(
        stderr(&output).contains("prints something else"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_signal_reaches_the_command() {
    let place = Place::new();
    place.script(
        "work",
        "exec < gate; trap 'echo caught; exit 7' TERM; echo ready; while read _; do :; done",
    );
    place.fifo("gate");
    let mut running = place.start(&RUN);
    let mut gate = place.gate("gate");
    assert_eq!(running.line(), "ready\n");
    running.signal("TERM");
    // A shell that was about to read when the signal came looks for it after the read only, so it gets lines until it
    // has gone and nobody reads them.
    while gate.write_all(b"go\n").is_ok() {}
    let output = running.end();
    assert_eq!(
        (stdout(&output), output.status.code()),
        ("caught\n", Some(7))
    );
    assert_eq!(stdout(&place.scrubjay(&["ls", "--json"])), "");
}

#[test]
fn a_stale_answer_is_given_at_once_while_one_refresh_runs() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "wc -l < runs; test ! -e slow || read _ < gate");
    let run = ["run", "--ttl", "0s", "--stale", "1h", "--", "./work"];
    assert_eq!(stdout(&place.scrubjay(&run)).trim(), "1");
    place.write("slow", "");
    for _ in 0..3 {
        assert_eq!(stdout(&place.scrubjay(&run)).trim(), "1");
    }
    // The one refresh is at the gate; whoever wants a fresh answer waits for it.
    let mut waiter = place.start(&["run", "--ttl", "0s", "--", "./work"]);
    assert_eq!(waiter.line().trim(), "2");
    place.open_gate("gate");
    assert!(waiter.end().status.success());
    assert_eq!(place.runs(), 2);
}

#[test]
fn warm_prints_nothing_and_returns_before_the_command_has_ended() {
    let place = gated();
    let warm = place.scrubjay(&["run", "--warm", "--", "./work"]);
    assert_eq!(
        (stdout(&warm), stderr(&warm), warm.status.code()),
        ("", "", Some(0))
    );
    let source = || {
        let output = place.scrubjay(&["run", "--warm", "--json", "--", "./work"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        report["source"].as_str().unwrap().to_owned()
    };
    let gate = place.gate("gate1");
    assert_eq!(source(), "busy");
    drop(gate);
    let output = place.scrubjay(&RUN);
    assert_eq!(stdout(&output), "first\nlast\n");
    assert_eq!(source(), "known");
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_stale_answer_stands_in_for_a_failure_and_nothing_of_the_failure_is_printed() {
    let place = Place::new();
    place.counted(
        "work",
        "test ! -e broken || { echo broken; exit 5; }; echo fine",
    );
    let run = [
        "run",
        "--ttl",
        "0s",
        "--stale-if-error",
        "1h",
        "--",
        "./work",
    ];
    assert_eq!(stdout(&place.scrubjay(&run)), "fine\n");
    place.write("broken", "");
    let output = place.scrubjay(&run);
    assert_eq!((stdout(&output), output.status.code()), ("fine\n", Some(0)));
    assert!(
        stderr(&output).contains("exit code 5"),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.runs(), 2);
}

const OR_STALE: [&str; 7] = [
    "run",
    "--ttl",
    "0s",
    "--stale-if-error",
    "1h",
    "--out",
    "made",
];

#[test]
fn a_success_that_is_not_stored_is_printed_and_no_older_answer_in_its_place() {
    let place = Place::new();
    place.counted("work", "wc -l < runs; test -e idle || touch made");
    let run = [&OR_STALE[..], &["--", "./work"]].concat();
    assert_eq!(stdout(&place.scrubjay(&run)).trim(), "1");
    place.write("idle", "");
    std::fs::remove_file(place.path("made")).unwrap();
    let output = place.scrubjay(&run);
    assert_eq!(
        (stdout(&output).trim(), stderr(&output)),
        ("2", ""),
        "what `--out` names was not made, so the answer is not stored"
    );
    assert_eq!(stdout(&place.scrubjay(&run)).trim(), "3");
}

#[test]
fn an_interrupted_run_prints_no_stale_answer_and_ends_by_the_signal() {
    let place = Place::new();
    place.fifo("gate");
    place.counted(
        "work",
        "echo answer; touch made; test ! -e slow || { echo > gate; read _ < gate; }",
    );
    let run = [&OR_STALE[..], &["--", "./work"]].concat();
    place.scrubjay(&run);
    place.write("slow", "");
    let running = place.start(&run);
    let began = std::fs::read_to_string(place.path("gate")).unwrap();
    assert_eq!(began, "\n");
    running.signal("INT");
    let output = running.end();
    assert_eq!((stdout(&output), output.status.signal()), ("", Some(2)));
}
