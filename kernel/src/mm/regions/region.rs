//! One region: where it lies, what it allows and what stands behind it.

use alloc::sync::Arc;
use core::ops::Range;

use crate::mm::PAGE_SIZE;
use crate::mm::object::MemoryObject;

bitflags::bitflags! {
    /// What a region allows, and how it behaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RegionFlags: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXECUTE = 4;
        /// Writes go to the object, or to memory that children share.
        const SHARED = 8;
        /// A stack: grows towards lower addresses on faults below it.
        const GROWS_DOWN = 0x10;
        const DONT_FORK = 0x20;
        const WIPE_ON_FORK = 0x40;
        const DONT_DUMP = 0x80;
        const LOCKED = 0x100;
        /// Locked pages come when they are touched.
        const ON_FAULT = 0x8000;
        /// mprotect may add write access (the file was open for writing, or the mapping is private).
        const MAY_WRITE = 0x200;
        /// It may add execute access (the file's mount doesn't forbid it).
        const MAY_EXECUTE = 0x400;
        const HEAP = 0x1_0000;
        const STACK = 0x800;
        const NO_RESERVE = 0x1000;
        /// Part of the kernel's furniture: can't be remapped or unlocked ([vvar]).
        const SPECIAL = 0x2000;
        /// Promised memory (`commit`).
        const ACCOUNTED = 0x4000;
        const ACCESS = 7;
        /// What most regions have.
        const MAY_ALL = 0x600;
    }
}

impl RegionFlags {
    /// Whether mprotect may give this access.
    #[inline(always)]
    pub fn may(self, access: Self) -> bool {
        const { assert!(Self::MAY_WRITE.bits() == Self::WRITE.bits() << 8) };
        const { assert!(Self::MAY_EXECUTE.bits() == Self::EXECUTE.bits() << 8) };
        let wanted = access.intersection(Self::WRITE.union(Self::EXECUTE)).bits() << 8;
        wanted & !self.bits() == 0
    }
}

/// What stands behind a region.
#[derive(Clone)]
pub enum Backing {
    Anonymous,
    /// An object, and the page of it at the region's start.
    Object(Arc<dyn MemoryObject>, u64),
}

/// One region.
#[derive(Clone)]
pub struct Region {
    pub start: usize,
    pub end: usize,
    pub flags: RegionFlags,
    pub backing: Backing,
}

impl Region {
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Its length in pages.
    pub fn pages(&self) -> i64 {
        (self.len() / PAGE_SIZE) as i64
    }

    /// The object, if writes to the region may reach it.
    pub fn writable_object(&self) -> Option<&Arc<dyn MemoryObject>> {
        match &self.backing {
            Backing::Object(object, _)
                if self.flags.contains(RegionFlags::SHARED | RegionFlags::MAY_WRITE) =>
            {
                Some(object)
            }
            _ => None,
        }
    }

    /// The part from `at` on, as a region of its own.
    pub(super) fn tail(&self, at: usize) -> Self {
        let mut tail = self.clone();
        tail.start = at;
        if let Backing::Object(_, page) = &mut tail.backing {
            *page += ((at - self.start) / PAGE_SIZE) as u64;
        }
        tail
    }

    /// Whether `next` continues this region in every respect.
    pub(super) fn continues_into(&self, next: &Self) -> bool {
        self.end == next.start
            && self.flags == next.flags
            && match (&self.backing, &next.backing) {
                (Backing::Anonymous, Backing::Anonymous) => true,
                (Backing::Object(a, page_a), Backing::Object(b, page_b)) => {
                    Arc::ptr_eq(a, b) && page_a + (self.len() / PAGE_SIZE) as u64 == *page_b
                }
                _ => false,
            }
    }
}
