//! Locks. Kernel code runs with interrupts off, so a spin lock needs to mask nothing; it must not be held across anything that may sleep
//! or copy to or from a program.
//!
//! A CPU that waits for a lock answers what other CPUs ask of it meanwhile (`mm::shootdown`), since their interrupts don't reach it: a lock's
//! holder may itself be waiting for such an answer.
#![expect(unsafe_code, reason = "the lock gives out references to what it guards")]

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::per_cpu;
use crate::arch::x86_64::switch;
use crate::mm::shootdown;

/// A mutual-exclusion lock that spins.
#[derive(Default)]
pub struct SpinLock<T: ?Sized> {
    /// 1 while somebody has it: a word, whose bit one instruction sets and tests.
    held: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one CPU at a time.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}

/// Gives the lock back when dropped.
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
}

impl<T> SpinLock<T> {
    pub const fn new(value: T) -> Self {
        Self { held: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> SpinLock<T> {
    #[inline(always)]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        if self.held.fetch_or(1, Ordering::Acquire) & 1 != 0 {
            switch::call_contend(&self.held);
        }
        SpinGuard { lock: self }
    }

    /// Whether somebody has it.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire) != 0
    }

    /// Where the value is, for those who know by other means that nobody changes it meanwhile.
    #[inline(always)]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.value.get()
    }

    /// The value, when nobody else can have the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Waits for a lock, by way of `switch::call_contend`.
#[unsafe(no_mangle)]
extern "C" fn contend(held: &AtomicU32) {
    wait_until(|| {
        held.load(Ordering::Relaxed) == 0
            && held.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    });
}

/// Waits for another CPU, and answers what is asked of this one meanwhile.
pub fn wait_until(mut is_over: impl FnMut() -> bool) {
    per_cpu().flush.begin_polling();
    while !is_over() {
        shootdown::serve();
        core::hint::spin_loop();
    }
    shootdown::end_polling();
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.held.store(0, Ordering::Release);
    }
}

impl<T: ?Sized> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpinLock")
    }
}

/// Work that is done by one at a time: who comes meanwhile leaves it to the one that is at it, which then does it once more.
pub struct OneAtATime(AtomicU32);

impl OneAtATime {
    const IDLE: u32 = 0;
    const BUSY: u32 = 1;
    const AGAIN: u32 = 2;

    pub const fn new() -> Self {
        Self(AtomicU32::new(Self::IDLE))
    }

    pub fn run(&self, mut work: impl FnMut()) {
        if self.0.swap(Self::AGAIN, Ordering::AcqRel) != Self::IDLE {
            return;
        }
        loop {
            self.0.store(Self::BUSY, Ordering::Release);
            work();
            if self.0.compare_exchange(Self::BUSY, Self::IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }
}
