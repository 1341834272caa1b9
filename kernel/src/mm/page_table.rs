//! Page tables: the kernel's half, which all share, and the program's half, which each address space owns.
//!
//! A table of the last level that a fork made shared belongs to address spaces with different locks. Who gives his part in one up, or makes
//! it his own, holds `SHARED`: so exactly one of them finds that it is the last, and disposes of the frames.
#![expect(unsafe_code, reason = "owns page tables")]

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use super::PAGE_SIZE;
use super::frame::{self, Frame, OutOfMemory};
use super::shootdown::{self, CpuSet};
use crate::arch::x86_64::cpu::{Features, features};
use crate::arch::x86_64::paging::{self, Entry, KERNEL_BASE, Table, index};
use crate::sync::SpinLock;

unsafe extern "C" {
    static boot_pml4: u8;
    static boot_pd_image: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __kernel_end: u8;
}

/// Where the kernel's half is entered in every root table.
const KERNEL_SLOTS: [usize; 2] = [index(paging::DIRECT_MAP, 3), index(KERNEL_BASE, 3)];
const TWO_MIB: u64 = 2 << 20;
const ONE_GIB: u64 = 1 << 30;
/// The direct map's first GiB is there from the start (`boot/entry.rs`).
const MAPPED_AT_BOOT: u64 = ONE_GIB;

fn boot_root() -> Table {
    Table(paging::image_to_physical((&raw const boot_pml4).addr()))
}

fn kernel_data_flags() -> Entry {
    Entry::PRESENT | Entry::WRITABLE | Entry::ACCESSED | Entry::DIRTY | Entry::GLOBAL | Entry::NO_EXECUTE
}

/// The direct map's page directory that holds `physical`, made if there is none.
fn direct_directory(physical: u64) -> Option<Table> {
    let pdpt = boot_root().next(index(paging::DIRECT_MAP, 3))?;
    let slot = index(paging::direct(physical), 2);
    if pdpt.get(slot).contains(Entry::HUGE) {
        return None;
    }
    Some(pdpt.next(slot).unwrap_or_else(|| {
        let table = Frame::zeroed_for_kernel().expect("a frame for the direct map").into_raw();
        pdpt.set(slot, Entry::new(table, Entry::PRESENT | Entry::WRITABLE));
        Table(table)
    }))
}

/// Maps RAM beyond the first GiB: by whole GiB where the processor can, else by 2 MiB.
pub fn map_direct_ram(range: Range<u64>) {
    let mut at = range.start.max(MAPPED_AT_BOOT) & !(TWO_MIB - 1);
    while at < range.end {
        let whole = at.is_multiple_of(ONE_GIB)
            && at + ONE_GIB <= range.end
            && features().contains(Features::GIGA_PAGES);
        if whole && let Some(pdpt) = boot_root().next(index(paging::DIRECT_MAP, 3)) {
            pdpt.set(index(paging::direct(at), 2), Entry::new(at, kernel_data_flags() | Entry::HUGE));
            at += ONE_GIB;
        } else {
            if let Some(directory) = direct_directory(at) {
                directory
                    .set(index(paging::direct(at), 1), Entry::new(at, kernel_data_flags() | Entry::HUGE));
            }
            at += TWO_MIB;
        }
    }
}

/// Maps a device's registers, uncached.
pub fn map_direct_device(physical: u64, len: u64) {
    let flags = kernel_data_flags() | Entry::HUGE | Entry::UNCACHED | Entry::WRITE_THROUGH;
    let mut at = physical & !(TWO_MIB - 1);
    while at < physical + len {
        if at >= MAPPED_AT_BOOT
            && let Some(directory) = direct_directory(at)
            && !directory.get(index(paging::direct(at), 1)).contains(Entry::PRESENT)
        {
            directory.set(index(paging::direct(at), 1), Entry::new(at, flags));
        }
        at += TWO_MIB;
    }
}

/// Gives the kernel's image its final rights, page by page: code read-execute, constants read-only, data read-write, nothing else.
pub fn protect_image() {
    let start = (&raw const __text_start).addr();
    let end = (&raw const __kernel_end).addr();
    let directory = Table(paging::image_to_physical((&raw const boot_pd_image).addr()));
    let mut at = start & !(TWO_MIB as usize - 1);
    while at < end {
        let table = Table(Frame::zeroed_for_kernel().expect("a frame for the image's table").into_raw());
        for page in (at.max(start)..end.min(at + TWO_MIB as usize)).step_by(PAGE_SIZE) {
            let flags = if page < (&raw const __text_end).addr() {
                Entry::PRESENT | Entry::ACCESSED | Entry::GLOBAL
            } else if (page >= (&raw const __rodata_start).addr()) && page < (&raw const __data_start).addr()
            {
                Entry::PRESENT | Entry::ACCESSED | Entry::GLOBAL | Entry::NO_EXECUTE
            } else {
                kernel_data_flags()
            };
            table.set(index(page, 0), Entry::new(paging::image_to_physical(page), flags));
        }
        directory.set(index(at, 1), Entry::new(table.0, Entry::PRESENT | Entry::WRITABLE));
        at += TWO_MIB as usize;
    }
    debug_assert!(start > KERNEL_BASE);
    // The identity mapping went through the same directory: nothing uses it any more.
    boot_root().set(0, Entry::empty());
    for address in (start & !(TWO_MIB as usize - 1)..end).step_by(TWO_MIB as usize) {
        paging::flush_page(address);
    }
}

/// Held while the owners of a shared table are counted and one leaves. Below the address space's lock.
static SHARED: SpinLock<()> = SpinLock::new(());

/// The program's half of one address space.
pub struct PageTable {
    root: Table,
    /// CPUs that have it in CR3.
    users: CpuSet,
    /// Bits of every entry that points to a table: user in guarded mode.
    link: Entry,
    /// What the tables consist of, so that neither fork nor the end has to search them.
    inventory: SpinLock<Inventory>,
    /// Every page was released, by regions that covered all of them: the last tables are empty.
    is_emptied: AtomicBool,
    /// An update ended for want of memory: there may be entries in no region.
    has_strays: AtomicBool,
}

#[derive(Default)]
struct Inventory {
    /// The upper tables: the slot of the table above that leads to each. A table comes before those below it.
    upper: Vec<(Table, usize)>,
    /// First addresses of the 2 MiB spans that have a page table of the last level, own or shared.
    spans: Vec<usize>,
}

impl PageTable {
    /// A new, empty program half under the kernel's half. ENOMEM.
    pub fn new(mode: crate::Mode) -> Result<Self, OutOfMemory> {
        let root = Table(Frame::zeroed_for_kernel()?.into_raw());
        for slot in KERNEL_SLOTS {
            root.set(slot, boot_root().get(slot));
        }
        let mut link = Entry::PRESENT | Entry::WRITABLE | Entry::ACCESSED;
        link.set(Entry::USER, mode == crate::Mode::Guarded);
        Ok(Self {
            root,
            users: CpuSet::default(),
            link,
            inventory: SpinLock::new(Inventory::default()),
            is_emptied: AtomicBool::new(false),
            has_strays: AtomicBool::new(false),
        })
    }

    /// CPUs that have it in CR3.
    pub fn users(&self) -> &CpuSet {
        &self.users
    }

    /// Physical address for CR3.
    pub fn root(&self) -> u64 {
        self.root.0
    }

    /// The page table and index for an address, if the tables are there.
    #[inline]
    pub fn find(&self, address: usize) -> Option<(Table, usize)> {
        let level2 = self.root.next(index(address, 3))?;
        let level1 = level2.next(index(address, 2))?;
        let level0 = level1.next(index(address, 1))?;
        Some((level0, index(address, 0)))
    }

    /// As `find`, if the last table is this address space's own.
    #[inline]
    pub fn find_own(&self, address: usize) -> Option<(Table, usize)> {
        let entry = self.directory(address)?.get(index(address, 1));
        entry.contains(Entry::PRESENT | Entry::WRITABLE).then(|| (Table(entry.address()), index(address, 0)))
    }

    /// As `find`, making the tables on the way, and the last one this address space's own: the caller means to change an entry.
    #[inline(always)]
    pub fn find_or_create(&self, address: usize) -> Result<(Table, usize), OutOfMemory> {
        if let Some(directory) = self.directory(address) {
            let entry = directory.get(index(address, 1));
            if entry.contains(Entry::PRESENT | Entry::WRITABLE) {
                return Ok((Table(entry.address()), index(address, 0)));
            }
        }
        Ok((self.create(address)?, index(address, 0)))
    }

    /// As `find_or_create` where `find_own` found nothing, for a program's fault: when only the kernel's reserve is left, no table comes from it.
    /// A storm of faults in processes that share their parents' tables would use it up, while whoever is to be ended still needs some of it.
    #[cold]
    #[inline(never)]
    pub fn create_for_fault(&self, address: usize) -> Result<(Table, usize), OutOfMemory> {
        if frame::is_short() && frame::is_exhausted() {
            return Err(OutOfMemory);
        }
        Ok((self.create(address)?, index(address, 0)))
    }

    /// Makes what is missing for `find_or_create`.
    #[cold]
    #[inline(never)]
    fn create(&self, address: usize) -> Result<Table, OutOfMemory> {
        let mut table = self.root;
        for level in [3, 2] {
            table = self.upper_or_create(table, index(address, level))?;
        }
        let slot = index(address, 1);
        if table.get(slot).contains(Entry::PRESENT) {
            self.unshare(table, slot)
        } else {
            self.create_last(table, address)
        }
    }

    #[inline]
    fn upper_or_create(&self, table: Table, slot: usize) -> Result<Table, OutOfMemory> {
        match table.next(slot) {
            Some(next) => Ok(next),
            None => {
                let mut inventory = self.inventory.lock();
                inventory.upper.try_reserve(1).map_err(|_| OutOfMemory)?;
                let next = Frame::zeroed_for_kernel()?.into_raw();
                inventory.upper.push((table, slot));
                table.set(slot, Entry::new(next, self.link));
                Ok(Table(next))
            }
        }
    }

    /// An empty page table for the span of an address.
    fn create_last(&self, directory: Table, address: usize) -> Result<Table, OutOfMemory> {
        let next = Frame::zeroed_for_kernel()?;
        self.link_last(directory, address & !(TWO_MIB as usize - 1), next.clone(), self.link)?;
        Ok(Table(next.physical()))
    }

    /// Enters a page table of the last level.
    fn link_last(
        &self,
        directory: Table,
        span: usize,
        table: Frame,
        flags: Entry,
    ) -> Result<(), OutOfMemory> {
        let mut inventory = self.inventory.lock();
        inventory.spans.try_reserve(1).map_err(|_| OutOfMemory)?;
        inventory.spans.push(span);
        directory.set(index(span, 1), Entry::new(table.into_raw(), flags));
        Ok(())
    }

    /// Makes the page table behind a directory entry, shared since a fork, this address space's own.
    ///
    /// If the others have let go of it, only the entry's write bit was missing. Otherwise the table is copied; the frames then have one
    /// owner more, so private pages lose write access in both tables and are copied on the next write.
    fn unshare(&self, directory: Table, slot: usize) -> Result<Table, OutOfMemory> {
        let shared = directory.get(slot);
        let _owners = SHARED.lock();
        // SAFETY: the reference that the entry holds; it is given back or dropped below.
        let old = unsafe { Frame::from_raw(shared.address()) };
        if old.ref_count() == 1 {
            directory.set(slot, Entry::new(old.into_raw(), self.link));
            return Ok(Table(shared.address()));
        }
        let new = match Frame::zeroed_for_kernel() {
            Ok(frame) => Table(frame.into_raw()),
            Err(error) => {
                old.into_raw();
                return Err(error);
            }
        };
        Self::copy_entries(Table(old.physical()), new, 0..512);
        directory.set(slot, Entry::new(new.0, self.link));
        // Processors cache the way to the old table, which isn't ours from here on.
        paging::flush_all();
        shootdown::flush_others(&self.users);
        drop(old);
        Ok(new)
    }

    /// Copies entries, making both owners of each frame and taking write access to private pages away from both.
    fn copy_entries(from: Table, to: Table, slots: Range<usize>) {
        // Tables are mostly empty.
        const STEP: usize = Table::STEP;
        let mut at = slots.start;
        while at < slots.end {
            if at.is_multiple_of(STEP) && at + STEP <= slots.end && from.are_empty(at) {
                at += STEP;
                continue;
            }
            Self::copy_entry(from, to, at);
            at += 1;
        }
    }

    fn copy_entry(from: Table, to: Table, slot: usize) {
        let mut entry = from.get(slot);
        if entry == Entry::empty() {
            return;
        }
        if entry.contains(Entry::WRITABLE) && !entry.contains(Entry::SHARED) {
            entry.remove(Entry::WRITABLE);
            from.set(slot, entry);
        }
        if !entry.contains(Entry::UNCOUNTED) {
            // SAFETY: the entry keeps its reference; the clone's goes to the copy.
            let frame = unsafe { Frame::from_raw(entry.address()) };
            frame.clone().into_raw();
            frame.into_raw();
        }
        to.set(slot, entry);
    }

    /// A child's page table for fork: tables of the last level are shared copy-on-write, so the cost hardly depends on how much is
    /// mapped. Pages of `excluded` ranges are left out of the child. The caller flushes this CPU's translations.
    pub fn fork(&self, mode: crate::Mode, excluded: &[Range<usize>]) -> Result<Self, OutOfMemory> {
        let child = Self::new(mode)?;
        let inventory = self.inventory.lock();
        child.inventory.lock().spans.try_reserve(inventory.spans.len()).map_err(|_| OutOfMemory)?;
        for &start in &inventory.spans {
            let Some(directory) = self.directory(start) else { continue };
            let entry = directory.get(index(start, 1));
            let pdpt = child.upper_or_create(child.root, index(start, 3))?;
            let child_directory = child.upper_or_create(pdpt, index(start, 2))?;
            let end = start + TWO_MIB as usize;
            if excluded.iter().any(|r| r.start < end && start < r.end) {
                let table = child.create_last(child_directory, start)?;
                for slot in 0..512 {
                    let address = start + slot * PAGE_SIZE;
                    if !excluded.iter().any(|r| r.contains(&address)) {
                        Self::copy_entry(Table(entry.address()), table, slot);
                    }
                }
            } else {
                let read_only = self.link.difference(Entry::WRITABLE);
                // SAFETY: our entry keeps its reference; the clone's goes to the child's entry.
                let table = unsafe { Frame::from_raw(entry.address()) };
                let shared = table.clone();
                directory.set(index(start, 1), Entry::new(table.into_raw(), read_only));
                child.link_last(child_directory, start, shared, read_only)?;
            }
        }
        drop(inventory);
        Ok(child)
    }

    /// Gives up the parts in page tables that others share, at the end of the address space: what is left is its own.
    pub fn leave_shared(&self) {
        let mut inventory = self.inventory.lock();
        let _owners = SHARED.lock();
        inventory.spans.retain(|&start| {
            let Some(directory) = self.directory(start) else { return false };
            let slot = index(start, 1);
            let entry = directory.get(slot);
            if entry.contains(Entry::WRITABLE) {
                return true;
            }
            // SAFETY: the reference that the entry holds; it goes back to it, or is dropped with it.
            let table = unsafe { Frame::from_raw(entry.address()) };
            if table.ref_count() == 1 {
                table.into_raw();
                return true;
            }
            directory.set(slot, Entry::empty());
            false
        });
    }

    /// After `release` of every region.
    pub fn note_emptied(&self) {
        self.is_emptied.store(true, Ordering::Relaxed);
    }

    /// Frees the pages of a range at the end of the address space, after `leave_shared`, and leaves empty entries.
    pub fn release(&self, range: Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let Some(directory) = self.directory(at) else {
                at = (at & !((1 << 30) - 1)).saturating_add(1 << 30);
                continue;
            };
            let stop = ((at & !(TWO_MIB as usize - 1)) + TWO_MIB as usize).min(range.end);
            if let Some(table) = directory.next(index(at, 1)) {
                // The last one first: whoever takes frames next gets them in the order of memory.
                for slot in (index(at, 0)..index(at, 0) + (stop - at) / PAGE_SIZE).rev() {
                    let entry = table.get(slot);
                    if entry == Entry::empty() {
                        continue;
                    }
                    table.set(slot, Entry::empty());
                    if !entry.contains(Entry::UNCOUNTED) {
                        // SAFETY: the reference that the entry held.
                        drop(unsafe { Frame::from_raw(entry.address()) });
                    }
                }
            }
            at = stop;
        }
    }

    /// The entry for a page, empty if there is none.
    #[inline]
    pub fn get(&self, address: usize) -> Entry {
        self.find(address).map_or(Entry::empty(), |(table, slot)| table.get(slot))
    }

    /// Whether a glance shows that a range has no pages: nothing was ever mapped near it, or it is one page.
    #[inline(always)]
    pub fn is_blank(&self, range: &Range<usize>) -> bool {
        if (range.start ^ range.end.wrapping_sub(1)) >= TWO_MIB as usize {
            return false;
        }
        match self.find(range.start) {
            None => true,
            Some((table, slot)) => range.len() == PAGE_SIZE && table.get(slot) == Entry::empty(),
        }
    }

    /// How many pages of a range there are. Only what is mapped costs time, however long the range.
    pub fn count(&self, range: &Range<usize>) -> usize {
        let inventory = self.inventory.lock();
        let pages_of = |&start: &usize| {
            let from = range.start.max(start);
            let end = range.end.min(start + TWO_MIB as usize);
            let table = if from < end { self.find(from) } else { None };
            table.map_or(0, |(table, first)| {
                let slots = first..first + (end - from) / PAGE_SIZE;
                slots.filter(|&slot| table.get(slot).address() != 0).count()
            })
        };
        inventory.spans.iter().map(pages_of).sum()
    }

    /// Calls `visit(address, entry)` for each entry in the range that isn't empty; what it returns is stored. Page tables that are
    /// shared since a fork are made this address space's own first. ENOMEM only from that; entries before have been visited then.
    pub fn update(
        &self,
        range: Range<usize>,
        mut visit: impl FnMut(usize, Entry) -> Entry,
    ) -> Result<(), OutOfMemory> {
        let mut at = range.start;
        while at < range.end {
            let Some(directory) = self.directory(at) else {
                let span = 1usize << 30;
                at = (at & !(span - 1)).saturating_add(span);
                continue;
            };
            let stop = ((at & !(TWO_MIB as usize - 1)) + TWO_MIB as usize).min(range.end);
            let slot = index(at, 1);
            let entry = directory.get(slot);
            if !entry.contains(Entry::PRESENT) {
                at = stop;
                continue;
            }
            let table = if entry.contains(Entry::WRITABLE) {
                Table(entry.address())
            } else {
                self.unshare(directory, slot)
                    .inspect_err(|_| self.has_strays.store(true, Ordering::Relaxed))?
            };
            // Ranges are mostly empty.
            const STEP: usize = Table::STEP;
            while at < stop {
                let is_whole = stop - at >= STEP * PAGE_SIZE;
                let end = if is_whole { at + STEP * PAGE_SIZE } else { stop };
                if is_whole && table.are_empty(index(at, 0)) {
                    at = end;
                    continue;
                }
                while at < end {
                    let slot = index(at, 0);
                    let entry = table.get(slot);
                    if entry != Entry::empty() {
                        let new = visit(at, entry);
                        if new != entry {
                            table.set(slot, new);
                        }
                    }
                    at += PAGE_SIZE;
                }
            }
        }
        Ok(())
    }

    /// The page directory for an address.
    #[inline]
    fn directory(&self, address: usize) -> Option<Table> {
        self.root.next(index(address, 3))?.next(index(address, 2))
    }

    /// Frees the page tables whose whole span lies in `floor..ceiling`, where nothing is mapped any more.
    pub fn free_tables(&self, floor: usize, ceiling: usize) {
        let mut inventory = self.inventory.lock();
        let spans = &mut inventory.spans;
        let is_inside = |start: usize| start >= floor && start + TWO_MIB as usize <= ceiling;
        for &start in spans.iter().filter(|&&start| is_inside(start)) {
            if let Some(directory) = self.directory(start) {
                let slot = index(start, 1);
                directory.set(slot, directory.get(slot).difference(Entry::PRESENT));
            }
        }
        // Processors may have cached the way to a table that is about to be freed.
        paging::flush_all();
        shootdown::flush_others(&self.users);
        spans.retain(|&start| {
            if !is_inside(start) {
                return true;
            }
            if let Some(directory) = self.directory(start) {
                let entry = directory.get(index(start, 1));
                directory.set(index(start, 1), Entry::empty());
                let _owners = SHARED.lock();
                // SAFETY: the reference that the entry held.
                drop(unsafe { Frame::from_raw(entry.address()) });
            }
            false
        });
    }
}

impl Drop for PageTable {
    /// Frees the tables. No CPU has this one in CR3 any more.
    ///
    /// Every entry of an upper table is taken out again: they are blank, and the next ones needn't be cleared. So are the last ones if the
    /// pages were all released; not so where a fork failed halfway, or an unmapping.
    fn drop(&mut self) {
        let are_last_blank =
            self.is_emptied.load(Ordering::Relaxed) && !self.has_strays.load(Ordering::Relaxed);
        let free = |table: Table, slot: usize, is_blank: bool| {
            let entry = table.get(slot);
            table.set(slot, Entry::empty());
            // SAFETY: the reference that the entry held.
            let frame = unsafe { Frame::from_raw(entry.address()) };
            if is_blank { frame.release_blank() } else { frame.release() }
        };
        let inventory = core::mem::take(&mut *self.inventory.lock());
        for &start in &inventory.spans {
            if let Some(directory) = self.directory(start) {
                free(directory, index(start, 1), are_last_blank);
            }
        }
        for &(table, slot) in inventory.upper.iter().rev() {
            free(table, slot, true);
        }
        for slot in KERNEL_SLOTS {
            self.root.set(slot, Entry::empty());
        }
        // SAFETY: the reference that `new` took.
        unsafe { Frame::from_raw(self.root.0) }.release_blank();
    }
}

/// The table that was in use at boot: the kernel's half alone.
pub fn boot_root_address() -> u64 {
    boot_root().0
}
