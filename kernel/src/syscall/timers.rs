//! Timers that send signals: alarm(2), setitimer(2), timer_create(2) and their relatives.

use abi::{Errno, Itimerspec, Itimerval, OpenFlags, Signal, Timespec, Timeval};
use caps::cap;
use fdmap::OnExec;

use super::time::ABSOLUTE;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::timerfd::{self, OnClockSet};
use crate::mm::UserPtr;
use crate::task::clock::{Clock, id};
use crate::task::process::has_capability;
use crate::task::signal::timers::{self, Base, Notify, Setting};
use crate::task::{current, process};
use crate::time::NS_PER_SEC;

const ITIMER_REAL: i32 = 0;

/// A `timeval` that is never 0 while time is left.
fn timeval(ns: u64) -> Timeval {
    Timeval::from_ns(if ns == 0 { 0 } else { ns.max(1000) })
}

fn to_itimerval(setting: Setting) -> Itimerval {
    Itimerval { interval: timeval(setting.interval), value: timeval(setting.value) }
}

pub fn alarm(seconds: u32) -> SysResult {
    let new = Setting { value: u64::from(seconds) * NS_PER_SEC, interval: 0 };
    let left = timers::set_interval(ITIMER_REAL, new)?.value;
    // Rounded to the nearest second, but a running alarm is never 0.
    let (mut whole, part) = (left / NS_PER_SEC, left % NS_PER_SEC);
    if part >= NS_PER_SEC / 2 || (whole == 0 && part > 0) {
        whole += 1;
    }
    Ok(whole as usize)
}

pub fn getitimer(which: i32, out: UserPtr<Itimerval>) -> SysResult {
    out.write(&to_itimerval(timers::interval(which)?))?;
    Ok(0)
}

pub fn setitimer(which: i32, new: UserPtr<Itimerval>, old: UserPtr<Itimerval>) -> SysResult {
    let new = match new.non_null() {
        // As Linux still does for programs that rely on it.
        None => Setting::default(),
        Some(new) => {
            let new = new.read()?;
            let (value, interval) = (new.value.to_ns(), new.interval.to_ns());
            Setting { value: value.ok_or(Errno::EINVAL)?, interval: interval.ok_or(Errno::EINVAL)? }
        }
    };
    let before = timers::set_interval(which, new)?;
    if let Some(old) = old.non_null() {
        old.write(&to_itimerval(before))?;
    }
    Ok(0)
}

/// `struct sigevent`, the part that says something: value, signal, kind, thread.
mod sigevent {
    pub(super) const SIGNAL: u32 = 0;
    pub(super) const NONE: u32 = 1;
    pub(super) const THREAD: u32 = 2;
    pub(super) const THREAD_ID: u32 = 4;
}

/// What a `struct sigevent` asks for. EFAULT; EINVAL for unknown kinds, bad signals and other processes' threads.
fn read_sigevent(event: UserPtr<u8>) -> Result<Notify, Errno> {
    let value = event.field::<u64>(0).load()?;
    let [number, kind, tid, _] = event.field::<[u32; 4]>(8).read()?;
    if kind == sigevent::NONE {
        return Ok(Notify::Nothing);
    }
    let thread = match kind {
        sigevent::SIGNAL | sigevent::THREAD => None,
        sigevent::THREAD_ID => {
            let thread = process::find_thread(tid).ok_or(Errno::EINVAL)?;
            if thread.process.pid != current().process.pid {
                return Err(Errno::EINVAL);
            }
            Some(tid)
        }
        _ => return Err(Errno::EINVAL),
    };
    let signal = Signal::new(number).ok_or(Errno::EINVAL)?;
    Ok(Notify::Value { signal, value, thread })
}

pub fn timer_create(number: i32, event: UserPtr<u8>, out: UserPtr<i32>) -> SysResult {
    let event = match event.non_null() {
        // The event may be bad in two ways, and a bad clock counts for more than one of them.
        Some(event) => {
            event.field::<[u64; 8]>(0).read()?;
            Some(event)
        }
        None => None,
    };
    let clock = Clock::of_timer(number)?;
    let notify = event.map_or(Ok(Notify::Kernel(Signal::SIGALRM)), read_sigevent)?;
    let id = timers::create(clock, notify)?;
    if let Err(errno) = out.write(&id) {
        let _ = timers::delete(id);
        return Err(errno.into());
    }
    Ok(0)
}

fn to_itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec { interval: Timespec::from_ns(setting.interval), value: Timespec::from_ns(setting.value) }
}

/// EINVAL for times that aren't normalised.
pub(super) fn setting_of(new: &Itimerspec) -> Result<Setting, Errno> {
    let (value, interval) = (new.value.to_ns(), new.interval.to_ns());
    Ok(Setting { value: value.ok_or(Errno::EINVAL)?, interval: interval.ok_or(Errno::EINVAL)? })
}

pub fn timer_settime(id: i32, flags: i32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>) -> SysResult {
    let new = setting_of(&new.non_null().ok_or(Errno::EINVAL)?.read()?)?;
    let base = if flags & ABSOLUTE != 0 { Base::Clock } else { Base::Now };
    let before = timers::set(id, base, new)?;
    if let Some(old) = old.non_null() {
        old.write(&to_itimerspec(before))?;
    }
    Ok(0)
}

pub fn timer_gettime(id: i32, out: UserPtr<Itimerspec>) -> SysResult {
    out.write(&to_itimerspec(timers::get(id)?))?;
    Ok(0)
}

pub fn timer_getoverrun(id: i32) -> SysResult {
    Ok(timers::overrun(id)? as usize)
}

pub fn timer_delete(id: i32) -> SysResult {
    timers::delete(id)?;
    Ok(0)
}

const TFD_TIMER_CANCEL_ON_SET: i32 = 2;

/// timerfd_create(2). EINVAL for clocks that it doesn't have; EPERM for those that would wake the machine.
pub fn timerfd_create(number: i32, flags: u32) -> SysResult {
    let clock = match number {
        id::REALTIME | id::REALTIME_ALARM => Clock::Realtime,
        id::MONOTONIC | id::BOOTTIME | id::BOOTTIME_ALARM => Clock::Monotonic,
        _ => return Err(Errno::EINVAL.into()),
    };
    let allowed = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
    let flags = OpenFlags::from_bits(flags).filter(|&flags| allowed.contains(flags)).ok_or(Errno::EINVAL)?;
    let has_alarm = matches!(number, id::REALTIME_ALARM | id::BOOTTIME_ALARM);
    if has_alarm && !has_capability(cap::WAKE_ALARM) {
        return Err(Errno::EPERM.into());
    }
    let file = timerfd::new(number, clock, flags & OpenFlags::NONBLOCK);
    let on_exec = if flags.contains(OpenFlags::CLOEXEC) { OnExec::Close } else { OnExec::Keep };
    Ok(fs::files().insert(file, on_exec)?.0 as usize)
}

pub fn timerfd_settime(fd: Fd, flags: i32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>) -> SysResult {
    let new = new.read()?;
    if flags & !(ABSOLUTE | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let new = setting_of(&new)?;
    let is_absolute = flags & ABSOLUTE != 0;
    let base = if is_absolute { Base::Clock } else { Base::Now };
    let cancels = is_absolute && flags & TFD_TIMER_CANCEL_ON_SET != 0;
    let on_clock_set = if cancels { OnClockSet::Cancel } else { OnClockSet::Follow };
    let before = timerfd::set(&*fs::files().get(fd)?, base, on_clock_set, flags.cast_unsigned(), new)?;
    if let Some(old) = old.non_null() {
        old.write(&to_itimerspec(before))?;
    }
    Ok(0)
}

pub fn timerfd_gettime(fd: Fd, out: UserPtr<Itimerspec>) -> SysResult {
    let setting = timerfd::get(&*fs::files().get(fd)?)?;
    out.write(&to_itimerspec(setting))?;
    Ok(0)
}
