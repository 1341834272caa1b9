//! What a region allows, and how it behaves.

bitflags::bitflags! {
    /// Rights and properties of a region. The three rights have the bits of `PROT_READ`, `PROT_WRITE` and `PROT_EXEC`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmaFlags: u32 {
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
        /// mprotect may add write access (the file was open for writing, or the mapping is private).
        const MAY_WRITE = 0x200;
        const HEAP = 0x400;
        const STACK = 0x800;
        const NO_RESERVE = 0x1000;
        /// Part of the kernel's furniture: can't be remapped or unlocked ([vvar]).
        const SPECIAL = 0x2000;
        const ACCESS = 7;
    }
}

impl VmaFlags {
    /// Counts as data (RLIMIT_DATA, `VmData`): private and writable, and no stack.
    #[inline]
    pub const fn is_data(self) -> bool {
        self.bits() & Self::WRITE.union(Self::SHARED).union(Self::GROWS_DOWN).bits() == Self::WRITE.bits()
    }
}
