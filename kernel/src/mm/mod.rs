//! Memory: frames, the kernel heap, address spaces, page faults, and copies to and from programs.
//!
//! Lock order: `AddressSpace::inner`, for a change or a fault → a file system's page index → `frame::ZONE`. The heap may be used under any of
//! them.

pub mod address_space;
pub mod commit;
pub mod fault;
pub mod frame;
pub mod heap;
pub mod object;
pub mod page_table;
pub mod regions;
pub mod shootdown;
pub mod space_lock;
pub mod user;

pub use address_space::AddressSpace;
pub use frame::{Frame, OutOfMemory};
pub use object::MemoryObject;
pub use user::{Sink, Source, UserPtr, read_cstr};

use crate::arch::x86_64::mmio::Mmio;

pub const PAGE_SIZE: usize = 4096;
/// First address above the program's half; its last page stays empty, so that RIP after a SYSCALL is always canonical.
pub const USER_TOP: usize = 0x7fff_ffff_f000;

/// `address` rounded down to a page.
#[inline]
pub const fn page_floor(address: usize) -> usize {
    address & !(PAGE_SIZE - 1)
}

/// `address` rounded up to a page, `None` if that overflows.
#[inline]
pub const fn page_ceil(address: usize) -> Option<usize> {
    match address.checked_add(PAGE_SIZE - 1) {
        Some(value) => Some(page_floor(value)),
        None => None,
    }
}

/// A window on device registers at a physical address, for ever.
pub fn map_device(physical: u64, len: usize) -> Mmio {
    page_table::map_direct_device(physical, len as u64);
    Mmio::new(crate::arch::x86_64::paging::direct(physical), len)
}
