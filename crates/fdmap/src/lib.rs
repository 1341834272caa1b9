//! The table behind file descriptors: a value and a close-on-exec mark per number, the lowest free number first.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Why a number could not be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdError {
    /// Every number below the limit is taken. EMFILE.
    Full,
    /// No memory for a larger table. ENOMEM.
    NoMemory,
}

/// What exec does with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExec {
    Keep,
    Close,
}

/// Marks of 64 numbers, a bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    taken: u64,
    /// Closed by exec; a part of `taken`.
    closing: u64,
}

/// Descriptor numbers to values.
#[derive(Debug)]
pub struct FdMap<T> {
    /// Values alone, so that one that is a pointer takes a word.
    slots: Vec<Option<T>>,
    marks: Vec<Marks>,
    /// No number below this one is free.
    hint: usize,
}

impl<T> Default for FdMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A number's bit in its word.
const fn bit(fd: usize) -> u64 {
    1 << (fd % 64)
}

impl<T> FdMap<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), marks: Vec::new(), hint: 0 }
    }

    /// The value of a number.
    #[inline(always)]
    pub fn get(&self, fd: usize) -> Option<&T> {
        match self.slots.get(fd) {
            Some(Some(value)) => Some(value),
            _ => None,
        }
    }

    /// The marks of a number that is taken.
    fn marks_of(&mut self, fd: usize) -> Option<&mut Marks> {
        self.marks.get_mut(fd / 64).filter(|marks| marks.taken & bit(fd) != 0)
    }

    /// What exec does with a number that is taken.
    pub fn on_exec(&self, fd: usize) -> Option<OnExec> {
        let marks = self.marks.get(fd / 64).filter(|marks| marks.taken & bit(fd) != 0)?;
        Some(if marks.closing & bit(fd) != 0 { OnExec::Close } else { OnExec::Keep })
    }

    /// Sets what exec does; false if the number isn't taken.
    pub fn set_on_exec(&mut self, fd: usize, on_exec: OnExec) -> bool {
        let Some(marks) = self.marks_of(fd) else { return false };
        match on_exec {
            OnExec::Keep => marks.closing &= !bit(fd),
            OnExec::Close => marks.closing |= bit(fd),
        }
        true
    }

    /// The lowest free number from `from` on.
    fn lowest_free(&self, from: usize) -> usize {
        let from = from.max(self.hint);
        let mut word = from / 64;
        // Numbers below `from` count as taken.
        let mut below = bit(from) - 1;
        while let Some(marks) = self.marks.get(word) {
            let bits = marks.taken | below;
            if bits != u64::MAX {
                return word * 64 + bits.trailing_ones() as usize;
            }
            below = 0;
            word += 1;
        }
        from.max(word * 64)
    }

    /// Makes room for the number.
    #[inline(never)]
    fn grow(&mut self, fd: usize) -> Result<(), FdError> {
        // Most programs stay below a dozen.
        let len = (fd + 1).next_power_of_two().max(8);
        let words = len.div_ceil(64);
        self.marks
            .try_reserve_exact(words.saturating_sub(self.marks.len()))
            .map_err(|_| FdError::NoMemory)?;
        self.slots.try_reserve_exact(len - self.slots.len()).map_err(|_| FdError::NoMemory)?;
        self.marks.resize(words, Marks::default());
        self.slots.resize_with(len, || None);
        Ok(())
    }

    /// Marks a number as taken.
    #[inline(always)]
    fn mark_taken(&mut self, fd: usize, on_exec: OnExec) {
        if let Some(marks) = self.marks.get_mut(fd / 64) {
            marks.taken |= bit(fd);
            match on_exec {
                OnExec::Keep => marks.closing &= !bit(fd),
                OnExec::Close => marks.closing |= bit(fd),
            }
        }
    }

    /// Takes the lowest free number from `from` on, below `limit`.
    pub fn insert(&mut self, value: T, from: usize, limit: usize, on_exec: OnExec) -> Result<usize, FdError> {
        let fd = self.lowest_free(from);
        if fd >= limit {
            return Err(FdError::Full);
        }
        if fd >= self.slots.len() {
            self.grow(fd)?;
        }
        self.mark_taken(fd, on_exec);
        if let Some(slot) = self.slots.get_mut(fd) {
            *slot = Some(value);
        }
        if from <= self.hint {
            self.hint = fd + 1;
        }
        Ok(fd)
    }

    /// Whether [`FdMap::insert`] from 0 on would succeed, memory aside.
    #[inline]
    pub fn has_room(&self, limit: usize) -> bool {
        let is_free = |marks: &Marks| marks.taken & bit(self.hint) == 0;
        self.hint < limit && self.marks.get(self.hint / 64).is_none_or(is_free) || self.lowest_free(0) < limit
    }

    /// Takes this very number; what stood there comes back.
    pub fn replace(&mut self, fd: usize, value: T, on_exec: OnExec) -> Result<Option<T>, FdError> {
        if fd >= self.slots.len() {
            self.grow(fd)?;
        }
        self.mark_taken(fd, on_exec);
        Ok(self.slots.get_mut(fd).and_then(|slot| slot.replace(value)))
    }

    /// Frees a number.
    #[inline]
    pub fn remove(&mut self, fd: usize) -> Option<T> {
        let value = self.slots.get_mut(fd)?.take()?;
        if let Some(marks) = self.marks.get_mut(fd / 64) {
            marks.taken &= !bit(fd);
            marks.closing &= !bit(fd);
        }
        self.hint = self.hint.min(fd);
        Some(value)
    }

    /// The first taken number from `from` on, with its value.
    pub fn next(&self, from: usize) -> Option<(usize, &T)> {
        let slots = self.slots.get(from..)?;
        slots.iter().enumerate().find_map(|(at, slot)| Some((from + at, slot.as_ref()?)))
    }

    /// Frees one number in the range that `which` asks for; the caller repeats until nothing comes, dropping each value without its lock.
    pub fn take_in(&mut self, range: RangeInclusive<usize>, which: Take) -> Option<(usize, T)> {
        let mut at = *range.start();
        while let Some((fd, _)) = self.next(at) {
            if fd > *range.end() {
                return None;
            }
            if which == Take::All || self.on_exec(fd) == Some(OnExec::Close) {
                return self.remove(fd).map(|value| (fd, value));
            }
            at = fd + 1;
        }
        None
    }

    /// Marks every taken number in the range close-on-exec.
    pub fn close_on_exec_in(&mut self, range: RangeInclusive<usize>) {
        let mut at = *range.start();
        while let Some((fd, _)) = self.next(at) {
            if fd > *range.end() {
                return;
            }
            self.set_on_exec(fd, OnExec::Close);
            at = fd + 1;
        }
    }

    /// How many numbers there is room for, without growing.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }
}

/// Which numbers [`FdMap::take_in`] frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    All,
    CloseOnExec,
}

impl<T: Clone> FdMap<T> {
    /// A copy for a new process, of the numbers that `keep` says.
    pub fn try_clone(&self, keep: impl Fn(usize) -> bool) -> Result<Self, FdError> {
        let mut copy = Self::new();
        let used = self.marks.iter().rposition(|word| word.taken != 0).map_or(0, |word| (word + 1) * 64);
        let len = self.slots.len().min(used);
        copy.slots.try_reserve_exact(len).map_err(|_| FdError::NoMemory)?;
        copy.marks.try_reserve_exact(len.div_ceil(64)).map_err(|_| FdError::NoMemory)?;
        copy.marks.extend(self.marks.iter().take(len.div_ceil(64)));
        for (fd, slot) in self.slots.iter().take(len).enumerate() {
            let value = slot.as_ref().filter(|_| keep(fd)).cloned();
            if value.is_none()
                && let Some(marks) = copy.marks.get_mut(fd / 64)
            {
                marks.taken &= !bit(fd);
                marks.closing &= !bit(fd);
            }
            copy.slots.push(value);
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(usize, usize),
        Replace(usize),
        Remove(usize),
        Mark(usize),
        MarkRange(usize, usize),
        TakeRange(usize, usize, bool),
        Clone,
    }

    fn fd() -> impl Strategy<Value = usize> {
        prop_oneof![6 => 0usize..12, 2 => 60usize..70, 1 => 120usize..300]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (prop_oneof![Just(0usize), fd()], prop_oneof![Just(1024usize), fd()]).prop_map(|(a, b)| Op::Insert(a, b)),
            2 => fd().prop_map(Op::Replace),
            4 => fd().prop_map(Op::Remove),
            1 => fd().prop_map(Op::Mark),
            1 => (fd(), fd()).prop_map(|(a, b)| Op::MarkRange(a, b)),
            1 => (fd(), fd(), any::<bool>()).prop_map(|(a, b, c)| Op::TakeRange(a, b, c)),
            1 => Just(Op::Clone),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_naive_table(ops in prop::collection::vec(op(), 1..150)) {
            let mut map = FdMap::new();
            let mut model: BTreeMap<usize, (u32, bool)> = BTreeMap::new();
            let mut value = 0u32;
            for op in ops {
                value += 1;
                match op {
                    Op::Insert(from, limit) => {
                        let free = (from..).find(|n| !model.contains_key(n)).unwrap();
                        let got = map.insert(value, from, limit, OnExec::Keep);
                        if free < limit {
                            prop_assert_eq!(got, Ok(free));
                            model.insert(free, (value, false));
                        } else {
                            prop_assert_eq!(got, Err(FdError::Full));
                        }
                    }
                    Op::Replace(fd) => {
                        let old = map.replace(fd, value, OnExec::Close).unwrap();
                        prop_assert_eq!(old, model.insert(fd, (value, true)).map(|(v, _)| v));
                    }
                    Op::Remove(fd) => prop_assert_eq!(map.remove(fd), model.remove(&fd).map(|(v, _)| v)),
                    Op::Mark(fd) => {
                        let known = model.get_mut(&fd).map(|entry| entry.1 = true).is_some();
                        prop_assert_eq!(map.set_on_exec(fd, OnExec::Close), known);
                    }
                    Op::MarkRange(a, b) if a <= b => {
                        map.close_on_exec_in(a..=b);
                        model.range_mut(a..=b).for_each(|(_, entry)| entry.1 = true);
                    }
                    Op::TakeRange(a, b, all) if a <= b => {
                        let which = if all { Take::All } else { Take::CloseOnExec };
                        let expected: BTreeMap<usize, u32> =
                            model.range(a..=b).filter(|(_, e)| all || e.1).map(|(k, e)| (*k, e.0)).collect();
                        let taken: BTreeMap<usize, u32> = core::iter::from_fn(|| map.take_in(a..=b, which)).collect();
                        model.retain(|k, _| !expected.contains_key(k));
                        prop_assert_eq!(taken, expected);
                    }
                    Op::Clone => map = map.try_clone(|_| true).unwrap(),
                    _ => {}
                }
                for fd in 0..310 {
                    let marked = model.get(&fd).map(|e| if e.1 { OnExec::Close } else { OnExec::Keep });
                    prop_assert_eq!(map.get(fd), model.get(&fd).map(|e| &e.0));
                    prop_assert_eq!(map.on_exec(fd), marked);
                }
            }
        }
    }
}
