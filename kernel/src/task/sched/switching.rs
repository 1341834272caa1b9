//! The switch from one thread to another, and what is left to do behind it.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use smp::After;

use super::{
    HAND_OVER, SLICE_NS, begin_slice, bit, charge_until, choose, current, enqueue_on, insert, straight,
};
use crate::arch::per_cpu;
use crate::arch::x86_64::cpu::PerCpu;
use crate::arch::x86_64::{cpu, paging, switch, tsc};
use crate::mm::AddressSpace;
use crate::task::thread::Thread;
use crate::time;

/// Loads an address space, or with null the kernel's own table, on this CPU.
#[inline(never)]
pub(super) fn load_space(cpu: &PerCpu, space: *const AddressSpace) {
    let old = cpu.space.replace(space);
    // SAFETY: a space that stands in `cpu.space` isn't freed (every thread leaves it before it gives up its part in it), and `space` is
    // that of a thread which is about to run.
    let (old, space) = unsafe { (old.as_ref(), space.as_ref()) };
    let shares = !cpu::is_single();
    if shares && let Some(space) = space {
        space.users().enter(cpu.id.get());
    }
    let root = space.map_or_else(crate::mm::page_table::boot_root_address, AddressSpace::root);
    // SAFETY: every table maps the kernel, and this one stays while it is in use, as said above.
    unsafe { paging::load_table(root) };
    if shares && let Some(old) = old {
        old.users().leave(cpu.id.get());
    }
}

/// The running thread goes to the address space that its process has now: after exec, and to none at its end.
pub fn change_address_space(space: *const AddressSpace) {
    load_space(per_cpu(), space);
}

/// Where a thread that is switched away from is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a run queue unless it sleeps.
    Open,
    /// It is on this CPU's queue already.
    Queued,
}

/// With one CPU nobody can wake or run the thread before it was switched away from, so that its place is found before that and
/// `finish_switch` has nothing left to do, unless the thread is dead.
#[inline(always)]
fn settle_alone(cpu: &PerCpu, previous: &'static Thread, next: &'static Thread) {
    match previous.sleeper.switched_out_alone() {
        After::Parked => {}
        After::Dead => {
            cpu.previous.set(previous);
            // SAFETY: nobody runs on it.
            unsafe { switch::finish_before_resuming(next.saved_rsp()) };
        }
        After::Enqueue => {
            if !cpu.slice_armed.get() {
                cpu.slice_armed.set(true);
                time::ensure_tick(SLICE_NS);
            }
            insert(cpu, previous);
        }
    }
}

#[inline(never)]
pub(super) fn switch_to(cpu: &'static PerCpu, next: &'static Thread, place: Place) {
    let previous = current();
    if core::ptr::eq(previous, next) {
        return;
    }
    let now = tsc::read();
    charge_until(cpu, previous, now);
    previous.counters.note_switch(!previous.sleeper.is_runnable());
    previous.run_clock.stop(now);
    next.run_clock.start(now);
    let have_programs = !previous.is_idle() && !next.is_idle();
    // SAFETY: interrupts are off; `previous` runs here and `next` runs nowhere, so their registers and FPU areas are ours to save and load.
    unsafe {
        if !previous.is_idle() {
            previous.check_stack();
        }
        if have_programs && cpu::can_exchange() {
            straight::exchange_registers(previous, next);
        } else {
            save_registers(previous);
            load_registers(next);
        }
        if cpu::is_single() {
            if place == Place::Open && !previous.is_idle() {
                settle_alone(cpu, previous, next);
            }
            cpu.current.store(core::ptr::from_ref(next).cast_mut(), Ordering::Relaxed);
        } else {
            note_move(cpu, previous, next, now);
            cpu.running_urgency.store(if next.is_idle() { 0 } else { !next.rank() }, Ordering::Relaxed);
            cpu.previous.set(previous);
            // Whoever nudges a thread changes its work and then looks at `current`; the thread looks at its work after this.
            cpu.current.store(core::ptr::from_ref(next).cast_mut(), Ordering::SeqCst);
        }
        if next.is_idle() {
            // An idle CPU is in nobody's way: others needn't interrupt it for its translations.
            if !cpu::is_single() && !cpu.space.get().is_null() {
                load_space(cpu, core::ptr::null());
            }
        } else {
            if next.space_pointer() != cpu.space.get() {
                load_space(cpu, next.space_pointer());
            }
            cpu.kernel_stack_top.set(next.stack_top());
        }
        switch::switch_stacks(previous.saved_rsp(), *next.saved_rsp());
    }
    finish_switch();
}

/// The registers beside the general ones that a program has; nothing for an idle thread.
///
/// # Safety
/// As for `switch_to`'s threads: the registers are this one's, and nobody else uses its FPU area.
#[inline(never)]
unsafe fn save_registers(thread: &Thread) {
    // SAFETY: the caller's promise.
    if let Some(state) = unsafe { thread.fpu_state() } {
        state.save();
        thread.fs_base.set(cpu::fs_base());
        thread.gs_base.set(cpu::user_gs_base());
    }
}

/// As `save_registers`, the other way.
///
/// # Safety
/// The thread is about to run here.
#[inline(never)]
unsafe fn load_registers(thread: &Thread) {
    // SAFETY: the caller's promise.
    if let Some(state) = unsafe { thread.fpu_state() } {
        state.restore();
        cpu::set_fs_base(thread.fs_base.get());
        cpu::set_user_gs_base(thread.gs_base.get());
    }
}

/// What switches tell where there are several CPUs: whether a thread sleeps right after waking another, and that one runs elsewhere than before.
#[inline(never)]
fn note_move(cpu: &PerCpu, previous: &Thread, next: &Thread, now: u64) {
    let woke_at = cpu.woke_at.replace(0);
    if woke_at != 0 && !previous.sleeper.is_runnable() {
        previous.note_hand_over(now.saturating_sub(woke_at) < HAND_OVER);
    }
    if next.cpu.load(Ordering::Relaxed) != cpu.id.get() {
        next.cpu.store(cpu.id.get(), Ordering::Relaxed);
    }
    if next.ran_on.replace(cpu.id.get()) != cpu.id.get() {
        next.note_preemption();
    }
}

/// The second half of a switch, on the new stack: from here on the thread that was switched away from can be run elsewhere. The CPU isn't
/// the one on which this thread's `switch_to` began.
#[inline(always)]
fn finish_switch() {
    let cpu = per_cpu();
    // SAFETY: `switch_to` put the thread that ran before there, if something is left to do for it.
    if let Some(previous) = unsafe { cpu.previous.get().as_ref() } {
        cpu.previous.set(core::ptr::null());
        settle(cpu, previous);
    }
}

#[inline(never)]
fn settle(cpu: &'static PerCpu, previous: &'static Thread) {
    if previous.is_idle() {
        return;
    }
    match previous.sleeper.switched_out() {
        After::Parked => {}
        // SAFETY: the count that `enqueue` left to the thread; its stack is in nobody's use any more.
        After::Dead => drop(unsafe { Arc::from_raw(core::ptr::from_ref(previous)) }),
        After::Enqueue => {
            if previous.affinity.load(Ordering::Relaxed) & bit(cpu) != 0 && !previous.priorities.is_realtime()
            {
                if !cpu.slice_armed.get() {
                    begin_slice(cpu);
                }
                insert(cpu, previous);
            } else {
                enqueue_on(choose(previous, false), previous);
            }
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn finish_first_switch() {
    finish_switch();
}
