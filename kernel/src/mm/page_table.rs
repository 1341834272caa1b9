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

    /// As `find`, making the tables on the way.
    #[inline]
    pub fn find_or_create(&self, address: usize) -> Result<(Table, usize), OutOfMemory> {
        let mut table = self.root;
        for level in [3, 2, 1] {
            let slot = index(address, level);
            table = match table.next(slot) {
                Some(next) => next,
                None => {
                    let next = Frame::zeroed_for_kernel()?.into_raw();
                    table.set(slot, Entry::new(next, self.link));
                    Table(next)
                }
            };
        }
        Ok((table, index(address, 0)))
    }

    /// The entry for a page, empty if there is none.
    #[inline]
    pub fn get(&self, address: usize) -> Entry {
        self.find(address).map_or(Entry::empty(), |(table, slot)| table.get(slot))
    }

    /// Calls `visit(address, entry)` for each entry in the range that isn't empty; what it returns is stored.
    pub fn update(&self, range: Range<usize>, mut visit: impl FnMut(usize, Entry) -> Entry) {
        let mut at = range.start;
        while at < range.end {
            let mut table = self.root;
            let mut level = 3;
            // Down to a page table, or over the gap that a missing one leaves.
            let found = loop {
                match table.next(index(at, level)) {
                    Some(next) => {
                        table = next;
                        level -= 1;
                        if level == 0 {
                            break true;
                        }
                    }
                    None => break false,
                }
            };
            if !found {
                let span = 1usize << (12 + 9 * level);
                at = (at & !(span - 1)).saturating_add(span);
                continue;
            }
            let stop = ((at & !(TWO_MIB as usize - 1)) + TWO_MIB as usize).min(range.end);
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

    /// Frees all tables of the program's half. The pages themselves must have been removed.
    fn free_level(table: Table, level: u32, slots: Range<usize>) {
        for slot in slots {
            if let Some(next) = table.next(slot) {
                if level > 1 {
                    Self::free_level(next, level - 1, 0..512);
                }
                // SAFETY: the reference that the entry held; nothing uses this address space any more.
                drop(unsafe { Frame::from_raw(next.0) });
            }
        }
    }
}

impl Drop for PageTable {
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
