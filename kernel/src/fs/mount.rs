//! File systems and where they are mounted.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::Errno;

use super::dentry::Dentry;
use super::inode::Inode;
use super::path::Path;
use super::path_cache;
use crate::mm::PAGE_SIZE;
use crate::mm::frame;
use crate::sync::SpinLock;

/// A kind of file system.
#[derive(Debug)]
pub struct FileSystemType {
    pub name: &'static str,
    /// `f_type` of statfs(2).
    pub magic: u64,
    /// Whether the tree of dentries is all there is of its names.
    pub is_memory: bool,
}

pub static TMPFS: FileSystemType = FileSystemType { name: "tmpfs", magic: 0x0102_1994, is_memory: true };
pub static DEVTMPFS: FileSystemType =
    FileSystemType { name: "devtmpfs", magic: 0x0102_1994, is_memory: true };
pub static PROC: FileSystemType = FileSystemType { name: "proc", magic: 0x9fa0, is_memory: false };
pub static PIPEFS: FileSystemType = FileSystemType { name: "pipefs", magic: 0x5049_5045, is_memory: false };
pub static ANON_INODEFS: FileSystemType =
    FileSystemType { name: "anon_inodefs", magic: 0x0904_1934, is_memory: false };
pub static SOCKFS: FileSystemType = FileSystemType { name: "sockfs", magic: 0x534f_434b, is_memory: false };
pub static MQUEUE: FileSystemType = FileSystemType { name: "mqueue", magic: 0x1980_0202, is_memory: true };

pub static DEVPTS: FileSystemType = FileSystemType { name: "devpts", magic: 0x1cd1, is_memory: true };

/// All kinds, as /proc/filesystems lists them.
pub static TYPES: [&FileSystemType; 8] =
    [&TMPFS, &PROC, &DEVTMPFS, &SOCKFS, &PIPEFS, &ANON_INODEFS, &MQUEUE, &DEVPTS];

/// One instance of a file system.
pub struct FileSystem {
    pub kind: &'static FileSystemType,
    /// `st_dev` of its files.
    pub device: u64,
    /// `st_blksize` of its files.
    pub block_size: u32,
    next_inode: AtomicU64,
    /// Mounts of it; the last one takes the tree with it.
    mounts: AtomicU32,
    pub space: Space,
}

/// What may be used and what is, in pages and inodes. A limit of 0 is none.
#[derive(Default)]
pub struct Space {
    pub max_pages: AtomicU64,
    pub pages: AtomicU64,
    pub max_inodes: AtomicU64,
    pub inodes: AtomicU64,
}

fn take(used: &AtomicU64, max: &AtomicU64, count: u64) -> Result<(), Errno> {
    let max = max.load(Ordering::Relaxed);
    let before = used.fetch_add(count, Ordering::Relaxed);
    if max != 0 && before.saturating_add(count) > max {
        used.fetch_sub(count, Ordering::Relaxed);
        return Err(Errno::ENOSPC);
    }
    Ok(())
}

impl Space {
    /// ENOSPC beyond the limit.
    #[inline]
    pub fn take_pages(&self, count: u64) -> Result<(), Errno> {
        take(&self.pages, &self.max_pages, count)
    }

    /// Counts pages that are in use already.
    pub fn charge_pages(&self, count: u64) {
        self.pages.fetch_add(count, Ordering::Relaxed);
    }

    /// Pages that can still be had, within the limit and the machine's memory.
    pub fn free_pages(&self) -> u64 {
        let memory = frame::usage().free as u64;
        match self.max_pages.load(Ordering::Relaxed) {
            0 => memory,
            max => memory.min(max.saturating_sub(self.pages.load(Ordering::Relaxed))),
        }
    }

    pub fn give_pages(&self, count: u64) {
        self.pages.fetch_sub(count, Ordering::Relaxed);
    }

    /// ENOSPC beyond the limit.
    #[inline]
    pub fn take_inode(&self) -> Result<(), Errno> {
        take(&self.inodes, &self.max_inodes, 1)
    }

    pub fn give_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileSystem {
    pub fn new(kind: &'static FileSystemType) -> Arc<Self> {
        /// Device numbers of file systems without a device: major 0.
        static NEXT_MINOR: AtomicU64 = AtomicU64::new(21);
        Arc::new(Self {
            kind,
            device: NEXT_MINOR.fetch_add(1, Ordering::Relaxed),
            block_size: if core::ptr::eq(kind, &raw const PROC) { 1024 } else { PAGE_SIZE as u32 },
            next_inode: AtomicU64::new(1),
            mounts: AtomicU32::new(0),
            space: Space::default(),
        })
    }

    /// Whether the tree of dentries is all there is of its names.
    pub fn is_kept_in_memory(&self) -> bool {
        self.kind.is_memory
    }

    /// A number for a new inode.
    #[inline]
    pub fn next_inode(&self) -> u64 {
        self.next_inode.fetch_add(1, Ordering::Relaxed)
    }
}

/// `MS_*` flags (mount(2)) that a mount keeps.
pub mod flag {
    pub const RDONLY: u32 = 1;
    pub const NOSUID: u32 = 2;
    pub const NODEV: u32 = 4;
    pub const NOEXEC: u32 = 8;
    pub const NOATIME: u32 = 0x400;
    pub const NODIRATIME: u32 = 0x800;
    pub const RELATIME: u32 = 0x20_0000;
    pub const STRICTATIME: u32 = 0x100_0000;
    pub const KEPT: u32 = RDONLY | NOSUID | NODEV | NOEXEC | NOATIME | NODIRATIME | RELATIME;
}

/// A place where a file system (or a part of one) can be seen.
pub struct Mount {
    pub id: u32,
    pub fs: Arc<FileSystem>,
    pub root: Arc<Dentry>,
    /// The directory that it covers; none for the first root and for internal file systems.
    at: SpinLock<Option<Path>>,
    flags: AtomicU32,
    pub source: Box<[u8]>,
    /// Not part of the tree: entries print as they are called.
    pub is_internal: bool,
}

static MOUNTS: SpinLock<Vec<Arc<Mount>>> = SpinLock::new(Vec::new());

impl Mount {
    fn build(
        fs: &Arc<FileSystem>,
        root: Arc<Dentry>,
        source: &[u8],
        flags: u32,
        is_internal: bool,
    ) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        fs.mounts.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            fs: fs.clone(),
            root,
            at: SpinLock::new(None),
            flags: AtomicU32::new(flags),
            source: source.into(),
            is_internal,
        })
    }

    /// A mount that covers nothing yet.
    pub fn new(fs: &Arc<FileSystem>, root: Arc<Dentry>, source: &[u8], flags: u32) -> Arc<Self> {
        Self::build(fs, root, source, flags, false)
    }

    /// The mount of an internal file system; `root` is never seen.
    pub fn internal(fs: &Arc<FileSystem>, root: Arc<Inode>) -> Arc<Self> {
        Self::build(fs, Dentry::root(root), b"", 0, true)
    }

    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    #[inline]
    pub fn is_read_only(&self) -> bool {
        self.flags() & flag::RDONLY != 0
    }

    /// The directory that it covers.
    pub fn covered(&self) -> Option<Path> {
        self.at.lock().clone()
    }

    /// Its root as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path { mount: self.clone(), dentry: self.root.clone() }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.fs.mounts.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut top = self.root.clone();
            while let Some(parent) = top.parent() {
                top = parent;
            }
            top.dismantle();
        }
    }
}

/// Makes a mount the first root.
pub fn set_root(mount: &Arc<Mount>) {
    MOUNTS.lock().push(mount.clone());
}

/// Attaches a mount over a directory.
pub fn attach(mount: &Arc<Mount>, at: Path) {
    at.dentry.note_mount(1);
    *mount.at.lock() = Some(at);
    MOUNTS.lock().push(mount.clone());
    path_cache::forget_all();
}

/// Detaches a mount. EINVAL if it isn't attached; EBUSY if something is mounted on it or, unless `lazily`, it is in use: `holders` is
/// how many references the caller itself has.
pub fn detach(mount: &Arc<Mount>, lazily: bool, holders: usize) -> Result<(), Errno> {
    path_cache::forget_all();
    let mut mounts = MOUNTS.lock();
    let at = mounts.iter().position(|other| Arc::ptr_eq(other, mount)).ok_or(Errno::EINVAL)?;
    let is_parent = mounts
        .iter()
        .any(|other| other.at.lock().as_ref().is_some_and(|path| Arc::ptr_eq(&path.mount, mount)));
    let Some(covered) = mount.covered() else { return Err(Errno::EINVAL) };
    if is_parent || (!lazily && Arc::strong_count(mount) > holders + 1) {
        return Err(Errno::EBUSY);
    }
    let removed = mounts.remove(at);
    drop(mounts);
    covered.dentry.note_mount(-1);
    *mount.at.lock() = None;
    // Again: a walk may have kept what it found meanwhile.
    path_cache::forget_all();
    drop(removed);
    Ok(())
}

/// Every mount, in the order in which they were made.
pub fn all() -> Vec<Arc<Mount>> {
    MOUNTS.lock().clone()
}

/// The /dev that there is from the start, if it is still mounted.
#[inline(never)]
pub fn first_dev() -> Option<Arc<Mount>> {
    MOUNTS.lock().iter().find(|mount| core::ptr::eq(mount.fs.kind, &raw const DEVTMPFS)).cloned()
}

/// What is mounted on this very place, topmost.
fn mounted_on(path: &Path) -> Option<Arc<Mount>> {
    let covers = |mount: &&Arc<Mount>| mount.at.lock().as_ref().is_some_and(|at| at.is_same(path));
    MOUNTS.lock().iter().rev().find(covers).cloned()
}

/// From a directory that may be covered to what covers it.
#[inline(never)]
pub fn cross_down(path: &mut Path) {
    while path.dentry.mounted() {
        match mounted_on(path) {
            Some(mount) => *path = mount.root_path(),
            None => break,
        }
    }
}
