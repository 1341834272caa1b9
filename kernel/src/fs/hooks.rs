//! What the file layer asks of signals, sessions and mappings.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use abi::{Errno, SigSet, Signal};

use super::inode::Inode;
use super::tty::Reason;
use crate::mm::address_space::Copies;
use crate::mm::{AddressSpace, PAGE_SIZE};
use crate::syscall::SysError;
use crate::task::access::check_file_access;
use crate::task::{Process, current, process, signal};

const SIGHUP: u32 = 1;
const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGCONT: u32 = 18;
const SIGTSTP: u32 = 20;
const SIGTTIN: u32 = 21;
const SIGTTOU: u32 = 22;
const SIGWINCH: u32 = 28;

/// A write to a pipe or socket without a reader.
pub fn send_pipe_signal() {
    signal::send_own(Signal::SIGPIPE);
}

/// A write beyond RLIMIT_FSIZE.
pub fn send_file_size_signal() {
    signal::send_own(Signal::SIGXFSZ);
}

/// A terminal signals a process group.
pub fn signal_group(group: u32, reason: Reason) {
    let number = match reason {
        Reason::Interrupt => SIGINT,
        Reason::Quit => SIGQUIT,
        Reason::Suspend => SIGTSTP,
        Reason::Hangup => SIGHUP,
        Reason::Continue => SIGCONT,
        Reason::WindowChange => SIGWINCH,
        Reason::BackgroundRead => SIGTTIN,
        Reason::BackgroundWrite => SIGTTOU,
    };
    if group == 0 {
        return;
    }
    for process in process::all() {
        if process.group.load(Ordering::Relaxed) == group {
            signal::send_kernel(&process, number);
        }
    }
}

/// The terminal of a session is gone: its leader hears of it, alone.
pub fn hang_up(leader: u32) {
    if let Some(leader) = process::find(leader) {
        signal::send_kernel(&leader, SIGHUP);
        signal::send_kernel(&leader, SIGCONT);
    }
}

/// A background process touches its terminal: its group is stopped, and the call begins again when it goes on. A process that ignores or
/// blocks the signal may go ahead and write, but not read; nothing would continue an orphaned group. EIO for those.
pub fn stop_background(group: u32, reason: Reason) -> Result<(), SysError> {
    let thread = current();
    let masks = signal::masks(&thread.process, thread.tid);
    let (number, may_go_on) = match reason {
        Reason::BackgroundRead => (SIGTTIN, false),
        _ => (SIGTTOU, true),
    };
    let unheard = (masks.ignored.0 | masks.blocked.0) & 1 << (number - 1) != 0;
    if unheard && may_go_on {
        return Ok(());
    }
    if unheard || signal::is_orphaned(&thread.process) {
        return Err(Errno::EIO.into());
    }
    signal_group(group, reason);
    Err(SysError::restart(crate::syscall::Restart::IfAsked))
}

/// Whether a process group belongs to a session. ESRCH if there is no such group.
pub fn is_group_in_session(group: u32, session: u32) -> Result<bool, Errno> {
    let load = Ordering::Relaxed;
    let member = process::all().find(|process| process.group.load(load) == group).ok_or(Errno::ESRCH)?;
    Ok(member.session.load(load) == session)
}

/// The signal mask for the rest of a ppoll or one of its relatives.
pub fn set_temporary_mask(mask: SigSet) {
    signal::set_temporary_mask(mask);
}

/// A thread's signals, for /proc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalMasks {
    pub pending: u64,
    pub shared_pending: u64,
    pub blocked: u64,
    pub ignored: u64,
    pub caught: u64,
    /// Signals queued for the user.
    pub queued: usize,
}

pub fn signal_masks(process: &Process, tid: u32) -> SignalMasks {
    let masks = signal::masks(process, tid);
    SignalMasks {
        pending: masks.pending.0,
        shared_pending: masks.shared_pending.0,
        blocked: masks.blocked.0,
        ignored: masks.ignored.0,
        caught: masks.caught.0,
        queued: masks.queued,
    }
}

/// Whether the running process may know of another's memory and files. EACCES.
pub fn may_look_into(process: &Process) -> Result<(), Errno> {
    check_file_access(process).map_err(|_| Errno::EACCES)
}

/// Whether a process is stopped by job control.
pub fn is_stopped(process: &Process) -> bool {
    signal::is_stopped(process)
}

/// A file became shorter: mappings of the rest must fault from now on, private copies among them.
pub fn unmap_beyond(inode: &Inode, size: u64) {
    drop_mapped(inode, &(size.div_ceil(PAGE_SIZE as u64)..u64::MAX), Copies::Drop);
}

/// Pages of a file were taken away: mappings of them must fault again.
pub fn unmap_range(inode: &Inode, start: u64, end: u64) {
    drop_mapped(inode, &(start.div_ceil(PAGE_SIZE as u64)..end / PAGE_SIZE as u64), Copies::Keep);
}

fn drop_mapped(inode: &Inode, pages: &Range<u64>, copies: Copies) {
    if !inode.was_mapped() || pages.is_empty() {
        return;
    }
    let key = core::ptr::from_ref(inode).addr();
    DROPS_BEGUN.fetch_add(1, Ordering::SeqCst);
    for space in process::all().filter_map(|process| process.space()) {
        space.drop_object_pages(Some(key), pages, copies);
    }
    DROPS_ENDED.fetch_add(1, Ordering::SeqCst);
}

/// How often somebody has begun, and ended, to go through all processes to take a file's pages away.
static DROPS_BEGUN: AtomicUsize = AtomicUsize::new(0);
static DROPS_ENDED: AtomicUsize = AtomicUsize::new(0);

/// Before a fork: what `complete_fork` wants to know.
pub fn drops_before_fork() -> usize {
    DROPS_ENDED.load(Ordering::SeqCst)
}

/// A fork's child can be found by those who take files' pages away: lets go of what was taken from its parent only.
pub fn complete_fork(before: usize, space: &AddressSpace) {
    if DROPS_BEGUN.load(Ordering::SeqCst) != before {
        space.drop_object_pages(None, &(0..u64::MAX), Copies::Keep);
    }
}
