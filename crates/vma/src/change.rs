//! Changing the flags of ranges: mprotect, madvise, mlock.

use core::ops::Range;

use crate::{Backing, Limits, MapError, Vma, VmaFlags, VmaMap};

/// What a call does at addresses that no region has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// It ends there (mprotect, mlock).
    Stop,
    /// It goes on behind them, and fails at the end (madvise).
    Skip,
}

impl<B: Backing> VmaMap<B> {
    /// Changes the flags of a range, region by region from the lowest: `decide` is asked for each region's new flags, `changed` hears of each
    /// piece that has got them, with the old and the new ones.
    ///
    /// As on Linux, what was changed before an error stays changed. Errors are `decide`'s, and [`MapError::NoMemory`] for a hole in the range
    /// or too many regions.
    pub fn change(
        &mut self,
        range: Range<usize>,
        holes: Holes,
        mut decide: impl FnMut(&Vma<B>) -> Result<VmaFlags, MapError>,
        mut changed: impl FnMut(Range<usize>, VmaFlags, VmaFlags),
    ) -> Result<(), MapError> {
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end {
            let region = match self.find(at) {
                Some(region) => region,
                None => {
                    result = Err(MapError::NoMemory);
                    match self.find_from(at) {
                        Some(region) if holes == Holes::Skip && region.start < range.end => {
                            at = region.start;
                            region
                        }
                        _ => return result,
                    }
                }
            };
            let (old, piece) = (region.flags, at..region.end.min(range.end));
            let new = decide(region)?;
            at = piece.end;
            if new != old {
                self.restamp(piece.clone(), new)?;
                changed(piece, old, new);
            }
        }
        result
    }

    /// mprotect(2) on the map: gives a range these rights (bits of [`VmaFlags::ACCESS`]). `changed` as in [`VmaMap::change`].
    ///
    /// [`MapError::NoMemory`] for holes, too many regions and more data than the limit, [`MapError::Denied`] where write access may not be had.
    pub fn protect(
        &mut self,
        range: Range<usize>,
        access: VmaFlags,
        limits: &Limits,
        changed: impl FnMut(Range<usize>, VmaFlags, VmaFlags),
    ) -> Result<(), MapError> {
        let access = access & VmaFlags::ACCESS;
        let usage = self.usage;
        let mut added = 0usize;
        self.change(
            range.clone(),
            Holes::Stop,
            |region| {
                if access.contains(VmaFlags::WRITE) && !region.flags.contains(VmaFlags::MAY_WRITE) {
                    return Err(MapError::Denied);
                }
                let new = region.flags.difference(VmaFlags::ACCESS) | access;
                if new.is_data() && !region.flags.is_data() {
                    added += region.end.min(range.end) - region.start.max(range.start);
                    if usage.data.saturating_add(added) > limits.data {
                        return Err(MapError::NoMemory);
                    }
                }
                Ok(new)
            },
            changed,
        )
    }
}
