//! `scrubjay export` and `import`: entries leave as JSON lines or as an archive and come back as they were.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fixtures::{Place, lines_of_json, stderr, stdout, text};
use serde_json::Value;

/// A store with answers of all kinds: text, bytes, none, large, with tags and lives, a failure.
fn filled() -> Place {
    let place = Place::new();
    place.remember(
        &["--tag", "a", "--tag", "b c", "--ttl", "1d", "--stale", "1h"],
        "it's \"text\"\n",
    );
    place.counted("bytes", r"printf '\000\377\n\r'; echo err >&2");
    place.counted("large", "head -c 300000 /dev/zero; echo end");
    place.counted("fails", "echo sorry; exit 9");
    place.scrubjay(&["run", "--", "./bytes"]);
    place.scrubjay(&["run", "--", "./large"]);
    place.scrubjay(&["run", "--", "true"]);
    place.scrubjay(&["run", "--fail-ttl", "1h", "--", "./fails"]);
    place
}

/// The entries but for what depends on how a store keeps them.
fn entries(place: &Place, store: &str) -> Vec<Value> {
    let store = place.path(store);
    let mut entries = place.json(&["ls", "--store", store.to_str().unwrap()]);
    for entry in &mut entries {
        let fields = entry.as_object_mut().unwrap();
        fields.remove("stored_bytes");
        fields.remove("compressed");
    }
    entries
}

fn export(place: &Place, options: &[&str]) -> Vec<u8> {
    let output = place.scrubjay(&[&["export"], options].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    output.stdout
}

fn import(place: &Place, file: &str) -> std::process::Output {
    place.scrubjay(&["import", "--store", "copy", file])
}

#[test]
fn both_formats_bring_back_every_entry_as_it_was() {
    for name in ["all.sjar", "all.jsonl"] {
        let place = filled();
        let output = place.scrubjay(&["export", name]);
        assert_eq!(
            (stdout(&output), output.status.code()),
            ("exported 5 entries\n", Some(0)),
            "{name}"
        );
        let output = import(&place, name);
        assert_eq!(
            (stdout(&output), stderr(&output)),
            ("imported 5 entries\n", ""),
            "{name}"
        );
        assert_eq!(entries(&place, "copy"), entries(&place, "store"), "{name}");
        let run = |command: &str| {
            place.scrubjay(&["run", "--store", "copy", "--fail-ttl", "1h", "--", command])
        };
        assert_eq!(
            (&run("./bytes").stdout[..], stderr(&run("./bytes"))),
            (&b"\0\xff\n\r"[..], "err\n")
        );
        assert!(
            run("./large").stdout.ends_with(b"\0\0end\n") && run("./large").stdout.len() == 300_004
        );
        assert_eq!(run("./fails").status.code(), Some(9));
        assert_eq!(place.runs(), 3, "{name}: nothing ran again");
    }
}

#[test]
fn an_export_goes_through_pipes_and_selects() {
    let place = filled();
    for options in [
        &["--tag", "b c"][..],
        &["--tag", "b c", "--format", "jsonl"],
        &["-", "--tag", "b c"],
    ] {
        let exported = export(&place, options);
        let output = place.fed(&["import", "--json", "--store", "copy"], &exported);
        assert_eq!(
            lines_of_json(&output)[0]["imported"],
            1,
            "{}",
            stderr(&output)
        );
    }
    let count = place.scrubjay(&["export", "--json"]);
    assert_eq!(
        text(&count.stderr),
        "{\"exported\":5}\n",
        "the count does not mix with the entries"
    );
}

#[test]
fn json_lines_are_read_by_other_programs() {
    let place = filled();
    let lines = place.scrubjay(&["export", "--format", "jsonl"]);
    let lines = lines_of_json(&lines);
    let heads: Vec<&Value> = lines.iter().filter_map(|line| line.get("entry")).collect();
    assert_eq!(heads.len(), 5);
    assert_eq!(heads[0]["tags"], serde_json::json!(["a", "b c"]));
    let data = lines.iter().filter(|line| line["data"].is_string()).count();
    assert!(
        data >= 4 + 300_000 / (48 << 10),
        "large payloads take several lines"
    );
}

#[test]
fn a_damaged_archive_is_imported_as_far_as_it_is_whole_and_said_to_be_damaged() {
    let place = filled();
    let archive = export(&place, &[]);
    let original = entries(&place, "store");
    for cut in [
        archive.len() - 1,
        archive.len() - 40,
        archive.len() / 2,
        10,
        3,
    ] {
        fs::write(place.path("cut"), &archive[..cut]).unwrap();
        let output = import(&place, "cut");
        assert_eq!(output.status.code(), Some(3), "cut at {cut}");
        let told = stderr(&output);
        assert!(
            told.contains("cut: ") && told.contains("cut off") || told.contains("damaged"),
            "{told}"
        );
        assert!(told.contains("imported before that"), "{told}");
        let copied = entries(&place, "copy");
        assert!(
            copied.iter().all(|entry| original.contains(entry)),
            "cut at {cut}"
        );
    }
}

#[test]
fn no_flipped_byte_of_an_archive_is_imported_as_something_else() {
    let place = Place::new();
    place.remember(&[], "text");
    let archive = export(&place, &[]);
    let original = entries(&place, "store");
    for at in (0..archive.len()).step_by(7) {
        let mut damaged = archive.clone();
        damaged[at] ^= 0x20;
        let output = place.fed(&["import", "--store", "copy"], &damaged);
        assert_eq!(
            output.status.code(),
            Some(3),
            "byte {at}: {}",
            stdout(&output)
        );
        let copied = place
            .path("copy/store.db")
            .exists()
            .then(|| entries(&place, "copy"));
        assert!(
            copied
                .unwrap_or_default()
                .iter()
                .all(|entry| original.contains(entry)),
            "byte {at}"
        );
    }
}

#[test]
fn damaged_lines_are_named_by_their_number() {
    let place = filled();
    let lines = export(&place, &["--format", "jsonl"]);
    let lines: Vec<&str> = text(&lines).lines().collect();
    let broken = |changed: Vec<&str>| {
        fs::write(place.path("lines"), changed.join("\n")).unwrap();
        let output = import(&place, "lines");
        assert_eq!(output.status.code(), Some(3));
        stderr(&output).to_owned()
    };
    assert!(broken(vec![lines[0], lines[1], "{}"]).contains("line 3"));
    assert!(broken(vec![lines[0], lines[2]]).contains("line 2: less data"));
    assert!(broken(vec![lines[0], lines[1], lines[1]]).contains("line 3: more data"));
    assert!(broken(vec![lines[0], r#"{"data":"?"}"#]).contains("line 2"));
    assert!(broken(vec![lines[0]]).contains("line 2"));
}

#[test]
fn a_foreign_file_is_refused_and_an_empty_one_has_no_entries() {
    let place = Place::new();
    for foreign in [
        "this is a letter",
        "\u{89}PNG\r\n",
        "[1, 2]",
        "{\"entry\": 7}",
    ] {
        let output = place.fed(&["import"], foreign.as_bytes());
        assert_eq!(output.status.code(), Some(3), "{foreign}");
        assert!(stderr(&output).starts_with("scrubjay: "), "{foreign}");
    }
    assert_eq!(stdout(&place.fed(&["import"], b"")), "imported 0 entries\n");
    let absent = place.scrubjay(&["import", "absent"]);
    assert_eq!(absent.status.code(), Some(3));
    assert!(
        stderr(&absent).contains("absent: No such file"),
        "{}",
        stderr(&absent)
    );
}

#[test]
fn an_entry_whose_life_is_over_is_left_out() {
    let place = Place::new();
    place.remember(&["--ttl", "1h"], "fresh");
    let lines = text(&export(&place, &["--format", "jsonl"])).to_owned();
    let entry = place.object(&["ls"]);
    let year = &entry["expires"].as_str().unwrap()[..4];
    let old = lines.replace(&format!("\"expires\":\"{year}"), "\"expires\":\"2001");
    assert_ne!(old, lines);
    assert_eq!(
        stdout(&place.fed(&["import", "--store", "copy"], old.as_bytes())),
        "imported 0 entries\n"
    );
}

#[test]
fn an_import_replaces_what_is_there() {
    let place = Place::new();
    place.counted("work", "wc -l < runs");
    place.scrubjay(&["run", "--", "./work"]);
    let archive = export(&place, &[]);
    place.scrubjay(&["run", "--force", "--", "./work"]);
    place.fed(&["import"], &archive);
    assert_eq!(
        stdout(&place.scrubjay(&["run", "--", "./work"])).trim(),
        "1"
    );
}

#[test]
fn a_file_that_cannot_be_written_is_said() {
    let place = Place::new();
    place.remember(&[], "x");
    let output = place.scrubjay(&["export", "no/such/place.sjar"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("no/such/place.sjar"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_import_that_does_not_fit_says_so_and_leaves_a_sound_store() {
    let place = Place::new();
    let Some(_mounted) = place.mount("copy", "size=3m") else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    for number in 0..5 {
        let text = format!("{number}");
        place.scrubjay(&[
            "run",
            "--",
            "sh",
            "-c",
            "head -c 900000 /dev/urandom",
            &text,
        ]);
    }
    place.scrubjay(&["export", "all.sjar"]);
    let output = import(&place, "all.sjar");
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    let told = stderr(&output);
    assert!(
        told.contains("room") || told.contains("full") || told.contains("No space"),
        "{told}"
    );
    let verified = place.scrubjay(&["verify", "--store", "copy"]);
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
}

#[test]
fn what_is_imported_is_readable_by_its_owner_only_and_a_damaged_payload_leaves_nothing() {
    let place = Place::new();
    place.scrubjay(&["run", "--", "head", "-c", "900000", "/dev/urandom"]);
    let mut archive = export(&place, &[]);
    let import = |archive: &[u8]| place.fed(&["import", "--store", "copy"], archive);
    assert_eq!(stdout(&import(&archive)), "imported 1 entry\n");
    let folders = fs::read_dir(place.path("copy/v")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    for file in files {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let middle = archive.len() / 2;
    archive[middle] ^= 1;
    assert_eq!(import(&archive).status.code(), Some(3));
    let left = fs::read_dir(place.path("copy/scratch")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_compressed_export_is_said_to_be_no_export() {
    let place = Place::new();
    let output = place.fed(&["import"], b"\x1f\x8b\x08\x00rest\n");
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(
        told.contains("standard input: ") && told.contains("decompressed first"),
        "{told}"
    );
}
