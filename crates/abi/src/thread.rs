//! Processes and threads: clone, wait, resources, prctl, capabilities.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::{flags, values};

flags! {
    /// Flags of clone(2) and clone3(2); in clone's argument the low byte is the exit signal.
    pub struct CloneFlags: u64, "CLONE_", "0" {
        NEWTIME = 0x80,
        VM = 0x100,
        FS = 0x200,
        FILES = 0x400,
        SIGHAND = 0x800,
        PIDFD = 0x1000,
        PTRACE = 0x2000,
        VFORK = 0x4000,
        PARENT = 0x8000,
        THREAD = 0x1_0000,
        NEWNS = 0x2_0000,
        SYSVSEM = 0x4_0000,
        SETTLS = 0x8_0000,
        PARENT_SETTID = 0x10_0000,
        CHILD_CLEARTID = 0x20_0000,
        DETACHED = 0x40_0000,
        UNTRACED = 0x80_0000,
        CHILD_SETTID = 0x100_0000,
        NEWCGROUP = 0x200_0000,
        NEWUTS = 0x400_0000,
        NEWIPC = 0x800_0000,
        NEWUSER = 0x1000_0000,
        NEWPID = 0x2000_0000,
        NEWNET = 0x4000_0000,
        IO = 0x8000_0000,
        CLEAR_SIGHAND = 0x1_0000_0000,
        INTO_CGROUP = 0x2_0000_0000,
    }
}

impl CloneFlags {
    /// `CSIGNAL`: the exit signal in clone(2)'s flags.
    pub const SIGNAL_MASK: u64 = 0xff;
}

/// `struct clone_args` of clone3(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

impl CloneArgs {
    /// `CLONE_ARGS_SIZE_VER0`, the least size that clone3(2) takes.
    pub const SIZE_VER0: usize = 64;
}

flags! {
    /// Options of wait4(2) and waitid(2).
    pub struct WaitOptions: u32, "", "0" {
        WNOHANG = 1,
        /// waitid(2) calls it `WSTOPPED`.
        WUNTRACED = 2,
        WEXITED = 4,
        WCONTINUED = 8,
        WNOWAIT = 0x0100_0000,
        __WNOTHREAD = 0x2000_0000,
        __WALL = 0x4000_0000,
        __WCLONE = 0x8000_0000,
    }
}

values! {
    /// First argument of waitid(2).
    pub struct WaitId: i32, "P_" {
        ALL = 0,
        PID = 1,
        PGID = 2,
        PIDFD = 3,
    }
}

flags! {
    /// Flags of pidfd_open(2).
    pub struct PidfdFlags: u32, "PIDFD_", "0" {
        NONBLOCK = 0o4000,
        THREAD = 0o200,
    }
}

values! {
    /// A resource of setrlimit(2).
    pub struct Resource: u32, "RLIMIT_" {
        CPU = 0,
        FSIZE = 1,
        DATA = 2,
        STACK = 3,
        CORE = 4,
        RSS = 5,
        NPROC = 6,
        NOFILE = 7,
        MEMLOCK = 8,
        AS = 9,
        LOCKS = 10,
        SIGPENDING = 11,
        MSGQUEUE = 12,
        NICE = 13,
        RTPRIO = 14,
        RTTIME = 15,
    }
}

impl Resource {
    /// How many there are.
    pub const COUNT: usize = 16;
}

values! {
    /// Whose usage getrusage(2) is asked for.
    pub struct RusageWho: i32, "RUSAGE_" {
        SELF = 0,
        CHILDREN = -1,
        THREAD = 1,
    }
}

values! {
    /// Codes of arch_prctl(2).
    pub struct ArchPrctl: u32, "ARCH_" {
        SET_GS = 0x1001,
        SET_FS = 0x1002,
        GET_FS = 0x1003,
        GET_GS = 0x1004,
        GET_CPUID = 0x1011,
        SET_CPUID = 0x1012,
        GET_XCOMP_SUPP = 0x1021,
        GET_XCOMP_PERM = 0x1022,
        REQ_XCOMP_PERM = 0x1023,
        MAP_VDSO_X32 = 0x2001,
        MAP_VDSO_32 = 0x2002,
        MAP_VDSO_64 = 0x2003,
        CET_STATUS = 0x3001,
    }
}

values! {
    /// Operations of prctl(2).
    pub struct PrctlOp: u32, "PR_" {
        SET_PDEATHSIG = 1,
        GET_PDEATHSIG = 2,
        GET_DUMPABLE = 3,
        SET_DUMPABLE = 4,
        GET_UNALIGN = 5,
        SET_UNALIGN = 6,
        GET_KEEPCAPS = 7,
        SET_KEEPCAPS = 8,
        GET_TIMING = 13,
        SET_TIMING = 14,
        SET_NAME = 15,
        GET_NAME = 16,
        GET_SECCOMP = 21,
        SET_SECCOMP = 22,
        CAPBSET_READ = 23,
        CAPBSET_DROP = 24,
        GET_TSC = 25,
        SET_TSC = 26,
        GET_SECUREBITS = 27,
        SET_SECUREBITS = 28,
        SET_TIMERSLACK = 29,
        GET_TIMERSLACK = 30,
        TASK_PERF_EVENTS_DISABLE = 31,
        TASK_PERF_EVENTS_ENABLE = 32,
        MCE_KILL = 33,
        MCE_KILL_GET = 34,
        SET_MM = 35,
        SET_CHILD_SUBREAPER = 36,
        GET_CHILD_SUBREAPER = 37,
        SET_NO_NEW_PRIVS = 38,
        GET_NO_NEW_PRIVS = 39,
        GET_TID_ADDRESS = 40,
        SET_THP_DISABLE = 41,
        GET_THP_DISABLE = 42,
        CAP_AMBIENT = 47,
        GET_SPECULATION_CTRL = 52,
        SET_SPECULATION_CTRL = 53,
        SET_IO_FLUSHER = 57,
        GET_IO_FLUSHER = 58,
        SET_SYSCALL_USER_DISPATCH = 59,
        SCHED_CORE = 62,
        SET_MDWE = 65,
        GET_MDWE = 66,
        SET_VMA = 0x5356_4d41,
        SET_PTRACER = 0x5961_6d61,
    }
}

/// `struct __user_cap_header_struct` of capget(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapHeader {
    pub version: u32,
    pub pid: i32,
}

/// `struct __user_cap_data_struct` of capget(2); version 3 has two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapData {
    pub effective: u32,
    pub permitted: u32,
    pub inheritable: u32,
}
