//! mremap(2): growing in place, shrinking, moving.

use core::ops::Range;

use crate::{
    Backing, Holes, Limits, MAX_REGIONS, MapError, PAGE_SIZE, Place, USER_TOP, Vma, VmaFlags, VmaMap,
};

/// Where mremap may move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemapTarget {
    /// Nowhere: the mapping stays (no flags).
    InPlace,
    /// Anywhere, if it can't stay (`MREMAP_MAYMOVE`).
    MayMove,
    /// Here, replacing what is there (`MREMAP_FIXED`).
    Fixed(usize),
    /// To a new place ([`Place::Anywhere`] or [`Place::Fixed`]), leaving the old range mapped and empty (`MREMAP_DONTUNMAP`).
    Keep(Place),
}

/// A call of mremap(2), its lengths rounded up to pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remap {
    pub old: usize,
    /// 0 duplicates a shared mapping.
    pub old_len: usize,
    pub new_len: usize,
    pub target: RemapTarget,
}

impl Remap {
    /// The checks that need no map. The old range, and the new one if its place is fixed.
    fn check(&self) -> Result<(Range<usize>, Option<Range<usize>>), MapError> {
        let whole_pages = (self.old | self.old_len | self.new_len).is_multiple_of(PAGE_SIZE);
        if !whole_pages || self.new_len == 0 {
            return Err(MapError::Invalid);
        }
        let end = self.old.checked_add(self.old_len).ok_or(MapError::Invalid)?;
        if matches!(self.target, RemapTarget::Keep(_)) && self.old_len != self.new_len {
            return Err(MapError::Invalid);
        }
        let old = self.old..end;
        let (RemapTarget::Fixed(to) | RemapTarget::Keep(Place::Fixed(to) | Place::FixedNoReplace(to))) =
            self.target
        else {
            return Ok((old, None));
        };
        let new_end = to.checked_add(self.new_len).filter(|&end| end <= USER_TOP).ok_or(MapError::Invalid)?;
        if !to.is_multiple_of(PAGE_SIZE) || (to < old.end && old.start < new_end) {
            return Err(MapError::Invalid);
        }
        Ok((old, Some(to..new_end)))
    }
}

impl<B: Backing> VmaMap<B> {
    /// mremap(2) on the map. Returns the new address.
    ///
    /// `gone` sees what is unmapped: the tail of a shrinking mapping, what a fixed target replaces, the old range after a move (its pages have
    /// moved by then). `moved` is called for a move, between adding the new region and removing the old one, with the range whose pages move
    /// and their new address; if it fails, it leaves the pages where they were, and the new region goes again.
    ///
    /// Errors: [`MapError::NotMapped`] if there is no region, or it ends within the range; [`MapError::Invalid`] for arguments that don't go
    /// together; [`MapError::NoMemory`] if there is no room, or beyond a limit; [`MapError::TooLow`].
    pub fn remap(
        &mut self,
        request: &Remap,
        limits: &Limits,
        mut gone: impl FnMut(Vma<B>),
        moved: impl FnOnce(Range<usize>, usize) -> Result<(), MapError>,
    ) -> Result<usize, MapError> {
        let (old, target) = request.check()?;
        let new_len = request.new_len;
        let region = self.find(old.start).ok_or(MapError::NotMapped)?;
        if region.flags.contains(VmaFlags::SPECIAL) {
            return Err(MapError::Invalid);
        }
        let may_stay = matches!(request.target, RemapTarget::InPlace | RemapTarget::MayMove);
        if may_stay && new_len <= old.len() {
            self.remove(old.start + new_len..old.end, gone)?;
            return Ok(old.start);
        }
        if old.is_empty() && !region.flags.contains(VmaFlags::SHARED) {
            return Err(MapError::Invalid);
        }
        // What a smaller target can't hold is unmapped first, whatever it belongs to.
        if region.end < old.start + old.len().min(new_len) {
            return Err(MapError::NotMapped);
        }
        let (flags, ends_there) = (region.flags, region.end == old.end);
        let copy = Vma { start: 0, end: new_len, flags, backing: region.backing_at(old.start) };
        let growth = new_len.saturating_sub(old.len());
        let more = if matches!(request.target, RemapTarget::Keep(_)) { new_len } else { growth };
        if !self.usage.allows(flags, more, 0, limits) {
            return Err(MapError::NoMemory);
        }
        if may_stay && ends_there && !old.is_empty() && self.has_room_behind(old.end, growth) {
            self.grow_up(old.end, old.end + growth)?;
            return Ok(old.start);
        }
        if request.target == RemapTarget::InPlace {
            return Err(MapError::NoMemory);
        }
        // A move splits at most three regions; Linux asks for room for all of them.
        if self.count() + 5 >= MAX_REGIONS {
            return Err(MapError::NoMemory);
        }
        let to = match (target, request.target) {
            (Some(target), _) => {
                let target = Self::fixed_range(target.start, new_len)?;
                self.remove(target.clone(), &mut gone)?;
                // A duplicate over its own original, which is then no longer there.
                self.find(old.start).ok_or(MapError::NotMapped)?;
                target.start
            }
            (None, RemapTarget::Keep(place)) => self.place(place, new_len, PAGE_SIZE)?,
            (None, _) => self.place(Place::Anywhere(0), new_len, PAGE_SIZE)?,
        };
        self.move_region(copy, &old, to, matches!(request.target, RemapTarget::Keep(_)), gone, moved)?;
        Ok(to)
    }

    /// Whether a region that ends here can grow by so much.
    fn has_room_behind(&self, end: usize, growth: usize) -> bool {
        let Some(new_end) = end.checked_add(growth).filter(|&new_end| new_end <= USER_TOP) else {
            return false;
        };
        self.find_from(end).is_none_or(|region| region.start >= new_end)
    }

    fn move_region(
        &mut self,
        copy: Vma<B>,
        old: &Range<usize>,
        to: usize,
        keep_old: bool,
        gone: impl FnMut(Vma<B>),
        moved: impl FnOnce(Range<usize>, usize) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let new_len = copy.len();
        let new = to..to + new_len;
        // The names of heap and stack stay behind.
        let flags = copy.flags.difference(VmaFlags::HEAP | VmaFlags::STACK);
        self.insert(Vma { start: new.start, end: new.end, flags, ..copy })?;
        let pages = old.start..old.start + old.len().min(new_len);
        if let Err(error) = moved(pages, to) {
            // Can't fail: it undoes the insertion.
            self.remove(new, |_| {})?;
            return Err(error);
        }
        if keep_old {
            // Nothing is left there that could be locked.
            return self.change(
                old.clone(),
                Holes::Stop,
                |region| Ok(region.flags.difference(VmaFlags::LOCKED)),
                |_, _, _| {},
            );
        }
        self.remove(old.clone(), gone)
    }
}
