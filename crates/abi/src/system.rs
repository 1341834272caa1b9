//! The system as a whole: the auxiliary vector, reboot, getrandom.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::{flags, values};

/// One entry of the auxiliary vector (getauxval(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AuxEntry {
    pub tag: u64,
    pub value: u64,
}

values! {
    /// Tags of the auxiliary vector.
    pub struct AuxTag: u64, "AT_" {
        NULL = 0,
        IGNORE = 1,
        EXECFD = 2,
        PHDR = 3,
        PHENT = 4,
        PHNUM = 5,
        PAGESZ = 6,
        BASE = 7,
        FLAGS = 8,
        ENTRY = 9,
        NOTELF = 10,
        UID = 11,
        EUID = 12,
        GID = 13,
        EGID = 14,
        PLATFORM = 15,
        HWCAP = 16,
        CLKTCK = 17,
        SECURE = 23,
        BASE_PLATFORM = 24,
        RANDOM = 25,
        HWCAP2 = 26,
        RSEQ_FEATURE_SIZE = 27,
        RSEQ_ALIGN = 28,
        HWCAP3 = 29,
        HWCAP4 = 30,
        EXECFN = 31,
        SYSINFO_EHDR = 33,
        MINSIGSTKSZ = 51,
    }
}

flags! {
    /// Bits of `AT_HWCAP2` on x86.
    pub struct Hwcap2: u64, "HWCAP2_", "0" {
        /// MONITOR and MWAIT work in ring 3.
        RING3MWAIT = 1,
        /// RDFSBASE and its family work in ring 3.
        FSGSBASE = 2,
    }
}

flags! {
    /// Flags of getrandom(2).
    pub struct RandomFlags: u32, "GRND_", "0" {
        NONBLOCK = 1,
        RANDOM = 2,
        INSECURE = 4,
    }
}

values! {
    /// Commands of reboot(2).
    pub struct RebootCmd: u32, "LINUX_REBOOT_CMD_" {
        RESTART = 0x0123_4567,
        HALT = 0xcdef_0123,
        CAD_ON = 0x89ab_cdef,
        CAD_OFF = 0,
        POWER_OFF = 0x4321_fedc,
        RESTART2 = 0xa1b2_c3d4,
        SW_SUSPEND = 0xd000_fce2,
        KEXEC = 0x4558_4543,
    }
}

/// First magic number of reboot(2).
pub const REBOOT_MAGIC1: u32 = 0xfee1_dead;
/// Second magic numbers of reboot(2).
pub const REBOOT_MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
