//! Timers that end in a signal: the three interval timers of setitimer(2), and those of timer_create(2).
//!
//! A periodic timer isn't armed again when it expires but when its signal is taken, and then tells how many expiries that signal stands
//! for. So a program that blocks the signal isn't interrupted in vain.

use alloc::boxed::Box;
use alloc::sync::Arc;

use abi::{Errno, SigInfo, Signal};
use sigstate::{Info, Pending, forward};

use super::{send_to_process, send_to_thread};
use crate::sorted::SortedMap;
use crate::task::clock::Clock;
use crate::task::process::{self, Process, UNLIMITED, rlimit};
use crate::task::sched::current;
use crate::time::NS_PER_SEC;
use crate::time::timer::{self, TimerId};

/// Which timer of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF: 0, 1, 2.
    Interval(u8),
    /// RLIMIT_CPU.
    Limit,
    /// `timer_t`.
    Posix(i32),
}

/// What happens at an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Nothing; the timer can only be asked.
    Nothing,
    /// A signal of the kernel's.
    Kernel(Signal),
    /// A signal with a value, for the process or (`SIGEV_THREAD_ID`) a thread of it.
    Value { signal: Signal, value: u64, thread: Option<u32> },
}

/// A timer's setting: time to the next expiry, and from then on between expiries. ns, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub value: u64,
    pub interval: u64,
}

/// Whether a new setting's value is a time of the clock or counts from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Now,
    Clock,
}

struct Timer {
    clock: Clock,
    notify: Notify,
    interval: u64,
    /// Next expiry on the timer's clock.
    expiry: Option<u64>,
    armed: Option<TimerId>,
    /// Its signal was sent, and not taken yet.
    queued: bool,
    /// Expiries that the signal taken last stood for, beyond the first.
    overrun: i32,
}

/// A process's timers.
#[derive(Default)]
pub struct Timers {
    timers: SortedMap<Name, Timer>,
    next: i32,
}

/// Most overruns that are counted (DELAYTIMER_MAX).
const OVERRUN_MAX: u64 = i32::MAX as u64;
/// A periodic timer whose signal nobody gets expires no more often than this, if it is alone.
const IGNORED_PERIOD_NS: u64 = 1_000_000;

const REAL: Name = Name::Interval(0);

impl Timer {
    fn new(clock: Clock, notify: Notify) -> Self {
        Self { clock, notify, interval: 0, expiry: None, armed: None, queued: false, overrun: 0 }
    }

    /// What is left, as timer_gettime(2) shows it: never 0 for a timer that runs.
    fn setting(&self) -> Setting {
        let now = self.clock.now();
        let value = match self.expiry {
            None => 0,
            Some(expiry) => match forward(expiry, self.interval, now).0.saturating_sub(now) {
                0 if self.notify == Notify::Nothing => 0,
                left => left.max(1),
            },
        };
        Setting { value, interval: self.interval }
    }

    fn disarm(&mut self) {
        if let Some(id) = self.armed.take() {
            timer::cancel(id);
        }
    }

    /// Has `expire` called at the next expiry, or at `not_before` if that is later (monotonic time).
    fn arm(&mut self, name: Name, process: &Arc<Process>, not_before: u64) {
        self.disarm();
        let (Some(expiry), false) = (self.expiry, self.notify == Notify::Nothing) else { return };
        let process = Arc::downgrade(process);
        let call = Box::new(move || {
            if let Some(process) = process.upgrade() {
                expire(name, &process);
            }
        });
        self.armed = Some(timer::call_at(self.clock.to_monotonic(expiry).max(not_before), call));
    }

    fn start(&mut self, name: Name, process: &Arc<Process>, base: Base, new: Setting) {
        self.interval = new.interval;
        self.queued = false;
        self.overrun = 0;
        self.expiry = match (new.value, base) {
            (0, _) => None,
            (value, Base::Clock) => Some(value),
            (value, Base::Now) => Some(self.clock.now().saturating_add(value)),
        };
        self.arm(name, process, 0);
    }

    /// The signal was taken, or nobody got it: on to the next expiry. Returns how many have passed.
    fn go_on(&mut self, name: Name, process: &Arc<Process>, not_before: u64) -> u64 {
        self.queued = false;
        let Some(expiry) = self.expiry else { return 1 };
        let (next, count) = forward(expiry, self.interval, self.clock.now());
        self.expiry = Some(next);
        self.arm(name, process, not_before);
        count.max(1)
    }
}

/// A timer's time has come; in interrupt context.
fn expire(name: Name, process: &Arc<Process>) {
    let (info, thread) = {
        let mut signals = process.signals.lock();
        let Some(timer) = signals.timers.timers.get_mut(&name) else { return };
        timer.armed = None;
        let Some(expiry) = timer.expiry else { return };
        // CPU time passes more slowly than the clock while others run, and the wall clock may have been set back.
        if timer.clock.now() < expiry {
            timer.arm(name, process, 0);
            return;
        }
        if name == Name::Limit {
            drop(signals);
            return limit_reached(process);
        }
        timer.queued = true;
        if timer.interval == 0 {
            timer.expiry = None;
        } else if name != REAL && matches!(name, Name::Interval(_)) {
            timer.go_on(name, process, 0);
        }
        match (timer.notify, name) {
            (Notify::Kernel(signal), _) => (Info::kernel(signal), None),
            (Notify::Value { signal, value, thread }, Name::Posix(id)) => {
                (Info::timer(signal, id, 0, value), thread)
            }
            _ => return,
        }
    };
    let thread = thread.map(process::find_thread);
    // Nobody is told of an error: a timer whose signal found no place goes on.
    let _ = match &thread {
        None => send_to_process(process, info),
        Some(Some(thread)) => send_to_thread(thread, info),
        Some(None) => Ok(()),
    };
    let mut signals = process.signals.lock();
    let waits_in = |queue: &mut Pending<Info>| match name {
        Name::Posix(_) => queue.has_same_timer(&info),
        _ => queue.set().contains(info.signal),
    };
    let waits = match &thread {
        None => waits_in(&mut signals.shared),
        Some(Some(thread)) => thread.signals.with_private(waits_in),
        Some(None) => false,
    };
    if let Some(timer) = signals.timers.timers.get_mut(&name)
        && timer.queued
        && !waits
    {
        let not_before = crate::time::monotonic_ns() + IGNORED_PERIOD_NS * timer::crowd();
        timer.go_on(name, process, not_before);
    }
}

/// RLIMIT_CPU was set: has the process told when its time comes.
pub fn limit_cpu_time(process: &Arc<Process>) {
    let soft = process.limit(rlimit::CPU);
    let mut signals = process.signals.lock();
    let timers = &mut signals.timers.timers;
    if let Some(mut old) = timers.remove(&Name::Limit) {
        old.disarm();
    }
    if soft != UNLIMITED {
        let mut timer = Timer::new(Clock::Process(process.clone()), Notify::Kernel(Signal::SIGXCPU));
        timer.start(
            Name::Limit,
            process,
            Base::Clock,
            Setting { value: soft.saturating_mul(NS_PER_SEC).max(1), interval: 0 },
        );
        timers.insert(Name::Limit, timer);
    }
}

/// A process has used up its CPU time: SIGXCPU each second from the soft limit on, SIGKILL at the hard one.
fn limit_reached(process: &Arc<Process>) {
    let used = Clock::Process(process.clone()).now() / NS_PER_SEC;
    let signal = process.change_limits(|limits| {
        let (soft, hard) = limits.0.get_mut(rlimit::CPU)?;
        if used >= *hard {
            return Some(Signal::SIGKILL);
        }
        *soft = used.saturating_add(1);
        Some(Signal::SIGXCPU)
    });
    let Some(signal) = signal else { return };
    super::send_kernel(process, u32::from(signal.number()));
    limit_cpu_time(process);
}

impl Timers {
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// A signal was taken from a queue: the timer that sent it goes on. Returns the information with the overrun count.
    #[inline]
    pub(super) fn taken(&mut self, info: Info, process: &Arc<Process>) -> Info {
        if self.timers.is_empty() { info } else { self.taken_from_timer(info, process) }
    }

    #[cold]
    fn taken_from_timer(&mut self, mut info: Info, process: &Arc<Process>) -> Info {
        let name = match (info.signal, info.code) {
            (_, SigInfo::SI_TIMER) => Name::Posix(info.timer_id()),
            (Signal::SIGALRM, _) => REAL,
            _ => return info,
        };
        if let Some(timer) = self.timers.get_mut(&name).filter(|timer| timer.queued) {
            let count = timer.go_on(name, process, 0);
            timer.overrun = count.saturating_sub(1).min(OVERRUN_MAX) as i32;
            if info.code == SigInfo::SI_TIMER {
                info.set_overrun(timer.overrun);
            }
        }
        info
    }

    pub(super) fn count(&self) -> usize {
        self.timers.len()
    }

    /// exec(2) ends the POSIX timers; the interval timers run on. What is returned is to be dropped without the lock.
    pub(super) fn exec(&mut self) -> impl Sized + use<> {
        let posix = self.timers.split_off(&Name::Posix(i32::MIN));
        for timer in posix.values() {
            timer.armed.map(timer::cancel);
        }
        posix
    }

    pub(super) fn cancel_all(mut self) {
        for timer in self.timers.values_mut() {
            timer.disarm();
        }
    }
}

/// The wall clock was set: what was to happen at a time of it happens earlier or later than thought.
pub fn clock_was_set() {
    for process in process::all() {
        let mut signals = process.signals.lock();
        for (&name, timer) in signals.timers.timers.iter_mut() {
            if timer.clock.is_realtime() && timer.armed.is_some() {
                timer.arm(name, &process, 0);
            }
        }
    }
}

/// The clock and the signal of an interval timer. EINVAL.
fn interval_timer(which: i32) -> Result<(Name, Clock, Notify), Errno> {
    let process = || Clock::Process(current().process.clone());
    let (index, clock, signal) = match which {
        0 => (0, Clock::Monotonic, Signal::SIGALRM),
        1 => (1, Clock::User(current().process.clone()), Signal::SIGVTALRM),
        2 => (2, process(), Signal::SIGPROF),
        _ => return Err(Errno::EINVAL),
    };
    Ok((Name::Interval(index), clock, Notify::Kernel(signal)))
}

/// getitimer(2). EINVAL.
pub fn interval(which: i32) -> Result<Setting, Errno> {
    let (name, ..) = interval_timer(which)?;
    let signals = current().process.signals.lock();
    Ok(signals.timers.timers.get(&name).map_or_else(Setting::default, interval_setting))
}

/// ITIMER_REAL shows 0 between its expiry and the signal's delivery.
fn interval_setting(timer: &Timer) -> Setting {
    let setting = timer.setting();
    if timer.armed.is_none() { Setting { value: 0, ..setting } } else { setting }
}

/// setitimer(2), in ns. Returns the setting before. EINVAL.
pub fn set_interval(which: i32, new: Setting) -> Result<Setting, Errno> {
    let (name, clock, notify) = interval_timer(which)?;
    let process = &current().process;
    let mut signals = process.signals.lock();
    let timers = &mut signals.timers.timers;
    if !timers.contains_key(&name) {
        timers.insert(name, Timer::new(clock, notify));
    }
    let timer = timers.get_mut(&name).ok_or(Errno::EINVAL)?;
    let old = interval_setting(timer);
    timer.start(name, process, Base::Now, new);
    Ok(old)
}

/// timer_create(2): the timer's number. EAGAIN over RLIMIT_SIGPENDING: each timer has a place in the queue reserved.
pub fn create(clock: Clock, notify: Notify) -> Result<i32, Errno> {
    let process = &current().process;
    let limit = process.limit(rlimit::SIGPENDING);
    let mut signals = process.signals.lock();
    let signals = &mut *signals;
    if signals.timers.timers.len() as u64 + signals.queued as u64 >= limit {
        return Err(Errno::EAGAIN);
    }
    let timers = &mut signals.timers;
    let mut id = timers.next;
    while timers.timers.contains_key(&Name::Posix(id)) {
        id = id.checked_add(1).unwrap_or(0);
    }
    timers.next = id.checked_add(1).unwrap_or(0);
    // SIGEV_SIGNAL without a value has the timer's number for one: the caller can't know it yet.
    let notify = match notify {
        Notify::Kernel(signal) => {
            Notify::Value { signal, value: u64::from(id.cast_unsigned()), thread: None }
        }
        other => other,
    };
    timers.timers.reserve(1).map_err(|_| Errno::EAGAIN)?;
    timers.timers.insert(Name::Posix(id), Timer::new(clock, notify));
    Ok(id)
}

/// Looks at, or changes, one of the process's POSIX timers. EINVAL.
fn with_posix<T>(id: i32, look: impl FnOnce(&mut Timer) -> T) -> Result<T, Errno> {
    let mut signals = current().process.signals.lock();
    signals.timers.timers.get_mut(&Name::Posix(id)).map(look).ok_or(Errno::EINVAL)
}

/// timer_settime(2). Returns the setting before. EINVAL.
pub fn set(id: i32, base: Base, new: Setting) -> Result<Setting, Errno> {
    let process = &current().process;
    with_posix(id, |timer| {
        let old = timer.setting();
        timer.start(Name::Posix(id), process, base, new);
        old
    })
}

/// timer_gettime(2). EINVAL.
pub fn get(id: i32) -> Result<Setting, Errno> {
    with_posix(id, |timer| timer.setting())
}

/// timer_getoverrun(2). EINVAL.
pub fn overrun(id: i32) -> Result<i32, Errno> {
    with_posix(id, |timer| timer.overrun)
}

/// timer_delete(2). EINVAL.
pub fn delete(id: i32) -> Result<(), Errno> {
    let mut timer =
        current().process.signals.lock().timers.timers.remove(&Name::Posix(id)).ok_or(Errno::EINVAL)?;
    timer.disarm();
    Ok(())
}
