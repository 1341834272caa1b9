//! The regions themselves: looking up, inserting with merges, removing with splits.
//!
//! The list is a sorted vector, highest region first: mmap places downwards, so that a new mapping goes near its end, and moves
//! only the few regions of program and heap, however many mappings there are (tests/cost.rs counts the instructions).

use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use crate::{Backing, LOWEST, Limits, MAX_REGIONS, MapError, USER_TOP, Vma, VmaFlags};

/// Bytes that a map holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All regions (`VmSize`, RLIMIT_AS).
    pub total: usize,
    /// Private writable regions but stacks (`VmData`, RLIMIT_DATA).
    pub data: usize,
    /// Growing regions (`VmStk`).
    pub stack: usize,
}

impl Usage {
    #[inline]
    fn add(&mut self, flags: VmaFlags, len: usize) {
        // Regions don't overlap and end below 2^47: no sum of their lengths overflows.
        self.total = self.total.wrapping_add(len);
        if flags.is_data() {
            self.data = self.data.wrapping_add(len);
        }
        if flags.contains(VmaFlags::GROWS_DOWN) {
            self.stack = self.stack.wrapping_add(len);
        }
    }

    #[inline]
    fn sub(&mut self, flags: VmaFlags, len: usize) {
        self.total = self.total.wrapping_sub(len);
        if flags.is_data() {
            self.data = self.data.wrapping_sub(len);
        }
        if flags.contains(VmaFlags::GROWS_DOWN) {
            self.stack = self.stack.wrapping_sub(len);
        }
    }

    /// Whether `len` more bytes with these flags stay within the limits, when `replaced` bytes go.
    pub(crate) fn allows(&self, flags: VmaFlags, len: usize, replaced: usize, limits: &Limits) -> bool {
        let more = len.saturating_sub(replaced);
        self.total.saturating_add(more) <= limits.total
            && (!flags.is_data() || self.data.saturating_add(more) <= limits.data)
    }
}

/// All regions of one address space.
#[derive(Debug)]
pub struct VmaMap<B> {
    /// Highest first, never overlapping.
    list: Vec<Vma<B>>,
    pub(crate) usage: Usage,
    /// Where the last lookup ended.
    hint: Cell<usize>,
    /// mmap searches downwards from here.
    pub(crate) mmap_top: usize,
    pub(crate) gaps: Gaps,
}

/// What the search for free space remembers: above `ceiling` there is no gap of more than `hole` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gaps {
    pub(crate) ceiling: usize,
    pub(crate) hole: usize,
    /// Probably how many regions start at or above the ceiling.
    pub(crate) index: usize,
}

impl<B: Backing> VmaMap<B> {
    /// An empty map; mmap looks for room downwards from `mmap_top`.
    pub const fn new(mmap_top: usize) -> Self {
        Self {
            list: Vec::new(),
            usage: Usage { total: 0, data: 0, stack: 0 },
            hint: Cell::new(0),
            mmap_top,
            gaps: Gaps { ceiling: mmap_top, hole: 0, index: 0 },
        }
    }

    /// Where mmap's search starts.
    pub const fn mmap_top(&self) -> usize {
        self.mmap_top
    }

    /// A copy, as fork needs it. [`MapError::NoMemory`].
    pub fn try_clone(&self) -> Result<Self, MapError> {
        let mut list = Vec::new();
        list.try_reserve_exact(self.list.len() + 1).map_err(|_| MapError::NoMemory)?;
        list.extend_from_slice(&self.list);
        Ok(Self {
            list,
            usage: self.usage,
            hint: self.hint.clone(),
            mmap_top: self.mmap_top,
            gaps: self.gaps,
        })
    }

    /// How many regions there are.
    #[inline]
    pub const fn count(&self) -> usize {
        self.list.len()
    }

    /// How many bytes they have.
    #[inline]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// All regions, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma<B>> + ExactSizeIterator {
        self.list.iter().rev()
    }

    /// How many regions end above an address: the last of them is the lowest that does.
    #[inline]
    fn ending_above(&self, address: usize) -> usize {
        self.list.partition_point(|region| region.end > address)
    }

    /// Index of the region that holds an address.
    #[inline]
    fn index_of(&self, address: usize) -> Option<usize> {
        let hint = self.hint.get();
        if self.list.get(hint).is_some_and(|region| region.contains(address)) {
            return Some(hint);
        }
        let index = self.ending_above(address).checked_sub(1)?;
        if self.list.get(index)?.start > address {
            return None;
        }
        self.hint.set(index);
        Some(index)
    }

    /// The region that holds an address.
    #[inline]
    pub fn find(&self, address: usize) -> Option<&Vma<B>> {
        self.index_of(address).and_then(|index| self.list.get(index))
    }

    /// The lowest region that ends above an address: it holds the address or lies above it.
    pub fn find_from(&self, address: usize) -> Option<&Vma<B>> {
        self.list.get(self.ending_above(address).checked_sub(1)?)
    }

    /// How many regions start at or above an address: `guess`, if that is right.
    #[inline]
    pub(crate) fn starting_above(&self, address: usize, guess: usize) -> usize {
        let is_above = |region: &Vma<B>| region.start >= address;
        if guess.checked_sub(1).is_none_or(|last| self.list.get(last).is_some_and(is_above))
            && self.list.get(guess).map_or(guess == self.list.len(), |region| !is_above(region))
        {
            return guess;
        }
        self.list.partition_point(is_above)
    }

    /// The region at an index, counted from the highest.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Vma<B>> {
        self.list.get(index)
    }

    /// The highest region that ends at or below an address.
    pub fn find_before(&self, address: usize) -> Option<&Vma<B>> {
        self.list.get(self.ending_above(address))
    }

    /// Regions that overlap a range, lowest first.
    pub fn overlapping(&self, range: Range<usize>) -> impl Iterator<Item = &Vma<B>> {
        let end = self.ending_above(range.start);
        let candidates = self.list.get(..end).unwrap_or_default();
        candidates.iter().rev().take_while(move |region| region.start < range.end)
    }

    /// Whether every page of a range belongs to a region.
    pub fn is_covered(&self, range: Range<usize>) -> bool {
        let mut at = range.start;
        for region in self.overlapping(range.clone()) {
            if region.start > at {
                return false;
            }
            at = region.end;
        }
        at >= range.end
    }

    /// Bytes of a range that belong to regions.
    pub fn covered_len(&self, range: Range<usize>) -> usize {
        let piece = |region: &Vma<B>| region.end.min(range.end).saturating_sub(region.start.max(range.start));
        self.overlapping(range.clone()).map(piece).sum()
    }

    /// Whether nothing is mapped in a range, guard gaps counted as mapped.
    pub fn is_free(&self, range: Range<usize>) -> bool {
        range.start >= LOWEST
            && range.end <= USER_TOP
            && self.find_from(range.start).is_none_or(|region| region.usable_start() >= range.end)
    }

    /// Makes room in the list. [`MapError::NoMemory`].
    fn reserve(&mut self, more: usize) -> Result<(), MapError> {
        if self.list.capacity() - self.list.len() >= more {
            return Ok(());
        }
        self.list.try_reserve(more).map_err(|_| MapError::NoMemory)
    }

    /// Room for `more` regions that come from splitting one.
    fn reserve_split(&mut self, more: usize) -> Result<(), MapError> {
        if self.list.len() + more > MAX_REGIONS {
            return Err(MapError::NoMemory);
        }
        self.reserve(more)
    }

    /// Adds a region where there is none, merging it with its neighbours. [`MapError::NoMemory`] beyond [`MAX_REGIONS`],
    /// [`MapError::Occupied`] if something is there, [`MapError::Invalid`] if it is no range of pages below [`USER_TOP`].
    pub fn insert(&mut self, region: Vma<B>) -> Result<(), MapError> {
        let Vma { start, end, .. } = region;
        if start >= end || end > USER_TOP || (start | end) & (crate::PAGE_SIZE - 1) != 0 {
            return Err(MapError::Invalid);
        }
        if self.list.len() > MAX_REGIONS {
            return Err(MapError::NoMemory);
        }
        let index = self.ending_above(start);
        if index.checked_sub(1).and_then(|above| self.list.get(above)).is_some_and(|above| above.start < end)
        {
            return Err(MapError::Occupied);
        }
        self.insert_at(index, region)
    }

    /// Adds a valid region that belongs between those at `index - 1` and `index`.
    pub(crate) fn insert_at(&mut self, index: usize, region: Vma<B>) -> Result<(), MapError> {
        let Vma { start, end, flags, .. } = region;
        let above = index.checked_sub(1).and_then(|above| self.list.get(above));
        let joins_above =
            above.is_some_and(|above| region.continues_into(above.start, above.flags, &above.backing));
        // What lies below a region that stands in a stack's guard gap is guarded no longer.
        let in_gap = above
            .is_some_and(|above| above.flags.contains(VmaFlags::GROWS_DOWN) && above.usable_start() < end);
        let joins_below =
            self.list.get(index).is_some_and(|below| below.continues_into(start, flags, &region.backing));
        if joins_below || joins_above {
            self.join(index, region, joins_below, joins_above);
        } else {
            self.reserve(1)?;
            self.list.insert(index, region);
            self.hint.set(index);
            if in_gap {
                self.gaps.ceiling = self.gaps.ceiling.max(start.min(self.mmap_top));
            }
        }
        self.usage.add(flags, end - start);
        Ok(())
    }

    /// Makes a new region part of its neighbours.
    fn join(&mut self, index: usize, region: Vma<B>, joins_below: bool, joins_above: bool) {
        let above_index = index.wrapping_sub(1);
        if joins_below {
            let end = if joins_above { self.list.get(above_index).map(|above| above.end) } else { None };
            if let Some(below) = self.list.get_mut(index) {
                below.end = end.unwrap_or(region.end);
            }
            if joins_above {
                self.list.remove(above_index);
            }
        } else if let Some(above) = self.list.get_mut(above_index) {
            above.start = region.start;
            above.backing = region.backing;
        }
    }

    /// Takes a range out. `gone` sees each piece that was there, lowest first. [`MapError::NoMemory`] if the hole would make one region too
    /// many: then nothing has changed.
    pub fn remove(&mut self, range: Range<usize>, mut gone: impl FnMut(Vma<B>)) -> Result<(), MapError> {
        if range.is_empty() {
            return Ok(());
        }
        let mut lowest = self.hint.get();
        if !self.list.get(lowest).is_some_and(|region| region.contains(range.start)) {
            let Some(found) = self.ending_above(range.start).checked_sub(1) else { return Ok(()) };
            lowest = found;
        }
        let Some(region) = self.list.get_mut(lowest) else { return Ok(()) };
        if region.start >= range.end {
            return Ok(());
        }
        if region.start >= range.start && region.end == range.end {
            // The commonest unmapping takes exactly one region out.
            let region = self.list.remove(lowest);
            self.forget(region, lowest, &mut gone);
            return Ok(());
        }
        if region.start < range.start && region.end > range.end {
            let (piece, upper) = (region.part(range.clone()), region.part(range.end..region.end));
            self.reserve_split(1)?;
            if let Some(region) = self.list.get_mut(lowest) {
                region.end = range.start;
            }
            self.list.insert(lowest, upper);
            self.forget(piece, lowest + 1, &mut gone);
            return Ok(());
        }
        // Whole regions between a lower one that keeps its front and an upper one that keeps its tail.
        let mut whole_end = lowest + 1;
        if region.start < range.start {
            let piece = region.part(range.start..region.end);
            region.end = range.start;
            whole_end = lowest;
            self.forget(piece, lowest, &mut gone);
        }
        let mut whole_start = whole_end;
        while let Some(region) = whole_start.checked_sub(1).and_then(|index| self.list.get_mut(index)) {
            if region.start >= range.end {
                break;
            }
            if region.end > range.end {
                let piece = region.part(region.start..range.end);
                region.cut_front(range.end);
                self.take(whole_start..whole_end, &mut gone);
                self.forget(piece, whole_start, &mut gone);
                return Ok(());
            }
            whole_start -= 1;
        }
        self.take(whole_start..whole_end, &mut gone);
        Ok(())
    }

    /// Takes whole regions out.
    fn take(&mut self, indices: Range<usize>, gone: &mut impl FnMut(Vma<B>)) {
        if indices.is_empty() {
            return;
        }
        let index = indices.start;
        let mut usage = self.usage;
        for region in self.list.drain(indices).rev() {
            usage.sub(region.flags, region.len());
            gone(region);
        }
        self.usage = usage;
        self.note_gap_below(index);
    }

    /// Accounts for a piece that is gone, below the region at `index - 1`.
    #[inline]
    fn forget(&mut self, piece: Vma<B>, index: usize, gone: &mut impl FnMut(Vma<B>)) {
        self.usage.sub(piece.flags, piece.len());
        self.note_gap_below(index);
        gone(piece);
    }

    /// There is more room now below the region at `index - 1`: the search for free space must look there again.
    #[inline]
    fn note_gap_below(&mut self, index: usize) {
        let next = index.checked_sub(1).and_then(|above| self.list.get(above));
        let ceiling = next.map_or(self.mmap_top, |above| above.start.min(self.mmap_top));
        if ceiling >= self.gaps.ceiling {
            self.gaps.ceiling = ceiling;
            self.gaps.index = index;
        }
    }

    /// Gives a part of the region at `index` other flags: splits it, or moves the boundary to a neighbour that is the same then.
    pub(crate) fn restamp(&mut self, piece: Range<usize>, flags: VmaFlags) -> Result<(), MapError> {
        let Some(index) = self.index_of(piece.start) else { return Err(MapError::NoMemory) };
        let Some(region) = self.list.get(index) else { return Err(MapError::NoMemory) };
        let old = region.flags;
        if old == flags {
            return Ok(());
        }
        let (at_start, at_end) = (region.start == piece.start, region.end == piece.end);
        let joins_below = at_start
            && self
                .list
                .get(index + 1)
                .is_some_and(|below| below.continues_into(piece.start, flags, &region.backing));
        let joins_above = at_end
            && index.checked_sub(1).and_then(|above| self.list.get(above)).is_some_and(|above| {
                above.start == piece.end
                    && above.flags == flags
                    && region.backing.continues(crate::pages(region.len()), &above.backing)
            });
        match (at_start, at_end) {
            (true, true) => self.restamp_whole(index, flags, joins_below, joins_above),
            (true, false) => {
                if joins_below {
                    if let Some(below) = self.list.get_mut(index + 1) {
                        below.end = piece.end;
                    }
                } else {
                    self.reserve_split(1)?;
                    if let Some(region) = self.list.get(index) {
                        let mut part = region.part(piece.clone());
                        part.flags = flags;
                        self.list.insert(index + 1, part);
                    }
                }
                if let Some(region) = self.list.get_mut(index) {
                    region.cut_front(piece.end);
                }
            }
            (false, true) => {
                if !joins_above {
                    self.reserve_split(1)?;
                }
                let Some(region) = self.list.get_mut(index) else { return Err(MapError::NoMemory) };
                let mut part = region.part(piece.clone());
                part.flags = flags;
                region.end = piece.start;
                match index.checked_sub(1).and_then(|above| self.list.get_mut(above)) {
                    Some(above) if joins_above => {
                        above.start = part.start;
                        above.backing = part.backing;
                    }
                    _ => self.list.insert(index, part),
                }
            }
            (false, false) => {
                self.reserve_split(2)?;
                let Some(region) = self.list.get_mut(index) else { return Err(MapError::NoMemory) };
                let upper = region.part(piece.end..region.end);
                let mut part = region.part(piece.clone());
                part.flags = flags;
                region.end = piece.start;
                self.list.insert(index, part);
                self.list.insert(index, upper);
            }
        }
        self.usage.sub(old, piece.len());
        self.usage.add(flags, piece.len());
        Ok(())
    }

    fn restamp_whole(&mut self, index: usize, flags: VmaFlags, joins_below: bool, joins_above: bool) {
        if joins_below {
            let region = self.list.remove(index);
            let mut end = region.end;
            let mut below_index = index;
            if joins_above && let Some(above_index) = index.checked_sub(1) {
                end = self.list.remove(above_index).end;
                below_index = above_index;
            }
            if let Some(below) = self.list.get_mut(below_index) {
                below.end = end;
            }
        } else if joins_above && let Some(above_index) = index.checked_sub(1) {
            let region = self.list.remove(index);
            if let Some(above) = self.list.get_mut(above_index) {
                above.start = region.start;
                above.backing = region.backing;
            }
        } else if let Some(region) = self.list.get_mut(index) {
            region.flags = flags;
        }
    }

    /// Moves a region's end up into free space (mremap in place), merging it with what it then touches. [`MapError::NotMapped`] if no region
    /// ends there, [`MapError::Occupied`] if the space is taken.
    pub fn grow_up(&mut self, end: usize, new_end: usize) -> Result<(), MapError> {
        let index = end.checked_sub(1).and_then(|last| self.index_of(last)).ok_or(MapError::NotMapped)?;
        let region = self.list.get(index).filter(|region| region.end == end).ok_or(MapError::NotMapped)?;
        if new_end <= end {
            return Err(MapError::Invalid);
        }
        let (flags, backing) = (region.flags, region.backing_at(end));
        self.insert(Vma { start: end, end: new_end, flags, backing })
    }

    /// Moves the start of the region at `start` down: what a stack does. Nothing may be in between.
    pub(crate) fn grow_down(&mut self, start: usize, new_start: usize) {
        if let Some(index) = self.index_of(start)
            && let Some(region) = self.list.get_mut(index)
            && region.start == start
        {
            let (flags, len) = (region.flags, start.saturating_sub(new_start));
            region.start = new_start;
            self.usage.add(flags, len);
        }
    }
}
