//! What threads and processes have used: CPU time, page faults, context switches, memory (getrusage(2)).
//!
//! CPU time is exact; how much of it went by in the kernel is an estimate, since system calls aren't timed. A timer interrupt that comes due in
//! the kernel waits for the return to the program (decision 0002), so it finds the program at the very instruction behind its `syscall`:
//! what the thread has run since its last sample counts as the kernel's then, as the program's otherwise. Of page faults, every 64th is timed.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::process::{self, Process};
use super::sched::current;
use super::thread::{Thread, cpu_time_ticks};
use crate::arch::TrapFrame;
use crate::arch::per_cpu;
use crate::arch::x86_64::tsc;
use crate::time;

/// Time between samples of a CPU that is busy, ns.
const SAMPLE_NS: u64 = 4_000_000;
/// One of so many page faults is timed.
const TIMED_FAULTS: u64 = 64;
/// What a page fault takes at most if all goes well, TSC ticks.
const USUAL_FAULT: u64 = 1 << 14;

/// Whether there are samples: from the first fork, or the first question about use. A program that does neither isn't interrupted.
static SAMPLING: AtomicBool = AtomicBool::new(false);

/// Sums over threads, and over processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, and what of it was the kernel's, TSC ticks.
    pub run_ticks: u64,
    pub system_ticks: u64,
    samples: Samples,
    /// Page faults that needed no device.
    pub faults: u64,
    /// Times that a thread gave its CPU up by sleeping, and that it lost it otherwise.
    pub voluntary: u64,
    pub involuntary: u64,
    /// Most pages that one process had at once.
    pub max_resident: usize,
}

/// What an estimate of the kernel's share rests on, TSC ticks: time up to samples in the program, and in system calls; time in page faults.
#[derive(Clone, Copy, Debug, Default)]
struct Samples {
    user: u64,
    system: u64,
    faults: u64,
}

impl Samples {
    /// The kernel's share of a CPU time. Neither it nor the rest is less than what was `shown` of it before.
    fn system_share(&self, run: u64, shown: (u64, u64)) -> u64 {
        let sampled = self.user.saturating_add(self.system);
        let user = match sampled {
            0 => run,
            // In 32 bits, so that the product has room.
            _ => {
                let shift = 32u32.saturating_sub(run.max(sampled).leading_zeros());
                ((run >> shift) * (self.user >> shift)).checked_div(sampled >> shift).unwrap_or(0) << shift
            }
        };
        let user = user.min(run).saturating_sub(self.faults).max(shown.0).min(run);
        (run - user).max(shown.1).min(run - shown.0.min(run))
    }
}

/// A running thread's counters; only itself (or the switch away from it) writes them.
#[derive(Debug, Default)]
pub struct Counters {
    faults: AtomicU64,
    voluntary: AtomicU64,
    involuntary: AtomicU64,
    sampled_user: AtomicU64,
    sampled_system: AtomicU64,
    fault_ticks: AtomicU64,
    /// When the fault began that is being timed; 0 for none.
    fault_start: AtomicU64,
    shown_user: AtomicU64,
    shown_system: AtomicU64,
}

#[inline(always)]
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Counters {
    /// A page fault begins.
    #[inline(always)]
    pub fn note_fault(&self) {
        let count = self.faults.load(Ordering::Relaxed).wrapping_add(1);
        self.faults.store(count, Ordering::Relaxed);
        if count.is_multiple_of(TIMED_FAULTS) {
            self.fault_start.store(tsc::read(), Ordering::Relaxed);
        }
    }

    /// A page fault is over.
    #[inline(always)]
    pub fn fault_done(&self) {
        if self.fault_start.load(Ordering::Relaxed) != 0 {
            self.add_fault_time();
        }
    }

    #[cold]
    #[inline(never)]
    fn add_fault_time(&self) {
        let ticks = tsc::read().saturating_sub(self.fault_start.swap(0, Ordering::Relaxed));
        // What takes longer than others stands for itself alone: it may have been the machine that was interrupted.
        let usual = ticks.min(USUAL_FAULT);
        self.fault_ticks.fetch_add(usual * TIMED_FAULTS + (ticks - usual), Ordering::Relaxed);
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
        self.system_ticks += other.system_ticks;
        self.samples.user += other.samples.user;
        self.samples.system += other.samples.system;
        self.samples.faults = self.samples.faults.saturating_add(other.samples.faults);
        self.faults += other.faults;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.max_resident = self.max_resident.max(other.max_resident);
    }
}

/// A thread's own, without the kernel's share.
pub fn counts_of(thread: &Thread) -> Usage {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &thread.counters;
    Usage {
        run_ticks: cpu_time_ticks(thread),
        system_ticks: 0,
        samples: Samples {
            user: count(&counters.sampled_user),
            system: count(&counters.sampled_system),
            faults: count(&counters.fault_ticks),
        },
        faults: count(&counters.faults),
        voluntary: count(&counters.voluntary),
        involuntary: count(&counters.involuntary),
        max_resident: 0,
    }
}

/// A thread's own.
pub fn of_thread(thread: &Thread) -> Usage {
    begin_sampling();
    let mut usage = counts_of(thread);
    let counters = &thread.counters;
    let shown = (counters.shown_user.load(Ordering::Relaxed), counters.shown_system.load(Ordering::Relaxed));
    usage.system_ticks = usage.samples.system_share(usage.run_ticks, shown);
    counters.shown_user.fetch_max(usage.run_ticks - usage.system_ticks, Ordering::Relaxed);
    counters.shown_system.fetch_max(usage.system_ticks, Ordering::Relaxed);
    usage
}

/// A process's, threads that ended among it.
pub fn of_process(process: &Process) -> Usage {
    begin_sampling();
    let mut live =
        Usage { max_resident: process.space().map_or(0, |space| space.resident().1), ..Usage::default() };
    for thread in process.threads.lock().iter() {
        live.add(&counts_of(thread));
    }
    with_ended(process, live)
}

/// As `of_process` without the memory, for those who hold a lock that `Process::threads` stands before.
pub fn of_process_quietly(process: &Process) -> Usage {
    begin_sampling();
    let mut live = Usage::default();
    process::each_thread(process, |thread| live.add(&counts_of(thread)));
    with_ended(process, live)
}

/// Adds what threads that ended have used, and estimates the kernel's share.
fn with_ended(process: &Process, live: Usage) -> Usage {
    let mut usage = live;
    let mut ended = process.usage.lock();
    usage.add(&ended.counts);
    usage.system_ticks = usage.samples.system_share(usage.run_ticks, ended.shown);
    ended.shown = (ended.shown.0.max(usage.run_ticks - usage.system_ticks), usage.system_ticks);
    usage
}

/// What a process's ended threads have used, and what was said of user and system time (TSC ticks): neither ever goes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    pub counts: Usage,
    shown: (u64, u64),
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

// ---- samples --------------------------------------------------------------------------------------------------------------------

/// Somebody may want to know where the time goes.
#[inline]
pub fn begin_sampling() {
    if !SAMPLING.load(Ordering::Relaxed) {
        SAMPLING.store(true, Ordering::Relaxed);
        keep_sampling(true);
    }
}

/// A timer interrupt found the program like this.
pub fn sample(frame: &TrapFrame) {
    let thread = current();
    let counters = &thread.counters;
    // SYSCALL leaves the address behind it in RCX, and so does every return from a system call.
    let kind = if frame.rip == frame.rcx { &counters.sampled_system } else { &counters.sampled_user };
    let sampled =
        counters.sampled_user.load(Ordering::Relaxed) + counters.sampled_system.load(Ordering::Relaxed);
    kind.fetch_add(cpu_time_ticks(thread).saturating_sub(sampled), Ordering::Relaxed);
}

/// After an interrupt: a CPU that is busy is interrupted for the next sample. `by_timer` says that the timer has to be set again.
pub fn keep_sampling(by_timer: bool) {
    if !SAMPLING.load(Ordering::Relaxed) {
        return;
    }
    let cpu = per_cpu();
    let is_busy = !current().is_idle() || cpu.waiting.load(Ordering::Relaxed) != 0;
    if is_busy && (by_timer || !cpu.samples.get()) {
        cpu.samples.set(true);
        time::ensure_tick(SAMPLE_NS);
    } else if by_timer {
        cpu.samples.set(is_busy);
    }
}
