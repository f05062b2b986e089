//! Snapshots: what comes back, and what a damaged file does.

#![cfg(feature = "snapshot")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{self, Write};
use std::time::Duration;

use scrubjay::{Cache, EntryOptions, ErrorKind, ManualClock};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn filled() -> Cache<String, Vec<u32>> {
    let cache = Cache::new();
    for n in 0..5u32 {
        cache.insert(format!("key {n}"), vec![n; n as usize]);
    }
    cache
}

fn saved(cache: &Cache<String, Vec<u32>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    cache.save(&mut bytes).unwrap();
    bytes
}

#[test]
fn everything_comes_back() {
    let bytes = saved(&filled());
    let restarted: Cache<String, Vec<u32>> = Cache::new();
    assert_eq!(restarted.load(&bytes[..]).unwrap(), 5);
    let mut entries: Vec<_> = restarted.iter().collect();
    entries.sort();
    let mut expected: Vec<_> = filled().iter().collect();
    expected.sort();
    assert_eq!(entries, expected);
    restarted.assert_consistent();
}

#[test]
fn an_empty_cache_makes_an_empty_snapshot() {
    let bytes = saved(&Cache::new());
    assert_eq!(filled().load(&bytes[..]).unwrap(), 0);
}

#[test]
fn a_life_goes_on_while_the_cache_is_away() {
    let (clock, later) = (ManualClock::new(), ManualClock::new());
    let build = |clock: &ManualClock| -> Cache<String, u32> {
        Cache::builder()
            .time_to_live(secs(60))
            .clock(clock.clone())
            .build()
            .unwrap()
    };
    let cache = build(&clock);
    cache.insert("old".into(), 1);
    clock.advance(secs(30));
    cache.insert("young".into(), 2);
    let mut bytes = Vec::new();
    assert_eq!(cache.save(&mut bytes).unwrap(), 2);

    // Saved at second 30, loaded at second 65: "old" had 30 seconds left and is gone, "young" had 60.
    later.advance(secs(65));
    let restarted = build(&later);
    assert_eq!(restarted.load(&bytes[..]).unwrap(), 1);
    assert_eq!(restarted.get("young"), Some(2));
    later.advance(secs(25));
    assert_eq!(restarted.get("young"), None);
}

#[test]
fn expired_entries_and_remembered_failures_are_left_out() {
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = Cache::builder()
        .time_to_live(secs(10))
        .stale_if_error(secs(100))
        .error_time_to_live(secs(100))
        .clock(clock.clone())
        .build()
        .unwrap();
    cache.insert(1, 1);
    clock.advance(secs(10));
    assert_eq!(
        cache.try_get_or_insert_with(&2, || Err("down")),
        Err("down")
    );
    cache.insert(3, 3);
    let mut bytes = Vec::new();
    assert_eq!(cache.save(&mut bytes).unwrap(), 1);
}

#[test]
fn tags_and_weights_come_back() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert_with(1, 1, EntryOptions::new().tag("odd").weight(7));
    let mut bytes = Vec::new();
    cache.save(&mut bytes).unwrap();
    let restarted: Cache<u32, u32> = Cache::new();
    restarted.load(&bytes[..]).unwrap();
    assert_eq!(restarted.weight(), 7);
    assert_eq!(restarted.invalidate_tag("odd"), 1);
}

#[test]
fn what_is_present_is_kept_and_the_capacity_holds() {
    let bytes = saved(&filled());
    let small: Cache<String, Vec<u32>> = Cache::builder().capacity(2).build().unwrap();
    small.insert("key 3".into(), vec![9]);
    assert_eq!(small.load(&bytes[..]).unwrap(), 1);
    assert_eq!((small.len(), small.get("key 3")), (2, Some(vec![9])));
}

#[test]
fn a_truncated_snapshot_is_an_error_at_every_length_and_stores_nothing() {
    let bytes = saved(&filled());
    for length in 0..bytes.len() {
        let cache: Cache<String, Vec<u32>> = Cache::new();
        let error = cache.load(&bytes[..length]).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "at {length} bytes: {error}"
        );
        assert!(cache.is_empty());
    }
}

#[test]
fn a_flipped_byte_is_an_error_wherever_it_is_but_in_the_time_of_the_save() {
    let bytes = saved(&filled());
    let time_of_save = 12..20;
    for position in (0..bytes.len()).filter(|position| !time_of_save.contains(position)) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x40;
        let cache: Cache<String, Vec<u32>> = Cache::new();
        let error = cache.load(&damaged[..]).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Version),
            "at byte {position}: {error}"
        );
        assert!(cache.is_empty());
    }
}

#[test]
fn a_future_format_says_which_formats_are_known() {
    let mut bytes = saved(&filled());
    bytes[8] = 2;
    let error = filled().load(&bytes[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version);
    assert!(error.to_string().contains("format 2") && error.to_string().contains("format 1"));
}

#[test]
fn a_snapshot_of_other_types_is_refused_whole() {
    let bytes = saved(&filled());
    let other: Cache<u64, bool> = Cache::new();
    assert_eq!(other.load(&bytes[..]).unwrap_err().kind(), ErrorKind::Codec);
    assert!(other.is_empty());
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    let mut bytes = saved(&filled());
    // The first record's length: just below the bound, with hardly any bytes behind it.
    bytes[20..24].copy_from_slice(&((1u32 << 30) - 1).to_le_bytes());
    let cache: Cache<String, Vec<u32>> = Cache::new();
    assert_eq!(
        cache.load(&bytes[..]).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_with_its_cause() {
    let error = filled().save(Full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(std::error::Error::source(&error).is_some());
}
