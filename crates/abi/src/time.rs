//! Times.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::{flags, values};

/// Nanoseconds in a second.
pub const NS_PER_SEC: u64 = 1_000_000_000;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: i64,
}

impl Timespec {
    /// From nanoseconds.
    #[must_use]
    #[inline]
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC).cast_signed(), nsec: (ns % NS_PER_SEC).cast_signed() }
    }

    /// Whether the nanoseconds are below a second and the seconds not negative: what the kernel takes as a time-out.
    #[must_use]
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.sec >= 0 && self.nsec >= 0 && self.nsec < NS_PER_SEC.cast_signed()
    }

    /// As nanoseconds; later than can be counted is the end of time (as Linux's `timespec64_to_ktime`). `None` if it is not [valid](Self::is_valid).
    #[must_use]
    #[inline]
    pub const fn to_ns(self) -> Option<u64> {
        if !self.is_valid() {
            return None;
        }
        let ns = self.sec.unsigned_abs().saturating_mul(NS_PER_SEC).saturating_add(self.nsec.unsigned_abs());
        Some(if ns > i64::MAX as u64 { i64::MAX as u64 } else { ns })
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    pub sec: i64,
    pub usec: i64,
}

impl Timeval {
    /// From nanoseconds, rounded down.
    #[must_use]
    #[inline]
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC).cast_signed(), usec: (ns % NS_PER_SEC / 1000).cast_signed() }
    }

    /// Whether the microseconds are below a second and the seconds not negative.
    #[must_use]
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.sec >= 0 && self.usec >= 0 && self.usec < 1_000_000
    }

    /// As nanoseconds, at most `i64::MAX`. `None` if it is not [valid](Self::is_valid).
    #[must_use]
    #[inline]
    pub const fn to_ns(self) -> Option<u64> {
        if !self.is_valid() {
            return None;
        }
        let ns = self
            .sec
            .unsigned_abs()
            .saturating_mul(NS_PER_SEC)
            .saturating_add(self.usec.unsigned_abs() * 1000);
        Some(if ns > i64::MAX as u64 { i64::MAX as u64 } else { ns })
    }
}

/// `struct timezone` (gettimeofday(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timezone {
    pub minutes_west: i32,
    pub dst_time: i32,
}

/// `struct itimerval` (setitimer(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerval {
    pub interval: Timeval,
    pub value: Timeval,
}

/// `struct itimerspec` (timer_settime(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerspec {
    pub interval: Timespec,
    pub value: Timespec,
}

/// Clock ticks per second: `sysconf(_SC_CLK_TCK)`, `AT_CLKTCK`.
pub const USER_HZ: u64 = 100;

/// `struct timex` of adjtimex(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timex {
    pub modes: u32,
    pub _pad0: u32,
    pub offset: i64,
    pub freq: i64,
    pub maxerror: i64,
    pub esterror: i64,
    pub status: i32,
    pub _pad1: u32,
    pub constant: i64,
    pub precision: i64,
    pub tolerance: i64,
    pub time: Timeval,
    pub tick: i64,
    pub ppsfreq: i64,
    pub jitter: i64,
    pub shift: i32,
    pub _pad2: u32,
    pub stabil: i64,
    pub jitcnt: i64,
    pub calcnt: i64,
    pub errcnt: i64,
    pub stbcnt: i64,
    pub tai: i32,
    pub _pad3: [i32; 11],
}

/// `struct sigevent` of timer_create(2) and mq_notify(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigEvent {
    pub value: u64,
    pub signo: i32,
    pub notify: i32,
    /// For `SIGEV_THREAD_ID`.
    pub tid: i32,
    pub _pad: [i32; 11],
}

values! {
    /// How a [`SigEvent`] is told.
    pub struct SigevNotify: i32, "SIGEV_" {
        SIGNAL = 0,
        NONE = 1,
        THREAD = 2,
        THREAD_ID = 4,
    }
}

values! {
    /// A clock; dynamic ones (a process's or a thread's CPU time) are negative.
    pub struct ClockId: i32, "CLOCK_" {
        REALTIME = 0,
        MONOTONIC = 1,
        PROCESS_CPUTIME_ID = 2,
        THREAD_CPUTIME_ID = 3,
        MONOTONIC_RAW = 4,
        REALTIME_COARSE = 5,
        MONOTONIC_COARSE = 6,
        BOOTTIME = 7,
        REALTIME_ALARM = 8,
        BOOTTIME_ALARM = 9,
        TAI = 11,
    }
}

values! {
    /// Which timer of getitimer(2).
    pub struct ItimerKind: i32, "ITIMER_" {
        REAL = 0,
        VIRTUAL = 1,
        PROF = 2,
    }
}

flags! {
    /// Flags of clock_nanosleep(2) and timer_settime(2).
    pub struct TimerFlags: u32, "TIMER_", "0" {
        ABSTIME = 1,
    }
}

flags! {
    /// Flags of timerfd_create(2).
    pub struct TimerFdFlags: u32, "TFD_", "0" {
        NONBLOCK = 0o4000,
        CLOEXEC = 0o2000000,
    }
}

flags! {
    /// Flags of timerfd_settime(2).
    pub struct TimerFdSetFlags: u32, "TFD_TIMER_", "0" {
        ABSTIME = 1,
        CANCEL_ON_SET = 2,
    }
}
