//! Folders that may not be written, or not be read, and those of other machines.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]
#![allow(unsafe_code, reason = "becoming another user has no safe form")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/mount.rs"]
mod mount;
#[path = "fixtures/stored.rs"]
mod stored;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use folder::Folder;
use mount::Mounted;
use scrubjay::ErrorKind;
use scrubjay::disk::Store;
use stored::{
    ENTRIES, check, computes, files, filled, has_all, name, open, payload, record, settle,
};

/// One of these tests at a time: a child that is somebody else has what others had open, and had locked, when it was
/// forked.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `work` in a child of this process that is somebody else; fails if it does. Skipped unless root runs the tests.
fn as_nobody(work: impl FnOnce()) {
    // SAFETY: asks a number of the process.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: this test becomes another user, which needs root");
        return;
    }
    // SAFETY: the child uses what is made for that, and ends without unwinding out of this function or destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: these change nothing but who the child is.
        let is_nobody = unsafe { libc::setgid(65_534) == 0 && libc::setuid(65_534) == 0 };
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!(is_nobody && worked.is_ok()))) };
    }
    let mut status = 0;
    // SAFETY: `status` is where the kernel may write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "see what the child printed");
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets everybody read a folder, and its owner alone write.
fn make_readable(folder: &Folder) {
    let mut paths = vec![folder.0.clone(), folder.store(), folder.store().join("v")];
    paths.extend(
        std::fs::read_dir(folder.store().join("v"))
            .unwrap()
            .flatten()
            .map(|e| e.path()),
    );
    paths.iter().for_each(|path| set_mode(path, 0o755));
    files(&folder.store())
        .iter()
        .for_each(|file| set_mode(file, 0o644));
}

/// A folder as somebody would hand it on: everything is in the index, and nothing is beside it that readers share.
fn handed_on(path: &Path) {
    filled(path);
    settle(path);
    for file in ["store.db-wal", "store.db-shm", "gen"] {
        let _ = std::fs::remove_file(path.join(file));
    }
}

/// Mounts a folder of this machine as if it were another one's; false where there is no sshfs.
fn mount_over_network(from: &Path, at: &Path) -> bool {
    std::fs::create_dir_all(at).unwrap();
    // What speaks with the server is the server itself, through its pipes.
    let server = at.with_extension("server");
    std::fs::write(&server, "#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n").unwrap();
    set_mode(&server, 0o755);
    let mut sshfs = Command::new("sshfs");
    let sshfs = sshfs.arg(format!("host:{}", from.display())).arg(at);
    let command = format!("ssh_command={}", server.display());
    let mounted = sshfs.args(["-o", &command]).status();
    mounted.is_ok_and(|status| status.success())
}

#[test]
fn folders_and_files_are_their_owners_alone() {
    let _alone = ALONE.lock();
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    filled(&folder.store());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.store()), 0o700);
    for file in files(&folder.store()) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_read_only_folder_is_read_and_refuses_writes() {
    let _alone = ALONE.lock();
    let folder = Folder::new("read-only");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "8m") else {
        return;
    };
    filled(&disk);
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .status();
    assert!(remounted.unwrap().success());
    {
        let store = open(&disk);
        for n in 0..ENTRIES {
            let found = store
                .get(&name(n))
                .map(|record| record.payload.into_bytes().unwrap());
            assert!(found == Some(payload(n)), "entry {n}");
        }
        let error = store.put(record(9), &payload(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(store.get(&name(9)).is_none());
        computes(store);
    }
}

#[test]
fn a_path_that_is_a_file_is_an_error_that_says_so() {
    let _alone = ALONE.lock();
    let folder = Folder::new("file");
    std::fs::write(folder.store(), b"a file").unwrap();
    let error = Store::open(folder.store()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("check that it is a folder"));
}

#[test]
fn a_folder_of_somebody_else_is_an_error_that_says_what_to_do() {
    let _alone = ALONE.lock();
    let folder = Folder::new("permission");
    filled(&folder.store());
    let path = folder.store();
    as_nobody(move || {
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error
                .to_string()
                .contains("check that it is a folder of yours"),
            "{error}"
        );
        let inside = Store::open(path.join("new")).unwrap_err();
        assert_eq!(inside.kind(), ErrorKind::Io);
    });
}

#[test]
fn a_folder_that_was_handed_on_to_be_read_serves_what_it_has() {
    let _alone = ALONE.lock();
    let folder = Folder::new("handed on, 100 %?#");
    handed_on(&folder.store());
    make_readable(&folder);
    let path = folder.store();
    as_nobody(move || {
        let store = open(&path);
        has_all(&store);
        assert_eq!(store.iter().count(), ENTRIES as usize);
        assert!(store.verify(|_| ()).unwrap().is_sound());
        let error = store.put(record(9), &payload(9)).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
        assert!(store.invalidate(&name(0)).is_err());
        computes(store);
    });
}

#[test]
fn whoever_reads_a_folder_that_was_handed_on_sees_what_its_owner_writes() {
    let _alone = ALONE.lock();
    let folder = Folder::new("handed-on-written");
    handed_on(&folder.store());
    let view = folder.0.join("view");
    std::fs::create_dir_all(&view).unwrap();
    let run = |arguments: &[&str]| {
        let mut mount = Command::new("mount");
        let mount = mount.args(arguments).arg(&view);
        mount.status().is_ok_and(|status| status.success())
    };
    if !run(&["--bind", folder.store().to_str().unwrap()]) {
        eprintln!("skipped: this test mounts a folder a second time, which needs root");
        return;
    }
    let _mounted = Mounted(view.clone());
    assert!(run(&["-o", "remount,ro,bind"]));
    {
        let reader = open(&view);
        has_all(&reader);
        let owner = open(&folder.store());
        has_all(&reader);
        owner.invalidate(&name(0)).unwrap();
        assert!(reader.get(&name(0)).is_none());
        owner.put(record(0), b"another").unwrap();
        // Nobody knows of a reader who can lock nothing, so what is written through is in the index a moment later.
        owner.flush(Duration::MAX).unwrap();
        let found = reader.get(&name(0)).unwrap().payload.into_bytes();
        assert_eq!(found.unwrap(), b"another");
    }
}

#[test]
fn a_folder_that_may_be_read_and_not_written_serves_what_it_has() {
    let _alone = ALONE.lock();
    let folder = Folder::new("readable");
    filled(&folder.store());
    make_readable(&folder);
    let path = folder.store();
    as_nobody(move || {
        let store = open(&path);
        has_all(&store);
        assert!(store.put(record(9), &payload(9)).is_err());
        assert!(
            store.invalidate(&name(0)).is_err(),
            "it says that it could not"
        );
        computes(store);
    });
    assert_eq!(check(&folder.store()), ENTRIES as usize);
}

#[test]
fn on_a_network_file_system_a_machine_has_a_folder_of_its_own() {
    let _alone = ALONE.lock();
    let folder = Folder::new("network");
    let (far, near) = (folder.0.join("far"), folder.0.join("near"));
    // What another machine had there is no business of this one's.
    filled(&far);
    if !mount_over_network(&far, &near) {
        eprintln!("skipped: this test mounts a folder with sshfs");
        return;
    }
    let mounted = Mounted(near.clone());
    {
        let store = open(&near);
        assert_ne!(store.dir(), near.canonicalize().unwrap());
        assert!(store.get(&name(0)).is_none());
        store.put(record(0), b"ours").unwrap();
        store.put(record(2), &payload(2)).unwrap();
        let again = open(&near);
        assert_eq!(again.dir(), store.dir());
        assert!(again.get(&name(0)).is_some());
    }
    {
        let store = open(&near);
        let ours = store.get(&name(0)).unwrap().payload.into_bytes();
        assert_eq!(ours.unwrap(), b"ours");
        assert!(store.get(&name(2)).is_some());
        assert_eq!(store.invalidate(&name(0)).unwrap(), 1);
        assert!(store.verify(|_| ()).unwrap().is_sound());
    }
    drop(mounted);
    assert_eq!(check(&far), ENTRIES as usize);
}

#[test]
fn a_process_that_can_start_no_thread_keeps_nobody_from_emptying_the_log() {
    let _alone = ALONE.lock();
    let folder = Folder::new("no-thread");
    filled(&folder.store());
    make_readable(&folder);
    set_mode(&folder.store(), 0o777);
    files(&folder.store())
        .iter()
        .for_each(|file| set_mode(file, 0o666));
    as_nobody(|| {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the kernel only reads `none`.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) };
        assert_eq!(limited, 0);
        assert!(std::thread::Builder::new().spawn(|| ()).is_err());
        let store = Store::open(folder.store()).unwrap();
        (0..20).for_each(|_| has_all(&store));
        let index = rusqlite::Connection::open(folder.store().join("store.db")).unwrap();
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = index.query_row(sql, [], |row| row.get(0)).unwrap();
        assert!(!is_busy);
    });
}
