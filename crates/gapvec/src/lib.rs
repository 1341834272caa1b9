//! A vector with a gap where it was last changed: insertions and removals near each other are cheap however long it is, as those of mappings
//! are, which come and go from one end to the other. What lies behind the gap stands in a second vector, in reverse.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// See the top of the crate.
#[derive(Debug)]
pub struct GapVec<T> {
    before: Vec<T>,
    /// The last element first.
    after: Vec<T>,
}

impl<T> Default for GapVec<T> {
    fn default() -> Self {
        Self { before: Vec::new(), after: Vec::new() }
    }
}

impl<T: Clone> GapVec<T> {
    /// A copy, whose gap is at its end.
    pub fn try_clone(&self) -> Result<Self, TryReserveError> {
        let mut before = Vec::new();
        before.try_reserve_exact(self.len())?;
        before.extend_from_slice(&self.before);
        before.extend(self.after.iter().rev().cloned());
        Ok(Self { before, after: Vec::new() })
    }
}

impl<T> GapVec<T> {
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        match self.before.get(index) {
            Some(element) => Some(element),
            None => self.after.get(self.len().wrapping_sub(index + 1)),
        }
    }

    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let len = self.len();
        match self.before.get_mut(index) {
            Some(element) => Some(element),
            None => self.after.get_mut(len.wrapping_sub(index + 1)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.before.iter().chain(self.after.iter().rev())
    }

    /// How many elements at the start pass a test that none passes behind them.
    #[inline]
    #[must_use]
    pub fn partition_point(&self, mut passes: impl FnMut(&T) -> bool) -> usize {
        let in_after = self.before.last().is_none_or(&mut passes);
        if in_after {
            self.len() - self.after.partition_point(|element| !passes(element))
        } else {
            self.before.partition_point(passes)
        }
    }

    /// Makes room for so many more.
    ///
    /// # Errors
    /// There is no memory.
    pub fn try_reserve(&mut self, more: usize) -> Result<(), TryReserveError> {
        let len = self.len() + more;
        // Wherever the gap goes, either side takes everything without growing.
        self.before.try_reserve(len - self.before.len())?;
        self.after.try_reserve(len - self.after.len())
    }

    #[inline(never)]
    fn move_gap(&mut self, index: usize) {
        while self.before.len() > index
            && let Some(element) = self.before.pop()
        {
            self.after.push(element);
        }
        while self.before.len() < index
            && let Some(element) = self.after.pop()
        {
            self.before.push(element);
        }
    }

    /// Puts an element where `index` is; at the end if there aren't as many. Takes no memory if there was room.
    #[inline(always)]
    pub fn insert(&mut self, index: usize, element: T) {
        if self.before.len() != index {
            self.move_gap(index);
        }
        self.before.push(element);
    }

    /// Takes an element out, if there is one.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        // The element beside the gap on either side needs no move.
        if self.before.len() == index + 1 {
            return self.before.pop();
        }
        if self.before.len() != index {
            // Without room on the other side, and no memory for it, a removal must do all the same: shifting needs none.
            if !self.has_room(0) && self.try_reserve(0).is_err() {
                return self.remove_in_place(index);
            }
            self.move_gap(index);
        }
        self.after.pop()
    }

    /// As `remove`, for an element that nobody wants: beside the gap it is dropped where it is.
    pub fn discard(&mut self, index: usize) {
        if self.before.len() == index + 1 {
            drop(self.before.pop());
        } else if self.before.len() == index {
            drop(self.after.pop());
        } else {
            drop(self.remove(index));
        }
    }

    /// Whether so many more need no memory.
    #[inline]
    #[must_use]
    pub fn has_room(&self, more: usize) -> bool {
        self.before.capacity().min(self.after.capacity()) >= self.len() + more
    }

    #[cold]
    fn remove_in_place(&mut self, index: usize) -> Option<T> {
        if index < self.before.len() {
            return Some(self.before.remove(index));
        }
        let at = self.len().checked_sub(index + 1)?;
        Some(self.after.remove(at))
    }

    /// Takes the elements from `first` up to `last` out; `gone` sees each, in order.
    pub fn remove_range(&mut self, first: usize, last: usize, mut gone: impl FnMut(&T)) {
        for _ in first..last {
            if let Some(element) = self.remove(first) {
                gone(&element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize),
        Remove(usize),
        Discard(usize),
        RemoveRange(usize, usize),
        Set(usize),
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = 0..40usize;
        prop_oneof![
            5 => at.clone().prop_map(Step::Insert),
            3 => at.clone().prop_map(Step::Remove),
            2 => at.clone().prop_map(Step::Discard),
            1 => (at.clone(), 0..5usize).prop_map(|(at, len)| Step::RemoveRange(at, len)),
            1 => at.prop_map(Step::Set),
            1 => Just(Step::Copy),
        ]
    }

    #[test]
    fn a_copy_is_taken_apart_from_its_start_without_shifting() {
        let mut all = GapVec::default();
        for number in 0..1000 {
            all.try_reserve(1).unwrap();
            all.insert(number, number);
        }
        let mut copy = all.try_clone().unwrap();
        assert_eq!(copy.remove(3), Some(3));
        // The gap has gone there, and stays for the next.
        assert!(copy.has_room(0));
        assert_eq!((copy.before.len(), copy.after.len()), (3, 996));
        assert_eq!(copy.remove(3), Some(4));
    }

    proptest! {
        #[test]
        fn as_a_vector(steps in prop::collection::vec(step(), 0..120)) {
            let (mut ours, mut model) = (GapVec::default(), vec![]);
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(at) => {
                        let at = at.min(model.len());
                        ours.try_reserve(1).unwrap();
                        ours.insert(at, number);
                        model.insert(at, number);
                    }
                    Step::Remove(at) => {
                        let expected = (at < model.len()).then(|| model.remove(at));
                        prop_assert_eq!(ours.remove(at), expected);
                    }
                    Step::Discard(at) => {
                        ours.discard(at);
                        if at < model.len() {
                            model.remove(at);
                        }
                    }
                    Step::RemoveRange(at, len) => {
                        let (first, last) = (at.min(model.len()), (at + len).min(model.len()));
                        let mut gone = vec![];
                        ours.remove_range(first, last, |&element| gone.push(element));
                        prop_assert_eq!(gone, model.drain(first..last).collect::<Vec<_>>());
                    }
                    Step::Set(at) => {
                        if let Some(element) = model.get_mut(at) {
                            *element = 1000 + number;
                        }
                        if let Some(element) = ours.get_mut(at) {
                            *element = 1000 + number;
                        }
                    }
                    Step::Copy => ours = ours.try_clone().unwrap(),
                }
                prop_assert!(ours.iter().eq(&model));
                prop_assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
                for index in 0..model.len() + 2 {
                    prop_assert_eq!(ours.get(index), model.get(index));
                }
            }
        }

        #[test]
        fn searches(mut sorted in prop::collection::vec(0..100u32, 0..50), gap in 0..50usize) {
            sorted.sort_unstable();
            let mut ours = GapVec::default();
            for &element in &sorted {
                ours.try_reserve(1).unwrap();
                ours.insert(ours.len(), element);
            }
            ours.move_gap(gap.min(sorted.len()));
            for limit in 0..=100 {
                prop_assert_eq!(ours.partition_point(|&e| e < limit), sorted.partition_point(|&e| e < limit));
            }
        }
    }

    #[test]
    fn changes_beside_each_other_move_little() {
        // A hundred thousand from the front, as mappings come: with a plain vector these would be five billion moves.
        let mut list = GapVec::default();
        for number in 0..100_000 {
            list.try_reserve(1).unwrap();
            list.insert(0, number);
        }
        for number in (0..100_000).rev() {
            assert_eq!(list.remove(0), Some(number));
        }
    }
}
