//! The map of an address space's regions: sorted, never overlapping.

mod region;

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use abi::Errno;
use gapvec::GapVec;

pub use self::region::{Backing, Region, RegionFlags};
use super::object::MemoryObject;
use super::{PAGE_SIZE, USER_TOP, page_floor};

/// Lowest address that a program may map.
pub const LOWEST: usize = 0x1_0000;
/// Pages of the largest file: a mapping ends there at the latest.
pub const LAST_PAGE: u64 = i64::MAX as u64 / PAGE_SIZE as u64;

/// Regions that an address space may have (`vm.max_map_count`).
pub static MAX_REGIONS: AtomicU64 = AtomicU64::new(65_530);
/// Pages kept free below a growing stack (`stack_guard_gap`).
pub const STACK_GAP: usize = 256 * PAGE_SIZE;

/// All regions of one address space.
#[derive(Default)]
pub struct Regions {
    list: GapVec<Region>,
    hint: Hint,
    /// Where the last search for room among many regions found some, 0 if that says nothing any more; and the largest hole above it.
    searched: (usize, usize),
}

/// Where the last search ended: the next one is often for the same place. Whatever it says is checked.
#[derive(Debug, Default)]
pub struct Hint(AtomicUsize);

impl Hint {
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline(always)]
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set(&self, index: usize) {
        self.0.store(index, Ordering::Relaxed);
    }
}

/// Regions from which on it pays to remember where there is no room.
const MANY: usize = 64;

impl Regions {
    /// A copy for a child. ENOMEM.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        let list = self.list.try_clone().map_err(|_| Errno::ENOMEM)?;
        Ok(Self { list, hint: Hint::new(), searched: self.searched })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.list.iter()
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// In a child's copy: what counts its mappings gets to know of each.
    pub fn rebind_for_child(&mut self) {
        let mut last: Option<(Arc<dyn MemoryObject>, Arc<dyn MemoryObject>)> = None;
        for index in 0..self.list.len() {
            let Some(Backing::Object(object, _)) = self.list.get_mut(index).map(|region| &mut region.backing)
            else {
                continue;
            };
            // Pieces of one mapping stay pieces of one.
            let again = last.as_ref().filter(|(old, _)| Arc::ptr_eq(old, object)).map(|(_, new)| new.clone());
            if let Some(new) = again.or_else(|| object.for_child()) {
                last = Some((core::mem::replace(object, new.clone()), new));
            }
        }
    }

    /// Index of the first region that ends above `address`.
    #[inline]
    fn position(&self, address: usize) -> usize {
        let hint = self.hint.get();
        let end = |index: usize| self.list.get(index).map(|region| region.end);
        // There, or at a neighbour. Below the first region everything is as if a region ended at 0.
        let end_before = |index: usize| index.checked_sub(1).map_or(Some(0), end);
        match end(hint) {
            Some(above) if above > address && end_before(hint).is_some_and(|below| below <= address) => {
                return hint;
            }
            Some(above) if above <= address && end(hint + 1).is_none_or(|above| above > address) => {
                self.hint.set(hint + 1);
                return hint + 1;
            }
            _ => {}
        }
        self.search(&self.hint, address)
    }

    #[inline(never)]
    fn search(&self, hint: &Hint, address: usize) -> usize {
        let found = self.list.partition_point(|region| region.end <= address);
        hint.set(found);
        found
    }

    /// The region that holds an address.
    #[inline]
    pub fn find(&self, address: usize) -> Option<&Region> {
        self.list.get(self.position(address)).filter(|region| region.start <= address)
    }

    /// As `find`, with a hint of the caller's own: CPUs that search beside each other don't write to the same memory.
    #[inline(always)]
    pub fn find_near(&self, hint: &Hint, address: usize) -> Option<&Region> {
        match self.list.get(hint.get()) {
            Some(region) if region.start <= address && address < region.end => Some(region),
            _ => self.find_elsewhere(hint, address),
        }
    }

    #[inline(never)]
    fn find_elsewhere(&self, hint: &Hint, address: usize) -> Option<&Region> {
        self.list.get(self.search(hint, address)).filter(|region| region.start <= address)
    }

    /// The first region that ends above an address.
    pub fn find_from(&self, address: usize) -> Option<&Region> {
        self.list.get(self.position(address))
    }

    /// The last region that ends at or below an address.
    pub fn find_before(&self, address: usize) -> Option<&Region> {
        self.position(address).checked_sub(1).and_then(|index| self.list.get(index))
    }

    /// Regions that overlap a range.
    pub fn overlapping(&self, range: Range<usize>) -> impl Iterator<Item = &Region> {
        let first = self.position(range.start);
        (first..).map_while(|index| self.list.get(index)).take_while(move |region| region.start < range.end)
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

    /// Splits regions so that `address` is no region's inside. ENOMEM beyond the region limit.
    fn split_at(&mut self, address: usize) -> Result<(), Errno> {
        let index = self.position(address);
        if self.list.get(index).is_some_and(|region| region.start < address) {
            self.reserve(1)?;
            if let Some(region) = self.list.get_mut(index) {
                let tail = region.tail(address);
                region.end = address;
                self.list.insert(index + 1, tail);
            }
        }
        Ok(())
    }

    /// Makes room for so many more. ENOMEM, also if that is more than there may be.
    pub fn reserve(&mut self, more: usize) -> Result<(), Errno> {
        if (self.list.len() + more) as u64 > MAX_REGIONS.load(Ordering::Relaxed) {
            return Err(Errno::ENOMEM);
        }
        if self.list.has_room(more) {
            return Ok(());
        }
        self.list.try_reserve(more).map_err(|_| Errno::ENOMEM)
    }

    /// Merges the region at `index` with its neighbours where they are one.
    fn merge_around(&mut self, index: usize) {
        let Some(region) = self.list.get(index) else { return };
        let next = self.list.get(index + 1).filter(|next| region.continues_into(next));
        let end = next.map_or(region.end, |next| next.end);
        let swallows = next.is_some();
        let merged = match index.checked_sub(1).and_then(|before| self.list.get(before)) {
            Some(before) if before.continues_into(region) => index - 1,
            _ => index,
        };
        if swallows {
            self.list.discard(index + 1);
        }
        if merged < index {
            self.list.discard(index);
        } else if !swallows {
            return;
        }
        self.set_end(merged, end);
        self.hint.set(merged);
    }

    fn merge_with_next(&mut self, index: usize) {
        if let (Some(a), Some(b)) = (self.list.get(index), self.list.get(index + 1))
            && a.continues_into(b)
        {
            let end = b.end;
            self.list.discard(index + 1);
            self.set_end(index, end);
            self.hint.set(index);
        }
    }

    fn set_end(&mut self, index: usize, end: usize) {
        if let Some(region) = self.list.get_mut(index) {
            region.end = end;
        }
    }

    /// The region at `index` begins, or began, beside a place that has become free.
    fn note_hole(&mut self, index: usize) {
        let (place, largest) = self.searched;
        if place == 0 {
            return;
        }
        let floor =
            index.checked_sub(1).and_then(|before| self.list.get(before)).map_or(0, |region| region.end);
        let ceiling = self.list.get(index).map_or(USER_TOP, |region| region.start);
        if ceiling > place {
            self.searched = (place, largest.max(ceiling - floor));
        }
    }

    /// Adds a region where there is none. ENOMEM.
    #[inline(never)]
    pub fn insert(&mut self, region: Region) -> Result<(), Errno> {
        self.reserve(1)?;
        let index = self.position(region.start);
        // The common case first: it continues its neighbour, and no entry is needed.
        if let Some(before) = index.checked_sub(1).and_then(|i| self.list.get_mut(i))
            && before.continues_into(&region)
        {
            before.end = region.end;
            self.merge_around(index - 1);
            return Ok(());
        }
        self.list.insert(index, region);
        self.hint.set(index);
        self.merge_with_next(index);
        Ok(())
    }

    /// Adds an anonymous region with these flags, or lets the one that ends at its start grow, if it and `gap` bytes beyond are free.
    /// Whether they were. ENOMEM.
    pub fn extend(&mut self, range: Range<usize>, gap: usize, flags: RegionFlags) -> Result<bool, Errno> {
        let Range { start, end } = range;
        let next = self.position(start);
        let ceiling = self.list.get(next).map_or(USER_TOP, Self::usable_start);
        if start < LOWEST || end.saturating_add(gap) > ceiling {
            return Ok(false);
        }
        match next.checked_sub(1).and_then(|before| self.list.get_mut(before)) {
            Some(before)
                if before.end == start
                    && before.flags == flags
                    && matches!(before.backing, Backing::Anonymous) =>
            {
                before.end = end;
            }
            _ => {
                self.reserve(1)?;
                self.list.insert(next, Region { start, end, flags, backing: Backing::Anonymous });
            }
        }
        Ok(true)
    }

    /// The index of the region that holds all of a range, and its flags.
    #[inline]
    pub fn find_whole(&self, range: &Range<usize>) -> Option<(usize, RegionFlags)> {
        let index = self.position(range.start);
        let region = self.list.get(index)?;
        (region.start <= range.start && region.end >= range.end).then_some((index, region.flags))
    }

    /// Gives a range inside the region at `index` other flags. Where it borders on a region that it continues, only the border moves.
    /// ENOMEM beyond the region limit.
    pub fn set_flags(&mut self, index: usize, range: Range<usize>, flags: RegionFlags) -> Result<(), Errno> {
        let Some(region) = self.list.get_mut(index) else { return Ok(()) };
        let (at_start, at_end) = (region.start == range.start, region.end == range.end);
        if at_start && at_end {
            region.flags = flags;
            self.merge_around(index);
            return Ok(());
        }
        let mut middle = region.tail(range.start);
        middle.end = range.end;
        middle.flags = flags;
        let rest = region.tail(range.end);
        if at_start {
            if let Some(before) = index.checked_sub(1).and_then(|before| self.list.get_mut(before))
                && before.continues_into(&middle)
            {
                before.end = range.end;
                self.replace(index, rest);
                return Ok(());
            }
            self.reserve(1)?;
            self.replace(index, rest);
            self.list.insert(index, middle);
            return Ok(());
        }
        if at_end {
            if let Some(after) = self.list.get_mut(index + 1)
                && middle.continues_into(after)
            {
                middle.end = after.end;
                *after = middle;
            } else {
                self.reserve(1)?;
                self.list.insert(index + 1, middle);
            }
        } else {
            self.reserve(2)?;
            self.list.insert(index + 1, middle);
            self.list.insert(index + 2, rest);
            self.hint.set(index + 1);
        }
        self.set_end(index, range.start);
        Ok(())
    }

    fn replace(&mut self, index: usize, with: Region) {
        if let Some(region) = self.list.get_mut(index) {
            *region = with;
        }
    }

    /// Takes a range out. `gone` sees each piece that was there. ENOMEM if a split would be one region too many (nothing has changed then).
    pub fn remove(&mut self, range: Range<usize>, mut gone: impl FnMut(&Region)) -> Result<(), Errno> {
        let first = self.position(range.start);
        match self.list.get_mut(first) {
            Some(region) if region.start < range.end => {
                // The commonest unmapping takes exactly one region out.
                if region.range() == range {
                    gone(region);
                    self.list.discard(first);
                    self.hint.set(first);
                    self.note_hole(first);
                    return Ok(());
                }
                // Or it shortens one.
                if region.end == range.end && region.start < range.start {
                    let tail = region.tail(range.start);
                    region.end = range.start;
                    gone(&tail);
                    self.note_hole(first + 1);
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
        self.remove_pieces(range, &mut gone)
    }

    /// As `remove`, where it needn't be quick.
    #[inline(never)]
    pub fn remove_pieces(&mut self, range: Range<usize>, gone: &mut dyn FnMut(&Region)) -> Result<(), Errno> {
        self.split_at(range.start)?;
        self.split_at(range.end)?;
        let first = self.position(range.start);
        let last = self.list.partition_point(|region| region.start < range.end);
        self.list.remove_range(first, last, gone);
        self.note_hole(first);
        Ok(())
    }

    /// Changes flags of a range's regions: `change` is asked for each piece; merges what has become one. ENOMEM on too many splits.
    pub fn change(
        &mut self,
        range: Range<usize>,
        change: &mut dyn FnMut(&mut Region) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.split_at(range.start)?;
        self.split_at(range.end)?;
        let first = self.position(range.start);
        let last = self.list.partition_point(|region| region.start < range.end);
        let mut result = Ok(());
        for index in first..last {
            result = self.list.get_mut(index).map_or(Ok(()), &mut *change);
            if result.is_err() {
                break;
            }
        }
        // From the top down, since merging removes entries.
        for index in (first.saturating_sub(1)..last.min(self.list.len())).rev() {
            if let (Some(a), Some(b)) = (self.list.get(index), self.list.get(index + 1))
                && a.continues_into(b)
            {
                let end = b.end;
                self.list.discard(index + 1);
                self.set_end(index, end);
            }
        }
        result
    }

    /// Moves a region's start down (a growing stack).
    pub fn grow_down(&mut self, start: usize, new_start: usize) {
        let index = self.position(start);
        if let Some(region) = self.list.get_mut(index)
            && region.start == start
        {
            region.start = new_start;
        }
    }

    /// Moves a region's end up (brk, mremap in place). The space must be free.
    pub fn grow_up(&mut self, end: usize, new_end: usize) {
        let index = self.position(end.saturating_sub(1));
        if let Some(region) = self.list.get_mut(index)
            && region.end == end
        {
            region.end = new_end;
        }
        self.merge_around(index);
    }

    /// Where a region's neighbour below must end so that a stack above it keeps its guard gap.
    fn usable_start(region: &Region) -> usize {
        if region.flags.contains(RegionFlags::GROWS_DOWN) {
            region.start.saturating_sub(STACK_GAP)
        } else {
            region.start
        }
    }

    /// Whether a range is free (guard gaps counted).
    pub fn is_free(&self, range: Range<usize>) -> bool {
        range.start >= LOWEST
            && range.end <= USER_TOP
            && self.find_from(range.start).is_none_or(|region| Self::usable_start(region) >= range.end)
    }

    /// The place that a program wishes for, on the page it names: if it is free, and ends by `top`.
    #[inline]
    pub fn at_hint(&self, hint: usize, len: usize, top: usize) -> Option<usize> {
        let page = page_floor(hint);
        let at = page.max(LOWEST);
        let end = at.saturating_add(len);
        (page != 0 && end <= top && self.is_free(at..end)).then_some(at)
    }

    /// The highest free place of `len` bytes below `top`, aligned; from the bottom up if there is none, as Linux does.
    pub fn find_free(&mut self, len: usize, top: usize, align: usize) -> Option<usize> {
        let mut ceiling = top;
        let mut largest = 0;
        let (place, seen) = self.searched;
        // Above the place where the last search ended there is nothing as large.
        let goes_on = place != 0 && place <= top && len > seen;
        if goes_on {
            (ceiling, largest) = (place, seen);
        }
        let mut index = self.list.partition_point(|region| region.start < ceiling);
        if goes_on {
            ceiling = self.list.get(index).map_or(ceiling, |region| Self::usable_start(region).min(ceiling));
        }
        loop {
            let floor = index.checked_sub(1).and_then(|i| self.list.get(i)).map_or(LOWEST, |r| r.end);
            if let Some(start) = ceiling.checked_sub(len)
                && start & !(align - 1) >= floor.max(LOWEST)
                && ceiling > floor
            {
                let start = start & !(align - 1);
                if self.list.len() > MANY {
                    self.searched = (start, largest.max(ceiling - start - len));
                }
                return Some(start);
            }
            largest = largest.max(ceiling.saturating_sub(floor));
            if index == 0 {
                break;
            }
            index -= 1;
            ceiling = ceiling.min(self.list.get(index).map_or(ceiling, Self::usable_start));
        }
        // Above `top`.
        let mut floor = top;
        let above = self.list.partition_point(|region| region.end <= top);
        for region in (above..).map_while(|index| self.list.get(index)) {
            let start = floor.next_multiple_of(align);
            if start.checked_add(len).is_some_and(|end| end <= Self::usable_start(region)) {
                return Some(start);
            }
            floor = region.end;
        }
        let start = floor.next_multiple_of(align);
        start.checked_add(len).filter(|&end| end <= USER_TOP).map(|_| start)
    }
}
