//! Locks. Kernel code runs with interrupts off, so a spin lock needs to mask nothing; it must not be held across anything that may sleep
//! or copy to or from a program.

/// A mutual-exclusion lock that spins.
pub type SpinLock<T> = spin::mutex::SpinMutex<T>;
