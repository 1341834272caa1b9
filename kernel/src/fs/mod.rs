//! Files: the tree of names, open files and descriptors, and the file systems.
//!
//! A path leads through [`path`] and the [`dentry`] tree over [`mount`]s to an [`inode`]; opening it gives an open file ([`mod@file`]), which
//! a process knows by a number of its [`table`]. What reads and writes do is the file system's ([`tmpfs`], [`devfs`], [`proc`]) or the
//! kind's ([`pipe`], [`eventfd`], [`epoll`], [`tty`], [`pty`], …).
//!
//! Lock order: `names::RENAME` → `Inode::lock` (a directory's before its entry's) → `Dentry::children` → `Dentry::link`;
//! `FileTable::map` and a pipe's ring are taken inside none of them.

pub mod advisory;
pub mod anon;
pub mod attributes;
pub mod dentry;
pub mod devfs;
pub mod device;
pub mod directory;
pub mod epoll;
pub mod eventfd;
pub mod exe;
pub mod file;
pub mod hooks;
pub mod initrd;
pub mod inode;
pub mod lock;
pub mod memory;
pub mod mount;
pub mod mqueue;
pub mod names;
pub mod notify;
pub mod open;
pub mod page_cache;
pub mod path;
pub mod path_cache;
pub mod perm;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod proc;
pub mod pty;
pub mod sigio;
pub mod signalfd;
pub mod stdio;
pub mod table;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;

use alloc::sync::Arc;

use abi::{Errno, OpenFlags};
use namei::Limits;
use spin::Once;

pub use exe::{ExeFile, open_executable};
pub use file::OpenFile;
pub use memory::{anonymous_object, mmap_target};
pub use path::FsContext;
pub use pidfd::pidfd;
pub use table::FileTable;

use crate::config::Job;
use crate::console;
use crate::syscall::{Failure, Fd};
use crate::task::{Process, exit};
use inode::{Device, FileKind, NewFile};
use mount::{FileSystem, Mount};
use open::How;
use path::Path;

/// The first root.
static ROOT: Once<Path> = Once::new();

/// Builds the tree: a root in memory, filled from the initrd's archive, with /dev and /proc. `archive` is in the direct map. If it can't be
/// built, the machine ends, and says so of its first job.
pub fn init(archive: &'static [u8]) {
    if let Err(error) = build(archive) {
        console::exec_failed(0, error, "no memory for the names of the root's files: try more --memory");
        exit::shut_down();
    }
}

fn build(archive: &'static [u8]) -> Result<(), Errno> {
    let fs = FileSystem::new(&mount::TMPFS);
    let root = Mount::new(&fs, tmpfs::new_root(&fs, 0o755)?, b"rootfs", mount::flag::RELATIME);
    mount::set_root(&root);
    ROOT.call_once(|| root.root_path());
    initrd::unpack(archive, &root.root)?;
    tmpfs::limit(&fs);
    for name in [&b"dev"[..], b"proc"] {
        let at = mount_point(&root.root_path(), name)?;
        let (fs, top) = if name == b"dev" { devfs::new() } else { proc::new() };
        let flags = mount::flag::NOSUID | mount::flag::RELATIME;
        mount::attach(&Mount::new(&fs, top, fs.kind.name.as_bytes(), flags), at);
    }
    mount_point(&root.root_path(), b"tmp").map(|tmp| tmp.inode().set_mode(0o1777))
}

/// What is mounted when it is first looked for (/dev/pts, /dev/shm) is mounted now, for those who want to see all mounts.
pub fn complete_mounts() {
    if let Some(dev) = mount::first_dev() {
        let _ = dev.root.lookup(b"pts");
        let _ = dev.root.lookup(b"shm");
    }
}

/// A directory of the root, made if the archive has none of that name.
fn mount_point(root: &Path, name: &[u8]) -> Result<Path, Errno> {
    let dentry = match root.dentry.child(name) {
        Some(dentry) => dentry,
        None => {
            let new = NewFile {
                kind: FileKind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                device: Device::default(),
                target: &[],
            };
            names::enter(&root.dentry, name, tmpfs::make(&root.mount.fs, &new)?)?
        }
    };
    Ok(Path { mount: root.mount.clone(), dentry })
}

impl FsContext {
    /// The first root, for the kernel itself. Only after `init`.
    pub fn root() -> Self {
        let root = ROOT.get().expect("the root is built first").clone();
        Self { cwd: root.clone(), root }
    }

    /// For a job's first process. ENOENT, ENOTDIR.
    pub fn for_job(cwd: &[u8]) -> Result<Self, Errno> {
        let cwd = names::resolve_directory(Fd::CWD, cwd)?;
        Ok(Self { cwd, ..Self::root() })
    }
}

impl FileTable {
    /// A job's first process's descriptors: its standard streams.
    pub fn for_job(job: &Job) -> Result<Self, Errno> {
        let files = Self::new();
        stdio::install(&files, job)?;
        Ok(files)
    }
}

/// Opens a file for the kernel itself.
pub fn open_kernel(path: &[u8], flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
    let how = How { flags, mode: 0, limits: Limits::default() };
    match open::open(Fd::CWD, path, &how) {
        Ok(file) => Ok(file),
        Err(error) => Err(match error.failure() {
            Failure::Errno(errno) => errno,
            Failure::Restart(_) => Errno::EINTR,
        }),
    }
}

/// The descriptors of the running process.
#[inline]
pub fn files() -> &'static FileTable {
    crate::task::current().process.files()
}

/// A session leader ends: its terminal is free, and the group in front is told.
pub fn leave_controlling_terminal(process: &Process) {
    tty::console().release(process.pid);
    pty::release(process);
}
