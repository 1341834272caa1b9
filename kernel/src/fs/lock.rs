//! A lock that is held across user copies and waits: contenders sleep.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::task::WaitQueue;
use crate::task::wait::wait_killable;

/// Mutual exclusion without data of its own; what it guards stands beside it.
#[derive(Default)]
pub struct SleepLock {
    held: AtomicBool,
    queue: WaitQueue,
}

impl SleepLock {
    pub const fn new() -> Self {
        Self { held: AtomicBool::new(false), queue: WaitQueue::new() }
    }

    /// Takes the lock; signals don't interrupt the wait, which is short.
    #[inline]
    pub fn lock(&self) -> SleepGuard<'_> {
        if self.held.swap(true, Ordering::Acquire) {
            self.wait();
        }
        SleepGuard(self)
    }

    #[cold]
    fn wait(&self) {
        let take = || (!self.held.swap(true, Ordering::Acquire)).then_some(());
        while wait_killable(&self.queue, take).is_none() {
            // A process that is being killed still leaves in good order.
            crate::task::sched::yield_now();
        }
    }
}

/// Gives the lock back when dropped.
pub struct SleepGuard<'a>(&'a SleepLock);

impl Drop for SleepGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
        self.0.queue.wake_one();
    }
}
