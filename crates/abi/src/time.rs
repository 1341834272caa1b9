//! Times.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: i64,
}

const NS_PER_SEC: u64 = 1_000_000_000;

impl Timespec {
    /// Nanoseconds as seconds and nanoseconds.
    #[must_use]
    #[inline]
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC).cast_signed(), nsec: (ns % NS_PER_SEC).cast_signed() }
    }

    /// As nanoseconds, the largest number of them for what is longer. `None` if it is negative or has a whole second of nanoseconds.
    #[must_use]
    #[inline]
    pub const fn to_ns(self) -> Option<u64> {
        if self.sec < 0 || self.nsec < 0 || self.nsec.cast_unsigned() >= NS_PER_SEC {
            return None;
        }
        Some(self.sec.cast_unsigned().saturating_mul(NS_PER_SEC).saturating_add(self.nsec.cast_unsigned()))
    }
}

impl Timeval {
    /// Nanoseconds as seconds and microseconds, rounded down.
    #[must_use]
    #[inline]
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC).cast_signed(), usec: (ns % NS_PER_SEC / 1000).cast_signed() }
    }

    /// As nanoseconds. `None` if it is negative or has a whole second of microseconds.
    #[must_use]
    #[inline]
    pub const fn to_ns(self) -> Option<u64> {
        if self.usec < 0 || self.usec >= 1_000_000 {
            return None;
        }
        Timespec { sec: self.sec, nsec: self.usec * 1000 }.to_ns()
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    pub sec: i64,
    pub usec: i64,
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
