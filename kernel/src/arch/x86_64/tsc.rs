//! The time-stamp counter.

/// Ticks since power-on, or whatever the hypervisor set it to.
#[inline(always)]
pub fn read() -> u64 {
    // SAFETY: RDTSC has no effect on memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}
