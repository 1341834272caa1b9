//! inotify(7): who watches which inode, and telling them what happens to it.
//!
//! As long as nobody watches anything, a file operation pays for one load and one branch ([`is_active`]). Inodes know nothing of their
//! watches, which stand in a map by the inodes' addresses; an inode that goes away takes its entry along ([`gone`]).
//!
//! Lock order: `WATCHED` → an instance's state.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use abi::{Errno, Ioctl, OpenFlags};
use ipc::events::{IGNORED, Pushed, Queue};

use super::anon;
use super::dentry::Dentry;
use super::file::{FileOps, Mode, OpenFile, Whence};
use super::inode::Inode;
use super::mount::PROC;
use super::poll::{Events, PollHead, Poller};
use crate::mm::{Sink, UserPtr};
use crate::sync::SpinLock;
use crate::syscall::SysResult;

/// `IN_*` (linux/inotify.h)
pub mod event {
    pub const ACCESS: u32 = 1;
    pub const MODIFY: u32 = 2;
    pub const ATTRIB: u32 = 4;
    pub const CLOSE_WRITE: u32 = 8;
    pub const CLOSE_NOWRITE: u32 = 0x10;
    pub const OPEN: u32 = 0x20;
    pub const MOVED_FROM: u32 = 0x40;
    pub const MOVED_TO: u32 = 0x80;
    pub const CREATE: u32 = 0x100;
    pub const DELETE: u32 = 0x200;
    pub const DELETE_SELF: u32 = 0x400;
    pub const MOVE_SELF: u32 = 0x800;
    pub const UNMOUNT: u32 = 0x2000;
    pub const ISDIR: u32 = 0x4000_0000;
    /// What can be waited for.
    pub const ALL: u32 = 0xfff;
}

/// How a watch is set.
pub mod flag {
    pub const ONLYDIR: u32 = 0x0100_0000;
    pub const DONT_FOLLOW: u32 = 0x0200_0000;
    pub const EXCL_UNLINK: u32 = 0x0400_0000;
    pub const MASK_CREATE: u32 = 0x1000_0000;
    pub const MASK_ADD: u32 = 0x2000_0000;
    pub const ONESHOT: u32 = 0x8000_0000;
    /// Every bit that a mask may have, those of the kernel's own events included.
    pub const KNOWN: u32 = super::event::ALL
        | 0xe000
        | ONLYDIR
        | DONT_FOLLOW
        | EXCL_UNLINK
        | MASK_CREATE
        | MASK_ADD
        | super::event::ISDIR
        | ONESHOT;
}

/// The limits of /proc/sys/fs/inotify.
pub mod limit {
    use super::AtomicU64;
    pub static QUEUED_EVENTS: AtomicU64 = AtomicU64::new(16_384);
    pub static INSTANCES: AtomicU64 = AtomicU64::new(128);
    pub static WATCHES: AtomicU64 = AtomicU64::new(65_536);
}

/// Watches that there are.
static WATCHES: AtomicUsize = AtomicUsize::new(0);
static INSTANCES: AtomicUsize = AtomicUsize::new(0);
/// All watches, in the order of their inodes' addresses.
static WATCHED: SpinLock<Vec<Arc<Watch>>> = SpinLock::new(Vec::new());

struct Watch {
    instance: Weak<Instance>,
    inode: usize,
    /// The inode's number and its file system's, for /proc/PID/fdinfo.
    shown: (u64, u64),
    number: i32,
    /// Events and flags; 0 once it has fired for the last time.
    mask: AtomicU32,
    /// Inodes that nobody else keeps.
    _pinned: Option<Arc<Inode>>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    last: i32,
    /// By number.
    watches: Vec<Arc<Watch>>,
}

/// What a descriptor refers to.
struct Instance {
    state: SpinLock<State>,
    readable: PollHead,
}

impl Instance {
    fn push(&self, watch: i32, mask: u32, cookie: u32, name: &[u8]) {
        let limit = usize::try_from(limit::QUEUED_EVENTS.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let pushed = self.state.lock().queue.push(watch, mask, cookie, name, limit);
        if pushed != Pushed::Merged {
            self.readable.notify();
        }
    }

    /// Ends a watch: nothing comes after IN_IGNORED.
    fn end(&self, number: i32) -> Option<Arc<Watch>> {
        let watch = {
            let watches = &mut self.state.lock().watches;
            let at = watches.binary_search_by_key(&number, |watch| watch.number).ok()?;
            watches.remove(at)
        };
        self.push(number, IGNORED, 0, b"");
        Some(watch)
    }
}

/// Where an inode's watches are.
fn range_of(watched: &[Arc<Watch>], inode: usize) -> Range<usize> {
    let start = watched.partition_point(|watch| watch.inode < inode);
    start..watched.partition_point(|watch| watch.inode <= inode)
}

/// Takes a watch out of the list.
fn forget(watch: &Arc<Watch>) {
    let mut watched = WATCHED.lock();
    let range = range_of(&watched, watch.inode);
    let mut found = watched.get(range.clone()).unwrap_or_default().iter();
    if let Some(at) = found.position(|other| Arc::ptr_eq(other, watch)) {
        watched.remove(range.start + at);
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

fn key(inode: &Inode) -> usize {
    core::ptr::from_ref(inode).addr()
}

/// Whether anybody watches anything.
#[inline(always)]
pub fn is_active() -> bool {
    WATCHES.load(Ordering::Relaxed) != 0
}

/// Whether the name that something happened under still leads there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    There,
    Unlinked,
}

fn tell(inode: &Inode, mask: u32, cookie: u32, name: &[u8], place: Place) {
    let watches = {
        let watched = WATCHED.lock();
        let range = range_of(&watched, key(inode));
        watched.get(range).unwrap_or_default().to_vec()
    };
    for watch in &watches {
        let wanted = watch.mask.load(Ordering::Relaxed);
        if mask & wanted & event::ALL == 0 || place == Place::Unlinked && wanted & flag::EXCL_UNLINK != 0 {
            continue;
        }
        let Some(instance) = watch.instance.upgrade() else { continue };
        let is_last = wanted & flag::ONESHOT != 0;
        if is_last && watch.mask.swap(0, Ordering::Relaxed) == 0 {
            continue;
        }
        instance.push(watch.number, mask, cookie, name);
        if is_last {
            drop(instance.end(watch.number));
            forget(watch);
        }
    }
}

fn is_dir(inode: &Inode) -> u32 {
    if inode.is_directory() { event::ISDIR } else { 0 }
}

/// Something happened to a file by way of a name: its directory hears of it, and then itself.
#[inline(never)]
pub fn happened(dentry: &Dentry, what: u32) {
    // What happens to attributes happens to the inode, whatever has become of the name.
    let is_unlinked = what != event::ATTRIB && dentry.is_removed();
    happened_at(dentry, what, if is_unlinked { Place::Unlinked } else { Place::There });
}

fn happened_at(dentry: &Dentry, what: u32, place: Place) {
    let mask = what | is_dir(&dentry.inode);
    if let Some(parent) = dentry.parent() {
        tell(&parent.inode, mask, 0, dentry.name().bytes(), place);
    }
    tell(&dentry.inode, mask, 0, b"", place);
}

/// A file's size was set: as with other attributes.
pub fn note_resized(dentry: &Dentry) {
    if is_active() {
        happened_at(dentry, event::MODIFY, Place::There);
    }
}

/// As `happened`, if anybody watches anything.
#[inline(always)]
pub fn note(dentry: &Dentry, what: u32) {
    if is_active() {
        happened(dentry, what);
    }
}

/// After a read or write that moved something.
#[inline(always)]
pub fn note_moved(dentry: &Dentry, result: &SysResult, what: u32) {
    if is_active() && matches!(result, Ok(1..)) {
        happened(dentry, what);
    }
}

/// Something happened to a file that only itself hears of.
#[inline]
pub fn note_itself(inode: &Inode, what: u32) {
    if is_active() {
        // As on Linux, a directory isn't called one in what it hears of itself.
        tell(inode, what, 0, b"", Place::There);
    }
}

/// An entry of a directory came or went.
#[inline]
pub fn note_entry(directory: &Inode, name: &[u8], inode_is_dir: bool, what: u32) {
    if is_active() {
        let mask = what | if inode_is_dir { event::ISDIR } else { 0 };
        tell(directory, mask, 0, name, Place::There);
    }
}

/// An entry moved: both directories hear of it, with the same cookie, and then the file.
pub fn note_rename(from: (&Inode, &[u8]), to: (&Inode, &[u8]), inode: &Inode, replaced: Option<&Inode>) {
    static COOKIE: AtomicU32 = AtomicU32::new(0);
    if !is_active() {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    tell(from.0, event::MOVED_FROM | is_dir(inode), cookie, from.1, Place::There);
    tell(to.0, event::MOVED_TO | is_dir(inode), cookie, to.1, Place::There);
    if let Some(replaced) = replaced {
        note_itself(replaced, event::ATTRIB);
    }
    note_itself(inode, event::MOVE_SELF);
}

/// An inode is about to be dropped.
#[inline(never)]
pub fn gone(inode: &Inode) {
    let watches: Vec<_> = {
        let mut watched = WATCHED.lock();
        let range = range_of(&watched, key(inode));
        watched.drain(range).collect()
    };
    WATCHES.fetch_sub(watches.len(), Ordering::Relaxed);
    let what = if inode.links() == 0 { event::DELETE_SELF } else { event::UNMOUNT };
    for watch in watches {
        let wanted = watch.mask.load(Ordering::Relaxed) | event::UNMOUNT;
        let Some(instance) = watch.instance.upgrade() else { continue };
        if what & wanted != 0 {
            instance.push(watch.number, what, 0, b"");
        }
        drop(instance.end(watch.number));
    }
}

struct InotifyFile(Arc<Instance>);

impl Drop for InotifyFile {
    fn drop(&mut self) {
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
        let watches = core::mem::take(&mut self.0.state.lock().watches);
        for watch in &watches {
            forget(watch);
        }
    }
}

impl FileOps for InotifyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let room = dst.remaining();
        let next = || {
            let mut state = self.0.state.lock();
            state.queue.next_size().map(|_| state.queue.pop(room).ok_or(Errno::EINVAL))
        };
        let first = match next() {
            Some(first) => first,
            None if file.is_nonblocking() => return Err(Errno::EAGAIN.into()),
            None => self.0.readable.wait(None, next)?,
        };
        let mut event = first?;
        let mut done = 0;
        loop {
            done += match dst.write(&event) {
                Ok(len) if len == event.len() => len,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT.into()),
            };
            let next = self.0.state.lock().queue.pop(dst.remaining());
            match next {
                Some(next) => event = next,
                None => break,
            }
        }
        Ok(done)
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.0.readable.add(poller);
        if self.0.state.lock().queue.is_empty() { Events::empty() } else { Events::READABLE }
    }

    fn ioctl(&self, _: &OpenFile, command: u32, argument: usize) -> SysResult {
        if Ioctl(command) != Ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let bytes = self.0.state.lock().queue.bytes();
        UserPtr::<i32>::new(argument).write(&(bytes as i32))?;
        Ok(0)
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }

    /// One line for each watch, the youngest first.
    fn describe(&self, out: &mut dyn fmt::Write) {
        for watch in self.0.state.lock().watches.iter().rev() {
            let (number, device) = watch.shown;
            let mask = watch.mask.load(Ordering::Relaxed);
            let _ = writeln!(
                out,
                "inotify wd:{:x} ino:{number:x} sdev:{device:x} mask:{mask:x} ignored_mask:0 ",
                watch.number
            );
        }
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn is_pollable(&self) -> bool {
        true
    }
}

/// inotify_init1(2). EMFILE when there are too many.
pub fn new(flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
    if INSTANCES.fetch_add(1, Ordering::Relaxed) as u64 >= limit::INSTANCES.load(Ordering::Relaxed) {
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
        return Err(Errno::EMFILE);
    }
    let instance = Instance { state: SpinLock::default(), readable: PollHead::new() };
    Ok(anon::open("inotify", flags, Mode::READ | Mode::LSEEK, InotifyFile(Arc::new(instance))))
}

fn instance_of(file: &OpenFile) -> Result<&Arc<Instance>, Errno> {
    file.ops.as_any().downcast_ref::<InotifyFile>().map(|file| &file.0).ok_or(Errno::EINVAL)
}

/// Whether a descriptor's file is an instance. EINVAL.
pub fn check(file: &OpenFile) -> Result<(), Errno> {
    instance_of(file).map(|_| ())
}

/// Sets a watch on an inode, or changes the one that is there. Returns its number. EEXIST, ENOSPC, ENOMEM.
pub fn add(file: &OpenFile, inode: &Arc<Inode>, mask: u32) -> Result<i32, Errno> {
    let instance = instance_of(file)?;
    let kept = mask & (event::ALL | flag::EXCL_UNLINK | flag::ONESHOT);
    let mut watched = WATCHED.lock();
    let range = range_of(&watched, key(inode));
    let place = range.end;
    let is_mine = |watch: &&Arc<Watch>| core::ptr::eq(watch.instance.as_ptr(), Arc::as_ptr(instance));
    if let Some(watch) = watched.get(range).unwrap_or_default().iter().find(is_mine) {
        if mask & flag::MASK_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        let old = if mask & flag::MASK_ADD != 0 { watch.mask.load(Ordering::Relaxed) } else { 0 };
        watch.mask.store(old | kept, Ordering::Relaxed);
        return Ok(watch.number);
    }
    if watched.len() as u64 >= limit::WATCHES.load(Ordering::Relaxed) {
        return Err(Errno::ENOSPC);
    }
    watched.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    let mut state = instance.state.lock();
    let number = state.last.checked_add(1).ok_or(Errno::ENOSPC)?;
    state.watches.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    state.last = number;
    // What /proc makes for each lookup would be gone at once.
    let is_transient = core::ptr::eq(inode.fs.kind, &raw const PROC);
    let watch = Arc::new(Watch {
        instance: Arc::downgrade(instance),
        inode: key(inode),
        shown: (inode.number, inode.fs.device),
        number,
        mask: AtomicU32::new(kept),
        _pinned: is_transient.then(|| inode.clone()),
    });
    state.watches.push(watch.clone());
    watched.insert(place, watch);
    WATCHES.fetch_add(1, Ordering::Relaxed);
    Ok(number)
}

/// inotify_rm_watch(2). EINVAL.
pub fn remove(file: &OpenFile, number: i32) -> Result<(), Errno> {
    let watch = instance_of(file)?.end(number).ok_or(Errno::EINVAL)?;
    forget(&watch);
    Ok(())
}
