//! Open files: what a descriptor refers to.

mod inode_file;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::{Errno, OpenFlags};

use self::inode_file::{AT_END, RIGHT_THERE, check_span, read_inode, write_inode, write_page};
pub use self::inode_file::{InodeFile, MappedFile, PlaceFile};
use super::inode::{FileKind, Find, Inode};
use super::lock::SleepLock;
use super::notify::{self, event};
use super::path::Path;
use super::poll::{Events, Poller, Readiness};
use super::sigio::{SignalOwner, Signals};
use crate::mm::user::UserRange;
use crate::mm::{MemoryObject, Sink, Source};
use crate::sync::SpinLock;
use crate::syscall::SysResult;

/// Largest size and offset of a file.
pub const MAX_OFFSET: u64 = i64::MAX as u64;

bitflags::bitflags! {
    /// What an open file can be used for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mode: u32 {
        const READ = 1;
        const WRITE = 2;
        /// lseek is allowed; else it is ESPIPE.
        const LSEEK = 4;
        /// Can be read and written at any offset; else pread and pwrite are ESPIPE.
        const PLACED = 32;
        const SEEK = 36;
        /// Reads and writes go on where the last one ended, so they take turns.
        const OFFSET = 8;
        /// O_PATH: only a place.
        const PATH = 16;
        /// A regular file in memory: read and written without asking `ops`.
        const MEMORY = 64;
        /// Made together with a file that has no name: not one of the writers that a program's start minds (ETXTBSY).
        const MAKER = 128;
    }
}

impl Mode {
    /// From an open's access mode.
    pub fn from_flags(flags: OpenFlags) -> Self {
        match flags.bits() & 3 {
            0 => Self::READ,
            1 => Self::WRITE,
            2 => Self::READ | Self::WRITE,
            // Linux's "3": for ioctl only.
            _ => Self::empty(),
        }
    }
}

/// Flags that F_SETFL can change.
pub const SETTABLE: u32 = OpenFlags::APPEND.bits()
    | OpenFlags::NONBLOCK.bits()
    | OpenFlags::DIRECT.bits()
    | OpenFlags::NOATIME.bits();

/// Flags of an open that F_GETFL doesn't show.
const CREATION: u32 =
    OpenFlags::CREAT.bits() | OpenFlags::EXCL.bits() | OpenFlags::NOCTTY.bits() | OpenFlags::TRUNC.bits();

/// What lseek(2) measures from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    Start,
    Current,
    End,
    Data,
    Hole,
}

/// What a directory's entries are reported to.
pub trait EntrySink {
    /// Takes one entry; `next` is the position behind it. False when it doesn't fit.
    fn entry(&mut self, name: &[u8], inode: u64, kind: FileKind, next: u64) -> bool;
}

/// What an open file does. `file` is the one that `self` is part of.
#[expect(unused_variables, reason = "default bodies name their parameters for the documentation")]
pub trait FileOps: Send + Sync + 'static {
    /// For downcasts to a particular kind of file.
    fn as_any(&self) -> &dyn Any;

    /// Reads at `at` and moves it on; files without an offset pay no attention to it.
    fn read(&self, file: &OpenFile, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        Err(Errno::EINVAL.into())
    }

    /// Writes at `at` (or at the end with O_APPEND) and moves it on.
    fn write(&self, file: &OpenFile, at: &mut u64, src: &mut Source<'_>) -> SysResult {
        Err(Errno::EINVAL.into())
    }

    /// read(2) where `OpenFile::is_stream_for` reading.
    fn read_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        self.read(file, &mut 0, &mut buf.sink())
    }

    /// As `read_program`, the other way.
    fn write_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        self.write(file, &mut 0, &mut buf.source())
    }

    /// What is ready now.
    fn poll(&self, file: &OpenFile, poller: Poller<'_>) -> Events {
        Events::READABLE | Events::WRITABLE
    }

    /// The epoll instance that this is, for epoll's own calls.
    fn epoll(&self) -> Option<&Arc<super::epoll::Set>> {
        None
    }

    /// Whether poll can wait for it: epoll refuses others with EPERM.
    fn is_pollable(&self) -> bool {
        false
    }

    /// Whether O_ASYNC means anything to it.
    fn can_signal(&self) -> bool {
        false
    }

    fn ioctl(&self, file: &OpenFile, command: u32, argument: usize) -> SysResult {
        Err(Errno::ENOTTY.into())
    }

    /// The new offset.
    fn seek(&self, file: &OpenFile, offset: i64, whence: Whence) -> Result<u64, Errno> {
        file.seek_plainly(offset, whence)
    }

    /// Reports entries from `at` on and moves it. ENOTDIR.
    fn read_directory(&self, file: &OpenFile, at: &mut u64, out: &mut dyn EntrySink) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }

    /// What a mapping shows; `None` for anonymous memory (/dev/zero). ENODEV.
    fn mapping(&self, file: &Arc<OpenFile>) -> Result<Option<Arc<dyn MemoryObject>>, Errno> {
        Err(Errno::ENODEV)
    }

    /// fsync(2). EINVAL where there is nothing to sync.
    fn sync(&self, file: &OpenFile) -> SysResult {
        Err(Errno::EINVAL.into())
    }

    /// Whether splice(2) can move bytes from or to it.
    fn can_splice(&self) -> bool {
        true
    }

    /// Lines for /proc/PID/fdinfo.
    fn describe(&self, out: &mut dyn fmt::Write) {}

    /// F_SETFL is about to change the flags.
    fn check_flags(&self, flags: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }
}

/// An open file description (open(2)).
pub struct OpenFile {
    pub path: Path,
    pub mode: Mode,
    /// `O_*` as F_GETFL shows them.
    status: AtomicU32,
    position: AtomicU64,
    /// Reads and writes at the shared offset take turns.
    position_lock: SleepLock,
    /// Whom its signals go to.
    signals: SpinLock<Option<Arc<Signals>>>,
    /// What is ready, for kinds of file that keep it.
    readiness: Option<Arc<Readiness>>,
    /// A box of nothing for most kinds of file.
    pub ops: Box<dyn FileOps>,
}

impl OpenFile {
    /// `mode` says what it can be used for, apart from what the flags' access mode allows.
    pub fn new<T: FileOps>(path: Path, flags: OpenFlags, mode: Mode, ops: T) -> Self {
        Self {
            path,
            mode,
            status: AtomicU32::new(flags.bits() & !(CREATION | OpenFlags::CLOEXEC.bits())),
            position: AtomicU64::new(0),
            position_lock: SleepLock::new(),
            signals: SpinLock::new(None),
            readiness: None,
            ops: Box::new(ops),
        }
    }

    /// With a word that always says what `ops.poll` would.
    pub fn with_readiness(mut self, readiness: &Arc<Readiness>) -> Self {
        self.readiness = Some(readiness.clone());
        self
    }

    /// The word that says what is ready, of files that have one.
    #[inline(always)]
    pub fn readiness(&self) -> Option<&Arc<Readiness>> {
        self.readiness.as_ref()
    }

    /// What is ready now.
    #[inline(always)]
    pub fn glance(&self) -> Events {
        match &self.readiness {
            Some(readiness) => readiness.get(),
            None => self.ops.poll(self, Poller::Glance),
        }
    }

    /// As `glance`, for files without; nothing for O_PATH.
    #[inline(always)]
    pub fn look(&self) -> Option<Events> {
        if self.mode.contains(Mode::PATH) { None } else { Some(self.ops.poll(self, Poller::Glance)) }
    }

    #[inline]
    pub fn inode(&self) -> &Inode {
        self.path.inode()
    }

    /// `O_*` as F_GETFL shows them.
    #[inline]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.status.load(Ordering::Relaxed))
    }

    /// Changes the flags that F_SETFL can change.
    pub fn set_flags(&self, flags: OpenFlags) {
        let change = |old: u32| Some(old & !SETTABLE | flags.bits() & SETTABLE);
        let _ = self.status.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    #[inline]
    pub fn is_nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    #[inline]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    pub fn set_position(&self, at: u64) {
        self.position.store(at, Ordering::Relaxed);
    }

    /// A number that no other open file has, for lock owners.
    pub fn identity(&self) -> usize {
        (&raw const self.position).addr()
    }

    /// Whom its signals go to.
    pub fn owner(&self) -> SignalOwner {
        self.signals.lock().as_ref().map(|signals| signals.owner()).unwrap_or_default()
    }

    /// Its signals, made on demand.
    pub fn signals(&self) -> Arc<Signals> {
        self.signals.lock().get_or_insert_with(|| Signals::new(self)).clone()
    }

    /// Sets or clears O_ASYNC.
    pub fn set_async(&self, on: bool) {
        if on {
            self.status.fetch_or(OpenFlags::ASYNC.bits(), Ordering::Relaxed);
        } else {
            self.status.fetch_and(!OpenFlags::ASYNC.bits(), Ordering::Relaxed);
        }
    }

    /// Runs `act` with the shared offset, alone.
    #[inline]
    pub fn with_position<R>(&self, act: impl FnOnce(&mut u64) -> R) -> R {
        let _guard = self.position_lock.lock();
        let mut at = self.position();
        let result = act(&mut at);
        self.set_position(at);
        result
    }

    /// Reads at a place what lies in one page of a file in memory, straight to the program. `None`: the long way says what comes of it.
    #[inline(always)]
    fn read_page(&self, at: u64, address: usize, len: usize) -> Option<usize> {
        let inode = self.inode();
        let done = inode.file()?.read_page(inode, at, address, len)?;
        if !self.flags().contains(OpenFlags::NOATIME) {
            inode.touch_accessed();
        }
        Some(done)
    }

    #[inline(always)]
    fn read_inner(&self, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        if self.mode.contains(Mode::MEMORY) {
            read_inode(self, at, dst)
        } else {
            self.ops.read(self, at, dst)
        }
    }

    #[inline(always)]
    fn write_inner(&self, at: &mut u64, src: &mut Source<'_>) -> SysResult {
        if self.mode.contains(Mode::MEMORY) {
            write_inode(self, at, src)
        } else {
            self.ops.write(self, at, src)
        }
    }

    /// Reads at the offset. EBADF if not open for reading; what the file itself says.
    #[inline(always)]
    pub fn read(&self, dst: &mut Sink<'_>) -> SysResult {
        if !self.mode.contains(Mode::READ) {
            return Err(Errno::EBADF.into());
        }
        if notify::is_active() {
            return self.read_watched(dst);
        }
        if self.mode.contains(Mode::OFFSET) {
            self.with_position(|at| self.read_inner(at, dst))
        } else {
            self.ops.read(self, &mut 0, dst)
        }
    }

    /// EBADF if it isn't open for this direction.
    #[inline]
    pub fn check_open_for(&self, direction: Mode) -> Result<(), Errno> {
        if self.mode.contains(direction) { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// ESPIPE if it can't be read and written at any offset; EBADF if it isn't open for this direction.
    pub fn check_placed_for(&self, direction: Mode) -> Result<(), Errno> {
        if self.mode.contains(Mode::PLACED) { self.check_open_for(direction) } else { Err(Errno::ESPIPE) }
    }

    /// Whether reads (`Mode::READ`) or writes go straight to `ops`: it is open for them, has no offset, and nobody watches.
    #[inline(always)]
    pub fn is_stream_for(&self, direction: Mode) -> bool {
        let of_interest = direction.union(Mode::OFFSET).union(Mode::PATH);
        self.mode.intersection(of_interest) == direction && !notify::is_active()
    }

    /// Writes at the offset.
    #[inline(always)]
    pub fn write(&self, src: &mut Source<'_>) -> SysResult {
        if !self.mode.contains(Mode::WRITE) {
            return Err(Errno::EBADF.into());
        }
        if notify::is_active() {
            return self.write_watched(src);
        }
        if self.mode.contains(Mode::OFFSET) {
            self.with_position(|at| self.write_inner(at, src))
        } else {
            self.ops.write(self, &mut 0, src)
        }
    }

    /// The same while somebody watches files (inotify).
    #[cold]
    #[inline(never)]
    fn read_watched(&self, dst: &mut Sink<'_>) -> SysResult {
        let result = if self.mode.contains(Mode::OFFSET) {
            self.with_position(|at| self.ops.read(self, at, dst))
        } else {
            self.ops.read(self, &mut 0, dst)
        };
        notify::note_moved(&self.path.dentry, &result, event::ACCESS);
        result
    }

    #[cold]
    #[inline(never)]
    fn write_watched(&self, src: &mut Source<'_>) -> SysResult {
        let result = if self.mode.contains(Mode::OFFSET) {
            self.with_position(|at| self.ops.write(self, at, src))
        } else {
            self.ops.write(self, &mut 0, src)
        };
        notify::note_moved(&self.path.dentry, &result, event::MODIFY);
        result
    }

    #[inline(never)]
    fn read_at_slowly(&self, at: u64, dst: &mut Sink<'_>) -> SysResult {
        let mut at = at;
        let result = self.ops.read(self, &mut at, dst);
        notify::note_moved(&self.path.dentry, &result, event::ACCESS);
        result
    }

    #[inline(never)]
    fn write_at_slowly(&self, at: u64, src: &mut Source<'_>) -> SysResult {
        let mut at = at;
        let result = self.ops.write(self, &mut at, src);
        notify::note_moved(&self.path.dentry, &result, event::MODIFY);
        result
    }

    /// Reads elsewhere than at the offset. ESPIPE without one.
    #[inline]
    pub fn read_at(&self, at: u64, dst: &mut Sink<'_>) -> SysResult {
        self.check_placed_for(Mode::READ)?;
        check_span(at, dst.remaining())?;
        self.read_at_slowly(at, dst)
    }

    /// Reads what lies in one page of a file in memory. `None`: the long way (`read_at`) says what comes of it.
    #[inline(always)]
    pub fn read_program_page(&self, at: i64, buf: UserRange) -> Option<usize> {
        let is_usual = self.mode.contains(Mode::MEMORY.union(Mode::READ)) && !notify::is_active();
        // A negative offset is beyond any file's end.
        if is_usual { self.read_page(at.cast_unsigned(), buf.address(), buf.len()) } else { None }
    }

    #[inline]
    pub fn write_at(&self, at: u64, src: &mut Source<'_>) -> SysResult {
        self.check_placed_for(Mode::WRITE)?;
        check_span(at, src.remaining())?;
        self.write_at_slowly(at, src)
    }

    /// As `read_program_page`, the other way.
    #[inline(always)]
    pub fn write_program_page(&self, at: i64, buf: UserRange) -> Option<usize> {
        let is_usual = self.mode.contains(Mode::MEMORY.union(Mode::WRITE)) && !notify::is_active();
        if is_usual { write_page(self, at.cast_unsigned(), buf.address(), buf.len()) } else { None }
    }

    /// Writes to a file in memory as if O_APPEND were set (RWF_APPEND) or weren't (RWF_NOAPPEND), at a place or at the offset.
    pub fn write_as(&self, appends: bool, at: Option<u64>, src: &mut Source<'_>) -> SysResult {
        let mut write = |at: &mut u64| {
            check_span(*at, src.remaining())?;
            let mut place = if appends { AT_END } else { *at | RIGHT_THERE };
            let result = self.ops.write(self, &mut place, src);
            if matches!(result, Ok(1..)) {
                *at = place;
            }
            result
        };
        let result = match at {
            Some(mut at) => write(&mut at),
            None => self.with_position(write),
        };
        notify::note_moved(&self.path.dentry, &result, event::MODIFY);
        result
    }

    /// lseek(2) for files whose end is the inode's size.
    pub fn seek_plainly(&self, offset: i64, whence: Whence) -> Result<u64, Errno> {
        let inode = self.inode();
        let size = inode.size();
        self.with_position(|at| {
            let base = match whence {
                Whence::Start => 0,
                Whence::Current => *at,
                Whence::End => size,
                Whence::Data | Whence::Hole => {
                    let from = u64::try_from(offset).ok().filter(|&from| from < size).ok_or(Errno::ENXIO)?;
                    let what = if whence == Whence::Data { Find::Data } else { Find::Hole };
                    *at = inode.ops().find(inode, what, from)?;
                    return Ok(*at);
                }
            };
            let target = base.cast_signed().checked_add(offset).and_then(|target| u64::try_from(target).ok());
            *at = target.ok_or(Errno::EINVAL)?;
            Ok(*at)
        })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.mode.contains(Mode::PATH) {
            return;
        }
        let is_writer = self.mode.contains(Mode::WRITE);
        notify::note(&self.path.dentry, if is_writer { event::CLOSE_WRITE } else { event::CLOSE_NOWRITE });
        let inode = self.path.inode();
        if is_writer && inode.kind == FileKind::Regular && !self.mode.contains(Mode::MAKER) {
            inode.end_write();
        }
        if let Some(advisory) = inode.advisory() {
            advisory.release_file(self.identity());
        }
    }
}
