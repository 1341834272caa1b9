//! What threads and processes have used: CPU time, page faults, context switches, memory (getrusage(2)).

use core::sync::atomic::{AtomicU64, Ordering};

use super::process::Process;
use super::thread::{Thread, cpu_time_ticks};

/// Sums over threads, and over processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, TSC ticks.
    pub run_ticks: u64,
    /// Page faults that needed no device.
    pub faults: u64,
    /// Times that a thread gave its CPU up by sleeping, and that it lost it otherwise.
    pub voluntary: u64,
    pub involuntary: u64,
    /// Most pages that one process had at once.
    pub max_resident: usize,
}

/// A running thread's counters; only itself (or the switch away from it) writes them.
#[derive(Debug, Default)]
pub struct Counters {
    faults: AtomicU64,
    voluntary: AtomicU64,
    involuntary: AtomicU64,
}

#[inline(always)]
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Counters {
    #[inline(always)]
    pub fn note_fault(&self) {
        bump(&self.faults);
    }

    /// The thread is being switched away from; `sleeps` says whether it wanted that.
    #[inline(always)]
    pub fn note_switch(&self, sleeps: bool) {
        bump(if sleeps { &self.voluntary } else { &self.involuntary });
    }
}

impl Usage {
    pub fn add(&mut self, other: &Self) {
        self.run_ticks += other.run_ticks;
        self.faults += other.faults;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.max_resident = self.max_resident.max(other.max_resident);
    }
}

/// A thread's own.
pub fn of_thread(thread: &Thread) -> Usage {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &thread.counters;
    Usage {
        run_ticks: cpu_time_ticks(thread),
        faults: count(&counters.faults),
        voluntary: count(&counters.voluntary),
        involuntary: count(&counters.involuntary),
        max_resident: 0,
    }
}

/// A process's, threads that ended among it.
pub fn of_process(process: &Process) -> Usage {
    let mut usage = *process.usage.lock();
    let peak = process.space().map_or(0, |space| space.resident().1);
    usage.max_resident = usage.max_resident.max(peak);
    for thread in process.threads.lock().iter() {
        usage.add(&of_thread(thread));
    }
    usage
}

/// Of the children that were waited for, and theirs.
pub fn of_children(process: &Process) -> Usage {
    *process.children_usage.lock()
}

/// A process's and its children's together, as its parent will see it (wait4(2)).
pub fn of_family(process: &Process) -> Usage {
    let mut usage = of_process(process);
    usage.add(&of_children(process));
    usage
}
