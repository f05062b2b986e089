//! What std does not offer of the operating system: locks of byte ranges, the kind of a file system, calls at a fork.
//!
//! The only module of the disk tier with `unsafe` code, all of it calls of libc.
#![allow(unsafe_code, reason = "libc's functions have no safe form in std")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Tries to lock one byte of a file for this open file description alone; false if another one has it.
///
/// The kernel frees it when the last descriptor of the description is closed, however its process ends.
pub(crate) fn try_lock_byte(file: &File, offset: i64) -> io::Result<bool> {
    set_lock(file, &one_byte(libc::F_WRLCK, offset))
}

/// Tries to lock one byte of a file as others may too; false if another one has it alone.
pub(crate) fn try_share_byte(file: &File, offset: i64) -> io::Result<bool> {
    set_lock(file, &one_byte(libc::F_RDLCK, offset))
}

fn set_lock(file: &File, lock: &libc::flock) -> io::Result<bool> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the kernel only reads `lock`.
    let result = unsafe {
        libc::fcntl(
            file.as_raw_fd(),
            libc::F_OFD_SETLK,
            std::ptr::from_ref(lock),
        )
    };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Whether another open file description has one byte of a file locked.
pub(crate) fn is_byte_locked(file: &File, offset: i64) -> io::Result<bool> {
    let mut lock = one_byte(libc::F_WRLCK, offset);
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the kernel writes to `lock` only.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    match result {
        0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(io::Error::last_os_error()),
    }
}

fn one_byte(kind: libc::c_int, offset: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    }
}

/// Whether this process may make files in a folder.
pub(crate) fn may_write(folder: &Path) -> bool {
    let Ok(folder) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: `folder` ends with a zero byte, and nothing is written.
    unsafe {
        libc::faccessat(
            libc::AT_FDCWD,
            folder.as_ptr(),
            libc::W_OK,
            libc::AT_EACCESS,
        ) == 0
    }
}

/// Closes a descriptor that this process inherited and whose owner is in another one.
pub(super) fn close(descriptor: i32) {
    // SAFETY: only called in a forked child, for descriptors whose `File` is never dropped there.
    unsafe { libc::close(descriptor) };
}

/// How many bytes the file system of `path` has left for this user.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid `statvfs`, which is plain numbers.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte, and `found` is where the kernel may write.
    match unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } {
        0 => Ok(found.f_bavail.saturating_mul(found.f_frsize)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Names the network file system on which `path` is; `None` if it is on none.
#[cfg(target_os = "linux")]
pub(crate) fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid `statfs`, which is plain numbers.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte, and `found` is where the kernel may write.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(network_name(found.f_type as i64))
}

/// Names the network file system on which `path` is: not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_file_system(_: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// The numbers are those of Linux' `statfs(2)` and `linux/magic.h`.
#[cfg(target_os = "linux")]
fn network_name(kind: i64) -> Option<&'static str> {
    match kind & 0xFFFF_FFFF {
        0x6969 => Some("NFS"),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x5346_414F => Some("AFS"),
        0x00C3_6400 => Some("Ceph"),
        0x0BD0_0BD0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        _ => None,
    }
}

/// Has these called at every fork of the process: before it, and after it in the parent and in the child.
pub(super) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    // SAFETY: the functions are there for ever, and do not unwind.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(i64::from(0xFF53_4D42u32 as i32)), Some("SMB"));
        assert_eq!(network_name(0xEF53), None, "ext4");
        assert_eq!(network_name(0x0102_1994), None, "tmpfs");
    }

    #[test]
    fn a_local_folder_is_not_on_a_network() {
        let found = network_file_system(Path::new("/")).expect("the root can be asked");
        assert!(matches!(found, None | Some("9P")));
    }
}
