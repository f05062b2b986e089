//! What std does not offer of the operating system: locks of byte ranges, the kind of a file system, calls at a fork.
//!
//! All of it is calls of libc.
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
pub(crate) fn network_file_system(path: &Path) -> io::Result<Option<String>> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid `statfs`, which is plain numbers.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `name` ends with a zero byte, and `found` is where the kernel may write.
    if unsafe { libc::statfs(name.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    match found.f_type as i64 & 0xFFFF_FFFF {
        FUSE => Ok(fuse_name(path)?.filter(|name| is_network_fuse(name))),
        kind => Ok(network_name(kind).map(str::to_owned)),
    }
}

/// Names the network file system on which `path` is: not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_file_system(_: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

/// File systems that are programs.
#[cfg(target_os = "linux")]
const FUSE: i64 = 0x6573_5546;

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

/// The type under which the program that is the file system of `path` was mounted, such as `fuse.sshfs`.
#[cfg(target_os = "linux")]
fn fuse_name(path: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(path)?.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(type_of_mount(&mounts, &device).map(str::to_owned))
}

/// See `proc_pid_mountinfo(5)`: the third field is the device, the first one behind a hyphen the type.
#[cfg(target_os = "linux")]
fn type_of_mount<'a>(mounts: &'a str, device: &str) -> Option<&'a str> {
    let is_it = |line: &&str| line.split(' ').nth(2) == Some(device);
    let (_, rest) = mounts.lines().find(is_it)?.split_once(" - ")?;
    rest.split(' ').next()
}

/// Whether what is mounted as this type is on other machines, as far as it is known.
#[cfg(target_os = "linux")]
fn is_network_fuse(name: &str) -> bool {
    const KNOWN: [&str; 12] = [
        "sshfs",
        "rclone",
        "s3fs",
        "gcsfuse",
        "goofys",
        "glusterfs",
        "ceph",
        "ceph-fuse",
        "curlftpfs",
        "davfs",
        "juicefs",
        "moosefs",
    ];
    let program = name.strip_prefix("fuse.").unwrap_or(name);
    KNOWN.contains(&program)
}

/// A number for this machine and what it has mounted at a folder. Machines of one network have different names, or
/// network file systems take them for one as well.
pub(crate) fn machine(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let read = |path: &str| std::fs::read(path).unwrap_or_default();
    let mut id = read("/etc/machine-id");
    if id.trim_ascii().is_empty() {
        id = read("/proc/sys/kernel/random/boot_id");
    }
    let name = read("/proc/sys/kernel/hostname");
    // Two mounts of one folder do not see each other's writes at once either.
    let mount = std::fs::metadata(folder)?.dev().to_le_bytes();
    Ok(xxhash_rust::xxh3::xxh3_64(
        &[&*id, b"/", &name, b"/", &mount].concat(),
    ))
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
    fn programs_that_are_network_file_systems_are_known_by_their_type() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/root rw\n\
                      40 22 0:35 / /mnt/a\\040b rw,nosuid shared:3 - fuse.sshfs host:/ rw,user_id=0\n\
                      41 22 0:36 / /mnt/c rw - fuseblk /dev/sdb1 rw\n";
        let name = |device| type_of_mount(mounts, device);
        assert_eq!(name("0:35"), Some("fuse.sshfs"));
        assert_eq!(name("0:35").map(is_network_fuse), Some(true));
        assert_eq!(name("0:36").map(is_network_fuse), Some(false));
        assert_eq!(name("0:3"), None);
    }

    #[test]
    fn a_local_folder_is_not_on_a_network() {
        let found = network_file_system(Path::new("/")).expect("the root can be asked");
        assert!(matches!(found.as_deref(), None | Some("9P")));
    }
}
