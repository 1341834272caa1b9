//! timerfd_create(2): a timer whose expiries are read from a descriptor.
//!
//! A periodic timer isn't armed again when it expires but when its expiries are read or asked for, and counts then how many there were.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use abi::{Errno, OpenFlags};
use sigstate::forward;

use super::anon;
use super::file::{FileOps, Mode, OpenFile, Whence};
use super::poll::{Events, PollHead, Poller};
use crate::mm::Sink;
use crate::sync::SpinLock;
use crate::syscall::SysResult;
use crate::task::clock::Clock;
use crate::task::signal::timers::{Base, Setting};
use crate::time::timer::{self, TimerId};

/// What happens to a timer on the wall clock when that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnClockSet {
    /// It expires at the time of the new clock.
    Follow,
    /// TFD_TIMER_CANCEL_ON_SET: whoever reads it gets ECANCELED.
    Cancel,
}

struct State {
    interval: u64,
    /// Next expiry that hasn't been counted, on the timer's clock.
    expiry: Option<u64>,
    armed: Option<TimerId>,
    /// Expiries to be read.
    ticks: u64,
    on_clock_set: OnClockSet,
    cancelled: bool,
    /// `settime` flags, for /proc.
    flags: u32,
}

struct Timer {
    clock: Clock,
    number: i32,
    state: SpinLock<State>,
    expired: PollHead,
}

/// Timers on the wall clock, which have to know when that is set.
static ON_WALL_CLOCK: SpinLock<Vec<Weak<Timer>>> = SpinLock::new(Vec::new());

impl State {
    fn disarm(&mut self) {
        if let Some(id) = self.armed.take() {
            timer::cancel(id);
        }
    }

    fn arm(&mut self, timer: &Arc<Timer>) {
        self.disarm();
        let Some(expiry) = self.expiry else { return };
        let weak = Arc::downgrade(timer);
        let call = Box::new(move || {
            if let Some(timer) = weak.upgrade() {
                timer.expire();
            }
        });
        self.armed = Some(timer::call_at(timer.clock.to_monotonic(expiry), call));
    }

    /// Counts what a periodic timer that has expired missed meanwhile, and arms it for the next time.
    fn go_on(&mut self, timer: &Arc<Timer>) {
        if self.armed.is_none()
            && self.interval != 0
            && let Some(expiry) = self.expiry
        {
            let (next, count) = forward(expiry, self.interval, timer.clock.now());
            self.ticks = self.ticks.saturating_add(count);
            self.expiry = Some(next);
            self.arm(timer);
        }
    }

    fn setting(&self, clock: &Clock) -> Setting {
        let value = self.expiry.map_or(0, |expiry| expiry.saturating_sub(clock.now()).max(1));
        Setting { value, interval: self.interval }
    }
}

impl Timer {
    /// The time has come; in interrupt context.
    fn expire(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            state.armed = None;
            let Some(expiry) = state.expiry else { return };
            if self.clock.now() < expiry {
                state.arm(self);
                return;
            }
            state.ticks = state.ticks.saturating_add(1);
            // The rest is counted when somebody looks.
            state.expiry = (state.interval != 0).then(|| expiry.saturating_add(state.interval));
        }
        self.expired.notify();
    }

    /// Takes the expiries; `None` if there are none. ECANCELED.
    fn take(self: &Arc<Self>) -> Option<Result<u64, Errno>> {
        let mut state = self.state.lock();
        if core::mem::take(&mut state.cancelled) {
            return Some(Err(Errno::ECANCELED));
        }
        if state.ticks == 0 {
            return None;
        }
        state.go_on(self);
        Some(Ok(core::mem::take(&mut state.ticks)))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.state.lock().disarm();
    }
}

/// The file; timers outlive it in nobody's hands.
struct TimerFile(Arc<Timer>);

impl FileOps for TimerFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        if dst.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL.into());
        }
        let ticks = match self.0.take() {
            Some(ticks) => ticks,
            None if file.is_nonblocking() => return Err(Errno::EAGAIN.into()),
            None => self.0.expired.wait(None, || self.0.take())?,
        };
        if dst.write(&ticks?.to_le_bytes())? < size_of::<u64>() {
            return Err(Errno::EFAULT.into());
        }
        Ok(size_of::<u64>())
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.0.expired.add(poller);
        let state = self.0.state.lock();
        if state.ticks > 0 || state.cancelled { Events::IN } else { Events::empty() }
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn describe(&self, out: &mut dyn fmt::Write) {
        const NS: u64 = crate::time::NS_PER_SEC;
        let state = self.0.state.lock();
        let Setting { value, interval } = state.setting(&self.0.clock);
        let _ = writeln!(out, "clockid: {}\nticks: {}", self.0.number, state.ticks);
        let _ = writeln!(out, "settime flags: 0{:o}", state.flags);
        let _ = writeln!(out, "it_value: ({}, {})", value / NS, value % NS);
        let _ = writeln!(out, "it_interval: ({}, {})", interval / NS, interval % NS);
    }
}

/// A new timer on a clock, disarmed.
pub fn new(number: i32, clock: Clock, flags: OpenFlags) -> Arc<OpenFile> {
    let state = State {
        interval: 0,
        expiry: None,
        armed: None,
        ticks: 0,
        on_clock_set: OnClockSet::Follow,
        cancelled: false,
        flags: 0,
    };
    let timer = Arc::new(Timer { clock, number, state: SpinLock::new(state), expired: PollHead::new() });
    if timer.clock.is_realtime() {
        let mut timers = ON_WALL_CLOCK.lock();
        timers.retain(|timer| timer.strong_count() > 0);
        timers.push(Arc::downgrade(&timer));
    }
    anon::open("[timerfd]", flags | OpenFlags::RDWR, Mode::READ | Mode::WRITE | Mode::LSEEK, TimerFile(timer))
}

fn timer_of(file: &OpenFile) -> Result<&Arc<Timer>, Errno> {
    file.ops.as_any().downcast_ref::<TimerFile>().map(|file| &file.0).ok_or(Errno::EINVAL)
}

/// timerfd_settime(2). Returns the setting before. EINVAL for other files.
pub fn set(
    file: &OpenFile,
    base: Base,
    on_clock_set: OnClockSet,
    flags: u32,
    new: Setting,
) -> Result<Setting, Errno> {
    let timer = timer_of(file)?;
    let mut state = timer.state.lock();
    state.go_on(timer);
    let old = state.setting(&timer.clock);
    state.ticks = 0;
    state.cancelled = false;
    state.on_clock_set = on_clock_set;
    state.flags = flags;
    state.interval = new.interval;
    state.expiry = match (new.value, base) {
        (0, _) => None,
        (value, Base::Clock) => Some(value),
        (value, Base::Now) => Some(timer.clock.now().saturating_add(value)),
    };
    state.arm(timer);
    Ok(old)
}

/// timerfd_gettime(2). EINVAL for other files.
pub fn get(file: &OpenFile) -> Result<Setting, Errno> {
    let timer = timer_of(file)?;
    let mut state = timer.state.lock();
    state.go_on(timer);
    Ok(state.setting(&timer.clock))
}

/// The wall clock was set.
pub fn clock_was_set() {
    let timers: Vec<Arc<Timer>> = ON_WALL_CLOCK.lock().iter().filter_map(Weak::upgrade).collect();
    for timer in timers {
        let cancelled = {
            let mut state = timer.state.lock();
            let cancels = state.on_clock_set == OnClockSet::Cancel && state.expiry.is_some();
            state.cancelled |= cancels;
            if state.armed.is_some() {
                state.arm(&timer);
            }
            cancels
        };
        if cancelled {
            timer.expired.notify();
        }
    }
}
