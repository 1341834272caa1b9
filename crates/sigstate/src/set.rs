//! Signal numbers and sets of them.

use core::fmt;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Signal {
            $(pub const $name: Self = Self($number);)*

            /// The name in signal(7), `None` for real-time signals.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGUSR1 = 10,
    SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15, SIGSTKFLT = 16, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19,
    SIGTSTP = 20, SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGXCPU = 24, SIGXFSZ = 25, SIGVTALRM = 26, SIGPROF = 27, SIGWINCH = 28,
    SIGIO = 29, SIGPWR = 30, SIGSYS = 31,
}

impl Signal {
    /// First of the real-time signals, as the kernel numbers them (`SIGRTMIN` of the libc is two higher).
    pub const RT_FIRST: u8 = 32;
    /// Highest number.
    pub const LAST: u8 = 64;

    /// A number as a signal; `None` for 0 and beyond 64.
    #[inline]
    pub const fn new(number: i32) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 64")]
        if number >= 1 && number <= Self::LAST as i32 { Some(Self(number as u8)) } else { None }
    }

    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Real-time signals queue; the others are pending once or not at all.
    #[inline]
    pub const fn is_realtime(self) -> bool {
        self.0 >= Self::RT_FIRST
    }

    /// SIGKILL and SIGSTOP: never blocked, caught or ignored.
    #[inline]
    pub const fn is_uncatchable(self) -> bool {
        SigSet::UNBLOCKABLE.contains(self)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIGRT_{}", self.0 - Self::RT_FIRST),
        }
    }
}

/// A set of signals; bit `n - 1` is signal `n`, as in the ABI's 64-bit `sigset_t`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SigSet(u64);

impl SigSet {
    pub const EMPTY: Self = Self(0);
    /// SIGKILL and SIGSTOP.
    pub const UNBLOCKABLE: Self = Self::of(&[Signal::SIGKILL, Signal::SIGSTOP]);
    /// Signals that an instruction raises: they are taken first, so that the frame shows the instruction.
    pub const SYNCHRONOUS: Self = Self::of(&[
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGFPE,
        Signal::SIGSYS,
    ]);
    /// Signals that stop a process by default.
    pub const STOPS: Self = Self::of(&[Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU]);

    /// The set of these signals.
    pub const fn of(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut rest = signals;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (first.0 - 1);
            rest = tail;
        }
        Self(bits)
    }

    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> ((signal.0 - 1) & 63) & 1 != 0
    }

    #[inline]
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << ((signal.0 - 1) & 63))
    }

    #[inline]
    #[must_use]
    pub const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !(1 << ((signal.0 - 1) & 63)))
    }

    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[inline]
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as a mask: SIGKILL and SIGSTOP can't be in one.
    #[inline]
    #[must_use]
    pub const fn blockable(self) -> Self {
        self.difference(Self::UNBLOCKABLE)
    }

    /// The lowest number.
    #[inline]
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 63")]
        Some(Signal(self.0.trailing_zeros() as u8 + 1))
    }

    /// The signal that Linux takes first out of a set: a synchronous one, then the lowest number.
    #[inline]
    pub const fn next_to_take(self) -> Option<Signal> {
        let urgent = self.intersection(Self::SYNCHRONOUS);
        if urgent.is_empty() { self.first() } else { urgent.first() }
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.first()?;
            rest = rest.without(signal);
            Some(signal)
        })
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<T: IntoIterator<Item = Signal>>(signals: T) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(-1), None);
        assert_eq!(Signal::new(65), None);
        assert_eq!(Signal::new(i32::MIN), None);
        assert_eq!(Signal::new(64).map(Signal::number), Some(64));
        assert_eq!(Signal::new(9), Some(Signal::SIGKILL));
    }

    #[test]
    fn instruction_faults_come_first() {
        let set = SigSet::of(&[Signal::SIGHUP, Signal::SIGSEGV, Signal::SIGTRAP]);
        assert_eq!(set.next_to_take(), Some(Signal::SIGTRAP));
        assert_eq!(set.first(), Some(Signal::SIGHUP));
        assert_eq!(SigSet::EMPTY.next_to_take(), None);
    }

    proptest! {
        #[test]
        fn set_is_a_set(numbers in proptest::collection::vec(1i32..=64, 0..40), removed in 1i32..=64) {
            let set: SigSet = numbers.iter().filter_map(|&n| Signal::new(n)).collect();
            let removed = Signal::new(removed).unwrap();
            let mut model: BTreeSet<Signal> = numbers.iter().filter_map(|&n| Signal::new(n)).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.contains(removed), model.contains(&removed));
            model.remove(&removed);
            prop_assert_eq!(set.without(removed).iter().collect::<BTreeSet<_>>(), model);
        }
    }
}
