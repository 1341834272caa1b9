//! The straight way from one thread to another, where there is one CPU and a processor with FSGSBASE and XSAVE (`cpu::is_plain`).
//!
//! Nobody else looks at the queue, so that it needs no lock; nobody can wake a thread between its last look and the switch away from it, so
//! that its place is settled before the switch and nothing is left to do after it. What is rare goes the general way.

use core::sync::atomic::Ordering;

use smp::{Wake, fair};

use super::{CREDIT, RunQueue, current, enqueue_here, load_space, raise_least};
use crate::arch::per_cpu;
use crate::arch::x86_64::cpu::{self, PerCpu};
use crate::arch::x86_64::{fpu, switch, tsc};
use crate::task::thread::Thread;

/// The queue of the only CPU.
#[expect(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
#[inline(always)]
unsafe fn queue(cpu: &PerCpu) -> &mut RunQueue {
    // SAFETY: there is one CPU, the kernel isn't interrupted, and the caller has no other reference to it.
    unsafe { &mut *cpu.queue.as_mut_ptr() }
}

/// As `sched::wake`, with one CPU.
#[inline(always)]
pub fn wake(thread: &Thread) -> bool {
    match thread.sleeper.wake_alone() {
        Wake::Awake => false,
        Wake::Early => true,
        Wake::Enqueue => {
            // SAFETY: a thread that sleeps isn't dead, so it holds a count of itself.
            enqueue(per_cpu(), unsafe { &*core::ptr::from_ref(thread) });
            true
        }
    }
}

/// Puts a thread that was woken on the queue: straight, if it is the only one there, what runs has a time slice already, and it didn't sleep
/// for so long that its virtual time has to be adjusted (`fair::placed`).
#[inline(always)]
fn enqueue(cpu: &PerCpu, thread: &'static Thread) {
    let time = thread.virtual_time.load(Ordering::Relaxed);
    if cpu.waiting.load(Ordering::Relaxed) != 0
        || !cpu.slice_armed.get()
        || thread.priorities.is_realtime()
        || time.wrapping_add(CREDIT) < cpu.least.load(Ordering::Relaxed)
    {
        return enqueue_here(cpu, thread);
    }
    thread.queued_behind.set(core::ptr::null());
    // SAFETY: `is_single`; no other reference.
    let queue = unsafe { queue(cpu) };
    queue.first = thread;
    queue.last = thread;
    cpu.waiting.store(1, Ordering::Relaxed);
}

/// Hands the CPU from the running thread, which is about to sleep, to the next one that waits. Whether there was one.
#[inline(always)]
pub(super) fn sleep() -> bool {
    let me = current();
    if !me.sleeper.is_about_to_sleep() {
        return false;
    }
    let cpu = per_cpu();
    // SAFETY: `is_plain`; no other reference.
    let Some(next) = unsafe { queue(cpu) }.pop() else { return false };
    cpu.waiting.store(cpu.waiting.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    me.sleeper.park_alone();
    me.counters.note_switch(true);
    // SAFETY: `is_plain`; `next` was on the queue, and both have programs.
    unsafe { switch(cpu, me, next) };
    true
}

/// Saves one program's registers beside the general ones and loads another's.
///
/// # Safety
/// `cpu::can_exchange`; `previous` runs here and `next` runs nowhere, so that their registers and FPU areas are the caller's to save and load.
#[inline(always)]
pub(super) unsafe fn exchange_registers(previous: &Thread, next: &Thread) {
    // SAFETY: the caller's promise. Threads with programs have an FPU area.
    unsafe {
        fpu::exchange(previous.fpu_state().unwrap_unchecked(), next.fpu_state().unwrap_unchecked());
        let (fs, gs) = cpu::exchange_bases(next.fs_base.get(), next.gs_base.get());
        previous.fs_base.set(fs);
        previous.gs_base.set(gs);
    }
}

/// Switches between two threads, both of which have programs; the running one's place is settled.
///
/// # Safety
/// `cpu::is_plain`, and `next` is runnable and on no queue.
#[inline(always)]
pub(super) unsafe fn switch(cpu: &'static PerCpu, previous: &'static Thread, next: &'static Thread) {
    let now = tsc::read();
    let used = now.wrapping_sub(cpu.charged_at.replace(now));
    let used = fair::virtual_ticks(used, previous.priorities.weight());
    previous
        .virtual_time
        .store(previous.virtual_time.load(Ordering::Relaxed).wrapping_add(used), Ordering::Relaxed);
    previous.run_clock.stop(now);
    next.run_clock.start(now);
    raise_least(cpu, next.virtual_time.load(Ordering::Relaxed));
    // SAFETY: interrupts are off; `previous` runs here and `next` runs nowhere.
    unsafe {
        exchange_registers(previous, next);
        cpu.current.store(core::ptr::from_ref(next).cast_mut(), Ordering::Relaxed);
        if next.space_pointer() != cpu.space.get() {
            load_space(cpu, next.space_pointer());
        }
        cpu.kernel_stack_top.set(next.stack_top());
        switch::switch_stacks(previous.saved_rsp(), *next.saved_rsp());
    }
}
