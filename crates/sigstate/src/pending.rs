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

/// The signals that are pending for a thread or a process, in order of arrival, each with its information `I`.
///
/// A standard signal is pending at most once, a real-time signal as often as it was sent.
#[derive(Debug)]
pub struct Pending<I> {
    set: SigSet,
    queue: VecDeque<(Signal, I)>,
}

impl<I> Default for Pending<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I> Pending<I> {
    pub const fn new() -> Self {
        Self { set: SigSet::EMPTY, queue: VecDeque::new() }
    }

    /// Which signals are pending.
    #[inline]
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Entries that hold information: what RLIMIT_SIGPENDING counts.
    #[inline]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Adds a signal. Without `info` (over the limit, or no memory) it is still pending, but nobody will know from where it came.
    #[inline]
    pub fn push(&mut self, signal: Signal, info: Option<I>) -> Push {
        if !signal.is_realtime() && self.set.contains(signal) {
            return Push::Merged;
        }
        self.set = self.set.with(signal);
        match info {
            Some(info) if self.queue.try_reserve(1).is_ok() => {
                self.queue.push_back((signal, info));
                Push::Queued
            }
            _ => Push::Bare,
        }
    }

    /// Whether a push of this signal would be merged with one that is pending.
    #[inline]
    pub const fn merges(&self, signal: Signal) -> bool {
        !signal.is_realtime() && self.set.contains(signal)
    }

    /// Takes the oldest instance of a pending signal. `None` for one without information; the set tells whether it was pending at all.
    #[inline]
    pub fn take(&mut self, signal: Signal) -> Option<I> {
        // The usual case: it is the only one.
        if let Some((first, _)) = self.queue.front()
            && *first == signal
            && self.queue.len() == 1
        {
            self.set = self.set.without(signal);
            return self.queue.pop_front().map(|(_, info)| info);
        }
        let at = self.queue.iter().position(|(queued, _)| *queued == signal);
        let info = at.and_then(|at| self.queue.remove(at)).map(|(_, info)| info);
        if !self.queue.iter().any(|(queued, _)| *queued == signal) {
            self.set = self.set.without(signal);
        }
        info
    }

    /// The first entry of a signal that meets a condition.
    pub fn find_mut(&mut self, signal: Signal, condition: impl Fn(&I) -> bool) -> Option<&mut I> {
        self.queue
            .iter_mut()
            .find(|(queued, info)| *queued == signal && condition(info))
            .map(|(_, info)| info)
    }

    /// Drops the entries that meet a condition, and the signals that are then left without an entry.
    pub fn remove_if(&mut self, condition: impl Fn(&I) -> bool) {
        let mut touched = SigSet::EMPTY;
        self.queue.retain(|(signal, info)| {
            let drop = condition(info);
            if drop {
                touched = touched.with(*signal);
            }
            !drop
        });
        for signal in touched.iter() {
            if !self.queue.iter().any(|(queued, _)| *queued == signal) {
                self.set = self.set.without(signal);
            }
        }
    }

    /// Drops all instances of these signals.
    pub fn discard(&mut self, signals: SigSet) {
        if self.set.intersection(signals).is_empty() {
            return;
        }
        self.set = self.set.difference(signals);
        self.queue.retain(|(signal, _)| !signals.contains(*signal));
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::{most_urgent, take_next};
    use proptest::prelude::*;
    use std::vec::Vec;

    fn signal(number: u32) -> Signal {
        Signal::new(number).unwrap()
    }

    #[test]
    fn standard_signals_merge_and_realtime_signals_queue() {
        let mut pending = Pending::new();
        assert_eq!(pending.push(Signal::SIGUSR1, Some(1)), Push::Queued);
        assert_eq!(pending.push(Signal::SIGUSR1, Some(2)), Push::Merged);
        assert_eq!(pending.push(signal(40), Some(3)), Push::Queued);
        assert_eq!(pending.push(signal(40), Some(4)), Push::Queued);
        assert_eq!(pending.take(signal(40)), Some(3));
        assert!(pending.set().contains(signal(40)));
        assert_eq!(pending.take(signal(40)), Some(4));
        assert!(!pending.set().contains(signal(40)));
        assert_eq!(pending.take(Signal::SIGUSR1), Some(1));
        assert!(pending.set().is_empty());
    }

    #[test]
    fn own_signals_come_before_the_process_s() {
        let mut private = Pending::new();
        let mut shared = Pending::new();
        shared.push(Signal::SIGHUP, Some(1));
        private.push(Signal::SIGTERM, Some(2));
        private.push(Signal::SIGSEGV, Some(3));
        let mut take = || take_next(&mut private, &mut shared, SigSet::EMPTY);
        assert_eq!(take(), Some((Signal::SIGSEGV, Some(3))));
        assert_eq!(take(), Some((Signal::SIGTERM, Some(2))));
        assert_eq!(take(), Some((Signal::SIGHUP, Some(1))));
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
                        pending.push(signal(number), info);
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
                        prop_assert_eq!(take_next(&mut pending, &mut Pending::new(), blocked), expected);
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
