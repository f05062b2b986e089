//! What is different on a terminal: colour, progress bars, tables that fit, `top` as a screen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use fixtures::Place;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A terminal of 100 columns: what a person has, and what a program has.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let size = Winsize {
        ws_row: 30,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&theirs, size).unwrap();
    (ours.into(), theirs)
}

/// Everything that is shown until nobody has the terminal any more.
fn rest(mut screen: File) -> String {
    let mut shown = Vec::new();
    // The end of a terminal that everybody closed is an error on Linux.
    let _ = screen.read_to_end(&mut shown);
    String::from_utf8_lossy(&shown).into_owned()
}

/// Reads until `text` is shown.
fn wait_for(screen: &mut File, text: &str) {
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(text) {
        let mut piece = [0; 4096];
        let length = screen.read(&mut piece).unwrap();
        shown.extend_from_slice(&piece[..length]);
    }
}

/// What a command shows on a terminal.
fn shown(mut command: Command) -> String {
    let (screen, theirs) = terminal();
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command
        .stdin(Stdio::null())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let shown = rest(screen);
    child.wait().unwrap();
    shown
}

fn filled() -> Place {
    let place = Place::new();
    for number in 0..3 {
        place.remember(&[], &format!("{number} {}", "long ".repeat(60)));
    }
    place
}

#[test]
fn colour_is_for_terminals_unless_somebody_says_otherwise() {
    let place = filled();
    let coloured = |arguments: &[&str]| shown(place.command(arguments)).contains("\x1b[1m");
    assert!(coloured(&["ls"]) && !coloured(&["ls", "--color", "never"]));
    // `shown` takes the variable away, so a shell brings it back.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "NO_COLOR=1 exec \"$0\" ls",
        env!("CARGO_BIN_EXE_scrubjay"),
    ]);
    shell.env("SCRUBJAY_STORE", place.path("store"));
    assert!(!shown(shell).contains('\x1b'));
    let piped = |arguments: &[&str]| place.scrubjay(arguments).stdout.contains(&0x1b);
    assert!(!piped(&["ls"]) && piped(&["ls", "--color", "always"]));
    assert!(!place.scrubjay(&["show", "x"]).stderr.contains(&0x1b));
    assert!(
        shown(place.command(&["show", "x"])).contains("\x1b["),
        "complaints are coloured too"
    );
    assert!(!shown(place.command(&["ls", "--json"])).contains('\x1b'));
}

#[test]
fn tables_fit_the_width_of_a_terminal() {
    let place = filled();
    let shown = shown(place.command(&["ls", "--color", "never"]));
    let widest = shown
        .lines()
        .map(|line| line.trim_end().chars().count())
        .max();
    assert!(
        (60..=100).contains(&widest.unwrap()),
        "{widest:?} in\n{shown}"
    );
    let piped = place.scrubjay(&["ls"]);
    assert_eq!(
        fixtures::stdout(&piped).lines().count(),
        4,
        "a line for each entry where programs read"
    );
}

#[test]
fn progress_bars_are_for_terminals_only() {
    let place = filled();
    for arguments in [
        &["verify"][..],
        &["export", "all.sjar"],
        &["import", "all.sjar"],
    ] {
        let name = match arguments[0] {
            "verify" => "checked",
            "export" => "exported",
            _ => "imported",
        };
        let drawn = shown(place.command(arguments));
        assert!(
            drawn.contains('\r') && drawn.contains(&format!("{name} ")),
            "{arguments:?}: {drawn:?}"
        );
        let output = place.scrubjay(arguments);
        assert_eq!(
            (&output.stderr[..], output.status.code()),
            (&b""[..], Some(0)),
            "{arguments:?}"
        );
    }
}

#[test]
fn top_is_a_screen_that_q_ends_and_gives_back_as_it_was() {
    let place = filled();
    let (mut screen, theirs) = terminal();
    let before = tcgetattr(&theirs).unwrap();
    let mut command = place.command(&["top", "--interval", "1h"]);
    command
        .env("TERM", "xterm-256color")
        .stdin(theirs.try_clone().unwrap());
    command
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    drop(command);
    wait_for(&mut screen, "q ends");
    let during = tcgetattr(&theirs).unwrap();
    assert!(!during.local_modes.contains(LocalModes::ECHO));
    screen.write_all(b"q").unwrap();
    assert!(child.wait().unwrap().success());
    let after = tcgetattr(&theirs).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    drop(theirs);
    let end = rest(screen);
    assert!(
        end.contains("\x1b[?1049l") && end.contains("\x1b[?25h"),
        "{end:?}"
    );
}

#[test]
fn top_shows_its_beginning_on_a_screen_that_is_too_small() {
    let place = filled();
    for number in 0..9 {
        place.remember(&["--name", &format!("function{number}")], "x");
    }
    let (screen, theirs) = terminal();
    let size = Winsize {
        ws_row: 12,
        ws_col: 50,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&theirs, size).unwrap();
    let mut command = place.command(&["top", "--count", "1", "--color", "never"]);
    command.stdin(Stdio::null()).stdout(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let shown = rest(screen);
    child.wait().unwrap();
    let (_, picture) = shown.split_once("\x1b[H\x1b[J").unwrap();
    let (picture, _) = picture.split_once("\x1b[?25h").unwrap();
    let lines: Vec<&str> = picture.lines().collect();
    assert!(lines[0].starts_with("store "), "{picture}");
    assert!(lines.len() < 12, "{picture}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 50),
        "{picture}"
    );
    assert_eq!(lines.last(), Some(&"q ends"), "{picture}");
}

#[test]
fn top_gives_the_terminal_back_when_it_is_interrupted() {
    let place = filled();
    let (mut screen, theirs) = terminal();
    let mut command = place.command(&["top", "--interval", "1h"]);
    command
        .env("TERM", "xterm-256color")
        .stdin(theirs.try_clone().unwrap());
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    wait_for(&mut screen, "q ends");
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
    assert!(rest(screen).contains("\x1b[?1049l"));
}
