//! Page tables: the kernel's half, which all share, and the program's half, which each address space owns.
//!
//! A table of the last level that a fork made shared belongs to address spaces with different locks. Who gives his part in one up, or makes
//! it his own, holds `SHARED`: so exactly one of them finds that it is the last, and disposes of the frames.
#![expect(unsafe_code, reason = "owns page tables")]

mod kernel_half;

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use self::kernel_half::{KERNEL_SLOTS, boot_root};
pub use self::kernel_half::{boot_root_address, map_direct_device, map_direct_ram, protect_image};
use super::PAGE_SIZE;
use super::frame::{self, Frame, FrameChain, OutOfMemory};
use super::shootdown::{self, CpuSet};
use crate::arch::x86_64::paging::{self, Entry, Table, index};
use crate::sync::SpinLock;

/// What one table of the last level maps, in bytes.
pub const SPAN: usize = 2 << 20;

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
        self.link_last(directory, address & !(SPAN - 1), next.clone(), self.link)?;
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
        // A fork has made room for all.
        if inventory.spans.len() == inventory.spans.capacity() {
            inventory.spans.try_reserve(1).map_err(|_| OutOfMemory)?;
        }
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
    /// mapped. Pages of `excluded` ranges, in order, are left out of the child. The caller flushes this CPU's translations.
    pub fn fork(&self, mode: crate::Mode, excluded: &[Range<usize>]) -> Result<Self, OutOfMemory> {
        let child = Self::new(mode)?;
        let inventory = self.inventory.lock();
        child.inventory.lock().spans.try_reserve(inventory.spans.len()).map_err(|_| OutOfMemory)?;
        for &start in &inventory.spans {
            let Some(directory) = self.directory(start) else { continue };
            let entry = directory.get(index(start, 1));
            let pdpt = child.upper_or_create(child.root, index(start, 3))?;
            let child_directory = child.upper_or_create(pdpt, index(start, 2))?;
            let mut here = excluded;
            if !here.is_empty() {
                (_, here) = here.split_at(here.partition_point(|range| range.end <= start));
                (here, _) = here.split_at(here.partition_point(|range| range.start < start + SPAN));
            }
            if !here.is_empty() {
                let table = child.create_last(child_directory, start)?;
                for slot in 0..512 {
                    let address = start + slot * PAGE_SIZE;
                    if !here.iter().any(|range| range.contains(&address)) {
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
            let stop = ((at & !(SPAN - 1)) + SPAN).min(range.end);
            if let Some(table) = directory.next(index(at, 1)) {
                Self::release_entries(table, index(at, 0)..index(at, 0) + (stop - at) / PAGE_SIZE);
            }
            at = stop;
        }
    }

    /// Frees the pages of a table that no CPU knows any more, and leaves empty entries. How many there were.
    fn release_entries(table: Table, slots: Range<usize>) -> usize {
        let (mut slot, mut pages) = (slots.end, 0);
        // The last one first: whoever takes frames next gets them in the order of memory.
        while slot > slots.start {
            // Tables are mostly empty.
            if slot.is_multiple_of(Table::STEP)
                && slot - slots.start >= Table::STEP
                && table.are_empty(slot - Table::STEP)
            {
                slot -= Table::STEP;
                continue;
            }
            slot -= 1;
            let entry = table.get(slot);
            if entry == Entry::empty() {
                continue;
            }
            table.set(slot, Entry::empty());
            pages += 1;
            if !entry.contains(Entry::UNCOUNTED) {
                // SAFETY: the reference that the entry held.
                unsafe { Frame::from_raw(entry.address()) }.release();
            }
        }
        pages
    }

    /// The entry for a page, empty if there is none.
    #[inline]
    pub fn get(&self, address: usize) -> Entry {
        self.find(address).map_or(Entry::empty(), |(table, slot)| table.get(slot))
    }

    /// Whether a glance shows that a range has no pages: nothing was ever mapped near it, or it is one page.
    #[inline(always)]
    pub fn is_blank(&self, range: &Range<usize>) -> bool {
        if (range.start ^ range.end.wrapping_sub(1)) >= SPAN {
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
            let end = range.end.min(start + SPAN);
            let table = if from < end { self.find(from) } else { None };
            table.map_or(0, |(table, first)| {
                Self::count_entries(table, first..first + (end - from) / PAGE_SIZE)
            })
        };
        inventory.spans.iter().map(pages_of).sum()
    }

    fn count_entries(table: Table, slots: Range<usize>) -> usize {
        slots.filter(|&slot| table.get(slot) != Entry::empty()).count()
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
            let stop = ((at & !(SPAN - 1)) + SPAN).min(range.end);
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

    /// Takes out the page tables whose whole span lies in `range`, with their pages. If there are any, everybody has forgotten every
    /// translation of the address space then. Those that nobody shares are left in `detached`, for `free_detached`; how many pages were in
    /// the others is returned. `None` if there are no tables.
    pub fn detach_tables(&self, range: Range<usize>, detached: &mut FrameChain) -> Option<usize> {
        let mut inventory = self.inventory.lock();
        let spans = &mut inventory.spans;
        let is_inside = |start: usize| range.start <= start && start + SPAN <= range.end;
        let mut are_any = false;
        for &start in spans.iter().filter(|&&start| is_inside(start)) {
            if let Some(directory) = self.directory(start) {
                let slot = index(start, 1);
                directory.set(slot, directory.get(slot).difference(Entry::PRESENT));
                are_any = true;
            }
        }
        if !are_any {
            return None;
        }
        // Processors may have cached the way to a table that is about to go.
        paging::flush_all();
        shootdown::flush_others(&self.users);
        let mut pages = 0;
        spans.retain(|&start| {
            if !is_inside(start) {
                return true;
            }
            if let Some(directory) = self.directory(start) {
                let entry = directory.get(index(start, 1));
                directory.set(index(start, 1), Entry::empty());
                let _owners = SHARED.lock();
                // SAFETY: the reference that the entry held.
                if let Err(shared) = detached.push(unsafe { Frame::from_raw(entry.address()) }) {
                    // The references to the pages are the others'.
                    pages += Self::count_entries(Table(shared.physical()), 0..512);
                }
            }
            false
        });
        Some(pages)
    }

    /// Frees a table that was taken out, and its pages. How many there were.
    pub fn free_detached(table: Frame) -> usize {
        let pages = Self::release_entries(Table(table.physical()), 0..512);
        table.release_blank();
        pages
    }
}

impl Drop for PageTable {
    /// Frees the tables. No CPU has this one in CR3 any more.
    ///
    /// Every entry of an upper table is taken out again: they are blank, and the next ones needn't be cleared. So are the last ones if the
    /// pages were all released; not so where a fork failed halfway, or an unmapping.
    fn drop(&mut self) {
        let is_emptied = self.is_emptied.load(Ordering::Relaxed);
        let are_last_blank = is_emptied && !self.has_strays.load(Ordering::Relaxed);
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
                let entry = directory.get(index(start, 1));
                if !is_emptied && entry.contains(Entry::WRITABLE) {
                    Self::release_entries(Table(entry.address()), 0..512);
                }
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
