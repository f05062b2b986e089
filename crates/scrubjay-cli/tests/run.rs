//! `scrubjay run`, one process at a time: what is replayed, what is kept, what is not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

use fixtures::{Place, fields, stderr, stdout};

#[test]
fn a_second_run_replays_both_streams_and_runs_nothing() {
    let place = Place::new();
    place.counted("work", "echo out; echo err >&2");
    let first = place.scrubjay(&["run", "--", "./work"]);
    let second = place.scrubjay(&["run", "--", "./work"]);
    for output in [&first, &second] {
        assert_eq!(
            (stdout(output), stderr(output), output.status.code()),
            ("out\n", "err\n", Some(0))
        );
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn binary_output_is_replayed_byte_for_byte() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    place.write("data", &bytes);
    place.counted("work", "cat data");
    for _ in 0..2 {
        assert!(place.scrubjay(&["run", "--", "./work"]).stdout == bytes);
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn the_order_of_the_streams_is_kept() {
    let place = Place::new();
    // A gate for each: the shell may be back at the first one before it is closed.
    place.fifo("gate1");
    place.fifo("gate2");
    place.counted(
        "work",
        "echo one; read _ < gate1; echo two >&2; read _ < gate2; echo three",
    );
    let together = |place: &Place| {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = place.command(&["run", "--", "./work"]);
        let child = command
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        drop(command);
        (
            std::io::BufRead::lines(std::io::BufReader::new(reader)),
            child,
        )
    };
    let (mut lines, mut child) = together(&place);
    for (expected, gate) in [("one", "gate1"), ("two", "gate2")] {
        assert_eq!(lines.next().unwrap().unwrap(), expected);
        place.open_gate(gate);
    }
    assert_eq!(lines.next().unwrap().unwrap(), "three");
    assert!(child.wait().unwrap().success());
    let (lines, mut child) = together(&place);
    assert_eq!(
        lines.map(Result::unwrap).collect::<Vec<_>>(),
        ["one", "two", "three"]
    );
    assert!(child.wait().unwrap().success());
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_failure_is_passed_on_and_not_stored() {
    let place = Place::new();
    place.counted("work", "echo sorry; exit 3");
    for _ in 0..2 {
        let output = place.scrubjay(&["run", "--", "./work"]);
        assert_eq!(
            (stdout(&output), output.status.code()),
            ("sorry\n", Some(3))
        );
    }
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_failure_is_stored_for_fail_ttl_and_only_served_to_those_who_ask_so() {
    let place = Place::new();
    place.counted("work", "echo sorry; exit 3");
    for _ in 0..2 {
        let output = place.scrubjay(&["run", "--fail-ttl", "1h", "--", "./work"]);
        assert_eq!(
            (stdout(&output), output.status.code()),
            ("sorry\n", Some(3))
        );
    }
    assert_eq!(place.runs(), 1);
    place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_death_by_signal_is_passed_on_and_replayed() {
    let place = Place::new();
    place.counted("work", "kill -TERM $$");
    for _ in 0..2 {
        let output = place.scrubjay(&["run", "--fail-ttl", "1h", "--", "./work"]);
        assert_eq!(output.status.signal(), Some(15));
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_command_that_is_not_there_ends_with_127_and_one_that_cannot_run_with_126() {
    let place = Place::new();
    place.write("plain", "text");
    assert_eq!(
        place
            .scrubjay(&["run", "--", "no-such-command"])
            .status
            .code(),
        Some(127)
    );
    assert_eq!(
        place.scrubjay(&["run", "--", "./plain"]).status.code(),
        Some(126)
    );
    place.counted("no-such-command", "echo now");
    let output = place.scrubjay(&["run", "--", "./no-such-command"]);
    assert_eq!(stdout(&output), "now\n");
}

#[test]
fn a_command_whose_interpreter_is_not_there_was_found_and_cannot_be_executed() {
    let place = Place::new();
    place.script("work", "");
    place.write("work", "#!/no/such/interpreter\n");
    let output = place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(stderr(&output).contains("./work"), "{}", stderr(&output));
    assert!(stderr(&output).contains("interpreter"));
    place.write("file", "");
    let without_store = place.scrubjay(&["run", "--store", "file", "--", "./work"]);
    assert_eq!(without_store.status.code(), Some(126));
    assert_eq!(place.scrubjay(&["run", "--", ""]).status.code(), Some(127));
}

#[test]
fn an_edited_script_is_another_function() {
    let place = Place::new();
    place.counted("work", "echo one");
    place.scrubjay(&["run", "--", "./work"]);
    place.counted("work", "echo two");
    assert_eq!(stdout(&place.scrubjay(&["run", "--", "./work"])), "two\n");
}

#[test]
fn an_equal_file_in_another_place_is_another_function() {
    let place = Place::new();
    let tool = |name: &str| {
        place.script(&format!("{name}/tool"), "cat ${0%/*}/config");
        place.write(&format!("{name}/config"), name);
        let path = std::env::var("PATH").unwrap();
        let mut command = place.command(&["run", "--", "tool"]);
        command.env("PATH", format!("{}:{path}", place.path(name).display()));
        command
    };
    for _ in 0..2 {
        for name in ["one", "other"] {
            assert_eq!(stdout(&tool(name).output().unwrap()), name);
        }
    }
    assert_eq!(place.keys().len(), 2);
}

#[test]
fn each_kind_of_dependency_makes_a_new_key_when_it_changes() {
    let place = Place::new();
    place.counted("work", "true");
    place.write("tree/deep/file", "1");
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .current_dir(place.path("."))
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "one"]);
    let dependencies = [
        "tree/deep/file",
        "tree",
        "tree/**/f*",
        "cmd:cat tree/deep/file",
        "git:HEAD",
        "env:COLOUR",
        "absent",
    ];
    for (number, dependency) in dependencies.iter().enumerate() {
        let run = |colour: &str| {
            let arguments = ["run", "--dep", dependency, "--", "./work"];
            let output = place
                .command(&arguments)
                .env("COLOUR", colour)
                .output()
                .unwrap();
            assert_eq!(
                (stderr(&output), output.status.code()),
                ("", Some(0)),
                "{dependency}"
            );
        };
        let before = place.runs();
        run("blue");
        run("blue");
        assert_eq!(place.runs(), before + 1, "{dependency}");
        place.write("tree/deep/file", format!("changed {number}"));
        place.write("absent", "now it is there");
        git(&["commit", "-q", "--allow-empty", "-m", "another"]);
        run("red");
        assert_eq!(place.runs(), before + 2, "{dependency}");
        fs::remove_file(place.path("absent")).unwrap();
    }
}

#[test]
fn the_working_directory_counts_unless_any_will_do() {
    let place = Place::new();
    place.script("work", "echo run >> \"$RUNS\"; echo done");
    for name in ["a", "b"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    let run = |directory: &str, options: &[&str]| {
        let work = place.path("work");
        let arguments = [&["run"], options, &["--", work.to_str().unwrap()]].concat();
        let mut command = place.command(&arguments);
        command
            .current_dir(place.path(directory))
            .env("RUNS", place.path("runs"));
        assert!(command.status().unwrap().success());
    };
    run("a", &[]);
    run("b", &[]);
    assert_eq!(place.runs(), 2);
    run("a", &["--any-cwd"]);
    run("b", &["--any-cwd"]);
    assert_eq!(place.runs(), 3);
}

#[test]
fn standard_input_is_part_of_the_key_and_reaches_the_command() {
    let place = Place::new();
    place.counted("work", "tr a-z A-Z");
    for input in ["one", "one", "two"] {
        let output = place.fed(&["run", "--stdin", "--", "./work"], input.as_bytes());
        assert_eq!(stdout(&output), input.to_uppercase());
    }
    assert_eq!(place.runs(), 2);
}

#[test]
fn without_stdin_the_command_reads_nothing() {
    let place = Place::new();
    place.counted("work", "cat; echo end");
    assert_eq!(
        stdout(&place.fed(&["run", "--", "./work"], b"ignored")),
        "end\n"
    );
}

#[test]
fn what_the_command_made_is_restored_with_its_mode() {
    let place = Place::new();
    place.counted("work", "mkdir -p out/sub; echo made > out/sub/file; chmod 750 out/sub/file; ln -sf sub/file out/link; echo one > single");
    let run = || place.scrubjay(&["run", "--out", "out", "--out", "single", "--", "./work"]);
    assert_eq!(stderr(&run()), "");
    fs::remove_dir_all(place.path("out")).unwrap();
    place.write("single", "spoilt");
    assert_eq!(stderr(&run()), "");
    assert_eq!(
        (
            place.read("out/sub/file").as_str(),
            place.read("single").as_str()
        ),
        ("made\n", "one\n")
    );
    assert_eq!(
        fs::metadata(place.path("out/sub/file"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o750
    );
    assert_eq!(
        fs::read_link(place.path("out/link")).unwrap().to_str(),
        Some("sub/file")
    );
    assert_eq!(place.runs(), 1);
}

#[test]
fn what_a_link_leads_to_is_restored_with_it() {
    let place = Place::new();
    place.write("data/file", "old");
    symlink("data/file", place.path("link")).unwrap();
    symlink("data", place.path("folder")).unwrap();
    place.counted(
        "work",
        "echo 1 > link; echo 2 > folder/more; echo 3 > target; ln -sf target made; ln -sf nowhere dangling",
    );
    let outs = ["link", "folder", "made", "dangling"];
    let outs = outs.iter().flat_map(|path| ["--out", path]);
    let run: Vec<&str> = ["run"]
        .into_iter()
        .chain(outs)
        .chain(["--", "./work"])
        .collect();
    for _ in 0..3 {
        let output = place.scrubjay(&run);
        assert_eq!((stderr(&output), output.status.code()), ("", Some(0)));
        let contents = ["data/file", "data/more", "made", "target"].map(|path| place.read(path));
        assert_eq!(contents, ["1\n", "2\n", "3\n", "3\n"]);
        let links = ["link", "folder", "made", "dangling"];
        let targets = links.map(|path| fs::read_link(place.path(path)).unwrap());
        assert_eq!(
            targets,
            ["data/file", "data", "target", "nowhere"].map(PathBuf::from)
        );
        place.write("data/file", "changed");
        for path in ["data/more", "made", "target", "dangling"] {
            fs::remove_file(place.path(path)).unwrap();
        }
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn an_answer_without_the_file_it_should_make_is_not_stored() {
    let place = Place::new();
    place.counted("work", "echo done");
    for _ in 0..2 {
        let output = place.scrubjay(&["run", "-v", "--out", "missing", "--", "./work"]);
        assert!(
            stderr(&output).contains("did not make missing"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(place.runs(), 2);
}

#[test]
fn an_answer_is_not_stored_if_a_dependency_changed_while_the_command_ran() {
    let place = Place::new();
    place.write("input", "1");
    place.counted("work", "echo more >> input");
    let output = place.scrubjay(&["run", "-v", "--dep", "input", "--", "./work"]);
    assert!(
        stderr(&output).contains("input changed while the command ran"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stdout(&place.scrubjay(&["ls", "--json"])), "");
}

#[test]
fn force_runs_the_command_and_replaces_the_answer() {
    let place = Place::new();
    place.counted("work", "wc -l < runs");
    place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(
        stdout(&place.scrubjay(&["run", "--force", "--", "./work"])).trim(),
        "2"
    );
    assert_eq!(
        stdout(&place.scrubjay(&["run", "--", "./work"])).trim(),
        "2"
    );
}

#[test]
fn an_answer_older_than_ttl_is_not_given() {
    let place = Place::new();
    place.counted("work", "true");
    place.scrubjay(&["run", "--", "./work"]);
    place.scrubjay(&["run", "--ttl", "0s", "--", "./work"]);
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_life_longer_than_time_has_no_end() {
    let place = Place::new();
    place.counted("work", "echo out");
    let for_ever = "500000000000y";
    let run = [
        "run", "--ttl", for_ever, "--stale", for_ever, "--", "./work",
    ];
    for _ in 0..2 {
        let output = place.scrubjay(&run);
        assert_eq!((stdout(&output), stderr(&output)), ("out\n", ""));
    }
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_process_left_behind_does_not_keep_the_answer_back() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "cat gate & echo done");
    for _ in 0..2 {
        assert_eq!(stdout(&place.scrubjay(&["run", "--", "./work"])), "done\n");
    }
    assert_eq!(place.runs(), 1);
    place.open_gate("gate");
}

#[test]
fn a_closed_pipe_ends_the_command_as_it_would_without_us() {
    let place = Place::new();
    let mut running = place.start(&["run", "--", "yes"]);
    assert_eq!(running.line(), "y\n");
    let status = running.close_stdout().wait().unwrap();
    assert_eq!(status.signal(), Some(13));
    assert_eq!(stdout(&place.scrubjay(&["ls", "--json"])), "");
}

#[test]
fn an_output_that_cannot_be_written_is_said_to_be() {
    let place = Place::new();
    place.remember(&[], "x");
    for text in ["x", "y"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = place.command(&["run", "--", "echo", text]);
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let told = stderr(&output);
        assert!(told.contains("the output cannot be written"), "{told}");
    }
}

#[test]
fn a_large_output_is_passed_on_and_replayed_without_being_held() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "head -c 200000000 /dev/zero; read _ < gate");
    let peak = |running: &fixtures::Running| -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let mut first = place.start(&["run", "--", "./work"]);
    assert_eq!(first.read(200_000_000), 200_000_000);
    assert!(peak(&first) < 64 << 10, "{} KiB", peak(&first));
    place.open_gate("gate");
    assert!(first.end().status.success());
    let mut second = place.start(&["run", "--", "./work"]);
    assert_eq!(second.read(150_000_000), 150_000_000);
    assert!(peak(&second) < 64 << 10, "{} KiB", peak(&second));
    assert_eq!(second.end().stdout.len(), 50_000_000);
    assert_eq!(place.runs(), 1);
}

#[test]
fn a_store_that_cannot_be_opened_costs_one_warning_and_nothing_else() {
    let place = Place::new();
    place.write("store", "this is a file");
    place.counted("work", "echo out; exit 4");
    let output = place.scrubjay(&["run", "--", "./work"]);
    assert_eq!((stdout(&output), output.status.code()), ("out\n", Some(4)));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}

#[test]
fn a_full_store_costs_one_warning_and_nothing_else() {
    let place = Place::new();
    let Some(_mounted) = place.mount("store", "size=12m") else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    place.counted("work", "head -c 30000000 /dev/zero");
    let output = place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(
        (output.stdout.len(), output.status.code()),
        (30_000_000, Some(0))
    );
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}

#[test]
fn a_read_only_store_gives_what_it_has_and_costs_one_warning_otherwise() {
    let place = Place::new();
    let Some(mounted) = place.mount("store", "size=12m") else {
        eprintln!("skipped: mounting a file system needs root");
        return;
    };
    place.counted("known", "echo known");
    place.counted("new", "echo new; exit 4");
    place.scrubjay(&["run", "--", "./known"]);
    mounted.make_read_only();
    let known = place.scrubjay(&["run", "--", "./known"]);
    assert_eq!(
        (stdout(&known), known.status.code()),
        ("known\n", Some(0)),
        "{}",
        stderr(&known)
    );
    assert_eq!(place.runs(), 1);
    let new = place.scrubjay(&["run", "--", "./new"]);
    assert_eq!((stdout(&new), new.status.code()), ("new\n", Some(4)));
    assert_eq!(stderr(&new).lines().count(), 1, "{}", stderr(&new));
    for look in [&["ls"][..], &["stats"], &["verify"], &["export"], &["top"]] {
        let output = place.scrubjay(look);
        assert!(output.status.success(), "{look:?}: {}", stderr(&output));
    }
    assert_eq!(place.scrubjay(&["purge", "--all"]).status.code(), Some(3));
}

#[test]
fn what_was_done_is_reported_as_json() {
    let place = Place::new();
    place.counted("work", "echo out; exit $(test -e fail && echo 7 || echo 0)");
    let report = |options: &[&str]| -> serde_json::Value {
        let output = place.scrubjay(&[&["run", "--json"], options, &["--", "./work"]].concat());
        assert_eq!(stdout(&output), "out\n", "standard output is the command's");
        serde_json::from_str(stderr(&output).lines().last().unwrap()).unwrap()
    };
    let miss = report(&[]);
    let expected = [
        "code",
        "function",
        "key",
        "load_cost_seconds",
        "not_stored",
        "signal",
        "source",
    ];
    assert_eq!(fields(&miss), expected);
    assert_eq!(
        (&miss["source"], &miss["code"]),
        (&"miss".into(), &0.into())
    );
    let hit = report(&[]);
    assert_eq!((&hit["source"], &hit["key"]), (&"hit".into(), &miss["key"]));
    place.write("fail", "");
    let failed = report(&["--force"]);
    assert_eq!(
        (&failed["code"], &failed["not_stored"]),
        (&7.into(), &"the command failed with exit code 7".into())
    );
    let stale = report(&["--ttl", "0s", "--stale-if-error", "1h"]);
    assert_eq!(
        (&stale["source"], &stale["code"]),
        (&"stale-if-error".into(), &0.into())
    );
}

#[test]
fn a_wrong_pattern_is_the_users_error() {
    let place = Place::new();
    assert_eq!(
        place
            .scrubjay(&["run", "--dep", "a[", "--", "true"])
            .status
            .code(),
        Some(2)
    );
}
