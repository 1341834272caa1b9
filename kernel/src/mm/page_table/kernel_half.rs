//! The kernel's half, which every root table enters: the direct map of memory and devices, and the image.

use core::ops::Range;

use crate::arch::x86_64::cpu::{Features, features};
use crate::arch::x86_64::paging::{self, Entry, KERNEL_BASE, Table, index};
use crate::mm::PAGE_SIZE;
use crate::mm::frame::Frame;

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
pub(super) const KERNEL_SLOTS: [usize; 2] = [index(paging::DIRECT_MAP, 3), index(KERNEL_BASE, 3)];
const TWO_MIB: u64 = 2 << 20;
const ONE_GIB: u64 = 1 << 30;
/// The direct map's first GiB is there from the start (`boot/entry.rs`).
const MAPPED_AT_BOOT: u64 = ONE_GIB;

pub(super) fn boot_root() -> Table {
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

/// The table that was in use at boot: the kernel's half alone.
pub fn boot_root_address() -> u64 {
    boot_root().0
}
