//! The time-stamp counter.

use core::arch::asm;

/// Ticks since power-on, or whatever the hypervisor set it to.
#[inline(always)]
pub fn read() -> u64 {
    // SAFETY: RDTSC has no effect on memory.
    unsafe {
        let value;
        // As one piece, which the compiler doesn't make a function of.
        asm!("rdtsc", "shl rdx, 32", "or rax, rdx", out("rax") value, out("rdx") _, options(nomem, nostack));
        value
    }
}
