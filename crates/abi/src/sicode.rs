//! Numbers around signals: `si_code`, masks, signalfd.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::values;

values! {
    /// `si_code` of signals that are no faults.
    pub struct SiCode: i32, "SI_" {
        USER = 0,
        KERNEL = 0x80,
        QUEUE = -1,
        TIMER = -2,
        MESGQ = -3,
        ASYNCIO = -4,
        SIGIO = -5,
        TKILL = -6,
        DETHREAD = -7,
        ASYNCNL = -60,
    }
}

/// `si_code` of faults and of SIGCHLD.
#[derive(Clone, Copy, Debug)]
pub struct FaultCode;

macro_rules! codes {
    ($($name:ident = $value:literal),* $(,)?) => {
        impl FaultCode {
            $(pub const $name: i32 = $value;)*
            /// The constants, as C names them.
            pub const NAMES: &'static [crate::Named] = &[$((stringify!($name), $value)),*];
        }
    };
}

codes! {
    ILL_ILLOPC = 1, ILL_ILLOPN = 2, ILL_ILLADR = 3, ILL_ILLTRP = 4, ILL_PRVOPC = 5, ILL_PRVREG = 6, ILL_COPROC = 7, ILL_BADSTK = 8,
    FPE_INTDIV = 1, FPE_INTOVF = 2, FPE_FLTDIV = 3, FPE_FLTOVF = 4, FPE_FLTUND = 5, FPE_FLTRES = 6, FPE_FLTINV = 7, FPE_FLTSUB = 8,
    SEGV_MAPERR = 1, SEGV_ACCERR = 2, SEGV_BNDERR = 3, SEGV_PKUERR = 4,
    BUS_ADRALN = 1, BUS_ADRERR = 2, BUS_OBJERR = 3,
    TRAP_BRKPT = 1, TRAP_TRACE = 2, TRAP_BRANCH = 3, TRAP_HWBKPT = 4,
    CLD_EXITED = 1, CLD_KILLED = 2, CLD_DUMPED = 3, CLD_TRAPPED = 4, CLD_STOPPED = 5, CLD_CONTINUED = 6,
    POLL_IN = 1, POLL_OUT = 2, POLL_MSG = 3, POLL_ERR = 4, POLL_PRI = 5, POLL_HUP = 6,
}

values! {
    /// `how` of rt_sigprocmask(2).
    pub struct SigMaskHow: u32, "SIG_" {
        BLOCK = 0,
        UNBLOCK = 1,
        SETMASK = 2,
    }
}

/// `struct signalfd_siginfo`: what a read of a signalfd gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalfdSiginfo {
    pub signo: u32,
    pub errno: i32,
    pub code: i32,
    pub pid: u32,
    pub uid: u32,
    pub fd: i32,
    pub tid: u32,
    pub band: u32,
    pub overrun: u32,
    pub trapno: u32,
    pub status: i32,
    pub int: i32,
    pub ptr: u64,
    pub utime: u64,
    pub stime: u64,
    pub addr: u64,
    pub addr_lsb: u16,
    pub _pad2: u16,
    pub syscall: i32,
    pub call_addr: u64,
    pub arch: u32,
    pub _pad: [u8; 28],
}
