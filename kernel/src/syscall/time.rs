//! Clocks and sleeping: clock_gettime(2), nanosleep(2) and their relatives. Timers are in `timers.rs`.

use abi::{Errno, Timespec, Timeval, Timezone};
use caps::cap;

use super::{Restart, SysError, SysResult};
use crate::mm::UserPtr;
use crate::task::clock::{COARSE_NS, Clock, id};
use crate::task::process::has_capability;
use crate::task::signal::{restart_with, timers};
use crate::task::{WaitError, WaitQueue, current};
use crate::time;

/// Sleepers on the wall clock look again when it is set.
static CLOCK_SET: WaitQueue = WaitQueue::new();

pub fn clock_gettime(clock: i32, out: UserPtr<Timespec>) -> SysResult {
    let ns = match clock {
        id::MONOTONIC | id::MONOTONIC_RAW | id::MONOTONIC_COARSE | id::BOOTTIME => time::monotonic_ns(),
        id::REALTIME | id::REALTIME_COARSE | id::TAI => time::realtime_ns().cast_unsigned(),
        _ => cpu_time(clock)?,
    };
    out.field::<[u64; 2]>(0).store([ns / time::NS_PER_SEC, ns % time::NS_PER_SEC])?;
    Ok(0)
}

#[inline(never)]
fn cpu_time(clock: i32) -> Result<u64, Errno> {
    Ok(Clock::of(clock)?.now())
}

/// What CPU time is measured in, but for the precise kind: a tick.
fn resolution(clock: i32) -> Result<u64, Errno> {
    const CPUCLOCK_KIND: i32 = 3;
    const CPUCLOCK_SCHED: i32 = 2;
    Clock::of(clock)?;
    let is_coarse = matches!(clock, id::REALTIME_COARSE | id::MONOTONIC_COARSE)
        || clock < 0 && clock & CPUCLOCK_KIND != CPUCLOCK_SCHED;
    Ok(if is_coarse { COARSE_NS } else { 1 })
}

pub fn clock_getres(clock: i32, out: UserPtr<Timespec>) -> SysResult {
    let ns = resolution(clock)?;
    if let Some(out) = out.non_null() {
        out.write(&Timespec::from_ns(ns))?;
    }
    Ok(0)
}

/// Thirty years before the end of time, so that the clock doesn't wrap while it runs (TIME_SETTOD_SEC_MAX).
const SETTABLE_NS: u64 = (i64::MAX as u64 / time::NS_PER_SEC - 30 * 365 * 24 * 3600) * time::NS_PER_SEC;

/// EINVAL for times too late, or before the machine started.
fn set_wall_clock(ns: u64) -> SysResult {
    if ns >= SETTABLE_NS {
        return Err(Errno::EINVAL.into());
    }
    if !has_capability(cap::SYS_TIME) {
        return Err(Errno::EPERM.into());
    }
    if ns < time::monotonic_ns() {
        return Err(Errno::EINVAL.into());
    }
    time::set_realtime_ns(ns.cast_signed());
    timers::clock_was_set();
    crate::fs::timerfd::clock_was_set();
    CLOCK_SET.wake_all();
    Ok(0)
}

/// EINVAL for every clock but the wall clock; CPU time of others is EPERM.
pub fn clock_settime(clock: i32, value: UserPtr<Timespec>) -> SysResult {
    let settable = clock == id::REALTIME;
    if !(settable || clock < 0 && Clock::of(clock).is_ok()) {
        return Err(Errno::EINVAL.into());
    }
    let ns = value.read()?.to_ns();
    if !settable {
        return Err(Errno::EPERM.into());
    }
    set_wall_clock(ns.ok_or(Errno::EINVAL)?)
}

pub fn gettimeofday(tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) -> SysResult {
    if let Some(tv) = tv.non_null() {
        tv.write(&Timeval::from_ns(time::realtime_ns().cast_unsigned()))?;
    }
    if let Some(tz) = tz.non_null() {
        tz.write(&Timezone::default())?;
    }
    Ok(0)
}

/// The time zone, which nobody uses, is read and forgotten.
pub fn settimeofday(tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) -> SysResult {
    let ns = match tv.non_null() {
        Some(tv) => Some(tv.read()?.to_ns().ok_or(Errno::EINVAL)?),
        None => None,
    };
    if let Some(tz) = tz.non_null() {
        tz.read()?;
    }
    match ns {
        Some(ns) => set_wall_clock(ns),
        None => Ok(0),
    }
}

pub fn time(out: UserPtr<i64>) -> SysResult {
    let seconds = time::realtime_ns() / time::NS_PER_SEC.cast_signed();
    if let Some(out) = out.non_null() {
        out.write(&seconds)?;
    }
    Ok(seconds as usize)
}

/// Sleeps until a time of a clock. What is left comes back if a signal ends the sleep.
fn sleep_until(clock: &Clock, deadline: u64) -> Result<(), u64> {
    loop {
        let now = clock.now();
        if now >= deadline {
            return Ok(());
        }
        let at = clock.to_monotonic(deadline);
        let ended = CLOCK_SET
            .wait(Some(at), || (clock.is_realtime() && clock.to_monotonic(deadline) != at).then_some(()));
        if ended == Err(WaitError::Interrupted) {
            return match deadline.saturating_sub(clock.now()) {
                0 => Ok(()),
                left => Err(left),
            };
        }
    }
}

/// A relative sleep, which goes on after a signal that no handler saw. Tells the program what is left each time.
fn sleep_rest(clock: Clock, deadline: u64, rest: UserPtr<Timespec>) -> SysResult {
    let Err(left) = sleep_until(&clock, deadline) else { return Ok(0) };
    if let Some(rest) = rest.non_null() {
        rest.write(&Timespec::from_ns(left))?;
    }
    Err(restart_with(move || sleep_rest(clock, deadline, rest)))
}

pub fn nanosleep(duration: UserPtr<Timespec>, rest: UserPtr<Timespec>) -> SysResult {
    let ns = duration.read()?.to_ns().ok_or(Errno::EINVAL)?;
    sleep_rest(Clock::Monotonic, time::monotonic_ns().saturating_add(ns), rest)
}

/// `TIMER_ABSTIME` of clock_nanosleep(2) and timer_settime(2).
pub(super) const ABSOLUTE: i32 = 1;

pub fn clock_nanosleep(
    number: i32,
    flags: i32,
    time: UserPtr<Timespec>,
    rest: UserPtr<Timespec>,
) -> SysResult {
    // The clock of the calling thread's own time would never come: it doesn't run while it sleeps.
    if number == id::THREAD_CPUTIME {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let has_alarm = matches!(number, id::REALTIME_ALARM | id::BOOTTIME_ALARM);
    let clock = match Clock::of_timer(number) {
        Err(errno) if !has_alarm => return Err(errno.into()),
        clock => clock,
    };
    let ns = time.read()?.to_ns().ok_or(Errno::EINVAL)?;
    let clock = clock?;
    if let Clock::Thread(thread) = &clock
        && thread.tid == current().tid
    {
        return Err(Errno::EINVAL.into());
    }
    if flags & ABSOLUTE != 0 {
        return match sleep_until(&clock, ns) {
            Ok(()) => Ok(0),
            Err(_) => Err(SysError::restart(Restart::NoHandler)),
        };
    }
    let deadline = clock.now().saturating_add(ns);
    sleep_rest(clock, deadline, rest)
}

/// `struct timex` (adjtimex(2)), as far as a clock that is never steered has something to say.
const TIMEX_SIZE: usize = 208;
mod timex {
    pub(super) const MAX_ERROR: usize = 24;
    pub(super) const EST_ERROR: usize = 32;
    pub(super) const STATUS: usize = 40;
    pub(super) const CONSTANT: usize = 48;
    pub(super) const PRECISION: usize = 56;
    pub(super) const TOLERANCE: usize = 64;
    pub(super) const SECONDS: usize = 72;
    pub(super) const MICROSECONDS: usize = 80;
    pub(super) const TICK: usize = 88;
}

/// adjtimex(2): an unsynchronised clock, which can be looked at but not steered.
pub fn adjtimex(buffer: UserPtr<u8>) -> SysResult {
    const TIME_ERROR: usize = 5;
    const STA_UNSYNC: i64 = 64;
    const NO_BOUND_US: i64 = 16_000_000;
    let modes = buffer.field::<u32>(0).read()?;
    if modes != 0 {
        return Err(Errno::EPERM.into());
    }
    let now = Timeval::from_ns(time::realtime_ns().cast_unsigned());
    let mut value = [0u8; TIMEX_SIZE];
    let mut put = |offset: usize, number: i64| {
        if let Some(field) = value.get_mut(offset..offset + 8) {
            field.copy_from_slice(&number.to_le_bytes());
        }
    };
    put(timex::MAX_ERROR, NO_BOUND_US);
    put(timex::EST_ERROR, NO_BOUND_US);
    put(timex::STATUS, STA_UNSYNC);
    put(timex::CONSTANT, 2);
    put(timex::PRECISION, 1);
    put(timex::TOLERANCE, 32_768_000);
    put(timex::SECONDS, now.sec);
    put(timex::MICROSECONDS, now.usec);
    put(timex::TICK, 10_000);
    buffer.write_bytes(&value)?;
    Ok(TIME_ERROR)
}

pub fn clock_adjtime(clock: i32, buffer: UserPtr<u8>) -> SysResult {
    match clock {
        id::REALTIME => adjtimex(buffer),
        _ => {
            Clock::of(clock)?;
            Err(Errno::EOPNOTSUPP.into())
        }
    }
}
