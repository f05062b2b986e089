//! A process that forks with its store open: parent and child go on, each as if it had opened the folder alone.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]
#![allow(unsafe_code, reason = "fork has no safe form")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/stored.rs"]
mod stored;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use folder::Folder;
use scrubjay::disk::Store;
use stored::{name, open, payload, record};

/// One of these tests at a time: a child of one would keep what another one has open.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `work` in a child of this process, and says whether it came to its end, and to `true`.
fn in_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child uses only stores, which are made for that, and ends without unwinding or destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a child that hangs is ended, and so told from one that ends.
        unsafe { libc::alarm(30) };
        let worked = work();
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!worked)) };
    }
    let mut status = 0;
    // SAFETY: `status` is where the kernel may write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    status == 0
}

#[test]
fn a_child_goes_on_whatever_other_threads_were_doing_inside_stores() {
    let _alone = ALONE.lock();
    let folder = Folder::new("fork-threads");
    let store = open(&folder.store());
    store.put(record(0), &payload(0)).unwrap();
    let is_over = AtomicBool::new(false);
    let until_over = |work: &dyn Fn()| {
        while !is_over.load(Ordering::SeqCst) {
            work();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until_over(&|| {
                let other = Store::open(folder.0.join("other")).unwrap();
                other.put(record(1), &payload(1)).unwrap();
            });
        });
        scope.spawn(|| {
            until_over(&|| {
                drop(store.try_lead(&name(1)).unwrap());
                store.put(record(1), &payload(1)).unwrap();
                assert_eq!(store.invalidate(&name(1)).unwrap(), 1);
            });
        });
        let hung = (0..300).find(|_| {
            !in_child(|| {
                let other = Store::open(folder.0.join("other"));
                store.get(&name(0)).is_some() && other.is_ok()
            })
        });
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(hung, None);
    });
}

#[test]
fn what_a_child_stores_is_kept_although_its_parent_closes_the_folder() {
    const LAST: u64 = 300;
    let _alone = ALONE.lock();
    let folder = Folder::new("fork-closed");
    let store = open(&folder.store());
    (0..LAST).for_each(|n| store.put(record(n), b"of the parent").unwrap());
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let parent = std::thread::spawn({
        let path = folder.store();
        move || {
            // Once the child has the folder open, close it, open it as if alone, and close it again.
            here.read_exact(&mut [0]).unwrap();
            drop(store);
            drop(open(&path));
            here.write_all(&[0]).unwrap();
        }
    });
    let worked = in_child(|| {
        let store = open(&folder.store());
        let all = || (0..LAST).all(|n| store.get(&name(n)).is_some());
        let found = all() && there.write_all(&[0]).is_ok() && there.read_exact(&mut [0]).is_ok();
        let put = |n| store.put(record(n), b"of the child").is_ok();
        found && all() && (0..LAST).all(put) && store.flush(Duration::MAX).is_ok()
    });
    parent.join().unwrap();
    assert!(worked);
    let store = open(&folder.store());
    let payload = |n| store.get(&name(n)).unwrap().payload.into_bytes().unwrap();
    assert!((0..LAST).all(|n| payload(n) == b"of the child"));
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn a_forked_child_uses_the_store_that_its_parent_opened() {
    let _alone = ALONE.lock();
    let folder = Folder::new("fork");
    let store = Store::open(folder.store()).unwrap();
    store.put(record(0), &payload(0)).unwrap();
    store.flush(Duration::MAX).unwrap();
    let worked = in_child(|| {
        let found = store.get(&name(0)).is_some();
        let stored = store.put(record(1), &payload(1)).is_ok();
        found && stored && store.flush(Duration::MAX).is_ok()
    });
    assert!(worked);
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
    let _alone = ALONE.lock();
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
