//! System calls: one table, typed handlers, and what strace needs to print them.

pub mod args;
pub mod table;
pub mod trace;

pub mod attr;
pub mod dir;
pub mod epoll;
pub mod fcntl;
pub mod file;
pub mod futex;
pub mod identity;
pub mod inotify;
pub mod ioctl;
pub mod limits;
pub mod membarrier;
pub mod memory;
pub mod message;
pub mod mlock;
pub mod mount;
pub mod mqueue;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod power;
pub mod process;
pub mod process_vm;
pub mod random;
pub mod sched;
pub mod signal;
pub mod socket;
pub mod stat;
pub mod sysv;
pub mod time;
pub mod timers;
pub mod xattr;

use abi::Errno;

pub use args::Fd;
pub use table::TABLE_LEN;

use crate::task::WaitError;

/// How a call that was interrupted by a signal goes on (the kernel's side of signal(7), "Interruption of system calls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Again if the handler has SA_RESTART or there is none, else EINTR.
    IfAsked,
    /// Again unless a handler runs, then EINTR.
    NoHandler,
    /// Again in any case.
    Always,
    /// Go on with the rest of the time by restart_syscall(2) if no handler runs, else EINTR.
    WithRest,
}

/// Why a system call has no result: an error number or a wish to be called again, as the value that RAX gets. One word, so that results
/// travel in registers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SysError(isize);

/// What a `SysError` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Errno(Errno),
    Restart(Restart),
}

/// A handler's result: what the program finds in RAX.
pub type SysResult = Result<usize, SysError>;

/// A result as RAX already, for a handler that ends in the call of another function.
pub struct Rax(isize);

/// What handlers return.
pub trait IntoRax {
    fn into_rax(self) -> isize;
}

impl IntoRax for SysResult {
    #[inline(always)]
    fn into_rax(self) -> isize {
        encode(self)
    }
}

impl IntoRax for Rax {
    #[inline(always)]
    fn into_rax(self) -> isize {
        self.0
    }
}

impl From<SysResult> for Rax {
    #[inline(always)]
    fn from(result: SysResult) -> Self {
        Self(encode(result))
    }
}

/// RAX values that only the way out sees.
const RESTART_IF_ASKED: isize = -512;
const RESTART_ALWAYS: isize = -513;
const RESTART_NO_HANDLER: isize = -514;
const RESTART_WITH_REST: isize = -516;

impl SysError {
    #[inline]
    pub const fn errno(errno: Errno) -> Self {
        Self(-(errno.raw() as isize))
    }

    pub const fn restart(kind: Restart) -> Self {
        Self(match kind {
            Restart::IfAsked => RESTART_IF_ASKED,
            Restart::Always => RESTART_ALWAYS,
            Restart::NoHandler => RESTART_NO_HANDLER,
            Restart::WithRest => RESTART_WITH_REST,
        })
    }

    pub fn failure(self) -> Failure {
        match decode_restart(self.0.cast_unsigned() as u64) {
            Some(kind) => Failure::Restart(kind),
            None => Failure::Errno(Errno::from_raw(self.0.unsigned_abs() as u16)),
        }
    }
}

impl core::fmt::Debug for SysError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.failure().fmt(f)
    }
}

impl From<Errno> for SysError {
    #[inline]
    fn from(errno: Errno) -> Self {
        Self::errno(errno)
    }
}

impl From<WaitError> for SysError {
    /// The usual meaning: restart if the handler asks for it. Calls with timeouts map these themselves.
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Interrupted => Self::restart(Restart::IfAsked),
            WaitError::TimedOut => Self::errno(Errno::ETIMEDOUT),
        }
    }
}

impl From<crate::mm::OutOfMemory> for SysError {
    fn from(_: crate::mm::OutOfMemory) -> Self {
        Self::errno(Errno::ENOMEM)
    }
}

/// A result as RAX. No call's result is a number so far below zero as a wish to be called again.
#[inline(always)]
pub fn encode(result: SysResult) -> isize {
    let word = match result {
        Ok(value) => value.cast_signed(),
        Err(SysError(word)) => word,
    };
    if word <= RESTART_IF_ASKED {
        note_restart();
    }
    word
}

/// The slow way out makes something of a wish to be called again.
#[cold]
#[inline(never)]
fn note_restart() {
    crate::task::current().add_work(crate::task::thread::work::SIGNAL);
}

/// What a RAX of the above means.
pub fn decode_restart(rax: u64) -> Option<Restart> {
    match rax.cast_signed() as isize {
        RESTART_IF_ASKED => Some(Restart::IfAsked),
        RESTART_ALWAYS => Some(Restart::Always),
        RESTART_NO_HANDLER => Some(Restart::NoHandler),
        RESTART_WITH_REST => Some(Restart::WithRest),
        _ => None,
    }
}

/// How much of a call's man page is true here. `docs/SYSCALLS.md` is made from the table's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Full,
    /// What is missing.
    Partial(&'static str),
}

/// A row of the table, for strace.
pub struct Call {
    pub name: &'static str,
    /// Whether docs/SYSCALLS.md says that something of it is missing.
    pub is_partial: bool,
    pub args: &'static [args::Shape],
}

/// A number without a row.
pub extern "C" fn unknown() -> isize {
    let number = crate::task::current().frame().orig_rax;
    crate::debug::crash_if_asked();
    log::warn!("unknown system call {number}");
    let cpu = crate::arch::per_cpu();
    cpu.unknown_syscalls.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    cpu.last_unknown_syscall.store(number, core::sync::atomic::Ordering::Relaxed);
    -(Errno::ENOSYS.raw() as isize)
}
