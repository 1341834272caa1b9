//! Page tables: the kernel's half, which all share, and the program's half, which each address space owns.
#![expect(unsafe_code, reason = "owns page tables")]

use core::ops::Range;

use super::frame::{Frame, OutOfMemory};
use super::{PAGE_SIZE, USER_TOP};
use crate::arch::x86_64::cpu::{Features, features};
use crate::arch::x86_64::paging::{self, Entry, KERNEL_BASE, Table, index};

unsafe extern "C" {
    static boot_pml4: u8;
    static boot_pd_image: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __kernel_end: u8;
}

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
            pdpt.set(
                index(paging::direct(at), 2),
                Entry::new(at, kernel_data_flags() | Entry::HUGE),
            );
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
            } else if (page >= (&raw const __rodata_start).addr()) && page < (&raw const __data_start).addr() {
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

/// The program's half of one address space.
#[derive(Debug)]
pub struct PageTable {
    root: Table,
    /// Bits of every entry that points to a table: user in guarded mode.
    link: Entry,
}

impl PageTable {
    /// A new, empty program half under the kernel's half. ENOMEM.
    pub fn new(mode: crate::Mode) -> Result<Self, OutOfMemory> {
        let root = Table(Frame::zeroed_for_kernel()?.into_raw());
        for slot in [index(paging::DIRECT_MAP, 3), index(KERNEL_BASE, 3)] {
            root.set(slot, boot_root().get(slot));
        }
        let mut link = Entry::PRESENT | Entry::WRITABLE | Entry::ACCESSED;
        link.set(Entry::USER, mode == crate::Mode::Guarded);
        Ok(Self { root, link })
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

    /// As `find`, making the tables on the way, and the last one this address space's own: the caller means to change an entry.
    #[inline]
    pub fn find_or_create(&self, address: usize) -> Result<(Table, usize), OutOfMemory> {
        let mut table = self.root;
        for level in [3, 2] {
            table = self.next_or_create(table, index(address, level))?;
        }
        let slot = index(address, 1);
        let entry = table.get(slot);
        let last = if entry.contains(Entry::PRESENT | Entry::WRITABLE) {
            Table(entry.address())
        } else if entry.contains(Entry::PRESENT) {
            self.unshare(table, slot)?
        } else {
            self.next_or_create(table, slot)?
        };
        Ok((last, index(address, 0)))
    }

    #[inline]
    fn next_or_create(&self, table: Table, slot: usize) -> Result<Table, OutOfMemory> {
        match table.next(slot) {
            Some(next) => Ok(next),
            None => {
                let next = Frame::zeroed_for_kernel()?.into_raw();
                table.set(slot, Entry::new(next, self.link));
                Ok(Table(next))
            }
        }
    }

    /// Makes the page table behind a directory entry, shared since a fork, this address space's own.
    ///
    /// If the others have let go of it, only the entry's write bit was missing. Otherwise the table is copied; the frames then have one
    /// owner more, so private pages lose write access in both tables and are copied on the next write.
    fn unshare(&self, directory: Table, slot: usize) -> Result<Table, OutOfMemory> {
        let shared = directory.get(slot);
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
        paging::flush_all();
        Ok(new)
    }

    /// Copies entries, making both owners of each frame and taking write access to private pages away from both.
    fn copy_entries(from: Table, to: Table, slots: Range<usize>) {
        for slot in slots {
            let mut entry = from.get(slot);
            if entry == Entry::empty() {
                continue;
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
    }

    /// A child's page table for fork: tables of the last level are shared copy-on-write, so the cost hardly depends on how much is
    /// mapped. Pages of `excluded` ranges are left out of the child. The caller flushes this CPU's translations.
    pub fn fork(&self, mode: crate::Mode, excluded: &[Range<usize>]) -> Result<Self, OutOfMemory> {
        let child = Self::new(mode)?;
        for slot3 in 0..=index(USER_TOP, 3) {
            let Some(pdpt) = self.root.next(slot3) else { continue };
            for slot2 in 0..512 {
                let Some(directory) = pdpt.next(slot2) else { continue };
                let child_pdpt = child.next_or_create(child.root, slot3)?;
                let child_directory = child.next_or_create(child_pdpt, slot2)?;
                for slot1 in 0..512 {
                    let entry = directory.get(slot1);
                    if !entry.contains(Entry::PRESENT) {
                        continue;
                    }
                    let start = slot3 << 39 | slot2 << 30 | slot1 << 21;
                    let span = start..start + TWO_MIB as usize;
                    let touches = |r: &&Range<usize>| r.start < span.end && span.start < r.end;
                    if excluded.iter().any(|r| touches(&r)) {
                        let table = child.next_or_create(child_directory, slot1)?;
                        for slot in 0..512 {
                            let address = start + slot * PAGE_SIZE;
                            if !excluded.iter().any(|r| r.contains(&address)) {
                                Self::copy_entries(Table(entry.address()), table, slot..slot + 1);
                            }
                        }
                    } else {
                        let read_only = entry.difference(Entry::WRITABLE);
                        // SAFETY: our entry keeps its reference; the clone's goes to the child's entry.
                        let table = unsafe { Frame::from_raw(entry.address()) };
                        table.clone().into_raw();
                        table.into_raw();
                        directory.set(slot1, read_only);
                        child_directory.set(slot1, read_only);
                    }
                }
            }
        }
        Ok(child)
    }

    /// The entry for a page, empty if there is none.
    #[inline]
    pub fn get(&self, address: usize) -> Entry {
        self.find(address).map_or(Entry::empty(), |(table, slot)| table.get(slot))
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
                self.unshare(directory, slot)?
            };
            while at < stop {
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
        Ok(())
    }

    /// The page directory for an address.
    #[inline]
    fn directory(&self, address: usize) -> Option<Table> {
        self.root.next(index(address, 3))?.next(index(address, 2))
    }

    /// Frees the page tables whose whole span lies inside `range`, which holds no entries any more and whose neighbours
    /// (`floor..ceiling`) hold none either.
    pub fn free_tables(&self, floor: usize, ceiling: usize) {
        let span = TWO_MIB as usize;
        let mut at = floor.next_multiple_of(span);
        while at + span <= ceiling {
            let Some(level2) = self.root.next(index(at, 3)) else {
                at = (at & !((1 << 39) - 1)) + (1 << 39);
                continue;
            };
            let Some(level1) = level2.next(index(at, 2)) else {
                at = (at & !((1 << 30) - 1)) + (1 << 30);
                continue;
            };
            if let Some(level0) = level1.next(index(at, 1)) {
                level1.set(index(at, 1), Entry::empty());
                // SAFETY: the reference that the entry held.
                drop(unsafe { Frame::from_raw(level0.0) });
            }
            at += span;
        }
    }

    /// Frees a table and what hangs below it: frames at the last level, unless others still share that table.
    fn free_level(table: Table, level: u32, slots: Range<usize>) {
        for slot in slots {
            let entry = table.get(slot);
            if entry == Entry::empty() {
                continue;
            }
            if level == 0 {
                if !entry.contains(Entry::UNCOUNTED) {
                    // SAFETY: the reference that the entry held; nothing uses this address space any more.
                    drop(unsafe { Frame::from_raw(entry.address()) });
                }
                continue;
            }
            // SAFETY: as above.
            let next = unsafe { Frame::from_raw(entry.address()) };
            if next.ref_count() == 1 {
                Self::free_level(Table(next.physical()), level - 1, 0..512);
            }
        }
    }
}

impl Drop for PageTable {
    /// Frees the tables and every page. No CPU has this table in CR3 any more.
    fn drop(&mut self) {
        Self::free_level(self.root, 3, 0..index(USER_TOP, 3) + 1);
        // SAFETY: the reference that `new` took.
        drop(unsafe { Frame::from_raw(self.root.0) });
    }
}

/// The table that was in use at boot: the kernel's half alone.
pub fn boot_root_address() -> u64 {
    boot_root().0
}
