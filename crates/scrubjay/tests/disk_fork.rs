//! A process that forks with its store open: parent and child go on, each as if it had opened the folder alone.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]
#![allow(unsafe_code, reason = "fork has no safe form")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/stored.rs"]
mod stored;

use std::time::Duration;

use folder::Folder;
use scrubjay::disk::Store;
use stored::{name, open, payload, record};

#[test]
fn a_forked_child_uses_the_store_that_its_parent_opened() {
    let folder = Folder::new("fork");
    let store = Store::open(folder.store()).unwrap();
    store.put(record(0), &payload(0)).unwrap();
    store.flush(Duration::MAX).unwrap();
    // SAFETY: the child uses only the store, which is made for that, and ends without unwinding or destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let found = store.get(&name(0)).is_some();
        let stored = store.put(record(1), &payload(1)).is_ok();
        let flushed = store.flush(Duration::MAX).is_ok();
        // SAFETY: as above.
        unsafe { libc::_exit(if found && stored && flushed { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is where the kernel may write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert!(
        store.get(&name(1)).is_some(),
        "the parent goes on, and sees what the child stored"
    );
    store.put(record(2), &payload(2)).unwrap();
    store.flush(Duration::MAX).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn a_child_does_not_keep_the_lead_of_a_parent_that_let_go() {
    let folder = Folder::new("fork-lead");
    let store = open(&folder.store());
    let lead = store.try_lead(&name(0)).unwrap().unwrap();
    // SAFETY: the child does nothing but wait for its end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: it has no memory to do with.
            unsafe { libc::pause() };
        }
    }
    drop(lead);
    // The child closes its copy as its first act after the fork, which may come after the parent's `drop`.
    let led = store.lead_or_wait(&name(0), None, |_| false).unwrap();
    // SAFETY: the child is this process's own, and not yet waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert!(led.is_some());
}
