//! Where a mapping goes: fixed places, hints, the search for free space, growing stacks.

use core::ops::Range;

use crate::map::Gaps;
use crate::{
    Backing, LOWEST, Limits, MAX_REGIONS, MapError, PAGE_SIZE, USER_TOP, Vma, VmaFlags, VmaMap, page_floor,
};

/// Where `MAP_32BIT` looks for room.
const LOW_WINDOW: Range<usize> = 0x4000_0000..0x8000_0000;

/// How mmap chooses the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; at the hint, rounded down to a page, if that is free (0: no hint).
    Anywhere(usize),
    /// In the second gigabyte, likewise (`MAP_32BIT`).
    Low(usize),
    /// Here, replacing what is there.
    Fixed(usize),
    /// Here, or [`MapError::Occupied`].
    FixedNoReplace(usize),
}

impl<B: Backing> VmaMap<B> {
    /// Checks a fixed range: [`MapError::Invalid`] if it isn't made of pages, [`MapError::NoMemory`] if it ends beyond the top,
    /// [`MapError::TooLow`].
    pub(crate) fn fixed_range(start: usize, len: usize) -> Result<Range<usize>, MapError> {
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(MapError::Invalid);
        }
        match start.checked_add(len) {
            Some(end) if end <= USER_TOP => {
                if start < LOWEST {
                    return Err(MapError::TooLow);
                }
                Ok(start..end)
            }
            _ => Err(MapError::NoMemory),
        }
    }

    /// Where a mapping of `len` bytes (whole pages) goes. `align` is a power of two, at least a page; it counts where there is a choice.
    ///
    /// [`MapError::NoMemory`] if there is no room, [`MapError::Invalid`] for a length of 0 and for what is not made of pages, and what
    /// [`Place`]'s kinds say.
    pub fn place(&mut self, place: Place, len: usize, align: usize) -> Result<usize, MapError> {
        if len == 0 || !len.is_multiple_of(PAGE_SIZE) || !align.is_power_of_two() {
            return Err(MapError::Invalid);
        }
        if len > USER_TOP {
            return Err(MapError::NoMemory);
        }
        match place {
            Place::Fixed(start) => Self::fixed_range(start, len).map(|range| range.start),
            Place::FixedNoReplace(start) => {
                let range = Self::fixed_range(start, len)?;
                match self.find_from(range.start) {
                    Some(region) if region.start < range.end => Err(MapError::Occupied),
                    _ => Ok(start),
                }
            }
            Place::Anywhere(hint) => match self.at_hint(hint, len, USER_TOP) {
                Some(start) => Ok(start),
                None => self.find_free(len, align).ok_or(MapError::NoMemory),
            },
            Place::Low(hint) => match self.at_hint(hint, len, LOW_WINDOW.end) {
                Some(start) => Ok(start),
                None => self.lowest_free(LOW_WINDOW, len, align).ok_or(MapError::NoMemory),
            },
        }
    }

    /// The hint, if there is room.
    fn at_hint(&self, hint: usize, len: usize, top: usize) -> Option<usize> {
        let hint = page_floor(hint);
        if hint == 0 {
            return None;
        }
        let hint = hint.max(LOWEST);
        let end = hint.checked_add(len).filter(|&end| end <= top)?;
        self.is_free(hint..end).then_some(hint)
    }

    /// The highest free place of `len` bytes below [`VmaMap::mmap_top`]; if there is none, the lowest above it, as Linux does.
    pub fn find_free(&mut self, len: usize, align: usize) -> Option<usize> {
        // Gaps above the remembered ceiling are known to be too small.
        if len <= self.gaps.hole {
            self.gaps = Gaps { ceiling: self.mmap_top, hole: 0, index: 0 };
        }
        let Gaps { mut ceiling, mut hole, index } = self.gaps;
        let mut index = self.starting_above(ceiling, index);
        if let Some(above) = index.checked_sub(1).and_then(|above| self.get(above)) {
            ceiling = ceiling.min(above.usable_start());
        }
        let found = loop {
            let region = self.get(index);
            let floor = region.map_or(LOWEST, |region| region.end);
            if let Some(start) = ceiling.checked_sub(len).map(|start| start & !(align - 1))
                && start >= floor
            {
                break Some(start);
            }
            hole = hole.max(ceiling.saturating_sub(floor));
            let Some(region) = region else { break None };
            ceiling = region.usable_start();
            index += 1;
        };
        self.gaps = Gaps { ceiling, hole, index };
        found.or_else(|| self.lowest_free(self.mmap_top..USER_TOP, len, align))
    }

    /// The lowest free place of `len` bytes in a window.
    fn lowest_free(&self, window: Range<usize>, len: usize, align: usize) -> Option<usize> {
        let mut floor = window.start;
        for region in self.overlapping(window.clone()).map(Some).chain([None]) {
            let ceiling = region.map_or(window.end, |region| region.usable_start().min(window.end));
            let start = floor.checked_add(align - 1)? & !(align - 1);
            if start.checked_add(len)? <= ceiling {
                return Some(start);
            }
            floor = region.map_or(floor, |region| region.end);
        }
        None
    }

    /// mmap(2) on the map: finds the place, takes out what a fixed mapping replaces (`gone` sees the pieces), adds the region. Returns its
    /// address. Nothing has changed if it fails.
    ///
    /// Errors as [`VmaMap::place`], and [`MapError::NoMemory`] beyond the limits or [`MAX_REGIONS`].
    #[expect(clippy::too_many_arguments, reason = "mmap has as many")]
    pub fn map(
        &mut self,
        place: Place,
        len: usize,
        align: usize,
        flags: VmaFlags,
        backing: B,
        limits: &Limits,
        gone: impl FnMut(Vma<B>),
    ) -> Result<usize, MapError> {
        let start = self.place(place, len, align)?;
        let end = start.checked_add(len).ok_or(MapError::NoMemory)?;
        if !self.usage.allows(flags, len, 0, limits) {
            let replaced = self.covered_len(start..end);
            if !self.usage.allows(flags, len, replaced, limits) {
                return Err(MapError::NoMemory);
            }
        }
        if self.count() > MAX_REGIONS {
            return Err(MapError::NoMemory);
        }
        if matches!(place, Place::Fixed(_)) {
            self.remove(start..end, gone)?;
        }
        let index = self.starting_above(end, self.gaps.index);
        self.insert_at(index, Vma { start, end, flags, backing })?;
        Ok(start)
    }

    /// Extends a stack down to the page of an address below it. The old and the new start.
    ///
    /// [`MapError::NotMapped`] if there is no stack to grow, it would be longer than `stack_limit`, exceed `limits`, or come nearer than
    /// [`STACK_GAP`](crate::STACK_GAP) to what lies below: then the access is a fault.
    pub fn grow_stack(
        &mut self,
        address: usize,
        stack_limit: usize,
        limits: &Limits,
    ) -> Result<Range<usize>, MapError> {
        let new_start = page_floor(address);
        let stack = self.find_from(address).ok_or(MapError::NotMapped)?;
        let (start, end) = (stack.start, stack.end);
        if !stack.flags.contains(VmaFlags::GROWS_DOWN)
            || !stack.backing.is_anonymous()
            || new_start < LOWEST
            || new_start >= start
        {
            return Err(MapError::NotMapped);
        }
        if let Some(below) = self.find_before(address)
            && !below.flags.contains(VmaFlags::GROWS_DOWN)
            && below.flags.intersects(VmaFlags::ACCESS)
            && new_start - below.end < crate::STACK_GAP
        {
            return Err(MapError::NotMapped);
        }
        let more = start - new_start;
        if end - new_start > stack_limit || !self.usage.allows(VmaFlags::GROWS_DOWN, more, 0, limits) {
            return Err(MapError::NotMapped);
        }
        self.grow_down(start, new_start);
        Ok(new_start..start)
    }
}
