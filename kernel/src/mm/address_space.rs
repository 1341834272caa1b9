//! One program's memory: its regions, its page table, and what mmap and its relatives do to both.
//!
//! A page that is present and read-only in a writable private region is shared (with a file, a child, or the zero page): the first write
//! copies it, unless this address space turns out to be its only owner.

mod faults;
mod gather;
mod outside;
mod remap;
mod rights;

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use abi::Errno;

use self::gather::Gather;
pub use self::remap::RemapTarget;
use super::commit;
use super::frame::OutOfMemory;
use super::page_table::{PageTable, SPAN};
use super::regions::{Backing, LAST_PAGE, LOWEST, Region, RegionFlags, Regions};
use super::shootdown::{self, CpuSet};
use super::space_lock::SpaceLock;
use super::{PAGE_SIZE, USER_TOP, page_ceil};
use crate::arch::x86_64::paging::{self, Entry};
use crate::task::current;
use crate::task::process::rlimit;

/// What brk's memory is.
const HEAP: RegionFlags = RegionFlags::READ
    .union(RegionFlags::WRITE)
    .union(RegionFlags::MAY_ALL)
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
    /// Bytes mapped in all, for RLIMIT_AS.
    pub total: usize,
    /// Ranges of argv, env and auxv for /proc.
    pub args: Range<usize>,
    pub env: Range<usize>,
    pub auxv: Range<usize>,
    /// Most bytes that the stack may take.
    pub stack_limit: usize,
}

impl Inner {
    /// Bytes of a range that belong to regions of a kind.
    fn bytes(&self, range: Range<usize>, is_wanted: impl Fn(&Region) -> bool) -> usize {
        let part = |region: &Region| range.end.min(region.end) - range.start.max(region.start);
        self.regions.overlapping(range.clone()).filter(|region| is_wanted(region)).map(part).sum()
    }

    /// Whether so many more bytes with these flags are within `limit`, RLIMIT_AS, and within RLIMIT_DATA. ENOMEM.
    #[inline(always)]
    fn check_limits(&self, flags: RegionFlags, more: usize, limit: usize) -> Result<(), Errno> {
        if self.total.saturating_add(more) > limit {
            return Err(Errno::ENOMEM);
        }
        self.check_data(flags, more)
    }

    /// Whether so many more bytes with these flags are within RLIMIT_DATA. ENOMEM.
    #[inline(always)]
    fn check_data(&self, flags: RegionFlags, more: usize) -> Result<(), Errno> {
        if is_data(flags) && current().process.limit(rlimit::DATA) != u64::MAX {
            self.count_data(more)
        } else {
            Ok(())
        }
    }

    /// As `check_data`, for bytes that are there with other flags. ENOMEM.
    #[cold]
    fn check_new_data(&self, old: RegionFlags, new: RegionFlags, bytes: usize) -> Result<(), Errno> {
        if is_data(old) { Ok(()) } else { self.check_data(new, bytes) }
    }

    #[cold]
    #[inline(never)]
    fn count_data(&self, more: usize) -> Result<(), Errno> {
        let limit = current().process.limit(rlimit::DATA);
        let data = self.bytes(0..USER_TOP, |region| is_data(region.flags));
        if data.saturating_add(more) as u64 > limit { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

/// What RLIMIT_DATA counts: private and writable, and no stack.
fn is_data(flags: RegionFlags) -> bool {
    const OF_INTEREST: RegionFlags =
        RegionFlags::WRITE.union(RegionFlags::SHARED).union(RegionFlags::GROWS_DOWN);
    flags & OF_INTEREST == RegionFlags::WRITE
}

/// Pages present, and the most there ever were. In a cache line of its own, since faults on all CPUs write to it.
#[repr(align(64))]
struct PageCount {
    resident: AtomicUsize,
    peak: AtomicUsize,
}

impl PageCount {
    fn new(pages: usize) -> Self {
        Self { resident: AtomicUsize::new(pages), peak: AtomicUsize::new(pages) }
    }
}

/// One address space; threads share it, and so do vfork children.
pub struct AddressSpace {
    inner: SpaceLock<Inner>,
    table: PageTable,
    user: Entry,
    pages: PageCount,
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
            inner: SpaceLock::new(Inner {
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
            pages: PageCount::new(0),
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
        look(&mut self.inner.write())
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
        let now = self.pages.resident.load(Ordering::Relaxed);
        (now, self.pages.peak.load(Ordering::Relaxed).max(now))
    }

    /// Pages of a range that are mapped now.
    pub fn resident_in(&self, range: &Range<usize>) -> usize {
        let _inner = self.inner.write();
        self.table.count(range)
    }

    fn entry_flags(&self, flags: RegionFlags) -> Entry {
        let mut entry = self.user;
        entry.set(Entry::NO_EXECUTE, !flags.contains(RegionFlags::EXECUTE));
        entry
    }

    /// Also while other CPUs handle faults.
    fn count_in(&self, pages: usize) {
        self.pages.resident.fetch_add(pages, Ordering::Relaxed);
    }

    /// Also while other CPUs handle faults or change the map.
    fn count_out(&self, pages: usize) {
        let before = self.pages.resident.fetch_sub(pages, Ordering::Relaxed);
        if self.pages.peak.load(Ordering::Relaxed) < before {
            self.pages.peak.fetch_max(before, Ordering::Relaxed);
        }
    }

    /// Ends what is mapped in a range. Its frames are left in `gather`, to be freed after the lock.
    fn remove_locked<'a>(
        &'a self,
        inner: &mut Inner,
        range: Range<usize>,
        gather: &mut Gather<'a>,
    ) -> Result<(), Errno> {
        debug_assert!(range.end <= USER_TOP, "beyond the program's half");
        if range.len() >= SPAN {
            return self.remove_wide(inner, range, gather);
        }
        let mut freed = 0;
        inner.regions.remove(range, |region| {
            freed += region.len();
            self.unmap_pages(region.range(), gather);
            note_writable(region, region.pages().wrapping_neg());
        })?;
        inner.total -= freed;
        gather.flush();
        Ok(())
    }

    /// As `remove_locked`, for a range in which there may be whole page tables.
    #[inline(never)]
    fn remove_wide<'a>(
        &'a self,
        inner: &mut Inner,
        range: Range<usize>,
        gather: &mut Gather<'a>,
    ) -> Result<(), Errno> {
        let mut freed = 0;
        inner.regions.remove_pieces(range.clone(), &mut |region| {
            freed += region.len();
            note_writable(region, region.pages().wrapping_neg());
        })?;
        inner.total -= freed;
        if freed > 0 {
            let floor = inner.regions.find_before(range.start + 1).map_or(0, |r| r.end);
            let ceiling = inner.regions.find_from(range.end).map_or(USER_TOP, |r| r.start);
            self.unmap_wide(range, floor..ceiling, gather);
            gather.flush();
        }
        Ok(())
    }

    /// As `remove_locked`, and frees the frames at once.
    #[inline]
    fn remove_now(&self, inner: &mut Inner, range: Range<usize>) -> Result<(), Errno> {
        self.remove_locked(inner, range, &mut Gather::new())
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
        let mut inner = self.inner.write();
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
                    // What can't be had leaves what is there.
                    let replaced = inner.bytes(at..end, |_| true);
                    inner.check_limits(flags, len.saturating_sub(replaced), limit)?;
                    self.remove_now(&mut inner, at..end)?;
                }
                at
            }
            Place::Anywhere(hint) => {
                if len > USER_TOP {
                    return Err(Errno::ENOMEM);
                }
                match inner.regions.at_hint(hint, len, USER_TOP) {
                    Some(at) => at,
                    None => {
                        let top = inner.layout.mmap_top;
                        inner.regions.find_free(len, top, align).ok_or(Errno::ENOMEM)?
                    }
                }
            }
        };
        inner.check_limits(flags, len, limit)?;
        let region = Region { start, end: start + len, flags, backing };
        self.insert_noted(&mut inner, region)?;
        inner.total += len;
        Ok(start)
    }

    /// Adds a region, and tells its object. EPERM if the object is sealed against it, EINVAL if it goes beyond what a file may have.
    #[inline]
    fn insert_noted(&self, inner: &mut Inner, region: Region) -> Result<(), Errno> {
        if matches!(region.backing, Backing::Anonymous) {
            return inner.regions.insert(region);
        }
        if let Backing::Object(_, first) = region.backing
            && first + (region.len() / PAGE_SIZE) as u64 > LAST_PAGE
        {
            return Err(Errno::EINVAL);
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

    /// munmap(2). The range is page-aligned and within the program's half.
    #[inline]
    pub fn unmap(&self, range: Range<usize>) -> Result<(), Errno> {
        // Dropped after the lock.
        let mut gather = Gather::new();
        let mut inner = self.inner.write();
        self.remove_locked(&mut inner, range, &mut gather)
    }

    /// Drops the pages of a range (MADV_DONTNEED): private memory reads as at first again. EINVAL where a region has one of the flags
    /// `spared`.
    pub fn discard(&self, range: Range<usize>, spared: RegionFlags) -> Result<(), Errno> {
        // Dropped after the lock.
        let mut gather = Gather::new();
        let inner = self.inner.write();
        let mut result = Ok(());
        for region in inner.regions.overlapping(range.clone()) {
            if region.flags.intersects(spared | RegionFlags::SPECIAL) {
                result = Err(Errno::EINVAL);
                break;
            }
            self.unmap_pages_without(
                range.start.max(region.start)..range.end.min(region.end),
                Entry::empty(),
                &mut gather,
            );
        }
        gather.flush();
        result?;
        if inner.regions.is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Drops the mapped pages `pages` of the object with this key, or of all objects, which no longer have them; of private mappings too if
    /// `copies` says so.
    pub fn drop_object_pages(&self, key: Option<usize>, pages: &Range<u64>, copies: Copies) {
        // Dropped, and flushed, before the lock.
        let inner = self.inner.write();
        let mut gather = Gather::new();
        for region in inner.regions.overlapping(0..USER_TOP) {
            let Backing::Object(object, first) = &region.backing else { continue };
            if key.is_some_and(|key| object.identity_key() != key) {
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
                self.unmap_pages_without(range, Entry::DIRTY, &mut gather);
            } else {
                self.unmap_pages_without(range, Entry::empty(), &mut gather);
            }
        }
    }

    /// brk(2): the new break if it could be had, else the old one.
    pub fn set_brk(&self, wanted: usize, data_limit: usize, total_limit: usize) -> usize {
        let mut inner = self.inner.write();
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
            if self.remove_now(&mut inner, new_end..old_end).is_err() {
                return old;
            }
        } else if new_end > old_end {
            let len = new_end - old_end;
            if inner.check_limits(HEAP, len, total_limit).is_err()
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

    /// mincore(2): one byte per page, 1 where it is resident. ENOMEM where nothing is mapped.
    pub fn residency(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), Errno> {
        let inner = self.inner.write();
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
        let inner = self.inner.write();
        let mut regions = inner.regions.try_clone()?;
        let mut excluded = alloc::vec::Vec::new();
        // Locks aren't inherited.
        const LOCKS: RegionFlags = RegionFlags::LOCKED.union(RegionFlags::ON_FAULT);
        if regions.iter().any(|region| region.flags.intersects(LOCKS)) {
            regions.change(0..USER_TOP, &mut |region| {
                region.flags.remove(LOCKS);
                Ok(())
            })?;
        }
        for region in inner.regions.iter() {
            if region.flags.intersects(RegionFlags::DONT_FORK | RegionFlags::WIPE_ON_FORK) {
                excluded.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                excluded.push(region.range());
            }
        }
        let mut total = inner.total;
        let mut resident = self.pages.resident.load(Ordering::Relaxed);
        for range in &excluded {
            resident = resident.saturating_sub(self.table.count(range));
            if inner.regions.find(range.start).is_some_and(|r| r.flags.contains(RegionFlags::DONT_FORK)) {
                total -= range.len();
                regions.remove_pieces(range.clone(), &mut |_| {})?;
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
        Ok(Arc::new(Self {
            inner: SpaceLock::new(Inner {
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
            pages: PageCount::new(resident),
            membarrier: AtomicU32::new(self.membarrier.load(Ordering::Relaxed)),
            lock_future: AtomicU32::new(0),
        }))
    }
}

/// Tells a region's object how many pages of shared writable mappings come or go. False if it is sealed against them.
#[inline]
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
