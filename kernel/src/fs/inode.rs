//! Inodes: a file's identity and attributes, and the operations of the file system it belongs to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use abi::{Errno, OpenFlags};
use spin::Once;

use super::advisory::Advisory;
use super::dentry::Dentry;
use super::file::OpenFile;
use super::lock::SleepLock;
use super::mount::FileSystem;
use super::notify;
use super::path::Path;
use super::path_cache;
use super::tmpfs::{TmpDirectory, TmpFile};
use crate::arch::x86_64::tsc;
use crate::mm::fault::{Access, FaultError};
use crate::mm::{Frame, Sink, Source};
use crate::sync::SpinLock;
use crate::syscall::SysError;
use crate::time;

/// What a file is; the values are those of `d_type` (readdir(3)), and of `S_IFMT` shifted right by 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    /// What eventfd, epoll and the like have instead of a kind.
    Anonymous = 0,
    Fifo = 1,
    CharDevice = 2,
    Directory = 4,
    BlockDevice = 6,
    Regular = 8,
    Symlink = 10,
    Socket = 12,
}

impl FileKind {
    /// The `S_IFMT` bits.
    #[inline]
    pub fn mode_bits(self) -> u32 {
        u32::from(self as u8) << 12
    }

    /// From a mode's `S_IFMT` bits.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode >> 12 & 0xf {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }
}

/// A point in time as file attributes have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// 0 … 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// The time as files record it: by the millisecond, as the ticks of Linux's coarse clock are.
    #[inline]
    pub fn now() -> Self {
        let (seconds, nanos) = time::coarse_realtime();
        Self { seconds, nanos }
    }
}

/// The four times of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub accessed: Timestamp,
    pub modified: Timestamp,
    pub changed: Timestamp,
    pub born: Timestamp,
}

/// Where a symbolic link leads.
pub enum LinkTarget {
    Path(Arc<[u8]>),
    /// A magic link of /proc.
    Jump(Path),
}

/// A device number, as stat(2) and mknod(2) have it (`new_encode_dev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device(u32);

impl Device {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self(minor & 0xff | major << 8 | (minor & !0xff) << 12)
    }

    pub const fn encode(self) -> u64 {
        self.0 as u64
    }

    pub const fn decode(raw: u32) -> Self {
        Self(raw)
    }

    pub const fn major(self) -> u32 {
        self.0 >> 8 & 0xfff
    }

    pub const fn minor(self) -> u32 {
        self.0 & 0xff | self.0 >> 12 & 0xf_ff00
    }
}

/// What a new file is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    pub kind: FileKind,
    /// Permission bits, umask applied.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub device: Device,
    /// A symbolic link's text.
    pub target: &'a [u8],
}

/// How fallocate(2) changes a file's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Back it with pages.
    Reserve,
    /// Make it a hole.
    PunchHole,
}

/// What SEEK_DATA and SEEK_HOLE look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    Data,
    Hole,
}

/// What a file system does for its inodes. `inode` and `dir` are always the one that `self` is part of.
#[expect(unused_variables, reason = "default bodies name their parameters for the documentation")]
pub trait InodeOps: Send + Sync + 'static {
    /// Finds an entry that isn't in the dentry tree. Whether it is put there is the file system's choice. ENOENT.
    fn lookup(&self, dir: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        Err(Errno::ENOENT)
    }

    /// Whether entries come and go in the dentry tree alone: then create, link, unlink and rename are the VFS's affair.
    fn is_memory_directory(&self) -> bool {
        false
    }

    /// Makes an inode for a new entry of this directory. EPERM where nothing can be created, ENOSPC.
    fn create(&self, dir: &Inode, new: &NewFile<'_>) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EPERM)
    }

    /// Before all entries of a directory are listed from the dentry tree.
    fn populate(&self, dir: &Arc<Dentry>) -> Result<(), Errno> {
        Ok(())
    }

    /// Entries of a directory that isn't listed from the dentry tree: appends from position `from` on.
    fn list(&self, dir: &Arc<Dentry>, from: u64, out: &mut Vec<Listed>) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Whether `list` is to be used.
    fn lists_itself(&self) -> bool {
        false
    }

    fn read_link(&self, inode: &Inode) -> Result<LinkTarget, Errno> {
        Err(Errno::EINVAL)
    }

    /// The open file for an open(2) of this inode; permissions have been checked. `None`: an ordinary [`super::file::InodeFile`].
    fn open(&self, path: &Path, flags: OpenFlags) -> Result<Option<Arc<OpenFile>>, SysError> {
        Ok(None)
    }

    fn read_at(&self, inode: &Inode, at: u64, dst: &mut Sink<'_>) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    fn write_at(&self, inode: &Inode, at: u64, src: &mut Source<'_>) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Sets the size, with `inode.lock` held. EINVAL where the file has none.
    fn truncate(&self, inode: &Inode, size: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2) on `at..at + len` (pages beyond the size too), with `inode.lock` held. The caller sets the size.
    fn allocate(&self, inode: &Inode, how: Allocate, at: u64, len: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// First offset of that sort at or behind `at`, which is before the end. ENXIO when there is no more data.
    fn find(&self, inode: &Inode, what: Find, at: u64) -> Result<u64, Errno> {
        Ok(if what == Find::Data { at } else { inode.size() })
    }

    /// The frame of a page, for mappings. `Write` when the frame itself will be written.
    fn page(&self, inode: &Inode, index: u64, access: Access) -> Result<Frame, FaultError> {
        Err(FaultError::BeyondFile)
    }

    /// The frame of a page if it is there already.
    fn cached_page(&self, inode: &Inode, index: u64) -> Option<Frame> {
        None
    }

    /// As `MemoryObject::cached_pages`.
    fn cached_pages(&self, inode: &Inode, first: u64, count: usize, found: &mut dyn FnMut(usize, Frame)) {
        for nth in 0..count {
            if let Some(frame) = self.cached_page(inode, first.saturating_add(nth as u64)) {
                found(nth, frame);
            }
        }
    }

    /// Whether the inode's pages can be mapped.
    fn is_mappable(&self) -> bool {
        false
    }

    /// Extended attributes: ENODATA for names that can exist here, EOPNOTSUPP for others.
    fn has_attributes(&self) -> bool {
        false
    }

    /// The inode is about to be dropped: what it took of the file system's space goes back.
    fn release(&self, fs: &FileSystem) {}

    /// F_ADD_SEALS of a memfd: the seals that hold, if this file can have some.
    fn seals(&self) -> Option<&AtomicU32> {
        None
    }
}

/// An entry of a directory that lists itself.
pub struct Listed {
    pub name: Vec<u8>,
    pub inode: u64,
    pub kind: FileKind,
    /// Position of the entry behind this one.
    pub next: u64,
}

/// A file, whatever names it has.
pub struct Inode {
    pub number: u64,
    pub kind: FileKind,
    /// Of a device file.
    pub device: Device,
    pub fs: Arc<FileSystem>,
    /// Permission bits, 07777.
    mode: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    links: AtomicU32,
    size: AtomicU64,
    /// In units of 512 bytes.
    blocks: AtomicU64,
    times: SpinLock<Times>,
    /// Until these TSC values a read leaves the access time as it is, and a write the time of modification.
    accessed_until: AtomicU64,
    modified_until: AtomicU64,
    /// Open files that may write; negative while programs run from the file.
    writers: AtomicI32,
    /// Pages of shared writable mappings; negative when sealed against them.
    writable_mappings: AtomicI64,
    /// Whether it ever was behind a mapping.
    was_mapped: AtomicBool,
    /// Writers of the contents, and changes of a directory's entries.
    pub lock: SleepLock,
    /// Record locks and extended attributes; made with the first.
    advisory: Once<Box<Advisory>>,
    contents: Contents,
}

/// What an inode holds. Files in memory are most of them, and stand here without a detour.
pub enum Contents {
    File(TmpFile),
    Directory(TmpDirectory),
    Other(Box<dyn InodeOps>),
}

impl Contents {
    pub fn other<T: InodeOps>(ops: T) -> Self {
        Self::Other(Box::new(ops))
    }
}

impl Inode {
    /// A new inode with one link, all times now.
    #[inline(never)]
    pub fn new(fs: &Arc<FileSystem>, number: u64, new: &NewFile<'_>, contents: Contents) -> Self {
        Self::build(fs, number, new, contents)
    }

    /// The same, for where many are made.
    #[inline(always)]
    pub fn build(fs: &Arc<FileSystem>, number: u64, new: &NewFile<'_>, contents: Contents) -> Self {
        let now = Timestamp::now();
        Self {
            number,
            kind: new.kind,
            device: new.device,
            fs: fs.clone(),
            mode: AtomicU32::new(new.mode),
            uid: AtomicU32::new(new.uid),
            gid: AtomicU32::new(new.gid),
            links: AtomicU32::new(1),
            size: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            times: SpinLock::new(Times { accessed: now, modified: now, changed: now, born: now }),
            accessed_until: AtomicU64::new(0),
            modified_until: AtomicU64::new(0),
            writers: AtomicI32::new(0),
            writable_mappings: AtomicI64::new(0),
            was_mapped: AtomicBool::new(false),
            lock: SleepLock::new(),
            advisory: Once::new(),
            contents,
        }
    }

    pub fn note_mapping(&self) {
        self.was_mapped.store(true, Ordering::Release);
    }

    pub fn was_mapped(&self) -> bool {
        self.was_mapped.load(Ordering::Acquire)
    }

    /// What the file system does for it.
    #[inline]
    pub fn ops(&self) -> &dyn InodeOps {
        match &self.contents {
            Contents::File(file) => file,
            Contents::Directory(directory) => directory,
            Contents::Other(other) => &**other,
        }
    }

    /// The contents, if it is a regular file in memory.
    #[inline]
    pub fn file(&self) -> Option<&TmpFile> {
        match &self.contents {
            Contents::File(file) => Some(file),
            _ => None,
        }
    }

    /// Whether it is a directory whose entries are all in the dentry tree.
    pub fn has_all_entries(&self) -> bool {
        matches!(self.contents, Contents::Directory(_))
    }

    #[inline]
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Permission bits, 07777.
    #[inline]
    pub fn mode(&self) -> u32 {
        self.mode.load(Ordering::Relaxed)
    }

    pub fn set_mode(&self, mode: u32) {
        self.mode.store(mode & 0o7777, Ordering::Relaxed);
        // Paths are kept that lead over directories which everybody may search.
        if self.is_directory() && mode & 0o111 != 0o111 {
            path_cache::forget_all();
        }
    }

    #[inline]
    pub fn uid(&self) -> u32 {
        self.uid.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn gid(&self) -> u32 {
        self.gid.load(Ordering::Relaxed)
    }

    pub fn set_owner(&self, uid: u32, gid: u32) {
        self.uid.store(uid, Ordering::Relaxed);
        self.gid.store(gid, Ordering::Relaxed);
    }

    #[inline]
    pub fn links(&self) -> u32 {
        self.links.load(Ordering::Relaxed)
    }

    pub fn add_links(&self, change: i32) {
        self.links.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    pub fn set_links(&self, links: u32) {
        self.links.store(links, Ordering::Relaxed);
    }

    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    #[inline]
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Allocated space in units of 512 bytes.
    #[inline]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn set_blocks(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }

    /// Looks at the times, which don't change meanwhile.
    #[inline(always)]
    pub fn with_times<T>(&self, look: impl FnOnce(&Times) -> T) -> T {
        look(&self.times.lock())
    }

    #[inline]
    pub fn times(&self) -> Times {
        *self.times.lock()
    }

    pub fn change_times(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.times.lock());
        self.accessed_until.store(0, Ordering::Relaxed);
        self.modified_until.store(0, Ordering::Relaxed);
    }

    /// After a read: the access time moves if it isn't later than a change, or is a day old (relatime).
    #[inline(always)]
    pub fn touch_accessed(&self) {
        if tsc::read() >= self.accessed_until.load(Ordering::Relaxed) {
            self.touch_accessed_slowly();
        }
    }

    #[inline(never)]
    fn touch_accessed_slowly(&self) {
        const DAY_S: i64 = 24 * 60 * 60;
        /// Some minutes at most.
        const LONG_TICKS: u64 = 1 << 39;
        let now = Timestamp::now();
        let mut times = self.times.lock();
        let last_change = times.modified.max(times.changed);
        if times.accessed <= last_change || now.seconds.saturating_sub(times.accessed.seconds) >= DAY_S {
            times.accessed = now;
        }
        // Later than any change, it stays until the next one; else for as long as the clock says the same.
        let until = if times.accessed > last_change {
            tsc::read().saturating_add(LONG_TICKS)
        } else {
            time::coarse_until()
        };
        self.accessed_until.store(until, Ordering::Relaxed);
    }

    /// After a write to the contents.
    #[inline(always)]
    pub fn touch_modified(&self) {
        if tsc::read() >= self.modified_until.load(Ordering::Relaxed) {
            self.touch_modified_slowly();
        }
    }

    #[inline(never)]
    fn touch_modified_slowly(&self) {
        let now = Timestamp::now();
        let mut times = self.times.lock();
        times.modified = now;
        times.changed = now;
        self.accessed_until.store(0, Ordering::Relaxed);
        self.modified_until.store(time::coarse_until(), Ordering::Relaxed);
    }

    /// After a change of the attributes.
    pub fn touch_changed(&self) {
        let now = Timestamp::now();
        self.times.lock().changed = now;
        self.accessed_until.store(0, Ordering::Relaxed);
    }

    /// A writer opens the file. ETXTBSY while a program runs from it.
    pub fn begin_write(&self) -> Result<(), Errno> {
        let up = |count: i32| if count < 0 { None } else { count.checked_add(1) };
        match self.writers.fetch_update(Ordering::AcqRel, Ordering::Acquire, up) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ETXTBSY),
        }
    }

    pub fn end_write(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    /// A program begins to run from the file. ETXTBSY while somebody may write to it.
    pub fn begin_execution(&self) -> Result<(), Errno> {
        let down = |count: i32| if count > 0 { None } else { count.checked_sub(1) };
        match self.writers.fetch_update(Ordering::AcqRel, Ordering::Acquire, down) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ETXTBSY),
        }
    }

    pub fn end_execution(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a program runs from the file.
    pub fn is_executing(&self) -> bool {
        self.writers.load(Ordering::Acquire) < 0
    }

    /// Counts pages of shared writable mappings. False for more of them when they are forbidden.
    pub fn note_writable_mapping(&self, pages: i64) -> bool {
        let sum = |count: i64| if count < 0 { None } else { count.checked_add(pages) };
        self.writable_mappings.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).is_ok()
    }

    /// Forbids shared writable mappings for good. EBUSY while there is one.
    pub fn forbid_writable_mappings(&self) -> Result<(), Errno> {
        let forbid = |count: i64| if count > 0 { None } else { Some(-1) };
        match self.writable_mappings.fetch_update(Ordering::AcqRel, Ordering::Acquire, forbid) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::EBUSY),
        }
    }

    /// The record locks, if there ever were any.
    #[inline]
    pub fn advisory(&self) -> Option<&Advisory> {
        self.advisory.get().map(|advisory| &**advisory)
    }

    pub fn advisory_or_new(&self) -> &Advisory {
        self.advisory.call_once(Box::default)
    }
}

impl Drop for Inode {
    #[inline]
    fn drop(&mut self) {
        if notify::is_active() {
            notify::gone(self);
        }
        self.ops().release(&self.fs);
    }
}
