//! Real-time threads: where they go, and when they give way to their equals.

use core::sync::atomic::{AtomicBool, Ordering};

use abi::SchedPolicy;

use super::{
    CREDIT, IDLE, Place, bit, choose, current, enqueue_on, interrupt_if_running, pick, steal_wanted,
    switch_to, take,
};
use crate::arch::per_cpu;
use crate::arch::x86_64::apic;
use crate::arch::x86_64::cpu::{self, PerCpu};
use crate::task::thread::{FIRST_FAIR_RANK, Thread, cpu_time_ns, work};

/// How long a SCHED_RR thread runs before its equals have their turn, ns (RR_TIMESLICE).
pub const ROUND_ROBIN_NS: u64 = 100_000_000;

/// There has been a real-time thread: CPUs look for such on the others' queues, and waiters for futexes stand by priority.
pub static REALTIME_USED: AtomicBool = AtomicBool::new(false);

/// Where a real-time thread goes if no CPU is idle: to the one with the least urgent thread, if its own is more urgent.
#[cold]
#[inline(never)]
pub(super) fn choose_urgently(thread: &Thread) -> Option<&'static PerCpu> {
    let allowed = thread.affinity.load(Ordering::Relaxed);
    if IDLE.load(Ordering::SeqCst) & allowed != 0 {
        return None;
    }
    let mut least = !thread.rank();
    let mut found = None;
    for index in 0..cpu::online_count() {
        if let Some(cpu) = cpu::by_index(index)
            && allowed & bit(cpu) != 0
            && cpu.running_urgency.load(Ordering::Relaxed) < least
        {
            least = cpu.running_urgency.load(Ordering::Relaxed);
            found = Some(cpu);
        }
    }
    found
}

/// A SCHED_RR thread's turn begins.
pub fn begin_turn(thread: &Thread) {
    thread.priorities.turn_ends_ns.store(cpu_time_ns(thread) + ROUND_ROBIN_NS, Ordering::Relaxed);
}

/// A thread's policy or priority was changed, its own or what it inherits; it had this rank before. Its place on a queue is another one, and who
/// runs may be. Who became less urgent comes before its new equals.
#[cold]
#[inline(never)]
pub fn priority_changed(thread: &Thread, before: u64) {
    let is_realtime = thread.priorities.is_realtime();
    if is_realtime {
        REALTIME_USED.store(true, Ordering::Relaxed);
    } else if let Some(cpu) = cpu::by_index(thread.cpu.load(Ordering::Relaxed) as usize) {
        // It wasn't charged meanwhile.
        let least = cpu.least.load(Ordering::Relaxed);
        thread.virtual_time.fetch_max(least.saturating_sub(CREDIT), Ordering::Relaxed);
    }
    for index in 0..cpu::online_count() {
        let Some(cpu) = cpu::by_index(index) else { break };
        if core::ptr::eq(cpu.current.load(Ordering::SeqCst), thread) {
            cpu.running_urgency.store(!thread.rank(), Ordering::Relaxed);
        }
        let mut queue = cpu.queue.lock();
        if let Some(thread) = queue.take(&|other| core::ptr::eq(other, thread)) {
            let rank = thread.rank();
            queue.insert_behind(thread, if is_realtime && rank > before { rank - 1 } else { rank });
            drop(queue);
            if !core::ptr::eq(cpu, per_cpu()) {
                apic::send_ipi(cpu);
            } else if !current().is_idle() {
                current().add_work(work::RESCHEDULE);
            }
            return;
        }
    }
    thread.add_work(work::RESCHEDULE);
    interrupt_if_running(thread);
}

/// Takes a real-time thread that waits on another CPU, may run here, and comes before all that wait here and before a rank.
#[cold]
#[inline(never)]
pub(super) fn steal_urgent(me: &'static PerCpu, before: u64) -> Option<&'static Thread> {
    let own = me.queue.lock().first().map_or(before, Thread::rank).min(before);
    steal_wanted(me, &|thread| thread.rank() < own && thread.affinity.load(Ordering::Relaxed) & bit(me) != 0)
}

/// The running thread comes before those that wait here: perhaps not before real-time threads that wait elsewhere.
#[inline(always)]
pub(super) fn give_way_elsewhere(cpu: &'static PerCpu, me: &Thread) {
    if REALTIME_USED.load(Ordering::Relaxed) && !cpu::is_single() {
        cpu.running_urgency.store(!me.rank(), Ordering::Relaxed);
        if let Some(next) = steal_urgent(cpu, me.rank().min(FIRST_FAIR_RANK)) {
            me.note_preemption();
            switch_to(cpu, next, Place::Open);
        }
    }
}

/// A CPU is about to run this thread: a real-time thread that still waits there goes where something less urgent runs, or nothing.
#[cold]
#[inline(never)]
pub(super) fn push_urgent(me: &'static PerCpu, next: Option<&Thread>) {
    me.running_urgency.store(next.map_or(0, |next| !next.rank()), Ordering::Relaxed);
    let Some(first) = take(me, &|waiting| waiting.rank() < FIRST_FAIR_RANK) else { return };
    let target = if IDLE.load(Ordering::SeqCst) & first.affinity.load(Ordering::Relaxed) != 0 {
        Some(choose(first, false))
    } else {
        choose_urgently(first)
    };
    match target {
        Some(target) if !core::ptr::eq(target, me) => enqueue_on(target, first),
        // Back to its place before its equals.
        _ => {
            let mut queue = me.queue.lock();
            queue.insert_behind(first, first.rank() - 1);
            me.waiting.store(me.waiting.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
    }
}

/// A real-time thread yields to others of its priority only.
#[cold]
#[inline(never)]
pub(super) fn yield_to_equals(cpu: &'static PerCpu, me: &Thread) {
    let is_wanted = cpu.queue.lock().first().is_some_and(|next| next.rank() <= me.rank());
    if is_wanted && let Some(next) = pick(cpu) {
        switch_to(cpu, next, Place::Open);
    }
}

/// Whether a real-time thread goes on before its equals. A SCHED_RR thread doesn't after its turn.
pub(super) fn keeps_turn(thread: &Thread) -> bool {
    let priorities = &thread.priorities;
    if priorities.policy().policy != SchedPolicy::RR
        || cpu_time_ns(thread) < priorities.turn_ends_ns.load(Ordering::Relaxed)
    {
        return true;
    }
    begin_turn(thread);
    false
}
