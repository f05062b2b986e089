//! What `scrubjay` says of itself: help, man pages, completions, and what is wrong with arguments.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use std::fs;
use std::process::Command;

use fixtures::{Place, stderr, stdout};

const SUBCOMMANDS: [&str; 13] = [
    "run",
    "ls",
    "show",
    "why",
    "stats",
    "top",
    "rm",
    "purge",
    "verify",
    "export",
    "import",
    "completions",
    "man",
];

#[test]
fn every_subcommand_has_a_help_text_and_a_man_page() {
    let place = Place::new();
    let overview = place.scrubjay(&["--help"]);
    assert!(place.scrubjay(&["man", "--dir", "man"]).status.success());
    for subcommand in SUBCOMMANDS {
        assert!(
            stdout(&overview).contains(&format!("\n  {subcommand} ")),
            "{subcommand}"
        );
        let help = place.scrubjay(&["help", subcommand]);
        assert!(help.status.success());
        let usage = format!("Usage: scrubjay {subcommand}");
        assert!(stdout(&help).contains(&usage), "{}", stdout(&help));
        let page = place.read(&format!("man/scrubjay-{subcommand}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{subcommand}");
    }
}

#[test]
fn help_texts_fit_100_columns() {
    let place = Place::new();
    for subcommand in SUBCOMMANDS {
        let help = place.scrubjay(&["help", subcommand]);
        for line in stdout(&help).lines() {
            assert!(line.chars().count() <= 100, "{subcommand}: {line}");
        }
    }
}

#[test]
fn the_overview_has_examples_and_exit_codes() {
    let place = Place::new();
    let help = stdout(&place.scrubjay(&["--help"])).to_owned();
    for part in [
        "Examples:",
        "Exit codes:",
        "126 ",
        "127 ",
        "SCRUBJAY_STORE",
        "NO_COLOR",
    ] {
        assert!(help.contains(part), "{part}");
    }
    let page = stdout(&place.scrubjay(&["man"])).to_owned();
    assert!(
        page.contains(".TH scrubjay 1") && page.contains("Exit codes:"),
        "{page}"
    );
}

#[test]
fn the_man_pages_are_what_man_can_show() {
    let place = Place::new();
    place.scrubjay(&["man", "--dir", "man"]);
    let Ok(output) = Command::new("man")
        .args(["--warnings", "-l", "man/scrubjay-run.1"])
        .current_dir(place.path("."))
        .env("MANWIDTH", "80")
        .output()
    else {
        eprintln!("skipped: there is no man here");
        return;
    };
    assert_eq!((stderr(&output), output.status.code()), ("", Some(0)));
    for part in ["--stale-if-error", "--dep", "Examples:"] {
        assert!(stdout(&output).contains(part), "{part}");
    }
}

#[test]
fn completions_know_every_subcommand() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = place.scrubjay(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        for word in SUBCOMMANDS.iter().chain(&["stale-if-error"]) {
            assert!(stdout(&output).contains(word), "{word} for {shell}");
        }
    }
}

#[test]
fn bash_completes_with_the_script() {
    let place = Place::new();
    let script = place.scrubjay(&["completions", "bash"]);
    fs::write(place.path("completions"), &script.stdout).unwrap();
    let ask = ". ./completions; COMP_WORDS=(scrubjay ve); COMP_CWORD=1; _scrubjay scrubjay ve scrubjay; echo \"${COMPREPLY[*]}\"";
    let output = Command::new("bash")
        .args(["-c", ask])
        .current_dir(place.path("."))
        .output()
        .unwrap();
    assert_eq!((stdout(&output), stderr(&output)), ("verify\n", ""));
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_wrong() {
    let place = Place::new();
    let wrong: [(&[&str], &str); 17] = [
        (&[], "Usage: scrubjay"),
        (&["nonsense"], "unrecognized subcommand"),
        (&["run"], "<COMMAND>"),
        (
            &["run", "--ttl", "soon", "--", "true"],
            "write 10s, 5m, 1h 30m or 7d",
        ),
        (&["run", "--stale", "1m", "--", "true"], "--ttl"),
        (
            &["run", "--capacity", "lots", "--", "true"],
            "write a number",
        ),
        (&["run", "--dep", "a[", "--", "true"], "--dep a["),
        (&["run", "--tll", "1h", "--", "true"], "'--ttl'"),
        (&["run", "--env", "NAME=value", "--", "true"], "--env NAME"),
        (&["run", "--dep", "env:", "--", "true"], "--env NAME"),
        (&["why", "--nonsense", "--", "true"], "unexpected argument"),
        (&["show", ""], "<KEY>"),
        (&["ls", "--sort", "colour"], "possible values"),
        (&["show"], "<KEY>"),
        (&["rm"], "<KEY>"),
        (&["completions", "tcsh"], "possible values"),
        (&["ls", "--color", "sometimes"], "possible values"),
    ];
    for (arguments, part) in wrong {
        let output = place.scrubjay(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(
            stderr(&output).contains(part),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    assert!(!place.path("store").exists());
}

#[test]
fn options_of_the_command_are_the_commands() {
    let place = Place::new();
    let output = place.scrubjay(&["run", "echo", "--json", "-v", "--help"]);
    assert_eq!(stdout(&output), "--json -v --help\n");
}

#[test]
fn the_store_is_found_by_option_then_variable_then_cache_directory() {
    let place = Place::new();
    let run = |options: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["run"], options, &["--", "true"]].concat();
        let mut command = place.command(&arguments);
        command
            .env_remove("SCRUBJAY_STORE")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("HOME");
        let names = variables
            .iter()
            .map(|(name, path)| (name, place.path(path)));
        command.envs(names).output().unwrap()
    };
    let all = [
        ("SCRUBJAY_STORE", "variable"),
        ("XDG_CACHE_HOME", "xdg"),
        ("HOME", "home"),
    ];
    run(&["--store", "option"], &all);
    run(&[], &all);
    run(&[], &all[1..]);
    run(&[], &all[2..]);
    for store in ["option", "variable", "xdg/scrubjay", "home/.cache/scrubjay"] {
        assert!(place.path(store).join("store.db").exists(), "{store}");
    }
    let mut empty = place.command(&["run", "--", "true"]);
    let empty = empty
        .env("SCRUBJAY_STORE", "")
        .env("XDG_CACHE_HOME", place.path("cache"));
    assert_eq!(stderr(&empty.output().unwrap()), "");
    assert!(place.path("cache/scrubjay/store.db").exists());
    let nowhere = run(&[], &[]);
    assert_eq!(
        nowhere.status.code(),
        Some(0),
        "the command runs all the same"
    );
    assert!(
        stderr(&nowhere).contains("name one with --store"),
        "{}",
        stderr(&nowhere)
    );
}
