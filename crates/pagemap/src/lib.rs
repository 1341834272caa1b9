//! A sparse map from page numbers to pages: a file's page cache.
//!
//! The first pages stand in the map itself (most files are small); beyond them it is a radix tree of 64-way nodes, as high as the
//! largest number needs. Every allocation can fail and says so, since programs choose how large files get.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::ops::Range;

/// Pages that need no tree.
const INLINE_SLOTS: usize = 4;
const INLINE: u64 = INLINE_SLOTS as u64;
const BITS: u32 = 6;
const WAYS: usize = 1 << BITS;

/// No memory for a node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Either `WAYS` slots or none.
#[derive(Debug)]
enum Node<T> {
    Leaf(Vec<Option<T>>),
    Inner(Vec<Option<Node<T>>>),
}

/// Slots of a new node.
fn slots<S>() -> Result<Vec<Option<S>>, NoMemory> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(WAYS).map_err(|_| NoMemory)?;
    slots.resize_with(WAYS, || None);
    Ok(slots)
}

/// How many pages a tree of this height (in levels) holds; 11 levels hold any number.
fn capacity(levels: u32) -> u64 {
    1u64.checked_shl(levels * BITS).unwrap_or(u64::MAX)
}

/// The slot of `index` in a node at `level` (0 for leaves).
fn slot_of(index: u64, level: u32) -> usize {
    usize::try_from(index.checked_shr(level * BITS).unwrap_or(0) % (1 << BITS)).unwrap_or(0)
}

impl<T> Node<T> {
    fn new(level: u32) -> Result<Self, NoMemory> {
        Ok(if level == 0 { Self::Leaf(slots()?) } else { Self::Inner(slots()?) })
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(slots) => slots.iter().all(Option::is_none),
            Self::Inner(slots) => slots.iter().all(Option::is_none),
        }
    }

    /// First number in `range` for which there is a page (`present`) or none. `base` is the number of this node's first page.
    fn find(&self, level: u32, base: u64, range: &Range<u64>, present: bool) -> Option<u64> {
        let step = capacity(level);
        let first = range.start.saturating_sub(base) / step;
        for way in first..WAYS as u64 {
            let at = base.saturating_add(way.saturating_mul(step));
            if at >= range.end {
                return None;
            }
            let slot = usize::try_from(way).unwrap_or(WAYS);
            match self {
                Self::Leaf(slots) => {
                    if slots.get(slot).is_some_and(Option::is_some) == present {
                        return Some(at);
                    }
                }
                Self::Inner(slots) => match slots.get(slot).and_then(Option::as_ref) {
                    Some(node) => {
                        if let Some(found) = node.find(level - 1, at, range, present) {
                            return Some(found);
                        }
                    }
                    None if !present => return Some(at.max(range.start)),
                    None => {}
                },
            }
        }
        None
    }

    /// Takes every page in `range` out, the last one first. Returns how many there were.
    fn remove_range(
        &mut self,
        level: u32,
        base: u64,
        range: &Range<u64>,
        dropped: &mut impl FnMut(u64, T),
    ) -> u64 {
        let step = capacity(level);
        let mut removed = 0;
        let first = range.start.saturating_sub(base) / step;
        let end = range.end.saturating_sub(base).div_ceil(step).min(WAYS as u64);
        for way in (first..end).rev() {
            let at = base.saturating_add(way.saturating_mul(step));
            let slot = usize::try_from(way).unwrap_or(WAYS);
            match self {
                Self::Leaf(slots) => {
                    if let Some(page) = slots.get_mut(slot).and_then(Option::take) {
                        removed += 1;
                        dropped(at, page);
                    }
                }
                Self::Inner(slots) => {
                    if let Some(child) = slots.get_mut(slot)
                        && let Some(node) = child
                    {
                        removed += node.remove_range(level - 1, at, range, dropped);
                        if node.is_empty() {
                            *child = None;
                        }
                    }
                }
            }
        }
        removed
    }
}

/// Page numbers to pages.
#[derive(Debug)]
pub struct PageMap<T> {
    inline: [Option<T>; INLINE_SLOTS],
    root: Option<Node<T>>,
    /// Levels of the tree.
    levels: u32,
    len: u64,
}

impl<T> Default for PageMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PageMap<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { inline: [const { None }; INLINE_SLOTS], root: None, levels: 0, len: 0 }
    }

    /// How many pages there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The page of that number.
    #[inline]
    pub fn get(&self, index: u64) -> Option<&T> {
        if index < INLINE {
            return self.inline.get(usize::try_from(index).ok()?)?.as_ref();
        }
        self.get_in_tree(index)
    }

    /// The slots from a number on that stand together: of one node, or none where there is no node.
    #[inline]
    pub fn run(&self, index: u64) -> &[Option<T>] {
        let (slots, first) = if index < INLINE {
            (&self.inline[..], usize::try_from(index).unwrap_or(INLINE_SLOTS))
        } else {
            (self.leaf(index).unwrap_or_default(), slot_of(index, 0))
        };
        slots.get(first..).unwrap_or_default()
    }

    fn leaf(&self, index: u64) -> Option<&[Option<T>]> {
        if index >= capacity(self.levels) {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let mut level = self.levels;
        loop {
            level = level.checked_sub(1)?;
            match node {
                Node::Leaf(slots) => return Some(slots),
                Node::Inner(slots) => node = slots.get(slot_of(index, level))?.as_ref()?,
            }
        }
    }

    fn get_in_tree(&self, index: u64) -> Option<&T> {
        if index >= capacity(self.levels) {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let mut level = self.levels.checked_sub(1)?;
        loop {
            match node {
                Node::Leaf(slots) => return slots.get(slot_of(index, 0))?.as_ref(),
                Node::Inner(slots) => node = slots.get(slot_of(index, level))?.as_ref()?,
            }
            level = level.checked_sub(1)?;
        }
    }

    /// Puts a page in; the one that was there comes back.
    pub fn insert(&mut self, index: u64, page: T) -> Result<Option<T>, NoMemory> {
        let slot = self.slot(index)?;
        let old = slot.replace(page);
        if old.is_none() {
            self.len += 1;
        }
        Ok(old)
    }

    /// The slot for a number, the way to it built.
    fn slot(&mut self, index: u64) -> Result<&mut Option<T>, NoMemory> {
        if index < INLINE {
            return usize::try_from(index).ok().and_then(|i| self.inline.get_mut(i)).ok_or(NoMemory);
        }
        while self.levels == 0 || (index >= capacity(self.levels) && self.levels < u64::BITS.div_ceil(BITS)) {
            let mut node = Node::new(self.levels)?;
            if let (Node::Inner(slots), Some(old)) = (&mut node, self.root.take())
                && let Some(first) = slots.first_mut()
            {
                *first = Some(old);
            }
            self.root = Some(node);
            self.levels += 1;
        }
        let mut level = self.levels - 1;
        let mut node = self.root.as_mut().ok_or(NoMemory)?;
        loop {
            match node {
                Node::Leaf(slots) => return slots.get_mut(slot_of(index, 0)).ok_or(NoMemory),
                Node::Inner(slots) => {
                    let child = slots.get_mut(slot_of(index, level)).ok_or(NoMemory)?;
                    level -= 1;
                    node = match child {
                        Some(node) => node,
                        None => child.insert(Node::new(level)?),
                    };
                }
            }
        }
    }

    /// First number in `range` with a page.
    pub fn next_present(&self, range: Range<u64>) -> Option<u64> {
        let inline = (range.start..range.end.min(INLINE)).find(|&index| self.get(index).is_some());
        if inline.is_some() || self.root.is_none() {
            return inline;
        }
        let range = range.start.max(INLINE)..range.end;
        self.root.as_ref()?.find(self.levels - 1, 0, &range, true)
    }

    /// First number in `range` without a page.
    pub fn next_absent(&self, range: Range<u64>) -> Option<u64> {
        if let Some(index) = (range.start..range.end.min(INLINE)).find(|&index| self.get(index).is_none()) {
            return Some(index);
        }
        let range = range.start.max(INLINE)..range.end;
        if range.is_empty() {
            return None;
        }
        let Some(root) = &self.root else { return Some(range.start) };
        root.find(self.levels - 1, 0, &range, false).or_else(|| {
            let beyond = range.start.max(capacity(self.levels));
            (beyond < range.end).then_some(beyond)
        })
    }

    /// Takes one page out.
    pub fn remove(&mut self, index: u64) -> Option<T> {
        let mut found = None;
        self.remove_range(index..index.saturating_add(1), |_, page| found = Some(page));
        found
    }

    /// Takes out every page in `range` and hands each over. Returns how many there were.
    pub fn remove_range(&mut self, range: Range<u64>, mut dropped: impl FnMut(u64, T)) -> u64 {
        let mut removed = 0;
        if self.len == 0 {
            return 0;
        }
        if let Some(root) = &mut self.root {
            let range = range.start.max(INLINE)..range.end;
            removed += root.remove_range(self.levels - 1, 0, &range, &mut dropped);
            if root.is_empty() {
                self.root = None;
                self.levels = 0;
            }
        }
        for index in (range.start..range.end.min(INLINE)).rev() {
            let slot = usize::try_from(index).ok().and_then(|i| self.inline.get_mut(i));
            if let Some(page) = slot.and_then(Option::take) {
                removed += 1;
                dropped(index, page);
            }
        }
        self.len -= removed;
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, u32),
        Remove(u64),
        RemoveRange(u64, u64),
        Present(u64, u64),
        Absent(u64, u64),
    }

    fn index() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0u64..8, 4 => 0u64..200, 2 => 4000u64..4200, 1 => 262_100u64..262_200, 1 => (1u64 << 51) - 3..1u64 << 51, 1 => u64::MAX - 2..u64::MAX]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (index(), any::<u32>()).prop_map(|(i, v)| Op::Insert(i, v)),
            1 => index().prop_map(Op::Remove),
            1 => (index(), index()).prop_map(|(a, b)| Op::RemoveRange(a, b)),
            1 => (index(), index()).prop_map(|(a, b)| Op::Present(a, b)),
            1 => (index(), index()).prop_map(|(a, b)| Op::Absent(a, b)),
        ]
    }

    fn absent(model: &BTreeMap<u64, u32>, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to && model.contains_key(&at) {
            at += 1;
        }
        (at < to).then_some(at)
    }

    proptest! {
        #[test]
        fn behaves_as_a_btree_map(ops in prop::collection::vec(op(), 1..120)) {
            let mut map = PageMap::new();
            let mut model = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Insert(i, v) => prop_assert_eq!(map.insert(i, v).unwrap(), model.insert(i, v)),
                    Op::Remove(i) => prop_assert_eq!(map.remove(i), model.remove(&i)),
                    Op::RemoveRange(a, b) => {
                        let mut out = BTreeMap::new();
                        let count = map.remove_range(a..b, |i, v| { out.insert(i, v); });
                        let keys: Vec<u64> = model.keys().copied().filter(|k| (a..b).contains(k)).collect();
                        let expected: BTreeMap<u64, u32> =
                            keys.iter().map(|k| (*k, model.remove(k).unwrap())).collect();
                        prop_assert_eq!(count, expected.len() as u64);
                        prop_assert_eq!(out, expected);
                    }
                    Op::Present(a, b) => {
                        let expected = if a < b { model.range(a..b).next().map(|(k, _)| *k) } else { None };
                        prop_assert_eq!(map.next_present(a..b), expected);
                    }
                    Op::Absent(a, b) => prop_assert_eq!(map.next_absent(a..b), absent(&model, a, b)),
                }
                prop_assert_eq!(map.len(), model.len() as u64);
            }
            for (k, v) in &model {
                prop_assert_eq!(map.get(*k), Some(v));
                for (nth, slot) in map.run(*k).iter().enumerate() {
                    prop_assert_eq!(slot.as_ref(), model.get(&(*k + nth as u64)));
                }
                prop_assert!(!map.run(*k).is_empty());
            }
        }
    }
}
