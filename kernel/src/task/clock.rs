//! The clocks that programs can name: those of the machine, and the CPU time of processes and threads.

use abi::Errno;
use alloc::sync::Arc;

use super::process::{self, Process};
use super::sched::current;
use super::thread::{Thread, cpu_time_ticks};
use crate::time;

/// Clock numbers (linux/time.h).
pub mod id {
    pub const REALTIME: i32 = 0;
    pub const MONOTONIC: i32 = 1;
    pub const PROCESS_CPUTIME: i32 = 2;
    pub const THREAD_CPUTIME: i32 = 3;
    pub const MONOTONIC_RAW: i32 = 4;
    pub const REALTIME_COARSE: i32 = 5;
    pub const MONOTONIC_COARSE: i32 = 6;
    pub const BOOTTIME: i32 = 7;
    /// These two wake a sleeping machine by its real-time clock chip; without one they can only be given to timerfd_create.
    pub const REALTIME_ALARM: i32 = 8;
    pub const BOOTTIME_ALARM: i32 = 9;
    pub const TAI: i32 = 11;
}

/// A tick of the clocks that are only good to a tick (`CONFIG_HZ` 250), ns.
pub const COARSE_NS: u64 = 4_000_000;

/// A clock that time can be measured by. Monotonic, raw and boot time are one: the machine is never suspended, and the rate never steered.
#[derive(Clone)]
pub enum Clock {
    Realtime,
    Monotonic,
    Process(Arc<Process>),
    /// What the process has run outside the kernel.
    User(Arc<Process>),
    Thread(Arc<Thread>),
}

/// A number that isn't a clock of the machine: CPU time of the process or thread in its upper bits (`CPUCLOCK_*`). 0 is the caller.
fn cpu_clock(number: i32) -> Result<Clock, Errno> {
    const KIND: i32 = 3;
    const PER_THREAD: i32 = 4;
    if number & KIND == KIND {
        return Err(Errno::EINVAL);
    }
    let who = !(number >> 3);
    let Ok(who) = u32::try_from(who) else { return Err(Errno::EINVAL) };
    let me = current();
    if number & PER_THREAD != 0 {
        let thread = match who {
            0 => super::sched::current_arc(),
            _ => process::find_thread(who)
                .filter(|thread| thread.process.pid == me.process.pid)
                .ok_or(Errno::EINVAL)?,
        };
        return Ok(Clock::Thread(thread));
    }
    let process = match who {
        0 => me.process.clone(),
        _ => process::find(who).ok_or(Errno::EINVAL)?,
    };
    Ok(Clock::Process(process))
}

/// Whether a number names CPU time other than the caller's own.
fn is_dynamic(number: i32) -> bool {
    number < 0
}

impl Clock {
    /// The clock of a number. EINVAL.
    pub fn of(number: i32) -> Result<Self, Errno> {
        match number {
            id::REALTIME | id::REALTIME_COARSE | id::TAI => Ok(Self::Realtime),
            id::MONOTONIC | id::MONOTONIC_RAW | id::MONOTONIC_COARSE | id::BOOTTIME => Ok(Self::Monotonic),
            id::PROCESS_CPUTIME => Ok(Self::Process(current().process.clone())),
            id::THREAD_CPUTIME => Ok(Self::Thread(super::sched::current_arc())),
            _ if is_dynamic(number) => cpu_clock(number),
            _ => Err(Errno::EINVAL),
        }
    }

    /// As `of`, for timers and sleeps: EOPNOTSUPP for the clocks that can only be read.
    pub fn of_timer(number: i32) -> Result<Self, Errno> {
        const CLOCK_FD: i32 = 3;
        match number {
            id::MONOTONIC_RAW
            | id::REALTIME_COARSE
            | id::MONOTONIC_COARSE
            | id::REALTIME_ALARM
            | id::BOOTTIME_ALARM => Err(Errno::EOPNOTSUPP),
            _ if is_dynamic(number) && number & 7 == CLOCK_FD => Err(Errno::EOPNOTSUPP),
            _ => Self::of(number),
        }
    }

    /// The time, ns. Times before 1970 are 1970.
    pub fn now(&self) -> u64 {
        match self {
            Self::Realtime => u64::try_from(time::realtime_ns()).unwrap_or(0),
            Self::Monotonic => time::monotonic_ns(),
            Self::Process(process) => process_cpu_ns(process),
            Self::User(process) => {
                let usage = super::usage::of_process_quietly(process);
                time::ticks_to_ns(usage.run_ticks - usage.system_ticks)
            }
            Self::Thread(thread) => super::thread::cpu_time_ns(thread),
        }
    }

    /// A time of this clock on the monotonic clock, or the earliest at which it can come: CPU time passes as fast as there are CPUs.
    pub fn to_monotonic(&self, at: u64) -> u64 {
        match self {
            Self::Monotonic => at,
            Self::Realtime => at.saturating_add_signed(time::wall_offset_ns().saturating_neg()),
            Self::Process(_) | Self::User(_) | Self::Thread(_) => {
                let cpus = match self {
                    Self::Process(_) | Self::User(_) => crate::arch::x86_64::cpu::online_count() as u64,
                    _ => 1,
                };
                let left = at.saturating_sub(self.now()).checked_div(cpus).unwrap_or(0);
                time::monotonic_ns().saturating_add(left.max(MIN_CPU_CHECK_NS * time::timer::crowd()))
            }
        }
    }

    /// Whether a change of the wall clock moves this clock's deadlines.
    pub fn is_realtime(&self) -> bool {
        matches!(self, Self::Realtime)
    }
}

/// CPU time isn't looked at more often than this, by one timer alone.
const MIN_CPU_CHECK_NS: u64 = 100_000;

/// CPU time of a process's threads, those that ended among them, ns. Timers ask under the lock of the process's signals.
pub fn process_cpu_ns(process: &Process) -> u64 {
    let mut live = 0;
    process::each_thread(process, |thread| live += cpu_time_ticks(thread));
    time::ticks_to_ns(live + process.usage.lock().counts.run_ticks)
}

/// ns in the unit of times(2) and of SIGCHLD's times (`USER_HZ` 100).
pub fn clock_ticks(ns: u64) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    ns / TICK_NS
}
