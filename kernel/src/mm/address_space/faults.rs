//! Page faults: demand paging, copy-on-write, fault-around, growing stacks.
//!
//! Faults of several CPUs in one address space go on at once (decision 0010). What they share the lock for is that regions and page tables stay;
//! entries change under their hands, but only so: an empty one gets a page, a read-only one gets write access or a copy. So every change is
//! `Table::replace` of the entry that was looked at. Who comes second drops what it has prepared: the page is there, and its instruction is
//! tried again.
#![expect(unsafe_code, reason = "moves frame references between page tables and handles")]

use core::mem::ManuallyDrop;
use core::ops::Range;
use core::sync::atomic::AtomicU64;

use super::{AddressSpace, Inner};
use crate::arch::per_cpu;
use crate::arch::x86_64::cpu;
use crate::arch::x86_64::paging::{self, Entry, Table};
use crate::mm::fault::{Access, FaultError};
use crate::mm::frame::Frame;
use crate::mm::object::MemoryObject;
use crate::mm::regions::{Backing, LOWEST, Region, RegionFlags, STACK_GAP};
use crate::mm::{PAGE_SIZE, page_floor, shootdown};
use crate::task::current;
use crate::task::process::rlimit;
use crate::task::thread::work;

/// Pages mapped along with a faulting one when they are there already (64 KiB, as Linux's fault_around_bytes).
const FAULT_AROUND: usize = 16;

/// One page of zeros that every read of untouched anonymous memory sees.
fn zero_page() -> u64 {
    // Atomic, so that it stands among the zeros that the file need not hold.
    #[repr(align(4096))]
    struct Zeros(#[expect(dead_code, reason = "only its address is used")] [AtomicU64; PAGE_SIZE / 8]);
    static ZEROS: Zeros = Zeros([const { AtomicU64::new(0) }; PAGE_SIZE / 8]);
    paging::image_to_physical((&raw const ZEROS).addr())
}

impl AddressSpace {
    /// Makes one page accessible, as its region allows.
    #[inline]
    pub fn fault(&self, address: usize, access: Access) -> Result<(), FaultError> {
        match self.try_fault(address, access) {
            Some(result) => result,
            None => self.fault_prepared(address, access),
        }
    }

    #[cold]
    #[inline(never)]
    fn fault_prepared(&self, address: usize, access: Access) -> Result<(), FaultError> {
        loop {
            self.prepare_fault(address)?;
            if let Some(result) = self.try_fault(address, access) {
                return result;
            }
        }
    }

    /// Handles a fault beside others. `None` if something has to be prepared first.
    #[inline(never)]
    fn try_fault(&self, address: usize, access: Access) -> Option<Result<(), FaultError>> {
        let inner = self.inner.read();
        let region = inner.regions.find_near(&per_cpu().fault_hint, address)?;
        let is_allowed = match access {
            // On x86 what can be written or executed can be read.
            Access::Read => region.flags.intersects(RegionFlags::ACCESS),
            Access::Write => region.flags.contains(RegionFlags::WRITE),
            Access::Execute => region.flags.contains(RegionFlags::EXECUTE),
        };
        if !is_allowed {
            return Some(Err(FaultError::NotAllowed));
        }
        let page = page_floor(address);
        let (table, slot) = match self.table.find_own(page) {
            Some(found) => found,
            // Nobody else is here who could be disturbed.
            None if cpu::is_single() => match self.table.create_for_fault(page) {
                Ok(found) => found,
                Err(error) => return Some(Err(error.into())),
            },
            None => return None,
        };
        Some(self.fault_in(region, table, slot, page, access))
    }

    /// Makes what a fault needs and may not make while others handle theirs: the stack that grows down to an address, or its page table.
    #[cold]
    #[inline(never)]
    fn prepare_fault(&self, address: usize) -> Result<(), FaultError> {
        let mut inner = self.inner.write();
        if inner.regions.find(address).is_none() {
            return Self::grow_stack(&mut inner, address);
        }
        if self.table.find_own(address).is_none() {
            self.table.create_for_fault(page_floor(address))?;
        }
        Ok(())
    }

    /// Puts a frame where `old` still is; whether it was, and the frame is gone.
    #[inline(always)]
    fn install(table: Table, slot: usize, old: Entry, frame: Frame, flags: Entry) -> bool {
        let frame = ManuallyDrop::new(frame);
        let is_done = table.replace(slot, old, Entry::new(frame.physical(), flags));
        if !is_done {
            ManuallyDrop::into_inner(frame).release();
        }
        is_done
    }

    /// As `install`, and counts the page.
    #[inline(always)]
    fn install_new(&self, table: Table, slot: usize, old: Entry, frame: Frame, flags: Entry) {
        if Self::install(table, slot, old, frame, flags) {
            self.count_in(1);
        }
    }

    #[inline(always)]
    fn fault_in(
        &self,
        region: &Region,
        table: Table,
        slot: usize,
        page: usize,
        access: Access,
    ) -> Result<(), FaultError> {
        let flags = region.flags;
        let entry = table.get(slot);
        if entry.contains(Entry::PRESENT) {
            return self.fault_present(page, table, slot, entry, access, flags);
        }
        let base = self.entry_flags(flags);
        match &region.backing {
            Backing::Anonymous => {
                if access == Access::Write {
                    let frame = Frame::zeroed()?;
                    self.install_new(table, slot, entry, frame, base | Entry::WRITABLE | Entry::DIRTY);
                } else {
                    self.map_zeros_around(region, table, page, base | Entry::UNCOUNTED);
                }
            }
            Backing::Object(object, first) => {
                let index = first + ((page - region.start) / PAGE_SIZE) as u64;
                let shared = flags.contains(RegionFlags::SHARED);
                if access == Access::Write && !shared {
                    let copy = Frame::copy_of(&object.page(index, Access::Read)?)?;
                    self.install_new(table, slot, entry, copy, base | Entry::WRITABLE | Entry::DIRTY);
                    return Ok(());
                }
                let mut new = base;
                // A cached page is the file's own whether it is read or written.
                let writable = shared && flags.contains(RegionFlags::WRITE);
                new.set(Entry::SHARED, shared);
                new.set(Entry::WRITABLE | Entry::DIRTY, writable);
                let frame = object.page(index, if writable { Access::Write } else { Access::Read })?;
                self.install_new(table, slot, entry, frame, new);
                self.map_cached_around(region, &**object, *first, table, page, new);
            }
        }
        Ok(())
    }

    /// The page is there: a first write to a shared frame, or somebody else was faster.
    fn fault_present(
        &self,
        page: usize,
        table: Table,
        slot: usize,
        entry: Entry,
        access: Access,
        flags: RegionFlags,
    ) -> Result<(), FaultError> {
        if access == Access::Write && !entry.contains(Entry::WRITABLE) {
            let base = self.entry_flags(flags) | Entry::WRITABLE | Entry::DIRTY;
            if flags.contains(RegionFlags::SHARED) {
                let kept = Entry::SHARED | (entry & Entry::UNCOUNTED);
                table.replace(slot, entry, Entry::new(entry.address(), base | kept));
            } else if entry.contains(Entry::UNCOUNTED) && entry.address() == zero_page() {
                if Self::install(table, slot, entry, Frame::zeroed()?, base) {
                    // The other threads see the page of zeros no more.
                    shootdown::flush_others(self.users());
                }
            } else if entry.contains(Entry::UNCOUNTED) {
                return Err(FaultError::NotAllowed);
            } else {
                // SAFETY: the entry's reference; it stays there unless the entry is replaced by a copy's. Should another CPU be faster in that,
                // the frame may even be free again: its count or contents are looked at then, and what comes of it is dropped.
                let old = ManuallyDrop::new(unsafe { Frame::from_raw(entry.address()) });
                if old.ref_count() == 1 {
                    table.replace(slot, entry, Entry::new(entry.address(), base));
                } else {
                    let copy = Frame::copy_of(&old)?;
                    if Self::install(table, slot, entry, copy, base) {
                        paging::flush_page(page);
                        shootdown::flush_others(self.users());
                        drop(ManuallyDrop::into_inner(old));
                        return Ok(());
                    }
                }
            }
        }
        paging::flush_page(page);
        Ok(())
    }

    /// Maps the zero page at a fault and at its neighbours that have nothing yet.
    fn map_zeros_around(&self, region: &Region, table: Table, page: usize, flags: Entry) {
        let window = page & !(FAULT_AROUND * PAGE_SIZE - 1);
        let range = window.max(region.start)..(window + FAULT_AROUND * PAGE_SIZE).min(region.end);
        let entry = Entry::new(zero_page(), flags);
        let mut added = 0;
        for at in range.step_by(PAGE_SIZE) {
            if table.replace(paging::index(at, 0), Entry::empty(), entry) {
                added += 1;
            }
        }
        self.count_in(added);
    }

    /// Maps a file's neighbouring pages that are in its cache.
    fn map_cached_around(
        &self,
        region: &Region,
        object: &dyn MemoryObject,
        first: u64,
        table: Table,
        page: usize,
        flags: Entry,
    ) {
        let window = page & !(FAULT_AROUND * PAGE_SIZE - 1);
        let range = window.max(region.start)..(window + FAULT_AROUND * PAGE_SIZE).min(region.end);
        let mut added = 0;
        let first_slot = paging::index(range.start, 0);
        let first = first.saturating_add(((range.start - region.start) / PAGE_SIZE) as u64);
        object.cached_pages(first, range.len() / PAGE_SIZE, &mut |nth, frame| {
            // At most as many as a window has: no sum overflows.
            if Self::install(table, first_slot.wrapping_add(nth), Entry::empty(), frame, flags) {
                added = usize::wrapping_add(added, 1);
            }
        });
        self.count_in(added);
    }

    /// Extends a stack down to a faulting address: within its limit, and keeping the gap to what lies below.
    fn grow_stack(inner: &mut Inner, address: usize) -> Result<(), FaultError> {
        let new_start = page_floor(address);
        let above = inner.regions.find_from(address).ok_or(FaultError::NotMapped)?;
        if !above.flags.contains(RegionFlags::GROWS_DOWN) || new_start < LOWEST {
            return Err(FaultError::NotMapped);
        }
        let (start, end) = (above.start, above.end);
        let most = current().process.limit(rlimit::AS);
        if end - new_start > inner.stack_limit || (inner.total + (start - new_start)) as u64 > most {
            return Err(FaultError::NotMapped);
        }
        if let Some(below) = inner.regions.find_before(address)
            && !below.flags.contains(RegionFlags::GROWS_DOWN)
            && below.flags.intersects(RegionFlags::ACCESS)
            && new_start < below.end.saturating_add(STACK_GAP)
        {
            return Err(FaultError::NotMapped);
        }
        inner.regions.grow_down(start, new_start);
        inner.total += start - new_start;
        Ok(())
    }

    /// Makes all pages of a range present that can be (MAP_POPULATE, mlock). Stops at the first that can't.
    pub fn populate(&self, range: Range<usize>) -> Result<(), FaultError> {
        for page in range.step_by(PAGE_SIZE) {
            let access = {
                let inner = self.inner.write();
                let region = inner.regions.find(page).ok_or(FaultError::NotMapped)?;
                if region.flags.contains(RegionFlags::WRITE) && !region.flags.contains(RegionFlags::SHARED) {
                    Access::Write
                } else {
                    Access::Read
                }
            };
            let result = self.fault(page, access);
            if result == Err(FaultError::OutOfMemory) {
                current().add_work(work::MEMORY);
            }
            result?;
        }
        Ok(())
    }
}
