//! Having other CPUs forget translations.
//!
//! The protocol. Every page table knows the CPUs that have it in CR3 (`CpuSet`): a CPU enters itself before it loads the table and leaves
//! after it loaded another; an idle CPU has none loaded. Whoever takes something away in a page table, under its address space's lock (which
//! a fault shares with others), flushes its own translations, then, with `flush_others`: asks each other CPU of the set by counting up its
//! `FlushGate`, sends it an interrupt, and waits until the gate says that it flushed after that. Only then are frames and tables freed, or is
//! the caller's promise kept that nobody sees the old page.
//!
//! A CPU answers from the interrupt, in the program and in the idle loop; and, since interrupts are off in the kernel, from every loop in
//! which it waits for another CPU (`sync::wait_until`): for a lock or for answers itself. One that is known to be in such a loop isn't
//! interrupted. Between the two it runs straight on and comes out of the kernel soon. So nobody waits for ever, whatever locks the one who
//! asks holds. What a CPU reads out of a page table in software, it reads under the address space's lock, or has taken a count of the frame;
//! of two faults that copy the same page the slower one may have copied a frame that was freed meanwhile, and throws the copy away.
//!
//! Rights that are only added need no flush: the fault that a stale translation raises finds the entry in order and goes on.
//! With one CPU all this is one comparison.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::arch::per_cpu;
use crate::arch::x86_64::{apic, cpu, paging};

/// The CPUs on which a page table is loaded. Kept only where there are several.
#[derive(Debug, Default)]
pub struct CpuSet(AtomicU64);

impl CpuSet {
    /// Before CR3 is loaded with the table.
    pub fn enter(&self, cpu: u32) {
        self.0.fetch_or(1 << (cpu & 63), Ordering::SeqCst);
    }

    /// After CR3 was loaded with another one.
    pub fn leave(&self, cpu: u32) {
        self.0.fetch_and(!(1 << (cpu & 63)), Ordering::SeqCst);
    }

    /// As a bit mask.
    pub fn bits(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Has every other CPU that uses a page table forget its translations, and waits for that. The caller has changed the table.
#[inline(always)]
pub fn flush_others(users: &CpuSet) {
    if !cpu::is_single() {
        flush_slowly(users);
    }
}

#[cold]
#[inline(never)]
fn flush_slowly(users: &CpuSet) {
    // The changed entries are in memory before the set is looked at; a CPU that enters later reads them.
    fence(Ordering::SeqCst);
    interrupt_and_wait(users.bits());
}

/// Makes each of these CPUs, but this one, pass through `serve`, and waits for that. It is also a memory barrier there.
#[cold]
pub fn interrupt_and_wait(targets: u64) {
    let me = per_cpu().id.get();
    let targets = targets & !(1 << (me & 63)) & cpu::online_mask();
    let mut tickets = [0u64; cpu::MAX_CPUS];
    let chosen = |index: usize| if targets >> (index & 63) & 1 != 0 { cpu::by_index(index) } else { None };
    for (index, ticket) in tickets.iter_mut().enumerate() {
        if let Some(target) = chosen(index) {
            *ticket = target.flush.request();
            if target.flush.needs_interrupt() {
                apic::send_ipi(target);
            }
        }
    }
    for (index, ticket) in tickets.into_iter().enumerate() {
        if let Some(target) = chosen(index) {
            crate::sync::wait_until(|| target.flush.is_done(ticket));
        }
    }
}

/// Does what other CPUs asked of this one.
#[inline]
pub fn serve() {
    per_cpu().flush.serve(forget);
}

/// At the end of a loop in which this CPU served.
pub fn end_polling() {
    per_cpu().flush.end_polling(forget);
}

fn forget() {
    paging::flush_all();
    // membarrier(2) asks for more than a flush: a critical section may not go on.
    crate::task::current().note_preemption();
}
