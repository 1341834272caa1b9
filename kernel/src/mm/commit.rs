//! How much memory programs are promised: as much as they like, but nothing in one piece that can't be there (vm.overcommit_memory 0, Linux's
//! `__vm_enough_memory`). What is private and writable counts, shared memory without a file, and no mapping that says MAP_NORESERVE.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;

use super::regions::RegionFlags;
use super::{PAGE_SIZE, frame};

/// `vm.overcommit_memory`: 0, or 1 to refuse nothing. Strict accounting (2) can't be chosen.
pub static MODE: AtomicU64 = AtomicU64::new(0);

/// A machine with less than this promises this much: stacks of threads take 8 MiB, of which little is ever used.
const LEAST: usize = 64 << 20;

/// Whether private memory with these flags counts, and hasn't been counted before.
#[inline(always)]
pub fn counts(flags: RegionFlags) -> bool {
    let all = RegionFlags::WRITE | RegionFlags::SHARED | RegionFlags::NO_RESERVE | RegionFlags::ACCOUNTED;
    flags & all == RegionFlags::WRITE
}

/// Promises so many bytes. ENOMEM.
#[inline(always)]
pub fn promise(bytes: usize) -> Result<(), Errno> {
    if bytes <= LEAST { Ok(()) } else { promise_much(bytes) }
}

#[cold]
#[inline(never)]
fn promise_much(bytes: usize) -> Result<(), Errno> {
    let is_too_much = bytes > frame::usage().total * PAGE_SIZE;
    if is_too_much && MODE.load(Ordering::Relaxed) == 0 { Err(Errno::ENOMEM) } else { Ok(()) }
}
