//! The scheduler: who runs next and where, and the switch to it.
//!
//! Each CPU has a run queue, ordered by virtual time (`smp::fair`), real-time threads before all others. A thread stands in at most one queue,
//! and only while its registers are saved (`smp::Sleeper`) or, with one CPU, are about to be (`switching::settle_alone`). A thread that wakes
//! another and then sleeps hands its CPU over without the idle loop in between. A CPU without work takes from the others' queues before it
//! halts; a busy one with threads waiting is interrupted at the end of time slices, a busy one without isn't interrupted at all.
//!
//! Locks: a run queue's is the last one taken; two of them are never held together.
#![expect(unsafe_code, reason = "switches stacks and address spaces")]

mod queue;
mod straight;
mod switching;
mod urgent;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use smp::{Wake, fair, place};

pub use queue::RunQueue;
pub use switching::change_address_space;
use switching::{Place, load_space, switch_to};
pub use urgent::{REALTIME_USED, ROUND_ROBIN_NS, begin_turn, priority_changed};
use urgent::{choose_urgently, give_way_elsewhere, keeps_turn, push_urgent, steal_urgent, yield_to_equals};

use super::thread::{FIRST_FAIR_RANK, Thread, work};
use crate::arch::per_cpu;
use crate::arch::x86_64::cpu::PerCpu;
use crate::arch::x86_64::{apic, cpu, tsc};
use crate::time;

/// Time slice while others wait, ns.
pub const SLICE_NS: u64 = 4_000_000;
/// What a sleeper may be behind the others in virtual time, TSC ticks: one or two milliseconds of a turn to catch up on.
const CREDIT: u64 = 1 << 22;
/// Who sleeps so soon after waking another hands its CPU over, TSC ticks.
const HAND_OVER: u64 = 1 << 17;

/// CPUs that have nothing to do.
static IDLE: AtomicU64 = AtomicU64::new(0);

/// The running thread.
#[inline(always)]
pub fn current() -> &'static Thread {
    // SAFETY: `current` always names the thread that runs here, which holds a count of itself until it is dead.
    unsafe { &*cpu::current_thread() }
}

/// The running thread as an owner.
pub fn current_arc() -> Arc<Thread> {
    let pointer: *const Thread = current();
    // SAFETY: threads are made as Arcs, and the running one holds a count of itself.
    unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    }
}

/// Makes a thread a CPU's idle thread, and the one that runs there now.
pub fn init(cpu: &PerCpu, idle: Arc<Thread>) {
    let idle = Arc::into_raw(idle);
    cpu.idle.set(idle);
    cpu.current.store(idle.cast_mut(), Ordering::Relaxed);
}

fn bit(cpu: &PerCpu) -> u64 {
    1 << (cpu.id.get() & 63)
}

// ---- virtual time -----------------------------------------------------------------------------------------------------------

/// Charges the running thread for its turn so far.
#[inline(never)]
fn charge(cpu: &PerCpu, thread: &Thread) {
    charge_until(cpu, thread, tsc::read());
}

#[inline(always)]
fn charge_until(cpu: &PerCpu, thread: &Thread, now: u64) {
    let used = now.wrapping_sub(cpu.charged_at.replace(now));
    if !thread.is_idle() {
        let time = thread.virtual_time.load(Ordering::Relaxed);
        let time = time.wrapping_add(fair::virtual_ticks(used, thread.priorities.weight()));
        thread.virtual_time.store(time, Ordering::Relaxed);
        // Who comes to a thread that was alone doesn't get the time that it spent alone.
        if cpu.waiting.load(Ordering::Relaxed) == 0 {
            raise_least(cpu, time);
        }
    }
}

/// Nobody who waits on a CPU should have less virtual time than this.
#[inline(always)]
fn raise_least(cpu: &PerCpu, time: u64) {
    if time > cpu.least.load(Ordering::Relaxed) {
        cpu.least.store(time, Ordering::Relaxed);
    }
}

/// Virtual time as it counts on another CPU.
fn carry(thread: &Thread, from: &PerCpu, to: &PerCpu) {
    let time = thread.virtual_time.load(Ordering::Relaxed);
    let ahead = time.saturating_sub(from.least.load(Ordering::Relaxed)).min(CREDIT);
    thread.virtual_time.store(to.least.load(Ordering::Relaxed).wrapping_add(ahead), Ordering::Relaxed);
}

// ---- enqueueing ---------------------------------------------------------------------------------------------------------------

/// Puts a thread that runs nowhere on a CPU's queue, and sees to it that the CPU notices.
fn enqueue_on(cpu: &'static PerCpu, thread: &'static Thread) {
    let me = per_cpu();
    if cpu::is_single() {
        return enqueue_here(me, thread);
    }
    let last = thread.cpu.load(Ordering::Relaxed) as usize;
    if last != cpu.id.get() as usize
        && let Some(last) = cpu::by_index(last)
    {
        carry(thread, last, cpu);
        thread.cpu.store(cpu.id.get(), Ordering::Relaxed);
    }
    if core::ptr::eq(cpu, me) {
        me.woke_at.set(tsc::read());
        return enqueue_here(me, thread);
    }
    let is_urgent = thread.priorities.is_realtime();
    if is_urgent {
        // For who chooses a CPU before this one has switched.
        cpu.running_urgency.fetch_max(!thread.rank(), Ordering::Relaxed);
    }
    let waiting = insert(cpu, thread);
    // Either this sees the bit of a CPU that is about to halt, or that CPU sees what is on its queue.
    fence(Ordering::SeqCst);
    if waiting == 1 || is_urgent || IDLE.load(Ordering::SeqCst) & bit(cpu) != 0 {
        apic::send_ipi(cpu);
    }
}

/// Enters a thread in a queue: sleepers aren't paid for their sleep. Returns how many wait there now.
#[inline(never)]
fn insert(cpu: &PerCpu, thread: &'static Thread) -> usize {
    let least = cpu.least.load(Ordering::Relaxed);
    let time = thread.virtual_time.load(Ordering::Relaxed);
    thread.virtual_time.store(fair::placed(time, least, CREDIT), Ordering::Relaxed);
    let mut queue = cpu.queue.lock();
    queue.insert(thread);
    let waiting = cpu.waiting.load(Ordering::Relaxed).wrapping_add(1);
    cpu.waiting.store(waiting, Ordering::Release);
    waiting
}

/// As `enqueue_on`, for this CPU.
#[inline(never)]
fn enqueue_here(me: &PerCpu, thread: &'static Thread) {
    // The idle loop looks at the queue before it halts.
    if !me.slice_armed.get() {
        begin_slice(me);
    }
    if thread.priorities.is_realtime() {
        current().add_work(work::RESCHEDULE);
    }
    insert(me, thread);
}

/// Somebody else wants this CPU: its thread gets a time slice.
#[cold]
#[inline(never)]
fn begin_slice(cpu: &PerCpu) {
    if !current().is_idle() {
        charge(cpu, current());
        cpu.slice_armed.set(true);
        time::ensure_tick(SLICE_NS);
    }
}

/// Chooses where a thread runs that was woken or was just made.
#[cold]
#[inline(never)]
fn choose(thread: &Thread, hands_over: bool) -> &'static PerCpu {
    let me = per_cpu();
    if cpu::is_single() {
        return me;
    }
    let is_urgent = thread.priorities.is_realtime();
    if is_urgent && let Some(cpu) = choose_urgently(thread) {
        return cpu;
    }
    let chosen = place::choose(&place::Situation {
        here: me.id.get() as usize,
        last: thread.cpu.load(Ordering::Relaxed) as usize,
        allowed: thread.affinity.load(Ordering::Relaxed),
        idle: IDLE.load(Ordering::SeqCst),
        present: cpu::online_mask(),
        hands_over: hands_over && !is_urgent,
    });
    cpu::by_index(chosen).unwrap_or(me)
}

/// Puts a new thread where it will be run. From here on it holds a count of itself, which it gives up when it is dead.
pub fn enqueue(thread: Arc<Thread>) {
    let me = per_cpu();
    // SAFETY: the count isn't given up before the thread is dead (`finish_switch`).
    let thread: &'static Thread = unsafe { &*Arc::into_raw(thread) };
    thread.cpu.store(me.id.get(), Ordering::Relaxed);
    if !current().is_idle() {
        thread.virtual_time.store(current().virtual_time.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    enqueue_on(choose(thread, false), thread);
}

/// Wakes a sleeping thread. A thread that isn't asleep (or no longer) is left alone. Whether it was.
#[inline(never)]
pub fn wake(thread: &Thread) -> bool {
    if cpu::is_single() { straight::wake(thread) } else { wake_among(thread) }
}

/// As `wake`, where there are several CPUs.
#[inline(never)]
fn wake_among(thread: &Thread) -> bool {
    match thread.sleeper.wake() {
        Wake::Awake => false,
        Wake::Early => true,
        Wake::Enqueue => {
            // SAFETY: a thread that sleeps isn't dead, so it holds a count of itself.
            let thread: &'static Thread = unsafe { &*core::ptr::from_ref(thread) };
            let hands_over =
                current().hands_over.get() >= 2 && per_cpu().waiting.load(Ordering::Relaxed) == 0;
            enqueue_on(choose(thread, hands_over), thread);
            true
        }
    }
}

/// After work bits were added to a thread: wakes it, or interrupts it in the program, so that it looks at them.
pub fn nudge(thread: &Thread) {
    if !wake(thread) && !cpu::is_single() {
        interrupt_if_running(thread);
    }
}

/// Interrupts a thread that runs on another CPU. If it comes to run only now, it looks at its work bits by itself.
fn interrupt_if_running(thread: &Thread) {
    if let Some(cpu) = cpu::by_index(thread.cpu.load(Ordering::SeqCst) as usize)
        && !core::ptr::eq(cpu, per_cpu())
        && core::ptr::eq(cpu.current.load(Ordering::SeqCst), thread)
    {
        apic::send_ipi(cpu);
    }
}

/// The CPUs on which a thread may run were changed.
pub fn affinity_changed(thread: &Thread) {
    thread.add_work(work::RESCHEDULE);
    if !core::ptr::eq(thread, current()) {
        interrupt_if_running(thread);
    }
}

// ---- taking -------------------------------------------------------------------------------------------------------------------

/// Takes the next thread off this CPU's queue, or another's.
#[inline]
fn pick(me: &'static PerCpu) -> Option<&'static Thread> {
    if !cpu::is_single() {
        return pick_among(me);
    }
    if me.waiting.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let next = pop(me)?;
    raise_least(me, next.virtual_time.load(Ordering::Relaxed));
    Some(next)
}

/// As `pick`, where there are several CPUs.
#[inline(never)]
fn pick_among(me: &'static PerCpu) -> Option<&'static Thread> {
    if REALTIME_USED.load(Ordering::Relaxed) {
        let next = steal_urgent(me, FIRST_FAIR_RANK).or_else(|| pick_here(me));
        push_urgent(me, next);
        return next.or_else(|| steal(me));
    }
    pick_here(me).or_else(|| steal(me))
}

/// The first thread on this CPU's queue that may run here.
#[inline(always)]
fn pick_here(me: &'static PerCpu) -> Option<&'static Thread> {
    while me.waiting.load(Ordering::Relaxed) != 0
        && let Some(next) = pop(me)
    {
        if next.affinity.load(Ordering::Relaxed) & bit(me) == 0 {
            // It was to leave this CPU while it waited.
            enqueue_on(choose(next, false), next);
            continue;
        }
        raise_least(me, next.virtual_time.load(Ordering::Relaxed));
        return Some(next);
    }
    None
}

/// Takes the first thread off this CPU's queue.
#[inline(always)]
fn pop(me: &PerCpu) -> Option<&'static Thread> {
    let mut queue = me.queue.lock();
    let first = queue.pop()?;
    me.waiting.store(me.waiting.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Release);
    Some(first)
}

/// Takes the first thread on a CPU's queue that is wanted.
fn take(cpu: &PerCpu, is_wanted: &dyn Fn(&Thread) -> bool) -> Option<&'static Thread> {
    let mut queue = cpu.queue.lock();
    let taken = queue.take(is_wanted)?;
    cpu.waiting.store(cpu.waiting.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Release);
    Some(taken)
}

/// Takes a thread that waits on another CPU and may run here.
#[cold]
#[inline(never)]
fn steal(me: &'static PerCpu) -> Option<&'static Thread> {
    steal_wanted(me, &|thread| thread.affinity.load(Ordering::Relaxed) & bit(me) != 0)
}

fn steal_wanted(me: &'static PerCpu, is_wanted: &dyn Fn(&Thread) -> bool) -> Option<&'static Thread> {
    for other in (0..cpu::online_count()).filter_map(cpu::by_index) {
        if !core::ptr::eq(other, me)
            && other.waiting.load(Ordering::SeqCst) != 0
            && let Some(thread) = take(other, is_wanted)
        {
            carry(thread, other, me);
            return Some(thread);
        }
    }
    None
}

/// Gives others a turn; returns at once when there are none (sched_yield(2)).
#[inline]
pub fn yield_now() {
    cpu::if_others_wait(yield_to_others);
}

#[inline(never)]
fn yield_to_others() {
    let (cpu, me) = (per_cpu(), current());
    if me.priorities.is_realtime() {
        return yield_to_equals(cpu, me);
    }
    let mut queue = cpu.queue.lock();
    // Behind everybody who waits now.
    let Some(last) = queue.last() else { return };
    let last = last.virtual_time.load(Ordering::Relaxed);
    if me.virtual_time.load(Ordering::Relaxed) < last {
        me.virtual_time.store(last, Ordering::Relaxed);
    }
    if cpu::is_single() {
        // Nobody else would run it before its registers are saved.
        let Some(next) = queue.pop() else { return };
        queue.append(me);
        drop(queue);
        if cpu::is_plain() {
            me.counters.note_switch(false);
            // SAFETY: just taken off the queue; both have programs.
            return unsafe { straight::switch(cpu, me, next) };
        }
        raise_least(cpu, next.virtual_time.load(Ordering::Relaxed));
        return switch_to(cpu, next, Place::Queued);
    }
    drop(queue);
    if let Some(next) = pick(cpu) {
        switch_to(cpu, next, Place::Open);
    }
}

/// The running thread's turn may be over, or it may no longer run on this CPU.
pub fn reschedule() {
    let me = current();
    if me.priorities.is_realtime() {
        me.priorities.set_first(keeps_turn(me));
        give_way(me);
        me.priorities.set_first(false);
    } else {
        give_way(me);
    }
}

fn give_way(me: &Thread) {
    let cpu = per_cpu();
    charge(cpu, me);
    let may_stay = cpu::is_single() || me.affinity.load(Ordering::Relaxed) & bit(cpu) != 0;
    if may_stay {
        let rank = me.rank();
        let is_first = cpu.queue.lock().first().is_none_or(|next| next.rank() > rank);
        if is_first {
            return give_way_elsewhere(cpu, me);
        }
    }
    me.note_preemption();
    match pick(cpu) {
        Some(next) => switch_to(cpu, next, Place::Open),
        None if may_stay => {}
        None => switch_to(cpu, idle_of(cpu), Place::Open),
    }
}

fn idle_of(cpu: &PerCpu) -> &'static Thread {
    // SAFETY: set from `Arc::into_raw` in `init`, and never given back.
    unsafe { &*cpu.idle.get() }
}

/// Sleeps if the thread was not woken since it prepared to; returns when it has been.
#[inline(never)]
pub fn sleep() {
    sleep_inline();
}

/// As `sleep`, for the one place where most sleep.
#[inline(always)]
pub fn sleep_inline() {
    if !(cpu::is_plain() && straight::sleep()) {
        sleep_generally();
    }
}

/// As `sleep`, also for threads that end, with several CPUs, or with nobody else who wants this one.
#[inline(never)]
fn sleep_generally() {
    if current().sleeper.is_runnable() {
        return;
    }
    let cpu = per_cpu();
    let next = pick(cpu).unwrap_or_else(|| idle_of(cpu));
    switch_to(cpu, next, Place::Open);
}

/// Ends the running thread for good.
pub fn die() -> ! {
    current().sleeper.die();
    loop {
        sleep_generally();
    }
}

// ---- idling, and what interrupts say ------------------------------------------------------------------------------------------

/// A CPU's boot context's last act: runs what is ready, and sleeps between interrupts.
pub fn idle_loop() -> ! {
    loop {
        let cpu = per_cpu();
        if let Some(next) = pick(cpu) {
            switch_to(cpu, next, Place::Open);
            continue;
        }
        if cpu::is_single() {
            cpu::idle_once();
            continue;
        }
        // Whoever enqueues something here after this sees the bit, or is seen by the second look.
        IDLE.fetch_or(bit(cpu), Ordering::SeqCst);
        let next = pick(cpu);
        if next.is_none() {
            cpu::idle_once();
        }
        IDLE.fetch_and(!bit(cpu), Ordering::SeqCst);
        if let Some(next) = next {
            switch_to(cpu, next, Place::Open);
        }
    }
}

/// The timer's interrupt: the running thread's slice may be over, if others wait.
pub fn tick() {
    let cpu = per_cpu();
    if !current().is_idle() {
        // The straight way between threads doesn't look at it.
        current().check_stack();
    }
    if cpu.waiting.load(Ordering::Relaxed) == 0 || current().is_idle() {
        cpu.slice_armed.set(false);
        return;
    }
    current().add_work(work::RESCHEDULE);
    let idle = IDLE.load(Ordering::SeqCst);
    if idle != 0
        && let Some(helper) = cpu::by_index(idle.trailing_zeros() as usize)
    {
        apic::send_ipi(helper);
    }
    cpu.slice_armed.set(true);
    time::ensure_tick(SLICE_NS);
}

/// Another CPU's interrupt: what it asked for is done, and what it put on the queue gets its turn.
pub fn interrupted() {
    crate::mm::shootdown::serve();
    let cpu = per_cpu();
    if REALTIME_USED.load(Ordering::Relaxed) && !current().is_idle() {
        // What it was sent for may be on another queue by now.
        current().add_work(work::RESCHEDULE);
    }
    if cpu.waiting.load(Ordering::SeqCst) == 0 || current().is_idle() {
        return;
    }
    charge(cpu, current());
    if !cpu.slice_armed.get() {
        begin_slice(cpu);
    }
    let least = current().virtual_time.load(Ordering::Relaxed);
    if current().rank() >= FIRST_FAIR_RANK && least.saturating_sub(CREDIT) > cpu.least.load(Ordering::Relaxed)
    {
        cpu.least.store(least.wrapping_sub(CREDIT), Ordering::Relaxed);
    }
    let next = cpu.queue.lock().first().map_or(u64::MAX, |next| next.rank());
    if next.saturating_add(CREDIT) < current().rank() || next < FIRST_FAIR_RANK {
        current().add_work(work::RESCHEDULE);
    }
}
