//! The Linux x86_64 ABI as data: structures that programs and the kernel exchange, numbers, and flags. Compared in the tests with Linux's own
//! headers. Field names are the man pages', without their prefixes.
#![no_std]
#![forbid(unsafe_code)]

mod errno;
mod file;
mod flags;
mod memory;
mod process;
mod signal;
mod time;

pub use errno::Errno;
pub use file::{
    Dirent64Header, Flock, IoVec, OpenHow, PollFd, Stat, Statfs, Statx, StatxTimestamp, Termios, Winsize,
};
pub use flags::{AtFlags, OpenFlags, PollEvents, RenameFlags, StatxMask};
pub use memory::{MapFlags, Prot};
pub use process::{Rlimit64, Rusage, Sysinfo, Tms, Utsname};
pub use signal::{
    FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FpSoftware, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SaFlags,
    SigContext, SigInfo, SigSet, Sigaction, Signal, StackT, UC_FP_XSTATE, UC_SIGCONTEXT_SS,
    UC_STRICT_RESTORE_SS, UContext,
};
pub use time::{Itimerspec, Itimerval, Timespec, Timeval, Timezone};
