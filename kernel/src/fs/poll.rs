//! Readiness: what poll reports of a file, and who hears when it changes.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use super::epoll::Item;
use crate::sync::SpinLock;
use crate::task::{PollWaiter, WaitError, WaitQueue};

bitflags::bitflags! {
    /// The events of poll(2) and epoll(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Events: u32 {
        const IN = 0x1;
        const PRI = 0x2;
        const OUT = 0x4;
        const ERR = 0x8;
        const HUP = 0x10;
        const NVAL = 0x20;
        const RDNORM = 0x40;
        const RDBAND = 0x80;
        const WRNORM = 0x100;
        const WRBAND = 0x200;
        const MSG = 0x400;
        const RDHUP = 0x2000;
        /// What a file that can be read without waiting reports.
        const READABLE = 0x41;
        /// What a file that can be written without waiting reports.
        const WRITABLE = 0x104;
    }
}

/// What is ready of one open file, kept true by whatever changes it: polling it takes one load.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU32);

impl Readiness {
    pub const fn new(events: Events) -> Self {
        Self(AtomicU32::new(events.bits()))
    }

    #[inline(always)]
    pub fn get(&self) -> Events {
        Events::from_bits_retain(self.0.load(Ordering::Acquire))
    }

    #[inline(always)]
    pub fn set(&self, events: Events) {
        self.0.fetch_or(events.bits(), Ordering::AcqRel);
    }

    #[inline(always)]
    pub fn clear(&self, events: Events) {
        self.0.fetch_and(!events.bits(), Ordering::AcqRel);
    }
}

/// What a poller leaves behind where it looked.
#[derive(Clone, Copy)]
pub enum Poller<'a> {
    /// Nothing: it only wants to know.
    Glance,
    /// A thread that is about to sleep.
    Waiter(&'a PollWaiter),
    /// An entry of an epoll instance, for as long as it lives.
    Watch(&'a Arc<Item>),
}

/// The threads and epoll entries that wait for one thing to change.
#[derive(Default)]
pub struct PollHead {
    queue: WaitQueue,
    is_watched: AtomicBool,
    watches: SpinLock<Vec<Weak<Item>>>,
}

impl PollHead {
    pub const fn new() -> Self {
        Self {
            queue: WaitQueue::new(),
            is_watched: AtomicBool::new(false),
            watches: SpinLock::new(Vec::new()),
        }
    }

    /// Registers a poller. Comes before the look at the state.
    #[inline(always)]
    pub fn add(&self, poller: Poller<'_>) {
        if !matches!(poller, Poller::Glance) {
            self.register(poller);
        }
    }

    #[inline(never)]
    fn register(&self, poller: Poller<'_>) {
        match poller {
            Poller::Glance => {}
            Poller::Waiter(waiter) => waiter.register(&self.queue),
            Poller::Watch(item) => {
                let mut watches = self.watches.lock();
                watches.retain(|watch| watch.strong_count() > 0);
                watches.push(Arc::downgrade(item));
                // Seen by others before the caller looks at the state.
                self.is_watched.swap(true, Ordering::SeqCst);
                // The caller looks at the state after this, and `notify_of` at the mark after the state was changed.
                fence(Ordering::SeqCst);
            }
        }
    }

    /// Whether an epoll instance listens.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    /// Something changed: every waiter looks again.
    #[inline(always)]
    pub fn notify(&self) {
        self.notify_of(Events::all());
    }

    /// These events may have come: epoll entries that want none of them needn't look.
    #[inline(always)]
    pub fn notify_of(&self, events: Events) {
        self.queue.wake_all();
        if self.is_watched.load(Ordering::Acquire) {
            self.notify_watches(events);
        }
    }

    /// The epoll entries that listen.
    pub fn watches(&self) -> Vec<Arc<Item>> {
        self.watches.lock().iter().filter_map(Weak::upgrade).collect()
    }

    #[inline(never)]
    fn notify_watches(&self, events: Events) {
        // Not under the lock: an epoll instance may itself be watched.
        let watches = self.watches();
        // What comes as one event is for one of the exclusive ones, the first that a thread waits for, and for all others; an end is for all.
        let for_all = events.contains(Events::HUP);
        let mut is_taken = false;
        for item in &watches {
            if for_all || !item.is_exclusive() {
                item.notify(events);
            } else if !is_taken {
                is_taken = item.notify(events);
            }
        }
        if watches.is_empty() {
            let mut watches = self.watches.lock();
            watches.retain(|watch| watch.strong_count() > 0);
            self.is_watched.store(!watches.is_empty(), Ordering::Release);
        }
    }

    /// As `WaitQueue::sleep_unless`.
    #[inline(always)]
    pub fn sleep_unless(
        &self,
        deadline: Option<u64>,
        is_true: impl FnOnce() -> bool,
    ) -> Result<(), WaitError> {
        self.queue.sleep_unless(deadline, is_true)
    }

    /// As `WaitQueue::wait_until`.
    pub fn wait_until(
        &self,
        deadline: Option<u64>,
        is_true: &mut dyn FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.queue.wait_until(deadline, is_true)
    }

    /// Sleeps until `condition` gives a value.
    #[inline]
    pub fn wait<T>(
        &self,
        deadline: Option<u64>,
        condition: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        self.queue.wait(deadline, condition)
    }
}
