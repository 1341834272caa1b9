//! mprotect: what a program may do with its pages.
#![expect(unsafe_code, reason = "looks at frames by way of page-table entries")]

use core::ops::Range;

use abi::Errno;

use super::{AddressSpace, Inner};
use crate::arch::x86_64::paging::{self, Entry};
use crate::mm::frame::{Frame, OutOfMemory};
use crate::mm::regions::RegionFlags;
use crate::mm::{PAGE_SIZE, commit, shootdown};
use crate::task::current;
use crate::task::process::rlimit;

/// Whether a counted entry's frame has no other owner.
#[inline(always)]
fn frame_is_unshared(entry: Entry) -> bool {
    // SAFETY: only looks at the count; the entry keeps its reference.
    let frame = core::mem::ManuallyDrop::new(unsafe { Frame::from_raw(entry.address()) });
    frame.ref_count() == 1
}

impl AddressSpace {
    /// mprotect(2): ENOMEM where nothing is mapped, EACCES where a shared file mapping may not be written, or a file not executed.
    pub fn protect(&self, range: Range<usize>, access: RegionFlags) -> Result<(), Errno> {
        let mut inner = self.inner.write();
        // Nearly always it is part of one region.
        if let Some((index, flags)) = inner.regions.find_whole(&range) {
            if flags & RegionFlags::ACCESS == access {
                return Ok(());
            }
            if !flags.may(access) {
                return Err(Errno::EACCES);
            }
            let new = Self::with_access(flags, access, range.len())?;
            if access.contains(RegionFlags::WRITE) && current().process.limit(rlimit::DATA) != u64::MAX {
                inner.check_new_data(flags, new, range.len())?;
            }
            inner.regions.set_flags(index, range.clone(), new)?;
            return Ok(self.apply_protection(range, access)?);
        }
        self.protect_many(&mut inner, range, access)
    }

    /// As `protect`, for a range that isn't part of one region.
    #[inline(never)]
    fn protect_many(&self, inner: &mut Inner, range: Range<usize>, access: RegionFlags) -> Result<(), Errno> {
        if inner.regions.find(range.start).is_none() {
            return Err(Errno::ENOMEM);
        }
        // Linux changes region by region and stops at the first hole or refusal.
        let mut covered = range.start;
        for region in inner.regions.overlapping(range.clone()) {
            if region.start > covered {
                break;
            }
            covered = region.end.min(range.end);
        }
        let mut done = range.start;
        let result = inner.regions.change(range.start..covered, &mut |region| {
            if !region.flags.may(access) {
                return Err(Errno::EACCES);
            }
            region.flags = Self::with_access(region.flags, access, region.len())?;
            done = region.end;
            Ok(())
        });
        let changed = range.start..done.min(covered).max(range.start);
        self.apply_protection(changed, access)?;
        result?;
        if covered < range.end { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Flags with other rights, for so many bytes. ENOMEM for what can't be promised.
    #[inline(always)]
    fn with_access(flags: RegionFlags, access: RegionFlags, len: usize) -> Result<RegionFlags, Errno> {
        let mut new = flags.difference(RegionFlags::ACCESS) | access;
        if commit::counts(new) {
            commit::promise(len)?;
            new |= RegionFlags::ACCOUNTED;
        }
        Ok(new)
    }

    /// Rewrites present entries for new rights. Write access comes back page by page, by faults, but for pages that nobody shares.
    fn apply_protection(&self, range: Range<usize>, access: RegionFlags) -> Result<(), OutOfMemory> {
        if range.len() == PAGE_SIZE
            && let Some((table, slot)) = self.table.find_own(range.start)
        {
            let entry = table.get(slot);
            let new = Self::protected(entry, access);
            if new != entry {
                table.set(slot, new);
                paging::flush_page(range.start);
                shootdown::flush_others(self.users());
            }
            return Ok(());
        }
        self.protect_pages(range, access)
    }

    #[inline(never)]
    fn protect_pages(&self, range: Range<usize>, access: RegionFlags) -> Result<(), OutOfMemory> {
        self.change_entries(range, &mut |_, entry| Self::protected(entry, access))
    }

    /// A page's entry with new rights; nothing stays nothing.
    #[inline(always)]
    fn protected(entry: Entry, access: RegionFlags) -> Entry {
        if entry == Entry::empty() {
            return entry;
        }
        let mut new = entry;
        new.set(Entry::NO_EXECUTE, !access.contains(RegionFlags::EXECUTE));
        new.set(Entry::PRESENT, access.intersects(RegionFlags::ACCESS));
        if !access.contains(RegionFlags::WRITE) {
            new.remove(Entry::WRITABLE);
        } else if !entry.intersects(Entry::UNCOUNTED | Entry::SHARED) && frame_is_unshared(entry) {
            new.insert(Entry::WRITABLE | Entry::DIRTY);
        }
        new
    }
}
