//! The Linux x86_64 ABI as data: structures that programs and the kernel exchange, numbers, and flags. Compared in the tests with Linux's own
//! headers. Field names are the man pages', without their prefixes; so are the names of flags. Flag sets take any bits
//! (`from_bits_retain`) and, like the named numbers, print as strace does.
#![no_std]
#![forbid(unsafe_code)]

mod errno;
mod file;
mod filectl;
mod flags;
mod fpstate;
mod futex;
mod inode;
pub mod ipc;
mod macros;
mod memory;
mod poll;
mod process;
mod sched;
mod sicode;
mod signal;
mod socket;
mod system;
mod thread;
mod time;
mod tty;

pub use errno::Errno;
pub use file::{
    Dirent64Header, Flock, IoVec, OpenHow, PollFd, Stat, Statfs, Statx, StatxTimestamp, Termios, Winsize,
};
pub use filectl::*;
pub use flags::{AT_FDCWD, AtFlags, OpenFlags, PollEvents, RenameFlags, StatxAttributes, StatxMask};
pub use fpstate::{FP_XSTATE_MAGIC2_SIZE, FpState};
pub use futex::*;
pub use inode::{DirentType, IOV_MAX, Mode, make_dev, mode, split_dev};
pub use macros::Named;
pub use memory::*;
pub use poll::*;
pub use process::{Rlimit64, Rusage, Sysinfo, Tms, Utsname};
pub use sched::*;
pub use sicode::{FaultCode, SiCode, SigMaskHow, SignalfdSiginfo};
pub use signal::{
    FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FpSoftware, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SaFlags,
    SigContext, SigInfo, SigSet, Sigaction, Signal, StackT, UC_FP_XSTATE, UC_SIGCONTEXT_SS,
    UC_STRICT_RESTORE_SS, UContext,
};
pub use socket::{Mmsghdr, Msghdr};
pub use system::*;
pub use thread::*;
pub use time::*;
pub use tty::{Ioctl, Termios2};
