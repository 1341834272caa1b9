//! Page-table entries, the direct map, and translation-cache flushes.
//!
//! ```text
//! 0000_0000_0000_0000 … 0000_7fff_ffff_f000   the program (the first 64 KiB are never mapped)
//! ffff_8000_0000_0000 …                       all physical memory, and device windows (NX)
//! ffff_ffff_8010_0000 …                       the kernel's image
//! ```

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Where physical address 0 appears.
pub const DIRECT_MAP: usize = 0xffff_8000_0000_0000;
/// Virtual minus physical address of the kernel's image.
pub const KERNEL_BASE: usize = 0xffff_ffff_8000_0000;

bitflags::bitflags! {
    /// Bits of a page-table entry (Intel SDM volume 3, table 4-20).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Entry: u64 {
        const PRESENT = 1;
        const WRITABLE = 1 << 1;
        const USER = 1 << 2;
        const WRITE_THROUGH = 1 << 3;
        const UNCACHED = 1 << 4;
        const ACCESSED = 1 << 5;
        const DIRTY = 1 << 6;
        const HUGE = 1 << 7;
        const GLOBAL = 1 << 8;
        /// Software: the frame isn't counted (shared zero page, kernel image, boot memory).
        const UNCOUNTED = 1 << 9;
        /// Software: the page belongs to a shared mapping, so fork leaves it writable.
        const SHARED = 1 << 10;
        const NO_EXECUTE = 1 << 63;
        const _ = !0;
    }
}

/// Physical address in an entry.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

impl Entry {
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.bits() & ADDRESS_MASK
    }

    #[inline(always)]
    pub fn new(address: u64, flags: Self) -> Self {
        Self::from_bits_retain(address | flags.bits())
    }
}

/// Where a physical address appears in the direct map.
#[inline(always)]
pub const fn direct(physical: u64) -> usize {
    // Physical addresses have at most 52 bits; nothing to check on a path this hot.
    DIRECT_MAP.wrapping_add(physical as usize)
}

/// Physical address of something in the kernel's image.
pub const fn image_to_physical(address: usize) -> u64 {
    (address - KERNEL_BASE) as u64
}

/// A writable address of a place in the kernel's image, whose own mapping may be read-only.
pub fn writable_alias(image_address: u64) -> usize {
    direct(image_to_physical(image_address as usize))
}

/// Forgets one page's translation on this CPU.
#[inline]
pub fn flush_page(address: usize) {
    // SAFETY: dropping a translation is always allowed.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// The page table in use (CR3).
pub fn current_table() -> u64 {
    let value: u64;
    // SAFETY: reading CR3 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value & ADDRESS_MASK
}

/// Switches to another page table, forgetting all translations of the lower half.
///
/// # Safety
/// The table maps the kernel's half as every table does, and stays allocated while in use.
pub unsafe fn load_table(physical: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) physical, options(nostack, preserves_flags)) };
}

/// Forgets all translations of the lower half on this CPU.
pub fn flush_all() {
    // SAFETY: the same table again.
    unsafe { load_table(current_table()) };
}

/// The faulting address (CR2).
#[inline]
pub fn fault_address() -> usize {
    let value;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// A table of 512 entries, by its physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub u64);

impl Table {
    #[inline(always)]
    fn slot(self, index: usize) -> &'static AtomicU64 {
        let slot = core::ptr::with_exposed_provenance_mut(direct(self.0).wrapping_add((index & 511) * 8));
        // SAFETY: a Table names a frame that holds a page table, of which the kernel and the processors read and write whole entries.
        unsafe { AtomicU64::from_ptr(slot) }
    }

    #[inline]
    pub fn get(self, index: usize) -> Entry {
        Entry::from_bits_retain(self.slot(index).load(Ordering::Relaxed))
    }

    /// Callers own the address space's lock alone, or are the only CPU at boot.
    #[inline]
    pub fn set(self, index: usize, entry: Entry) {
        self.slot(index).store(entry.bits(), Ordering::Release);
    }

    /// Puts `new` where `old` still is; whether it was. Also for those who share the address space's lock.
    #[inline(always)]
    pub fn replace(self, index: usize, old: Entry, new: Entry) -> bool {
        let slot = self.slot(index);
        slot.compare_exchange(old.bits(), new.bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// How many entries `are_empty` looks at.
    pub const STEP: usize = 8;

    /// Whether `STEP` entries from `first` on, or the last ones, are all empty.
    #[inline(always)]
    pub fn are_empty(self, first: usize) -> bool {
        let first = core::ptr::from_ref(self.slot((first & 511).min(512 - Self::STEP)));
        // SAFETY: as in `slot`, and there are as many from there on.
        let [a, b, c, d, e, f, g, h] = unsafe { &*first.cast::<[AtomicU64; Self::STEP]>() };
        // A loop would stay one.
        let bits = |slot: &AtomicU64| slot.load(Ordering::Relaxed);
        bits(a) | bits(b) | bits(c) | bits(d) | bits(e) | bits(f) | bits(g) | bits(h) == 0
    }

    /// The table that an entry points to, if it is present and not a large page.
    #[inline]
    pub fn next(self, index: usize) -> Option<Table> {
        let entry = self.get(index);
        (entry.bits() & (Entry::PRESENT.bits() | Entry::HUGE.bits()) == Entry::PRESENT.bits())
            .then(|| Table(entry.address()))
    }
}

/// Index of an address at a level: 3 is the PML4, 0 the page table.
#[inline]
pub const fn index(address: usize, level: u32) -> usize {
    address >> (12 + 9 * level) & 511
}
