//! The map of an address space: which ranges a program has, what stands behind them, and what it may do there.
//!
//! Pure logic: no page tables, no locks, no memory but the list of regions. [`VmaMap`] answers where a mapping goes, what an
//! unmapping takes away, how mprotect splits and merges, where mremap moves; whoever owns page tables follows suit through
//! the callbacks. Where Linux has a habit that programs can see, this is Linux's (mmap(2), mprotect(2), mremap(2), `mm/mmap.c`'s
//! documentation); the tests compare with the host's kernel.
//!
//! All addresses are multiples of [`PAGE_SIZE`] unless a method says otherwise; all arithmetic on them is checked.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod change;
mod flags;
mod map;
mod place;
mod remap;

use core::fmt;
use core::ops::Range;

use abi::Errno;

pub use change::Holes;
pub use flags::VmaFlags;
pub use map::{Usage, VmaMap};
pub use place::Place;
pub use remap::{Remap, RemapTarget};

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;
/// Lowest address that a program may map (`vm.mmap_min_addr`).
pub const LOWEST: usize = 0x1_0000;
/// End of a program's addresses: the last page of the lower half is never mapped.
pub const USER_TOP: usize = 0x7fff_ffff_f000;
/// `vm.max_map_count`.
pub const MAX_REGIONS: usize = 65_530;
/// Bytes kept free below a growing stack (`stack_guard_gap` of Linux).
pub const STACK_GAP: usize = 256 * PAGE_SIZE;

/// What stands behind a region: nothing but zeros, a file from some page on, a shared object…
pub trait Backing: Clone {
    /// What stands behind the part that starts `pages` further on.
    #[must_use]
    fn advanced(&self, pages: u64) -> Self;

    /// Whether `next` is what stands behind the part `pages` further on: the two can be one region.
    fn continues(&self, pages: u64, next: &Self) -> bool;

    /// Private anonymous memory, which alone can be wiped on fork and freed lazily.
    fn is_anonymous(&self) -> bool;
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma<B> {
    pub start: usize,
    /// First address beyond.
    pub end: usize,
    pub flags: VmaFlags,
    /// At `start`.
    pub backing: B,
}

impl<B: Backing> Vma<B> {
    /// Its addresses.
    #[inline]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "no region is empty")]
    #[inline]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether an address lies in it.
    #[inline]
    pub const fn contains(&self, address: usize) -> bool {
        self.start <= address && address < self.end
    }

    /// What stands behind an address of it.
    #[inline]
    pub fn backing_at(&self, address: usize) -> B {
        self.backing.advanced(pages(address.saturating_sub(self.start)))
    }

    /// A part of it, as a region of its own.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end, flags: self.flags, backing: self.backing_at(range.start) }
    }

    /// Cuts its lower part off.
    pub(crate) fn cut_front(&mut self, start: usize) {
        self.backing = self.backing_at(start);
        self.start = start;
    }

    /// Where mappings below it must end, so that a stack keeps its guard gap.
    #[inline]
    pub(crate) const fn usable_start(&self) -> usize {
        if self.flags.contains(VmaFlags::GROWS_DOWN) {
            self.start.saturating_sub(STACK_GAP)
        } else {
            self.start
        }
    }

    /// Whether a region with these properties right above it would be the same region.
    #[inline]
    pub(crate) fn continues_into(&self, start: usize, flags: VmaFlags, backing: &B) -> bool {
        self.end == start && self.flags == flags && self.backing.continues(pages(self.len()), backing)
    }
}

/// Bytes as pages.
#[inline]
pub(crate) const fn pages(bytes: usize) -> u64 {
    (bytes / PAGE_SIZE) as u64
}

/// Rounds down to a page.
#[inline]
pub const fn page_floor(address: usize) -> usize {
    address & !(PAGE_SIZE - 1)
}

/// Rounds up to a page; `None` where that leaves the address space.
#[inline]
pub const fn page_ceil(address: usize) -> Option<usize> {
    match address.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_floor(sum)),
        None => None,
    }
}

/// How much may be mapped, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// RLIMIT_AS.
    pub total: usize,
    /// RLIMIT_DATA: private writable memory.
    pub data: usize,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { total: usize::MAX, data: usize::MAX };
}

/// Why the map can't be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No room, a limit reached, too many regions, or a hole where there must be none: ENOMEM.
    NoMemory,
    /// A malformed range: EINVAL.
    Invalid,
    /// Something is there already: EEXIST.
    Occupied,
    /// Below the lowest address: EPERM.
    TooLow,
    /// mremap of what is no region: EFAULT.
    NotMapped,
    /// The backing doesn't allow that access: EACCES.
    Denied,
}

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoMemory => Self::ENOMEM,
            MapError::Invalid => Self::EINVAL,
            MapError::Occupied => Self::EEXIST,
            MapError::TooLow => Self::EPERM,
            MapError::NotMapped => Self::EFAULT,
            MapError::Denied => Self::EACCES,
        }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "no room or no such memory",
            Self::Invalid => "malformed range",
            Self::Occupied => "occupied",
            Self::TooLow => "below the lowest address",
            Self::NotMapped => "not mapped",
            Self::Denied => "access not allowed",
        })
    }
}

impl core::error::Error for MapError {}
