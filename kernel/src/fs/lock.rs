//! Locks that are held across user copies and waits: contenders sleep.
#![expect(unsafe_code, reason = "a mutex owns what it guards")]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;

use crate::syscall::SysError;
use crate::task::WaitQueue;
use crate::task::wait::wait_quietly;

/// Somebody has it.
const HELD: u32 = 1;
/// Somebody may sleep for it.
const WANTED: u32 = 2;

/// Contenders of all locks sleep in one of these, chosen by the lock's address: contention is rare, and locks are many.
static QUEUES: [WaitQueue; 16] = [const { WaitQueue::new() }; 16];

/// Mutual exclusion without data of its own; what it guards stands beside it.
#[derive(Default)]
pub struct SleepLock {
    /// A word, whose bits one instruction sets and tests.
    state: AtomicU32,
}

impl SleepLock {
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(0) }
    }

    /// Takes the lock; signals don't interrupt the wait, which is short.
    #[inline]
    pub fn lock(&self) -> SleepGuard<'_> {
        if self.state.fetch_or(HELD, Ordering::Acquire) & HELD != 0 {
            self.wait();
        }
        SleepGuard(self)
    }

    fn queue(&self) -> &'static WaitQueue {
        let hash = (&raw const self.state).addr() >> 5;
        QUEUES.get(hash % QUEUES.len()).unwrap_or(&QUEUES[0])
    }

    /// Takes a lock whose holder may wait for long: signals interrupt. EAGAIN if this must not wait.
    pub fn lock_interruptibly(&self, wait: bool) -> Result<SleepGuard<'_>, SysError> {
        if self.state.fetch_or(HELD, Ordering::Acquire) & HELD != 0 {
            if !wait {
                return Err(Errno::EAGAIN.into());
            }
            self.queue().wait_until(None, &mut || self.take())?;
        }
        Ok(SleepGuard(self))
    }

    /// Whoever slept can't know whether others still do.
    fn take(&self) -> bool {
        self.state.fetch_or(HELD | WANTED, Ordering::Acquire) & HELD == 0
    }

    #[cold]
    fn wait(&self) {
        wait_quietly(self.queue(), || self.take().then_some(()));
    }

    /// It was given back, and somebody may sleep for it: whoever wants it after this says so anew.
    #[cold]
    fn wake(&self) {
        self.state.fetch_and(!WANTED, Ordering::AcqRel);
        self.queue().wake_all();
    }
}

/// Gives the lock back when dropped.
pub struct SleepGuard<'a>(&'a SleepLock);

impl Drop for SleepGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.state.fetch_sub(HELD, Ordering::Release) != HELD {
            self.0.wake();
        }
    }
}

/// A value behind a `SleepLock`.
#[derive(Default)]
pub struct SleepMutex<T> {
    lock: SleepLock,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives the value to one thread at a time.
unsafe impl<T: Send> Sync for SleepMutex<T> {}

impl<T> SleepMutex<T> {
    pub const fn new(value: T) -> Self {
        Self { lock: SleepLock::new(), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub fn lock(&self) -> SleepMutexGuard<'_, T> {
        SleepMutexGuard { _guard: self.lock.lock(), value: &self.value }
    }
}

/// Access to the value, until dropped.
pub struct SleepMutexGuard<'a, T> {
    _guard: SleepGuard<'a>,
    value: &'a UnsafeCell<T>,
}

impl<T> Deref for SleepMutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for SleepMutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.value.get() }
    }
}
