//! An address space's lock: one CPU alone may change the map, and meanwhile no CPU handles a fault; any number of them handle faults at once.
//!
//! Who handles a fault marks so on its own CPU (`smp::ReadMark`) and writes to no memory that others read. Who changes something takes the
//! lock, and waits until no CPU's mark names it. With one CPU nothing is marked, and nobody waited for. Decision 0010.
//!
//! A CPU reads one address space at a time, and changes none meanwhile.
#![expect(unsafe_code, reason = "the lock gives out references to what it guards")]

use core::ops::Deref;

use crate::arch::per_cpu;
use crate::arch::x86_64::cpu;
use crate::sync::{self, SpinGuard, SpinLock};

/// See the top of the module.
pub struct SpaceLock<T>(SpinLock<T>);

// SAFETY: the lock hands the value to one CPU alone, or to several to read.
unsafe impl<T: Send + Sync> Sync for SpaceLock<T> {}

/// Sharing the value, until it is dropped.
pub struct ReadGuard<'a, T>(&'a SpaceLock<T>);

impl<T> SpaceLock<T> {
    pub const fn new(value: T) -> Self {
        Self(SpinLock::new(value))
    }

    /// What stands for this lock in a CPU's mark.
    fn mark(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// For a change.
    #[inline(always)]
    pub fn write(&self) -> SpinGuard<'_, T> {
        let guard = self.0.lock();
        if !cpu::is_single() {
            self.wait_for_readers();
        }
        guard
    }

    #[cold]
    #[inline(never)]
    fn wait_for_readers(&self) {
        for other in (0..cpu::online_count()).filter_map(cpu::by_index) {
            if other.reading.is_reading(self.mark()) {
                sync::wait_until(|| !other.reading.is_reading(self.mark()));
            }
        }
    }

    /// For a fault.
    #[inline(always)]
    pub fn read(&self) -> ReadGuard<'_, T> {
        if !cpu::is_single() {
            self.enter();
        }
        ReadGuard(self)
    }

    #[cold]
    #[inline(never)]
    fn enter(&self) {
        while !per_cpu().reading.enter(self.mark(), || self.0.is_held()) {
            sync::wait_until(|| !self.0.is_held());
        }
    }

    /// The value, when nobody else can have the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: nobody changes the value while this CPU's mark is set; a single CPU changes nothing while it handles a fault.
        unsafe { &*self.0.0.as_mut_ptr() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !cpu::is_single() {
            per_cpu().reading.leave();
        }
    }
}
