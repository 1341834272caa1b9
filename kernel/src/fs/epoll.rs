//! epoll(7): a set of files, and the list of those that something happened to.
//!
//! Every file of the set holds a watch, which puts its entry on the ready list; epoll_wait(2) looks only at that list.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::{Errno, OpenFlags};

use super::anon;
use super::file::{FileOps, Mode, OpenFile, Whence};
use super::poll::{Events, PollHead, Poller};
use crate::sync::SpinLock;
use crate::syscall::{SysError, SysResult};
use crate::task::{WaitError, WaitQueue};

/// Input and mode bits of `epoll_event::events`.
pub mod flag {
    pub const EXCLUSIVE: u32 = 1 << 28;
    pub const WAKEUP: u32 = 1 << 29;
    pub const ONESHOT: u32 = 1 << 30;
    pub const EDGE: u32 = 1 << 31;
    /// Bits that aren't events.
    pub const PRIVATE: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;
}

/// How deep epoll instances may watch each other.
const MAX_NESTING: u32 = 5;

/// What is wanted of a file, and what to say when it happens.
#[derive(Clone, Copy, Debug)]
pub struct Interest {
    pub events: u32,
    pub data: u64,
}

/// A file in a set.
pub struct Item {
    epoll: Weak<Set>,
    file: Weak<OpenFile>,
    fd: i32,
    interest: SpinLock<Interest>,
    is_queued: AtomicBool,
}

impl Item {
    /// Something happened to the file: one of these events, perhaps.
    pub fn notify(self: &Arc<Self>, happened: Events) {
        let Some(epoll) = self.epoll.upgrade() else { return };
        if self.interest.lock().events & !flag::PRIVATE & happened.bits() == 0 {
            return;
        }
        epoll.queue(self);
        epoll.waiters.wake_one();
        epoll.head.notify();
    }

    /// What is ready and wanted.
    fn ready(&self) -> Option<(u32, u64)> {
        let file = self.file.upgrade()?;
        let interest = *self.interest.lock();
        let events = file.ops.poll(&file, Poller::Glance).bits() & interest.events & !flag::PRIVATE;
        (events != 0).then_some((events, interest.data))
    }
}

type Key = (i32, usize);

/// An epoll instance.
pub struct Set {
    items: SpinLock<BTreeMap<Key, Arc<Item>>>,
    ready: SpinLock<VecDeque<Arc<Item>>>,
    waiters: WaitQueue,
    head: PollHead,
}

fn key(fd: i32, file: &Arc<OpenFile>) -> Key {
    (fd, file.identity())
}

impl Set {
    fn queue(&self, item: &Arc<Item>) {
        if !item.is_queued.swap(true, Ordering::AcqRel) {
            self.ready.lock().push_back(item.clone());
        }
    }

    /// EPOLL_CTL_ADD. EEXIST.
    pub fn add(self: &Arc<Self>, fd: i32, file: &Arc<OpenFile>, interest: Interest) -> Result<(), Errno> {
        let interest = Interest { events: interest.events | (Events::ERR | Events::HUP).bits(), ..interest };
        let item = Arc::new(Item {
            epoll: Arc::downgrade(self),
            file: Arc::downgrade(file),
            fd,
            interest: SpinLock::new(interest),
            is_queued: AtomicBool::new(false),
        });
        {
            let mut items = self.items.lock();
            // An entry whose file is gone may have had the same address.
            if items.get(&key(fd, file)).is_some_and(|old| old.file.strong_count() > 0) {
                return Err(Errno::EEXIST);
            }
            items.insert(key(fd, file), item.clone());
        }
        let events = file.ops.poll(file, Poller::Watch(&item));
        if events.bits() & interest.events != 0 {
            item.notify(Events::all());
        }
        Ok(())
    }

    fn find(&self, fd: i32, file: &Arc<OpenFile>) -> Result<Arc<Item>, Errno> {
        self.items.lock().get(&key(fd, file)).cloned().ok_or(Errno::ENOENT)
    }

    /// EPOLL_CTL_MOD. ENOENT; EINVAL for an exclusive entry.
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile>, interest: Interest) -> Result<(), Errno> {
        let item = self.find(fd, file)?;
        {
            let mut current = item.interest.lock();
            if current.events & flag::EXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            *current = Interest { events: interest.events | (Events::ERR | Events::HUP).bits(), ..interest };
        }
        if item.ready().is_some() {
            item.notify(Events::all());
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT.
    pub fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let item = self.items.lock().remove(&key(fd, file)).ok_or(Errno::ENOENT)?;
        item.interest.lock().events = 0;
        self.ready.lock().retain(|queued| !Arc::ptr_eq(queued, &item));
        Ok(())
    }

    /// Hands up to `max` ready entries to `report`, in order; it returns an error to stop. Returns how many were taken.
    pub fn collect(
        &self,
        max: usize,
        mut report: impl FnMut(u32, u64) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let mut taken = 0;
        // Entries that stay ready go behind those that are there now.
        let mut left = self.ready.lock().len();
        while left > 0 && taken < max {
            left -= 1;
            let Some(item) = self.ready.lock().pop_front() else { break };
            item.is_queued.store(false, Ordering::Release);
            let Some((events, data)) = item.ready() else {
                if item.file.strong_count() == 0 {
                    self.items.lock().retain(|_, other| !Arc::ptr_eq(other, &item));
                }
                continue;
            };
            if let Err(error) = report(events, data) {
                self.queue(&item);
                return if taken > 0 { Ok(taken) } else { Err(error) };
            }
            taken += 1;
            let mut interest = item.interest.lock();
            if interest.events & flag::ONESHOT != 0 {
                interest.events &= flag::PRIVATE;
            } else if interest.events & flag::EDGE == 0 {
                drop(interest);
                self.queue(&item);
            }
        }
        Ok(taken)
    }

    /// Whether something may be ready.
    pub fn has_candidates(&self) -> bool {
        !self.ready.lock().is_empty()
    }

    /// Sleeps until something may be ready.
    pub fn wait(&self, deadline: Option<u64>) -> Result<(), WaitError> {
        self.waiters.wait(deadline, || self.has_candidates().then_some(()))
    }

    /// Another thread may take what is left.
    pub fn pass_on(&self) {
        if self.has_candidates() {
            self.waiters.wake_one();
        }
    }

    fn any_ready(&self) -> bool {
        let mut left = self.ready.lock().len();
        while left > 0 {
            left -= 1;
            let Some(item) = self.ready.lock().pop_front() else { break };
            item.is_queued.store(false, Ordering::Release);
            if item.ready().is_some() {
                self.queue(&item);
                return true;
            }
        }
        false
    }

    /// How many levels of epoll instances hang below; over the limit where they form a circle.
    fn depth(&self, limit: u32) -> u32 {
        if limit == 0 {
            return MAX_NESTING + 1;
        }
        let files: alloc::vec::Vec<_> =
            self.items.lock().values().filter_map(|item| item.file.upgrade()).collect();
        files
            .iter()
            .filter_map(|file| of(file))
            .map(|set| set.depth(limit - 1).saturating_add(1))
            .max()
            .unwrap_or(0)
    }

    fn watches(self: &Arc<Self>, target: &Arc<Self>, limit: u32) -> bool {
        if Arc::ptr_eq(self, target) {
            return true;
        }
        let files: alloc::vec::Vec<_> =
            self.items.lock().values().filter_map(|item| item.file.upgrade()).collect();
        limit > 0 && files.iter().filter_map(|file| of(file)).any(|set| set.watches(target, limit - 1))
    }

    /// Whether this instance may watch another: ELOOP for circles and deep chains.
    pub fn check_nesting(self: &Arc<Self>, inner: &Arc<Self>) -> Result<(), Errno> {
        let is_circle = inner.watches(self, MAX_NESTING);
        if is_circle || inner.depth(MAX_NESTING) >= MAX_NESTING { Err(Errno::ELOOP) } else { Ok(()) }
    }
}

/// An open epoll descriptor.
struct EpollFile(Arc<Set>);

impl FileOps for EpollFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.0.head.add(poller);
        if self.0.any_ready() { Events::READABLE } else { Events::empty() }
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn describe(&self, out: &mut dyn fmt::Write) {
        for item in self.0.items.lock().values() {
            let Some(file) = item.file.upgrade() else { continue };
            let interest = *item.interest.lock();
            let _ = writeln!(
                out,
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}",
                item.fd,
                interest.events,
                interest.data,
                file.position(),
                file.inode().number,
                file.inode().fs.device
            );
        }
    }
}

/// The epoll instance behind an open file.
pub fn of(file: &OpenFile) -> Option<&Arc<Set>> {
    file.ops.as_any().downcast_ref::<EpollFile>().map(|epoll| &epoll.0)
}

/// epoll_create1(2).
pub fn new(flags: OpenFlags) -> Arc<OpenFile> {
    let set = Arc::new(Set {
        items: SpinLock::new(BTreeMap::new()),
        ready: SpinLock::new(VecDeque::new()),
        waiters: WaitQueue::new(),
        head: PollHead::new(),
    });
    anon::open("[eventpoll]", flags | OpenFlags::RDWR, Mode::LSEEK, EpollFile(set))
}

/// epoll_wait(2): waits for at least one event. Returns how many were reported.
pub fn wait(
    set: &Set,
    max: usize,
    deadline: Option<u64>,
    mut report: impl FnMut(u32, u64) -> Result<(), Errno>,
) -> SysResult {
    loop {
        let taken = set.collect(max, &mut report)?;
        if taken > 0 {
            set.pass_on();
            return Ok(taken);
        }
        match set.wait(deadline) {
            Ok(()) => {}
            Err(WaitError::TimedOut) => return Ok(0),
            // Never restarted (signal(7)).
            Err(WaitError::Interrupted) => return Err(SysError::Errno(Errno::EINTR)),
        }
    }
}
