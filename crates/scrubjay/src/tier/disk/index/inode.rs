//! How SQLite tells files apart in a process that was forked.
//!
//! SQLite notes for each inode which locks its process holds, and goes on believing it in a forked child, which holds
//! none of them: a connection that the child opens would then read without a lock what others truncate and overwrite.
//! Invariant: no connection shares these notes with one that was opened before a fork. For that SQLite is shown other
//! inode numbers after each fork, by the override of system calls that its VFS offers (`xSetSystemCall`,
//! <https://sqlite.org/c3ref/vfs.html>).
#![allow(unsafe_code, reason = "functions that SQLite calls have no safe form")]

use std::ffi::{CStr, c_char, c_int};
use std::sync::Once;

use rusqlite::ffi;

use crate::tier::disk::fork;

/// Has the connections that are opened from now on kept apart.
pub(super) fn tell_apart_after_forks() {
    static DONE: Once = Once::new();
    // Elsewhere `libc::stat` is not always the structure that SQLite was compiled for.
    if cfg!(target_pointer_width = "64") {
        DONE.call_once(|| {
            override_call(c"fstat", fstat as *const ());
            override_call(c"stat", stat as *const ());
        });
    }
}

fn override_call(name: &CStr, call: *const ()) {
    // SAFETY: all its VFSs of a system share one table of calls, which is there for ever.
    let vfs = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
    // SAFETY: SQLite's own structure, which nobody changes.
    let set = unsafe { vfs.as_ref() }.and_then(|vfs| vfs.xSetSystemCall);
    if let Some(set) = set {
        // SAFETY: SQLite casts it back to the type that `fstat` and `stat` have, and calls it only as such.
        let call: unsafe extern "C" fn() = unsafe { std::mem::transmute(call) };
        // SAFETY: as its declaration asks: the VFS, a name that ends with a zero byte, and a function that is there for
        // ever.
        unsafe { set(vfs, name.as_ptr(), Some(call)) };
    }
}

unsafe extern "C" fn fstat(descriptor: c_int, found: *mut libc::stat) -> c_int {
    // SAFETY: as SQLite calls it: `found` is where a `stat` fits.
    unsafe { told_apart(libc::fstat(descriptor, found), found) }
}

unsafe extern "C" fn stat(path: *const c_char, found: *mut libc::stat) -> c_int {
    // SAFETY: as SQLite calls it: `path` ends with a zero byte, and `found` is where a `stat` fits.
    unsafe { told_apart(libc::stat(path, found), found) }
}

/// Shows another inode than before the last fork, the same one for both calls. Before the first it is the file's own.
unsafe fn told_apart(result: c_int, found: *mut libc::stat) -> c_int {
    // Without a pattern, so that no two inodes of a file system come to share a number.
    let mark = fork::generation().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    if result == 0 {
        // SAFETY: as its callers say, and the kernel has filled it.
        unsafe { (*found).st_ino ^= mark };
    }
    result
}
