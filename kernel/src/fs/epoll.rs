//! epoll(7): a set of files, and the list of those that something happened to.
//!
//! Every file of the set holds a watch, which puts its entry on the ready list; epoll_wait(2) looks only at that list.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::{Errno, OpenFlags};

use super::anon;
use super::file::{FileOps, Mode, OpenFile, Whence};
use super::poll::{Events, PollHead, Poller, Readiness};
use super::sigio::Signals;
use crate::sorted::SortedMap;
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

/// How many epoll instances may watch each other in a chain, less one (EP_MAX_NESTS).
const MAX_NESTING: u32 = 4;

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
    /// The file's word, if it has one.
    readiness: Option<Arc<Readiness>>,
    /// `Interest`.
    events: AtomicU32,
    data: AtomicU64,
    is_queued: AtomicBool,
    /// Instead of an epoll instance.
    signals: Weak<Signals>,
}

impl Item {
    /// An entry that sends signals.
    pub fn of_signals(fd: i32, file: &Arc<OpenFile>, signals: Weak<Signals>) -> Arc<Self> {
        Arc::new(Self {
            epoll: Weak::new(),
            file: Arc::downgrade(file),
            fd,
            readiness: None,
            events: AtomicU32::new(Events::all().bits()),
            data: AtomicU64::new(0),
            is_queued: AtomicBool::new(false),
            signals,
        })
    }

    /// Something happened to the file: one of these events, perhaps. Whether a thread was waiting for it.
    pub fn notify(self: &Arc<Self>, happened: Events) -> bool {
        let Some(epoll) = self.epoll.upgrade() else {
            if let Some(signals) = self.signals.upgrade() {
                signals.happened(self.fd, happened);
            }
            return false;
        };
        if self.events() & !flag::PRIVATE & happened.bits() == 0 {
            return false;
        }
        epoll.queue(self);
        let woke = epoll.waiters.wake_one();
        epoll.head.notify();
        woke
    }

    /// EPOLLEXCLUSIVE.
    pub fn is_exclusive(&self) -> bool {
        self.events() & flag::EXCLUSIVE != 0
    }

    #[inline(always)]
    fn events(&self) -> u32 {
        self.events.load(Ordering::Acquire)
    }

    fn set_interest(&self, interest: Interest) {
        self.data.store(interest.data, Ordering::Release);
        self.events.store(interest.events, Ordering::Release);
    }

    /// What is ready and wanted.
    #[inline]
    fn ready(&self) -> Option<(u32, u64)> {
        let events = match &self.readiness {
            Some(readiness) if self.file.strong_count() > 0 => readiness.get(),
            _ => self.poll()?,
        };
        let wanted = events.bits() & self.events() & !flag::PRIVATE;
        (wanted != 0).then(|| (wanted, self.data.load(Ordering::Acquire)))
    }

    /// Asks the file, if it is still open.
    #[inline(never)]
    fn poll(&self) -> Option<Events> {
        let file = self.file.upgrade()?;
        Some(file.ops.poll(&file, Poller::Glance))
    }
}

type Key = (i32, usize);

/// An epoll instance.
pub struct Set {
    items: SpinLock<SortedMap<Key, Arc<Item>>>,
    ready: SpinLock<VecDeque<Arc<Item>>>,
    waiters: WaitQueue,
    /// Threads that wait, or are about to.
    sleepers: AtomicU32,
    head: PollHead,
}

fn key(fd: i32, file: &Arc<OpenFile>) -> Key {
    (fd, file.identity())
}

impl Set {
    /// Puts an entry on the ready list, once. `is_queued` changes under the list's lock only; whoever clears it looks at the file after that, with a
    /// full barrier between the two, as there is between a change of the file and the look here.
    fn queue(&self, item: &Arc<Item>) {
        if item.is_queued.load(Ordering::Acquire) {
            return;
        }
        let mut ready = self.ready.lock();
        if !item.is_queued.swap(true, Ordering::AcqRel) {
            ready.push_back(item.clone());
        }
    }

    /// EPOLL_CTL_ADD. EEXIST.
    pub fn add(self: &Arc<Self>, fd: i32, file: &Arc<OpenFile>, interest: Interest) -> Result<(), Errno> {
        let interest = Interest { events: interest.events | (Events::ERR | Events::HUP).bits(), ..interest };
        let item = Arc::new(Item {
            epoll: Arc::downgrade(self),
            file: Arc::downgrade(file),
            fd,
            readiness: file.readiness().cloned(),
            events: AtomicU32::new(interest.events),
            data: AtomicU64::new(interest.data),
            is_queued: AtomicBool::new(false),
            signals: Weak::new(),
        });
        {
            let mut items = self.items.lock();
            // An entry whose file is gone may have had the same address.
            if items.get(&key(fd, file)).is_some_and(|old| old.file.strong_count() > 0) {
                return Err(Errno::EEXIST);
            }
            if items.len().is_power_of_two() {
                // Not all files tell when they go.
                items.retain(|_, item| item.file.strong_count() > 0);
            }
            items.reserve(1)?;
            // Whoever puts an entry on the ready list has no way to fail: there is room for all of them.
            self.ready.lock().try_reserve(items.len() + 1).map_err(|_| Errno::ENOMEM)?;
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
        if item.events() & flag::EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        item.set_interest(Interest {
            events: interest.events | (Events::ERR | Events::HUP).bits(),
            ..interest
        });
        if item.ready().is_some() {
            item.notify(Events::all());
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT.
    pub fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let item = self.items.lock().remove(&key(fd, file)).ok_or(Errno::ENOENT)?;
        item.events.store(0, Ordering::Release);
        self.ready.lock().retain(|queued| !Arc::ptr_eq(queued, &item));
        Ok(())
    }

    /// What the only candidate reports, if it stays where it is: `None` has the list looked through.
    #[inline(always)]
    fn only_event(&self) -> Option<(u32, u64)> {
        let ready = self.ready.lock();
        if ready.len() != 1 {
            return None;
        }
        let item = ready.front()?;
        let readiness = item.readiness.as_ref()?;
        let events = item.events();
        let found = readiness.get().bits() & events & !flag::PRIVATE;
        let is_level = events & (flag::ONESHOT | flag::EDGE) == 0;
        (found != 0 && is_level && item.file.strong_count() > 0)
            .then(|| (found, item.data.load(Ordering::Acquire)))
    }

    /// Hands up to `max` ready entries to `report`, in order; it returns an error to stop. Returns how many were taken.
    pub fn collect(
        &self,
        max: usize,
        mut report: impl FnMut(u32, u64) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let mut taken = 0;
        // Entries that stay ready go behind those that are there now.
        let mut left = None;
        while taken < max {
            let Some((item, is_out)) = self.next_candidate(&mut left) else { break };
            let mut found = item.ready();
            if found.is_none() && !is_out {
                // Out of the list first, and then looked at once more: what happens from now on puts it back.
                self.take_out(&item);
                found = item.ready();
                if found.is_some() {
                    self.queue(&item);
                }
            }
            let Some((events, data)) = found else {
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
            if is_out && item.events() & flag::ONESHOT != 0 {
                item.events.fetch_and(flag::PRIVATE, Ordering::AcqRel);
            }
        }
        Ok(taken)
    }

    /// The next entry to look at. One that reports each event once leaves the list at once (true), so that nobody else reports it; the
    /// others stay, the first behind the last.
    /// `left` counts down how many of those that are there at first are still to be looked at.
    #[inline(always)]
    fn next_candidate(&self, left: &mut Option<usize>) -> Option<(Arc<Item>, bool)> {
        let mut ready = self.ready.lock();
        let count = left.unwrap_or(ready.len());
        *left = Some(count.checked_sub(1)?);
        let item = ready.front()?;
        if item.events() & (flag::ONESHOT | flag::EDGE) != 0 {
            let item = ready.pop_front()?;
            item.is_queued.swap(false, Ordering::SeqCst);
            return Some((item, true));
        }
        let item = item.clone();
        if ready.len() > 1 {
            ready.rotate_left(1);
        }
        Some((item, false))
    }

    #[inline(never)]
    fn take_out(&self, item: &Arc<Item>) {
        let mut ready = self.ready.lock();
        ready.retain(|queued| !Arc::ptr_eq(queued, item));
        item.is_queued.swap(false, Ordering::SeqCst);
    }

    /// Whether something may be ready.
    pub fn has_candidates(&self) -> bool {
        !self.ready.lock().is_empty()
    }

    /// Sleeps until something may be ready.
    pub fn wait(&self, deadline: Option<u64>) -> Result<(), WaitError> {
        // Counted before the look at the list, at which `pass_on` looks before it looks at the count.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let result = self.waiters.wait(deadline, || self.has_candidates().then_some(()));
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Another thread may take what is left.
    pub fn pass_on(&self) {
        if self.sleepers.load(Ordering::SeqCst) != 0 && self.has_candidates() {
            self.waiters.wake_one();
        }
    }

    fn any_ready(&self) -> bool {
        let mut left = self.ready.lock().len();
        while left > 0 {
            left -= 1;
            let Some(item) = self.ready.lock().front().cloned() else { break };
            if item.ready().is_some() {
                return true;
            }
            self.take_out(&item);
            if item.ready().is_some() {
                self.queue(&item);
                return true;
            }
        }
        false
    }

    /// The instances that it watches.
    fn inner(&self) -> Vec<Arc<Self>> {
        let files: Vec<_> = self.items.lock().values().filter_map(|item| item.file.upgrade()).collect();
        files.iter().filter_map(|file| of(file).cloned()).collect()
    }

    /// The instances that watch it.
    fn outer(&self) -> Vec<Arc<Self>> {
        self.head.watches().iter().filter_map(|item| item.epoll.upgrade()).collect()
    }

    /// How many levels of instances there are in a direction; more than `MAX_NESTING` if there are more, or `target` is among them.
    fn levels(self: &Arc<Self>, next: fn(&Self) -> Vec<Arc<Self>>, target: &Arc<Self>) -> u32 {
        let mut level = alloc::vec![self.clone()];
        for depth in 0..=MAX_NESTING {
            if level.iter().any(|set| Arc::ptr_eq(set, target)) {
                break;
            }
            // Each once, however many watch it.
            let mut further = SortedMap::new();
            for set in level.iter().flat_map(|set| next(set)) {
                further.insert(Arc::as_ptr(&set).addr(), set);
            }
            if further.is_empty() {
                return depth;
            }
            level = further.values().cloned().collect();
        }
        MAX_NESTING + 1
    }

    /// Whether this instance may watch another: ELOOP for circles and deep chains.
    pub fn check_nesting(self: &Arc<Self>, inner: &Arc<Self>) -> Result<(), Errno> {
        let below = inner.levels(Self::inner, self);
        let above = self.levels(Self::outer, inner);
        if below + 1 + above > MAX_NESTING { Err(Errno::ELOOP) } else { Ok(()) }
    }
}

/// An open epoll descriptor.
struct EpollFile(Arc<Set>);

impl FileOps for EpollFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn epoll(&self) -> Option<&Arc<Set>> {
        Some(&self.0)
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
            let _ = writeln!(
                out,
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}",
                item.fd,
                item.events(),
                item.data.load(Ordering::Acquire),
                file.position(),
                file.inode().number,
                file.inode().fs.device
            );
        }
    }
}

/// The epoll instance behind an open file.
pub fn of(file: &OpenFile) -> Option<&Arc<Set>> {
    file.ops.epoll()
}

/// epoll_create1(2).
pub fn new(flags: OpenFlags) -> Arc<OpenFile> {
    let set = Arc::new(Set {
        items: SpinLock::new(SortedMap::new()),
        ready: SpinLock::new(VecDeque::new()),
        waiters: WaitQueue::new(),
        sleepers: AtomicU32::new(0),
        head: PollHead::new(),
    });
    anon::open("[eventpoll]", flags | OpenFlags::RDWR, Mode::LSEEK, EpollFile(set))
}

/// The usual answer of epoll_wait(2): one file is ready. `None` if it takes more to say what is.
#[inline(always)]
pub fn only_event(set: &Set) -> Option<(u32, u64)> {
    let event = set.only_event()?;
    set.pass_on();
    Some(event)
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
            Err(WaitError::Interrupted) => return Err(SysError::errno(Errno::EINTR)),
        }
    }
}
