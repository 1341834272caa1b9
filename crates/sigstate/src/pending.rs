//! Signals that were sent and not taken yet.

use alloc::collections::VecDeque;

use abi::{SigSet, Signal};

/// What became of a signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// Pending, with its information.
    Queued,
    /// Pending, but the information found no place.
    Bare,
    /// A standard signal that was pending already.
    Merged,
}

/// What a queue holds: it knows which signal it belongs to.
pub trait Queued {
    fn signal(&self) -> Signal;

    /// Whether it stands beside a pending signal of the same number, or is merged with it.
    fn is_queued(&self) -> bool {
        self.signal().is_realtime()
    }

    /// Whether both are of one timer, whose signal is pending once at most.
    fn is_of_same_timer(&self, _: &Self) -> bool {
        false
    }
}

/// The signals that are pending for a thread or a process, in order of arrival, each with its information `I`.
///
/// A standard signal is pending at most once, a real-time signal as often as it was sent, and each timer's signal once.
#[derive(Debug)]
pub struct Pending<I> {
    set: SigSet,
    /// The oldest entry. Most of the time it is the only one.
    first: Option<I>,
    rest: VecDeque<I>,
}

impl<I> Default for Pending<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I> Pending<I> {
    pub const fn new() -> Self {
        Self { set: SigSet::EMPTY, first: None, rest: VecDeque::new() }
    }

    /// Which signals are pending.
    #[inline(always)]
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Entries that hold information: what RLIMIT_SIGPENDING counts.
    #[inline]
    pub fn queued(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

impl<I: Queued> Pending<I> {
    /// Whether a push of this signal would be merged with one that is pending.
    #[inline(always)]
    pub fn merges(&self, info: &I) -> bool {
        self.set.contains(info.signal()) && (!info.is_queued() || self.has_same_timer(info))
    }

    /// Whether this timer's signal is pending with its information.
    #[cold]
    pub fn has_same_timer(&self, info: &I) -> bool {
        self.first.iter().chain(&self.rest).any(|entry| info.is_of_same_timer(entry))
    }

    /// Adds a signal with its information.
    #[inline(always)]
    pub fn push(&mut self, info: I) -> Push {
        let signal = info.signal();
        if self.merges(&info) {
            return Push::Merged;
        }
        self.set = self.set.with(signal);
        if self.first.is_some() {
            return self.push_behind(info);
        }
        self.first = Some(info);
        Push::Queued
    }

    #[cold]
    fn push_behind(&mut self, info: I) -> Push {
        if self.rest.try_reserve(1).is_err() {
            return Push::Bare;
        }
        self.rest.push_back(info);
        Push::Queued
    }

    /// Adds a signal without information (over the limit): it is pending, but nobody will know from where it came.
    pub fn push_bare(&mut self, signal: Signal) {
        self.set = self.set.with(signal);
    }

    /// Takes the oldest instance of a pending signal. `None` for one without information; the set tells whether it was pending at all.
    #[inline(always)]
    pub fn take(&mut self, signal: Signal) -> Option<I> {
        if !self.rest.is_empty() {
            return self.take_of_many(signal);
        }
        self.set = self.set.without(signal);
        match &self.first {
            Some(first) if first.signal() == signal => self.first.take(),
            _ => None,
        }
    }

    #[cold]
    fn take_of_many(&mut self, signal: Signal) -> Option<I> {
        let info = if self.first.as_ref().is_some_and(|first| first.signal() == signal) {
            core::mem::replace(&mut self.first, self.rest.pop_front())
        } else {
            let at = self.rest.iter().position(|entry| entry.signal() == signal);
            at.and_then(|at| self.rest.remove(at))
        };
        if !self.first.iter().chain(&self.rest).any(|entry| entry.signal() == signal) {
            self.set = self.set.without(signal);
        }
        info
    }

    /// Drops all instances of these signals.
    pub fn discard(&mut self, signals: SigSet) {
        if self.set.intersection(signals).is_empty() {
            return;
        }
        self.set = self.set.difference(signals);
        self.rest.retain(|entry| !signals.contains(entry.signal()));
        if self.first.as_ref().is_some_and(|entry| signals.contains(entry.signal())) {
            self.first = self.rest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::{Info, most_urgent, take_next};
    use abi::SigInfo;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Entry(Signal, usize);

    impl Queued for Entry {
        fn signal(&self) -> Signal {
            self.0
        }
    }

    fn signal(number: u32) -> Signal {
        Signal::new(number).unwrap()
    }

    #[test]
    fn standard_signals_merge_and_realtime_signals_queue() {
        let mut pending = Pending::new();
        assert_eq!(pending.push(Entry(Signal::SIGUSR1, 1)), Push::Queued);
        assert_eq!(pending.push(Entry(Signal::SIGUSR1, 2)), Push::Merged);
        assert_eq!(pending.push(Entry(signal(40), 3)), Push::Queued);
        assert_eq!(pending.push(Entry(signal(40), 4)), Push::Queued);
        assert_eq!(pending.take(signal(40)), Some(Entry(signal(40), 3)));
        assert!(pending.set().contains(signal(40)));
        assert_eq!(pending.take(signal(40)), Some(Entry(signal(40), 4)));
        assert!(!pending.set().contains(signal(40)));
        assert_eq!(pending.take(Signal::SIGUSR1), Some(Entry(Signal::SIGUSR1, 1)));
        assert!(pending.set().is_empty());
    }

    #[test]
    fn a_timer_s_signal_stands_beside_another() {
        let info = |code| Info { code, ..Info::kernel(Signal::SIGUSR1) };
        let mut pending = Pending::new();
        assert_eq!(pending.push(info(SigInfo::SI_USER)), Push::Queued);
        assert_eq!(pending.push(info(SigInfo::SI_TIMER)), Push::Queued);
        assert_eq!(pending.push(info(SigInfo::SI_USER)), Push::Merged);
        assert_eq!(pending.take(Signal::SIGUSR1).map(|info| info.code), Some(SigInfo::SI_USER));
        assert!(pending.set().contains(Signal::SIGUSR1));
        assert_eq!(pending.take(Signal::SIGUSR1).map(|info| info.code), Some(SigInfo::SI_TIMER));
        assert!(pending.set().is_empty());
    }

    #[test]
    fn own_signals_come_before_the_process_s() {
        let mut private = Pending::new();
        let mut shared = Pending::new();
        shared.push(Entry(Signal::SIGHUP, 1));
        private.push(Entry(Signal::SIGTERM, 2));
        private.push(Entry(Signal::SIGSEGV, 3));
        let mut take = || take_next(&mut private, &mut shared, SigSet::EMPTY);
        assert_eq!(take(), Some((Signal::SIGSEGV, Some(Entry(Signal::SIGSEGV, 3)))));
        assert_eq!(take(), Some((Signal::SIGTERM, Some(Entry(Signal::SIGTERM, 2)))));
        assert_eq!(take(), Some((Signal::SIGHUP, Some(Entry(Signal::SIGHUP, 1)))));
        assert_eq!(take(), None);
    }

    #[test]
    fn instruction_faults_come_first() {
        let set = SigSet::of(Signal::SIGHUP).with(Signal::SIGSEGV).with(Signal::SIGTRAP);
        assert_eq!(most_urgent(set), Some(Signal::SIGTRAP));
        assert_eq!(set.first(), Some(Signal::SIGHUP));
        assert_eq!(most_urgent(SigSet::EMPTY), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32, bool),
        Take(u64),
        Discard(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (prop_oneof![1u32..=31, 32u32..=34], any::<bool>()).prop_map(|(n, b)| Step::Push(n, b)),
            2 => any::<u64>().prop_map(Step::Take),
            1 => (0u32..64).prop_map(|bit| Step::Discard(1 << bit)),
        ]
    }

    proptest! {
        /// Against a plain list of (number, info) that is searched from the front.
        #[test]
        fn matches_a_list(steps in proptest::collection::vec(step(), 0..60)) {
            let mut pending = Pending::new();
            let mut model: Vec<(u32, Option<usize>)> = Vec::new();
            for (serial, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(number, with_info) => {
                        let info = with_info.then_some(serial);
                        match info {
                            Some(serial) => drop(pending.push(Entry(signal(number), serial))),
                            None => pending.push_bare(signal(number)),
                        }
                        let there = model.iter().any(|m| m.0 == number);
                        // A signal without information only shows in the set.
                        if !there || (number >= 32 && info.is_some()) {
                            if number >= 32 {
                                model.retain(|m| *m != (number, None) || info.is_none());
                            }
                            model.push((number, info));
                        }
                    }
                    Step::Take(blocked) => {
                        let blocked = SigSet(blocked);
                        let open: SigSet =
                            model.iter().map(|m| signal(m.0)).collect::<SigSet>().difference(blocked);
                        let expected = most_urgent(open).map(|signal| {
                            let at = model.iter().position(|m| m.0 == u32::from(signal.number())).unwrap();
                            (signal, model.remove(at).1)
                        });
                        let taken = take_next(&mut pending, &mut Pending::new(), blocked);
                        prop_assert_eq!(taken.map(|(signal, info)| (signal, info.map(|entry| entry.1))), expected);
                    }
                    Step::Discard(bits) => {
                        pending.discard(SigSet(bits));
                        model.retain(|m| !SigSet(bits).contains(signal(m.0)));
                    }
                }
                let set: SigSet = model.iter().map(|m| signal(m.0)).collect();
                prop_assert_eq!(pending.set(), set);
                prop_assert_eq!(pending.queued(), model.iter().filter(|m| m.1.is_some()).count());
            }
        }
    }
}
