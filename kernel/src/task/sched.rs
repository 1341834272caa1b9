//! The scheduler: who runs next, and the switch to it.
//!
//! Threads are taken in turn. A thread that wakes another and then sleeps hands the CPU over without the idle loop in between.
#![expect(unsafe_code, reason = "switches stacks and address spaces")]

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::thread::{State, Thread, work};
use crate::arch::per_cpu;
use crate::arch::x86_64::{cpu, paging, switch, tsc};
use crate::sync::SpinLock;
use crate::time;

/// Time slice while others wait, ns.
pub const SLICE_NS: u64 = 4_000_000;

struct RunQueue {
    ready: VecDeque<Arc<Thread>>,
    /// Keeps the thread that was switched away from alive until the switch is over.
    previous: Option<Arc<Thread>>,
    idle: Option<Arc<Thread>>,
}

static QUEUE: SpinLock<RunQueue> =
    SpinLock::new(RunQueue { ready: VecDeque::new(), previous: None, idle: None });

/// The running thread.
#[inline(always)]
pub fn current() -> &'static Thread {
    // SAFETY: this CPU's `current` always names the thread that runs here, which the run queue's owner keeps alive while it runs.
    unsafe { &*cpu::current_thread() }
}

/// The running thread as an owner.
pub fn current_arc() -> Arc<Thread> {
    let pointer: *const Thread = current();
    // SAFETY: `current` came from `Arc::into_raw` in `switch_to`, and the running thread holds one count.
    unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    }
}

/// Makes the boot context the idle thread.
pub fn init(idle: Arc<Thread>) {
    let pointer = Arc::into_raw(idle.clone());
    per_cpu().current.store(pointer.cast_mut(), Ordering::Relaxed);
    QUEUE.lock().idle = Some(idle);
}

/// Puts a thread where it will be run.
pub fn enqueue(thread: Arc<Thread>) {
    let mut queue = QUEUE.lock();
    queue.ready.push_back(thread);
    // Somebody else wants to run now: the running thread gets a time slice.
    if queue.ready.len() == 1 {
        drop(queue);
        time::ensure_tick(SLICE_NS);
    }
}

/// Wakes a sleeping thread. A thread that isn't asleep (or no longer) is left alone.
pub fn wake(thread: &Arc<Thread>) {
    if thread.try_wake() {
        enqueue(thread.clone());
    }
}

/// Gives others a turn; returns at once when there are none.
pub fn yield_now() {
    let next = {
        let mut queue = QUEUE.lock();
        let Some(next) = queue.ready.pop_front() else { return };
        if current().stack_top() != 0 {
            queue.ready.push_back(current_arc());
        }
        next
    };
    switch_to(next);
}

/// Whether another thread is ready to run.
pub fn others_ready() -> bool {
    !QUEUE.lock().ready.is_empty()
}

/// Sleeps if the thread is still in state `Sleeping`; returns when it has been woken.
pub fn sleep() {
    let next = {
        let mut queue = QUEUE.lock();
        if current().state() == State::Runnable {
            return;
        }
        match queue.ready.pop_front() {
            Some(next) => next,
            None => match &queue.idle {
                Some(idle) => idle.clone(),
                None => return,
            },
        }
    };
    switch_to(next);
}

/// Ends the running thread for good.
pub fn die() -> ! {
    current().set_state(State::Dead);
    sleep();
    unreachable!("a dead thread ran");
}

fn switch_to(next: Arc<Thread>) {
    let previous = current();
    if core::ptr::eq(previous, Arc::as_ptr(&next)) {
        return;
    }
    previous.check_stack();
    let cpu = per_cpu();
    let now = tsc::read();
    previous.counters.note_switch(previous.state() == State::Sleeping);
    previous.run_time_ticks.fetch_add(now.saturating_sub(previous.run_since.get()), Ordering::Relaxed);
    next.run_since.set(now);
    // SAFETY: interrupts are off; `previous` runs here and `next` runs nowhere, so their registers and FPU areas are ours to save and load.
    unsafe {
        if previous.stack_top() != 0 && previous.state() != State::Dead {
            if let Some(state) = previous.fpu_state() {
                state.save();
            }
            previous.fs_base.set(cpu::fs_base());
            previous.gs_base.set(cpu::user_gs_base());
        }
        if next.stack_top() != 0 {
            if let Some(state) = next.fpu_state() {
                state.restore();
            }
            cpu::set_fs_base(next.fs_base.get());
            cpu::set_user_gs_base(next.gs_base.get());
            let root = next.process.page_table_root();
            if root != cpu.page_table.get() {
                paging::load_table(root);
                cpu.page_table.set(root);
            }
        }
        cpu.kernel_stack_top.set(next.stack_top());
        let resume = *next.saved_rsp();
        let raw = Arc::into_raw(next);
        let old = cpu.current.swap(raw.cast_mut(), Ordering::Relaxed);
        // The count that `current` held goes to `previous`, dropped after the switch.
        QUEUE.lock().previous = Some(Arc::from_raw(old.cast_const()));
        switch::switch_stacks(previous.saved_rsp(), resume);
    }
    finish_switch();
}

/// The second half of a switch, on the new stack.
fn finish_switch() {
    let previous = QUEUE.lock().previous.take();
    drop(previous);
}

#[unsafe(no_mangle)]
extern "C" fn finish_first_switch() {
    finish_switch();
}

/// The boot context's last act: runs what is ready, and sleeps between interrupts.
pub fn idle_loop() -> ! {
    loop {
        yield_now();
        if !others_ready() {
            cpu::idle_once();
        }
    }
}

/// Called from the timer: the running thread's slice is over if others wait.
pub fn tick() {
    if others_ready() {
        current().add_work(work::RESCHEDULE);
        time::ensure_tick(SLICE_NS);
    }
}
