//! Memory calls: protections, mapping flags, advice.

use crate::macros::{flags, values};

flags! {
    /// `prot` of mmap(2) and mprotect(2).
    pub struct Prot: u32, "PROT_", "PROT_NONE" {
        READ = 1,
        WRITE = 2,
        EXEC = 4,
        SEM = 8,
        GROWSDOWN = 0x0100_0000,
        GROWSUP = 0x0200_0000,
    }
}

flags! {
    /// `flags` of mmap(2).
    pub struct MapFlags: u32, "MAP_", "MAP_FILE" {
        /// The two bits together: a shared mapping whose unknown flags are refused.
        SHARED_VALIDATE = 3,
        SHARED = 1,
        PRIVATE = 2,
        FIXED = 0x10,
        ANONYMOUS = 0x20,
        BIT32 ("MAP_32BIT") = 0x40,
        ABOVE4G = 0x80,
        GROWSDOWN = 0x100,
        DENYWRITE = 0x800,
        EXECUTABLE = 0x1000,
        LOCKED = 0x2000,
        NORESERVE = 0x4000,
        POPULATE = 0x8000,
        NONBLOCK = 0x1_0000,
        STACK = 0x2_0000,
        HUGETLB = 0x4_0000,
        SYNC = 0x8_0000,
        FIXED_NOREPLACE = 0x10_0000,
        UNINITIALIZED = 0x400_0000,
    }
}

impl MapFlags {
    /// The bits that say which kind of mapping it is.
    pub const TYPE: u32 = 0xf;
    /// Where the huge page size (log2) stands with [`MapFlags::HUGETLB`].
    pub const HUGE_SHIFT: u32 = 26;
    /// Width of the huge page size.
    pub const HUGE_MASK: u32 = 0x3f;
}

flags! {
    /// `flags` of mremap(2).
    pub struct MremapFlags: u32, "MREMAP_", "0" {
        MAYMOVE = 1,
        FIXED = 2,
        DONTUNMAP = 4,
    }
}

flags! {
    /// `flags` of msync(2).
    pub struct MsyncFlags: u32, "MS_", "0" {
        ASYNC = 1,
        INVALIDATE = 2,
        SYNC = 4,
    }
}

flags! {
    /// `flags` of mlockall(2).
    pub struct MlockallFlags: u32, "MCL_", "0" {
        CURRENT = 1,
        FUTURE = 2,
        ONFAULT = 4,
    }
}

flags! {
    /// `flags` of mlock2(2).
    pub struct MlockFlags: u32, "MLOCK_", "0" {
        ONFAULT = 1,
    }
}

flags! {
    /// `flags` of memfd_create(2).
    pub struct MemfdFlags: u32, "MFD_", "0" {
        CLOEXEC = 1,
        ALLOW_SEALING = 2,
        HUGETLB = 4,
        NOEXEC_SEAL = 8,
        EXEC = 0x10,
    }
}

values! {
    /// `advice` of madvise(2).
    pub struct Madvise: i32, "MADV_" {
        NORMAL = 0,
        RANDOM = 1,
        SEQUENTIAL = 2,
        WILLNEED = 3,
        DONTNEED = 4,
        FREE = 8,
        REMOVE = 9,
        DONTFORK = 10,
        DOFORK = 11,
        MERGEABLE = 12,
        UNMERGEABLE = 13,
        HUGEPAGE = 14,
        NOHUGEPAGE = 15,
        DONTDUMP = 16,
        DODUMP = 17,
        WIPEONFORK = 18,
        KEEPONFORK = 19,
        COLD = 20,
        PAGEOUT = 21,
        POPULATE_READ = 22,
        POPULATE_WRITE = 23,
        DONTNEED_LOCKED = 24,
        COLLAPSE = 25,
        HWPOISON = 100,
        SOFT_OFFLINE = 101,
        GUARD_INSTALL = 102,
        GUARD_REMOVE = 103,
    }
}

flags! {
    /// Commands of membarrier(2).
    pub struct MembarrierCmd: u32, "MEMBARRIER_CMD_", "MEMBARRIER_CMD_QUERY" {
        GLOBAL = 1,
        GLOBAL_EXPEDITED = 2,
        REGISTER_GLOBAL_EXPEDITED = 4,
        PRIVATE_EXPEDITED = 8,
        REGISTER_PRIVATE_EXPEDITED = 0x10,
        PRIVATE_EXPEDITED_SYNC_CORE = 0x20,
        REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 0x40,
        PRIVATE_EXPEDITED_RSEQ = 0x80,
        REGISTER_PRIVATE_EXPEDITED_RSEQ = 0x100,
        GET_REGISTRATIONS = 0x200,
    }
}
