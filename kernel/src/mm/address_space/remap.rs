//! mremap: pages that go to another place.

use core::ops::Range;

use abi::Errno;

use super::{AddressSpace, note_writable};
use crate::arch::x86_64::paging::Entry;
use crate::mm::frame::OutOfMemory;
use crate::mm::regions::{Backing, Region, RegionFlags};
use crate::mm::{PAGE_SIZE, USER_TOP, commit};

/// Where mremap moves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemapTarget {
    InPlace,
    MayMove,
    /// MREMAP_FIXED.
    Fixed(usize),
    /// MREMAP_DONTUNMAP, to this address or anywhere (0).
    Keep(usize),
}

/// Entries that a move may need: its own, and two for a split, one less than Linux wants to be left (`move_vma`).
const MOST_NEW: usize = 4;

impl AddressSpace {
    /// Moves the pages of one range to another place (mremap), entry by entry.
    fn move_pages(&self, from: Range<usize>, to: usize) -> Result<(), OutOfMemory> {
        let mut failed = false;
        self.change_entries(from.clone(), &mut |address, entry| match self
            .table
            .find_or_create(to + (address - from.start))
        {
            Ok((table, slot)) => {
                table.set(slot, entry);
                Entry::empty()
            }
            Err(_) => {
                failed = true;
                entry
            }
        })?;
        if failed { Err(OutOfMemory) } else { Ok(()) }
    }

    /// mremap(2) after its argument checks: `old` lies in one region, unless it only shrinks. Returns the new address.
    pub fn remap(
        &self,
        mut old: Range<usize>,
        new_len: usize,
        target: RemapTarget,
        limit: usize,
    ) -> Result<usize, Errno> {
        let mut inner = self.inner.write();
        let region = inner.regions.find(old.start).ok_or(Errno::EFAULT)?.clone();
        // What is too much is unmapped, and munmap doesn't take what isn't the program's.
        if new_len < old.len() && old.end > USER_TOP {
            return Err(Errno::EINVAL);
        }
        // What shrinks may be of several regions.
        if let RemapTarget::InPlace | RemapTarget::MayMove = target
            && new_len <= old.len()
        {
            if new_len < old.len() {
                self.remove_now(&mut inner, old.start + new_len..old.end)?;
            }
            return Ok(old.start);
        }
        if let RemapTarget::Fixed(at) = target {
            inner.regions.reserve(MOST_NEW)?;
            self.remove_now(&mut inner, at..at + new_len)?;
            if new_len < old.len() {
                let tail = old.start + new_len..old.end;
                old.end = tail.start;
                self.remove_now(&mut inner, tail)?;
            }
        }
        if region.end < old.end {
            return Err(Errno::EFAULT);
        }
        if region.flags.contains(RegionFlags::SPECIAL) {
            return Err(Errno::EINVAL);
        }
        let old_len = old.len();
        let is_kept = matches!(target, RemapTarget::Keep(_));
        if region.flags.contains(RegionFlags::ACCOUNTED) {
            commit::promise(if is_kept { new_len } else { new_len.saturating_sub(old_len) })?;
        }
        if let RemapTarget::InPlace | RemapTarget::MayMove = target {
            let grow = new_len - old_len;
            inner.check_limits(region.flags, grow, limit)?;
            let new_end = old.start.checked_add(new_len).ok_or(Errno::ENOMEM)?;
            if region.end == old.end && new_end <= USER_TOP && inner.regions.is_free(old.end..new_end) {
                let more = Region { start: old.end, end: new_end, ..region };
                if !note_writable(&more, more.pages()) {
                    return Err(Errno::EPERM);
                }
                inner.regions.grow_up(old.end, new_end);
                inner.total += grow;
                return Ok(old.start);
            }
            if target == RemapTarget::InPlace {
                return Err(Errno::ENOMEM);
            }
        } else {
            inner.check_limits(region.flags, if is_kept { new_len } else { new_len - old_len }, limit)?;
        }
        inner.regions.reserve(MOST_NEW)?;
        let to = match target {
            RemapTarget::Fixed(at) => at,
            RemapTarget::Keep(at) if at != 0 => {
                self.remove_now(&mut inner, at..at + new_len)?;
                at
            }
            _ => {
                let top = inner.layout.mmap_top;
                inner.regions.find_free(new_len, top, PAGE_SIZE).ok_or(Errno::ENOMEM)?
            }
        };
        let mut moved = region.clone();
        moved.start = to;
        moved.end = to + new_len;
        if let Backing::Object(_, page) = &mut moved.backing {
            *page += ((old.start - region.start) / PAGE_SIZE) as u64;
        }
        self.insert_noted(&mut inner, moved)?;
        inner.total += new_len;
        if self.move_pages(old.clone(), to).is_err() {
            // The tables that they came from are there: this takes no memory.
            let _ = self.move_pages(to..to + old_len, old.start);
            self.remove_now(&mut inner, to..to + new_len)?;
            return Err(Errno::ENOMEM);
        }
        if !is_kept {
            self.remove_now(&mut inner, old)?;
        }
        Ok(to)
    }
}
