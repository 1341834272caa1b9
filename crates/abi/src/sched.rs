//! Scheduling and restartable sequences (sched(7), rseq(2)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::values;

/// `struct sched_param`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedParam {
    pub priority: i32,
}

/// `struct sched_attr` of sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

values! {
    /// Scheduling policies.
    pub struct SchedPolicy: u32, "SCHED_" {
        NORMAL = 0,
        FIFO = 1,
        RR = 2,
        BATCH = 3,
        IDLE = 5,
        DEADLINE = 6,
        EXT = 7,
    }
}

impl SchedPolicy {
    /// Bit of the policy argument: children start with the normal policy.
    pub const RESET_ON_FORK: u32 = 0x4000_0000;
}

values! {
    /// `which` of getpriority(2).
    pub struct PriorityWhich: i32, "PRIO_" {
        PROCESS = 0,
        PGRP = 1,
        USER = 2,
    }
}

/// `struct rseq` (rseq(2)): the part that both sides agree on, in the program's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct Rseq {
    pub cpu_id_start: u32,
    pub cpu_id: u32,
    /// Address of a [`RseqCs`], or 0.
    pub rseq_cs: u64,
    pub flags: u32,
    pub node_id: u32,
    pub mm_cid: u32,
    pub _pad: u32,
}

impl Rseq {
    /// `RSEQ_CPU_ID_UNINITIALIZED`.
    pub const CPU_ID_UNINITIALIZED: u32 = u32::MAX;
    /// `RSEQ_CPU_ID_REGISTRATION_FAILED`.
    pub const CPU_ID_REGISTRATION_FAILED: u32 = u32::MAX - 1;
    /// `RSEQ_FLAG_UNREGISTER`, an argument of rseq(2).
    pub const FLAG_UNREGISTER: u32 = 1;
    /// Bytes in use (`AT_RSEQ_FEATURE_SIZE`).
    pub const FEATURE_SIZE: usize = 28;
}

/// `struct rseq_cs`: one critical section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct RseqCs {
    pub version: u32,
    pub flags: u32,
    pub start_ip: u64,
    pub post_commit_offset: u64,
    pub abort_ip: u64,
}
