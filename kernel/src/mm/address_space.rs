//! One program's memory: its regions, its page table, and what mmap and its relatives do to both.
//!
//! A page that is present and read-only in a writable private region is shared (with a file, a child, or the zero page): the first write
//! copies it, unless this address space turns out to be its only owner.
#![expect(unsafe_code, reason = "moves frame references between page tables and handles")]

use alloc::sync::Arc;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use abi::Errno;

use super::commit;
use super::fault::{Access, FaultError};
use super::frame::{Frame, OutOfMemory};
use super::page_table::PageTable;
use super::regions::{Backing, LOWEST, Region, RegionFlags, Regions, STACK_GAP};
use super::shootdown::{self, CpuSet};
use super::{PAGE_SIZE, USER_TOP, page_ceil, page_floor};
use crate::arch::x86_64::paging::{self, Entry, Table};
use crate::sync::SpinLock;
use crate::task::current;
use crate::task::thread::work;

/// Pages mapped along with a faulting one when they are there already (64 KiB, as Linux's fault_around_bytes).
const FAULT_AROUND: usize = 16;
/// Frames collected before translations are flushed and they are freed.
const GATHER: usize = 64;

/// What brk's memory is.
const HEAP: RegionFlags = RegionFlags::READ
    .union(RegionFlags::WRITE)
    .union(RegionFlags::MAY_WRITE)
    .union(RegionFlags::HEAP)
    .union(RegionFlags::ACCOUNTED);

/// Where things go in a fresh address space.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Highest address for mmap.
    pub mmap_top: usize,
    pub stack_top: usize,
    pub brk_start: usize,
}

/// What must be known under the lock.
pub struct Inner {
    pub regions: Regions,
    pub layout: Layout,
    pub brk: usize,
    /// Bytes mapped in all, for RLIMIT_AS, and by private writable regions, for RLIMIT_DATA.
    pub total: usize,
    /// Ranges of argv, env and auxv for /proc.
    pub args: Range<usize>,
    pub env: Range<usize>,
    pub auxv: Range<usize>,
    /// Most bytes that the stack may take.
    pub stack_limit: usize,
}

/// One address space; threads share it, and so do vfork children.
pub struct AddressSpace {
    inner: SpinLock<Inner>,
    table: PageTable,
    user: Entry,
    /// Pages present, and the most there ever were.
    resident: AtomicUsize,
    peak: AtomicUsize,
    /// What membarrier(2) was told to expect.
    pub membarrier: AtomicU32,
    /// Lock flags that new mappings get (mlockall(2)).
    lock_future: AtomicU32,
}

/// How mmap chooses the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; near the hint if that is free (0: no hint).
    Anywhere(usize),
    /// Here, replacing what is there.
    Fixed(usize),
    /// Here, or EEXIST.
    FixedNoReplace(usize),
}

/// One page of zeros that every read of untouched anonymous memory sees.
fn zero_page() -> u64 {
    // Atomic, so that it stands among the zeros that the file need not hold.
    #[repr(align(4096))]
    struct Zeros(#[expect(dead_code, reason = "only its address is used")] [AtomicU64; PAGE_SIZE / 8]);
    static ZEROS: Zeros = Zeros([const { AtomicU64::new(0) }; PAGE_SIZE / 8]);
    paging::image_to_physical((&raw const ZEROS).addr())
}

/// Frames taken out of the page table: freed after the translations are gone.
struct Gather<'a> {
    users: &'a CpuSet,
    frames: [MaybeUninit<u64>; GATHER],
    count: usize,
    pages: usize,
    first: usize,
}

impl<'a> Gather<'a> {
    fn new(table: &'a PageTable) -> Self {
        Self {
            users: table.users(),
            frames: [const { MaybeUninit::uninit() }; GATHER],
            count: 0,
            pages: 0,
            first: 0,
        }
    }

    /// Notes a page that was taken out.
    #[inline]
    fn add(&mut self, address: usize, entry: Entry) {
        if self.pages == 0 {
            self.first = address;
        } else if self.pages == 1 {
            paging::flush_page(self.first);
        }
        self.pages += 1;
        if self.pages > 1 && self.pages <= 32 {
            paging::flush_page(address);
        }
        if entry.contains(Entry::UNCOUNTED) {
            return;
        }
        if self.count == GATHER {
            self.flush();
        }
        if let Some(slot) = self.frames.get_mut(self.count) {
            slot.write(entry.address());
            self.count += 1;
        }
    }

    fn flush(&mut self) {
        if self.pages > 32 {
            paging::flush_all();
        } else if self.pages == 1 {
            paging::flush_page(self.first);
        }
        if self.pages > 0 {
            shootdown::flush_others(self.users);
        }
        self.pages = 0;
        // The last one first: whoever takes frames next gets them in the order of memory.
        for physical in self.frames.get(..self.count).unwrap_or_default().iter().rev() {
            // SAFETY: the first `count` slots are written, each with the reference that a page-table entry held.
            drop(unsafe { Frame::from_raw(physical.assume_init()) });
        }
        self.count = 0;
    }
}

impl Drop for Gather<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.pages > 0 {
            self.flush();
        }
    }
}

/// Whether a counted entry's frame has no other owner.
#[inline(always)]
fn frame_is_unshared(entry: Entry) -> bool {
    // SAFETY: only looks at the count; the entry keeps its reference.
    let frame = core::mem::ManuallyDrop::new(unsafe { Frame::from_raw(entry.address()) });
    frame.ref_count() == 1
}

/// What becomes of private copies when a file's pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    Keep,
    Drop,
}

impl AddressSpace {
    /// An empty address space.
    pub fn new(layout: Layout, stack_limit: usize) -> Result<Arc<Self>, OutOfMemory> {
        let mode = crate::mode();
        let mut user = Entry::PRESENT | Entry::ACCESSED;
        user.set(Entry::USER, mode == crate::Mode::Guarded);
        Ok(Arc::new(Self {
            inner: SpinLock::new(Inner {
                regions: Regions::default(),
                layout,
                brk: layout.brk_start,
                total: 0,
                args: 0..0,
                env: 0..0,
                auxv: 0..0,
                stack_limit,
            }),
            table: PageTable::new(mode)?,
            user,
            resident: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            membarrier: AtomicU32::new(0),
            lock_future: AtomicU32::new(0),
        }))
    }

    /// Physical address of the root table, for CR3.
    pub fn root(&self) -> u64 {
        self.table.root()
    }

    /// CPUs on which it is loaded.
    pub fn users(&self) -> &CpuSet {
        self.table.users()
    }

    /// Looks at the regions under the lock.
    pub fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock())
    }

    /// Lock flags that new mappings get.
    #[inline]
    pub fn lock_future(&self) -> RegionFlags {
        RegionFlags::from_bits_retain(self.lock_future.load(Ordering::Relaxed))
    }

    /// Changes them.
    pub fn set_lock_future(&self, flags: RegionFlags) {
        self.lock_future.store(flags.bits(), Ordering::Relaxed);
    }

    /// Pages present now and at most.
    pub fn resident(&self) -> (usize, usize) {
        let now = self.resident.load(Ordering::Relaxed);
        (now, self.peak.load(Ordering::Relaxed).max(now))
    }

    /// Pages of a range that are mapped now.
    pub fn resident_in(&self, range: &Range<usize>) -> usize {
        let _inner = self.inner.lock();
        self.table.count(range)
    }

    fn entry_flags(&self, flags: RegionFlags) -> Entry {
        let mut entry = self.user;
        entry.set(Entry::NO_EXECUTE, !flags.contains(RegionFlags::EXECUTE));
        entry
    }

    fn count_in(&self, pages: usize) {
        let before = self.resident.load(Ordering::Relaxed);
        self.resident.store(before + pages, Ordering::Relaxed);
    }

    fn count_out(&self, pages: usize) {
        let before = self.resident.load(Ordering::Relaxed);
        self.peak.fetch_max(before, Ordering::Relaxed);
        self.resident.store(before.saturating_sub(pages), Ordering::Relaxed);
    }

    // ---- faults -------------------------------------------------------------------------------------------------------------

    /// Makes one page accessible, as its region allows.
    #[inline]
    pub fn fault(&self, address: usize, access: Access) -> Result<(), FaultError> {
        self.fault_locked(&mut self.inner.lock(), address, access)
    }

    fn fault_locked(&self, inner: &mut Inner, address: usize, access: Access) -> Result<(), FaultError> {
        let page = page_floor(address);
        let region = match inner.regions.find(address) {
            Some(region) => region,
            None => {
                Self::grow_stack(inner, address)?;
                inner.regions.find(address).ok_or(FaultError::NotMapped)?
            }
        };
        let flags = region.flags;
        // On x86 what can be written or executed can be read.
        let allowed = match access {
            Access::Read => flags.intersects(RegionFlags::ACCESS),
            Access::Write => flags.contains(RegionFlags::WRITE),
            Access::Execute => flags.contains(RegionFlags::EXECUTE),
        };
        if !allowed {
            return Err(FaultError::NotAllowed);
        }
        let (table, slot) = self.table.find_or_create_for_fault(page)?;
        let entry = table.get(slot);
        if entry.contains(Entry::PRESENT) {
            self.fault_present(page, table, slot, entry, access, flags)?;
            return Ok(());
        }
        let base = self.entry_flags(flags);
        match &region.backing {
            Backing::Anonymous => {
                if access == Access::Write {
                    let frame = Frame::zeroed()?;
                    table.set(slot, Entry::new(frame.into_raw(), base | Entry::WRITABLE | Entry::DIRTY));
                    self.count_in(1);
                } else {
                    self.map_zeros_around(region, table, page, base | Entry::UNCOUNTED);
                }
            }
            Backing::Object(object, first) => {
                let index = first + ((page - region.start) / PAGE_SIZE) as u64;
                let shared = flags.contains(RegionFlags::SHARED);
                if shared {
                    let writable = flags.contains(RegionFlags::WRITE);
                    let frame = object.page(index, if writable { Access::Write } else { Access::Read })?;
                    let mut new = base | Entry::SHARED;
                    new.set(Entry::WRITABLE | Entry::DIRTY, writable);
                    table.set(slot, Entry::new(frame.into_raw(), new));
                    self.count_in(1);
                    // A cached page is the file's own whether it is read or written.
                    self.map_cached_around(region, &**object, *first, table, page, new);
                } else if access == Access::Write {
                    let copy = Frame::copy_of(&object.page(index, Access::Read)?)?;
                    table.set(slot, Entry::new(copy.into_raw(), base | Entry::WRITABLE | Entry::DIRTY));
                    self.count_in(1);
                } else {
                    let frame = object.page(index, Access::Read)?;
                    table.set(slot, Entry::new(frame.into_raw(), base));
                    self.count_in(1);
                    self.map_cached_around(region, &**object, *first, table, page, base);
                }
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
                table.set(
                    slot,
                    Entry::new(entry.address(), base | Entry::SHARED | (entry & Entry::UNCOUNTED)),
                );
            } else if entry.contains(Entry::UNCOUNTED) && entry.address() == zero_page() {
                let frame = Frame::zeroed()?;
                table.set(slot, Entry::new(frame.into_raw(), base));
                // The other threads see the page of zeros no more.
                shootdown::flush_others(self.users());
            } else if entry.contains(Entry::UNCOUNTED) {
                return Err(FaultError::NotAllowed);
            } else {
                // SAFETY: the entry's reference, taken over; it goes back below or is dropped with the old mapping.
                let old = unsafe { Frame::from_raw(entry.address()) };
                if old.ref_count() == 1 {
                    table.set(slot, Entry::new(old.into_raw(), base));
                } else {
                    match Frame::copy_of(&old) {
                        Ok(copy) => {
                            table.set(slot, Entry::new(copy.into_raw(), base));
                            paging::flush_page(page);
                            shootdown::flush_others(self.users());
                            drop(old);
                            return Ok(());
                        }
                        Err(error) => {
                            old.into_raw();
                            return Err(error.into());
                        }
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
            let slot = paging::index(at, 0);
            if table.get(slot) == Entry::empty() {
                table.set(slot, entry);
                added += 1;
            }
        }
        self.count_in(added);
    }

    /// Maps a file's neighbouring pages that are in its cache.
    fn map_cached_around(
        &self,
        region: &Region,
        object: &dyn super::MemoryObject,
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
            let slot = first_slot + nth;
            if table.get(slot) == Entry::empty() {
                table.set(slot, Entry::new(frame.into_raw(), flags));
                added += 1;
            } else {
                frame.release();
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
        if end - new_start > inner.stack_limit {
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

    // ---- mapping ------------------------------------------------------------------------------------------------------------

    /// Takes pages of a range out of the page table.
    #[inline(always)]
    fn unmap_pages(&self, range: Range<usize>) {
        if !self.table.is_blank(&range) {
            self.unmap_pages_without(range, Entry::empty());
        }
    }

    /// As `unmap_pages`, but entries with one of the bits `kept` stay.
    #[inline(never)]
    fn unmap_pages_without(&self, range: Range<usize>, kept: Entry) {
        let mut removed = 0;
        let result = {
            // Never moved: it is large.
            let mut gather = Gather::new(&self.table);
            self.table.update(range.clone(), |address, entry| {
                if entry.intersects(kept) {
                    return entry;
                }
                gather.add(address, entry);
                removed += 1;
                Entry::empty()
            })
        };
        if removed > 0 {
            self.count_out(removed);
        }
        // Copying a shared page table took the last frame: page tables come from the kernel's reserve, so this is the end of the reserve.
        // The region goes all the same; its pages stay behind until the address space does.
        if result.is_err() {
            log::error!("no memory to unmap {range:x?}");
        }
    }

    fn remove_locked(&self, inner: &mut Inner, range: Range<usize>) -> Result<(), Errno> {
        let mut freed = 0;
        inner.regions.remove(range.clone(), |region| {
            freed += region.len();
            self.unmap_pages(region.range());
            note_writable(region, region.pages().wrapping_neg());
        })?;
        inner.total -= freed;
        if freed >= 2 << 20 {
            let floor = inner.regions.find_before(range.start + 1).map_or(0, |r| r.end);
            let ceiling = inner.regions.find_from(range.end).map_or(USER_TOP, |r| r.start);
            self.table.free_tables(floor, ceiling);
        }
        Ok(())
    }

    /// Adds a region. `len` is in bytes, rounded up by the caller; `limit` is RLIMIT_AS. Returns its address.
    pub fn map(
        &self,
        place: Place,
        len: usize,
        align: usize,
        mut flags: RegionFlags,
        backing: Backing,
        limit: usize,
    ) -> Result<usize, Errno> {
        if commit::counts(flags) {
            commit::promise(len)?;
            flags |= RegionFlags::ACCOUNTED;
        }
        let mut inner = self.inner.lock();
        let start = match place {
            Place::Fixed(at) | Place::FixedNoReplace(at) => {
                let end = at.checked_add(len).filter(|&end| end <= USER_TOP).ok_or(Errno::ENOMEM)?;
                if at < LOWEST {
                    return Err(Errno::EPERM);
                }
                let occupied = inner.regions.find_from(at).is_some_and(|region| region.start < end);
                if occupied {
                    if matches!(place, Place::FixedNoReplace(_)) {
                        return Err(Errno::EEXIST);
                    }
                    self.remove_locked(&mut inner, at..end)?;
                }
                at
            }
            Place::Anywhere(hint) => {
                if len > USER_TOP {
                    return Err(Errno::ENOMEM);
                }
                let hint = page_ceil(hint).unwrap_or(0);
                let hint = if hint != 0 { hint.max(LOWEST) } else { 0 };
                let wanted = hint..hint.saturating_add(len);
                if hint != 0 && inner.regions.is_free(wanted) {
                    hint
                } else {
                    inner.regions.find_free(len, inner.layout.mmap_top, align).ok_or(Errno::ENOMEM)?
                }
            }
        };
        if inner.total.saturating_add(len) > limit {
            return Err(Errno::ENOMEM);
        }
        let region = Region { start, end: start + len, flags, backing };
        self.insert_noted(&mut inner, region)?;
        inner.total += len;
        Ok(start)
    }

    /// Adds a region, and tells its object. EPERM if the object is sealed against it.
    #[inline]
    fn insert_noted(&self, inner: &mut Inner, region: Region) -> Result<(), Errno> {
        if matches!(region.backing, Backing::Anonymous) {
            return inner.regions.insert(region);
        }
        let (writable, pages) = (region.writable_object().cloned(), region.pages());
        if !note_writable(&region, pages) {
            return Err(Errno::EPERM);
        }
        inner.regions.insert(region).inspect_err(|_| {
            if let Some(object) = writable {
                object.note_writable_mapping(pages.wrapping_neg());
            }
        })
    }

    /// Makes all pages of a range present that can be (MAP_POPULATE, mlock). Stops at the first that can't.
    pub fn populate(&self, range: Range<usize>) -> Result<(), FaultError> {
        for page in range.step_by(PAGE_SIZE) {
            let access = {
                let inner = self.inner.lock();
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

    /// munmap(2). The range is page-aligned and within the program's half.
    pub fn unmap(&self, range: Range<usize>) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        self.remove_locked(&mut inner, range)
    }

    /// mprotect(2): ENOMEM where nothing is mapped, EACCES where a shared file mapping may not be written.
    pub fn protect(&self, range: Range<usize>, access: RegionFlags) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        // Nearly always it is part of one region.
        if let Some((index, flags)) = inner.regions.find_whole(&range) {
            if flags & RegionFlags::ACCESS == access {
                return Ok(());
            }
            if access.contains(RegionFlags::WRITE) && !flags.contains(RegionFlags::MAY_WRITE) {
                return Err(Errno::EACCES);
            }
            let new = Self::with_access(flags, access, range.len())?;
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
        let result = inner.regions.change(range.start..covered, |region| {
            if access.contains(RegionFlags::WRITE) && !region.flags.contains(RegionFlags::MAY_WRITE) {
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
        let mut gather = Gather::new(&self.table);
        self.table.update(range, |address, entry| {
            let new = Self::protected(entry, access);
            if new != entry {
                gather.add(address, Entry::UNCOUNTED);
            }
            new
        })
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

    /// Drops the pages of a range (MADV_DONTNEED): private memory reads as at first again. EINVAL where a region has one of the flags
    /// `spared`.
    pub fn discard(&self, range: Range<usize>, spared: RegionFlags) -> Result<(), Errno> {
        let inner = self.inner.lock();
        for region in inner.regions.overlapping(range.clone()) {
            if region.flags.intersects(spared | RegionFlags::SPECIAL) {
                return Err(Errno::EINVAL);
            }
            self.unmap_pages(range.start.max(region.start)..range.end.min(region.end));
        }
        if inner.regions.is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Drops the mapped pages `pages` of the object with this key, which no longer has them; of private mappings too if `copies` says so.
    pub fn drop_object_pages(&self, key: usize, pages: &Range<u64>, copies: Copies) {
        let inner = self.inner.lock();
        for region in inner.regions.overlapping(0..USER_TOP) {
            let Backing::Object(object, first) = &region.backing else { continue };
            if object.identity_key() != key {
                continue;
            }
            let address = |page: u64| {
                let distance = usize::try_from(page.saturating_sub(*first)).unwrap_or(usize::MAX);
                region.start.saturating_add(distance.saturating_mul(PAGE_SIZE)).min(region.end)
            };
            let range = address(pages.start)..address(pages.end);
            if range.is_empty() {
                continue;
            }
            if copies == Copies::Keep && !region.flags.contains(RegionFlags::SHARED) {
                // Pages that are still the file's: one that was copied has been written, and is marked so for ever.
                self.unmap_pages_without(range, Entry::DIRTY);
            } else {
                self.unmap_pages(range);
            }
        }
    }

    /// brk(2): the new break if it could be had, else the old one.
    pub fn set_brk(&self, wanted: usize, data_limit: usize, total_limit: usize) -> usize {
        let mut inner = self.inner.lock();
        let start = inner.layout.brk_start;
        let old = inner.brk;
        if wanted < start {
            return old;
        }
        let (Some(old_end), Some(new_end)) = (page_ceil(old), page_ceil(wanted)) else { return old };
        if wanted - start > data_limit {
            return old;
        }
        if new_end < old_end {
            if self.remove_locked(&mut inner, new_end..old_end).is_err() {
                return old;
            }
        } else if new_end > old_end {
            let len = new_end - old_end;
            if inner.total.saturating_add(len) > total_limit
                || commit::promise(len).is_err()
                || inner.regions.extend(old_end..new_end, PAGE_SIZE, HEAP | self.lock_future()) != Ok(true)
            {
                return old;
            }
            inner.total += len;
        }
        inner.brk = wanted;
        wanted
    }

    /// Moves the pages of one range to another place (mremap), entry by entry.
    fn move_pages(&self, from: Range<usize>, to: usize) -> Result<(), OutOfMemory> {
        let mut failed = false;
        let mut gather = Gather::new(&self.table);
        self.table.update(from.clone(), |address, entry| {
            match self.table.find_or_create(to + (address - from.start)) {
                Ok((table, slot)) => {
                    table.set(slot, entry);
                    gather.add(address, Entry::UNCOUNTED);
                    Entry::empty()
                }
                Err(_) => {
                    failed = true;
                    entry
                }
            }
        })?;
        if failed { Err(OutOfMemory) } else { Ok(()) }
    }

    /// mremap(2) after its argument checks: `old` lies in one region. Returns the new address.
    pub fn remap(
        &self,
        old: Range<usize>,
        new_len: usize,
        target: RemapTarget,
        limit: usize,
    ) -> Result<usize, Errno> {
        let mut inner = self.inner.lock();
        let region = inner.regions.find(old.start).ok_or(Errno::EFAULT)?.clone();
        if region.end < old.end {
            return Err(Errno::EFAULT);
        }
        if region.flags.contains(RegionFlags::SPECIAL) {
            return Err(Errno::EINVAL);
        }
        let old_len = old.len();
        if region.flags.contains(RegionFlags::ACCOUNTED) {
            let is_kept = matches!(target, RemapTarget::Keep(_));
            commit::promise(if is_kept { new_len } else { new_len.saturating_sub(old_len) })?;
        }
        if let RemapTarget::InPlace | RemapTarget::MayMove = target {
            if new_len <= old_len {
                if new_len < old_len {
                    self.remove_locked(&mut inner, old.start + new_len..old.end)?;
                }
                return Ok(old.start);
            }
            let grow = new_len - old_len;
            if inner.total.saturating_add(grow) > limit {
                return Err(Errno::ENOMEM);
            }
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
        } else if inner.total.saturating_add(new_len) > limit {
            return Err(Errno::ENOMEM);
        }
        // Only as much as fits moves along.
        let kept = old_len.min(new_len);
        let keep_old = matches!(target, RemapTarget::Keep(_));
        let to = match target {
            RemapTarget::Fixed(at) => {
                self.remove_locked(&mut inner, at..at + new_len)?;
                at
            }
            RemapTarget::Keep(at) if at != 0 => {
                self.remove_locked(&mut inner, at..at + new_len)?;
                at
            }
            _ => inner.regions.find_free(new_len, inner.layout.mmap_top, PAGE_SIZE).ok_or(Errno::ENOMEM)?,
        };
        let mut moved = region.clone();
        moved.start = to;
        moved.end = to + new_len;
        if let Backing::Object(_, page) = &mut moved.backing {
            *page += ((old.start - region.start) / PAGE_SIZE) as u64;
        }
        self.insert_noted(&mut inner, moved)?;
        inner.total += new_len;
        self.move_pages(old.start..old.start + kept, to)?;
        if !keep_old {
            self.remove_locked(&mut inner, old)?;
        }
        Ok(to)
    }

    /// mincore(2): one byte per page, 1 where it is resident. ENOMEM where nothing is mapped.
    pub fn residency(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), Errno> {
        let inner = self.inner.lock();
        if !inner.regions.is_covered(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        for (page, byte) in range.step_by(PAGE_SIZE).zip(out) {
            let present = self.table.get(page).address() != 0;
            let cached = || match inner.regions.find(page) {
                Some(Region { start, backing: Backing::Object(object, first), .. }) => {
                    object.cached_page(first + ((page - start) / PAGE_SIZE) as u64).is_some()
                }
                _ => false,
            };
            *byte = u8::from(present || cached());
        }
        Ok(())
    }

    /// A child's copy (fork): same regions, same pages, copied when either side writes. Regions that say so are left out or start empty.
    pub fn fork(&self) -> Result<Arc<Self>, Errno> {
        let inner = self.inner.lock();
        let mut regions = inner.regions.clone();
        let mut excluded = alloc::vec::Vec::new();
        // Locks aren't inherited.
        const LOCKS: RegionFlags = RegionFlags::LOCKED.union(RegionFlags::ON_FAULT);
        if regions.iter().any(|region| region.flags.intersects(LOCKS)) {
            regions.change(0..USER_TOP, |region| {
                region.flags.remove(LOCKS);
                Ok(())
            })?;
        }
        for region in inner.regions.iter() {
            if region.flags.intersects(RegionFlags::DONT_FORK | RegionFlags::WIPE_ON_FORK) {
                excluded.push(region.range());
            }
        }
        let mut total = inner.total;
        for range in &excluded {
            if inner.regions.find(range.start).is_some_and(|r| r.flags.contains(RegionFlags::DONT_FORK)) {
                total -= range.len();
                regions.remove(range.clone(), |_| {})?;
            }
        }
        let table = self.table.fork(crate::mode(), &excluded);
        paging::flush_all();
        shootdown::flush_others(self.users());
        let table = table?;
        regions.rebind_for_child();
        for region in regions.iter() {
            note_writable(region, region.pages());
        }
        let resident = self.resident.load(Ordering::Relaxed);
        Ok(Arc::new(Self {
            inner: SpinLock::new(Inner {
                regions,
                layout: inner.layout,
                brk: inner.brk,
                total,
                args: inner.args.clone(),
                env: inner.env.clone(),
                auxv: inner.auxv.clone(),
                stack_limit: inner.stack_limit,
            }),
            table,
            user: self.user,
            resident: AtomicUsize::new(resident),
            peak: AtomicUsize::new(resident),
            membarrier: AtomicU32::new(self.membarrier.load(Ordering::Relaxed)),
            lock_future: AtomicU32::new(0),
        }))
    }

    /// Does something with the frame of a page, brought in first, while nobody can take it away.
    fn with_frame<T>(
        &self,
        address: usize,
        access: Access,
        act: impl FnOnce(&Frame) -> T,
    ) -> Result<T, FaultError> {
        let mut inner = self.inner.lock();
        self.fault_locked(&mut inner, address, access)?;
        // SAFETY: the entry's reference stays with the entry: the handle is forgotten.
        let frame = unsafe { Frame::from_raw(self.table.get(page_floor(address)).address()) };
        let result = act(&frame);
        frame.into_raw();
        Ok(result)
    }

    /// Writes bytes into a program that isn't running yet (exec), whatever its rights.
    pub fn write_initial(&self, address: usize, bytes: &[u8]) -> Result<(), FaultError> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = address + done;
            let len = (PAGE_SIZE - at % PAGE_SIZE).min(rest.len());
            let piece = rest.get(..len).unwrap_or_default();
            self.with_frame(at, Access::Write, |frame| frame.write(at % PAGE_SIZE, piece))?;
            done += len;
        }
        Ok(())
    }

    /// Runs `act` on pieces of `[address, address + len)`, page by page, each brought in first if the program itself may access it so:
    /// for what comes from outside (/proc/PID/cmdline, process_vm_readv). `act` gets a frame, the offset and length in it, and how much
    /// was done; it runs under a lock. An error ends it there: `done` says how much was done before.
    pub fn for_pages(
        &self,
        address: usize,
        len: usize,
        access: Access,
        done: &mut usize,
        mut act: impl FnMut(&Frame, usize, usize, usize),
    ) -> Result<(), FaultError> {
        *done = 0;
        while *done < len {
            let at = address.checked_add(*done).filter(|&at| at < USER_TOP).ok_or(FaultError::NotMapped)?;
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(len - *done);
            self.fault(at, access)?;
            let _inner = self.inner.lock();
            let entry = self.table.get(page_floor(at));
            // Taken away again by another thread: try once more.
            if !entry.contains(Entry::PRESENT) || access == Access::Write && !entry.contains(Entry::WRITABLE)
            {
                continue;
            }
            // SAFETY: the entry's reference stays with the entry: the handle is forgotten. The entry stays while the lock is held.
            let frame = unsafe { Frame::from_raw(entry.address()) };
            act(&frame, at % PAGE_SIZE, piece, *done);
            frame.into_raw();
            *done += piece;
        }
        Ok(())
    }

    /// Reads a program's memory from outside, as far as it may be read. Returns how much that was if there was a fault.
    pub fn read(&self, address: usize, dst: &mut [u8]) -> Result<(), usize> {
        let mut done = 0;
        let result = self.for_pages(address, dst.len(), Access::Read, &mut done, |frame, within, len, at| {
            frame.read(within, dst.get_mut(at..at + len).unwrap_or_default());
        });
        result.map_err(|_| done)
    }

    /// Writes a program's memory from outside, as far as it may be written. As `read`.
    pub fn write(&self, address: usize, src: &[u8]) -> Result<(), usize> {
        let mut done = 0;
        let result =
            self.for_pages(address, src.len(), Access::Write, &mut done, |frame, within, len, at| {
                frame.write(within, src.get(at..at + len).unwrap_or_default());
            });
        result.map_err(|_| done)
    }

    /// Zeroes part of one page of a program that isn't running yet (the tail of .bss).
    pub fn zero_initial(&self, address: usize, len: usize) -> Result<(), FaultError> {
        let within = address % PAGE_SIZE;
        let range = within..(within + len).min(PAGE_SIZE);
        self.with_frame(address, Access::Write, |frame| frame.zero_range(range))
    }
}

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

/// Tells a region's object how many pages of shared writable mappings come or go. False if it is sealed against them.
fn note_writable(region: &Region, pages: i64) -> bool {
    region.writable_object().is_none_or(|object| object.note_writable_mapping(pages))
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.table.leave_shared();
        for region in self.inner.get_mut().regions.iter() {
            self.table.release(region.range());
            note_writable(region, region.pages().wrapping_neg());
        }
        self.table.note_emptied();
    }
}
