//! Futexes and robust lists (futex(2), set_robust_list(2)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::{flags, values};

values! {
    /// Operation of futex(2), without its flags.
    pub struct FutexOp: u32, "FUTEX_" {
        WAIT = 0,
        WAKE = 1,
        FD = 2,
        REQUEUE = 3,
        CMP_REQUEUE = 4,
        WAKE_OP = 5,
        LOCK_PI = 6,
        UNLOCK_PI = 7,
        TRYLOCK_PI = 8,
        WAIT_BITSET = 9,
        WAKE_BITSET = 10,
        WAIT_REQUEUE_PI = 11,
        CMP_REQUEUE_PI = 12,
        LOCK_PI2 = 13,
    }
}

flags! {
    /// Flags in a futex operation.
    pub struct FutexFlags: u32, "FUTEX_", "0" {
        PRIVATE_FLAG = 128,
        CLOCK_REALTIME = 256,
    }
}

impl FutexOp {
    /// Splits futex(2)'s second argument.
    pub const fn split(raw: u32) -> (Self, FutexFlags) {
        (Self(raw & 127), FutexFlags::from_bits_retain(raw & !127))
    }
}

/// A lock word's bit: there are waiters (`FUTEX_WAITERS`).
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// A lock word's bit: the owner died (`FUTEX_OWNER_DIED`).
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// A lock word's owner (`FUTEX_TID_MASK`).
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// The set that every waiter matches (`FUTEX_BITSET_MATCH_ANY`).
pub const FUTEX_BITSET_ANY: u32 = u32::MAX;
/// Entries of a robust list that are looked at (`ROBUST_LIST_LIMIT`).
pub const ROBUST_LIST_LIMIT: usize = 2048;
/// Most futexes of futex_waitv(2).
pub const FUTEX_WAITV_MAX: usize = 128;

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FutexWaitv {
    pub value: u64,
    pub address: u64,
    pub flags: u32,
    pub _reserved: u32,
}

/// `struct robust_list_head`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RobustListHead {
    /// First entry; bit 0 says that its lock has priority inheritance.
    pub list: u64,
    /// From an entry to its futex word.
    pub futex_offset: i64,
    pub list_op_pending: u64,
}
