//! Descriptors for processes: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

use abi::{Errno, OpenFlags, SigInfo};
use fdmap::OnExec;

use super::signal::{self, Scope};
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::pidfd::{self, Target};
use crate::mm::UserPtr;
use crate::task::access::check_access;
use crate::task::{current, process};

/// PIDFD_THREAD, which is O_EXCL.
const THREAD: u32 = 0x80;

/// pidfd_open(2). ENOENT for a thread that isn't its process's first, without PIDFD_THREAD.
pub fn pidfd_open(pid: i32, flags: u32) -> SysResult {
    let open_flags = OpenFlags::from_bits_retain(flags & !THREAD);
    if !OpenFlags::NONBLOCK.contains(open_flags) || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let pid = pid.unsigned_abs();
    let thread = process::find_thread(pid);
    let fd = match process::find(pid) {
        Some(process) if flags & THREAD == 0 => pidfd::open(process, None, open_flags)?,
        None if thread.is_some() && flags & THREAD == 0 => return Err(Errno::ENOENT.into()),
        _ => {
            let thread = thread.ok_or(Errno::ESRCH)?;
            pidfd::open(thread.process.clone(), Some(&thread), open_flags)?
        }
    };
    Ok(fd.0 as usize)
}

/// What stands for the caller instead of a descriptor.
const SELF_THREAD: i32 = -10_000;
const SELF_PROCESS: i32 = -10_001;

/// The target of a descriptor, which may also be a /proc/PID directory. EBADF.
fn target_of(fd: Fd) -> Result<Target, Errno> {
    let me = current();
    let own = |thread| Target { process: me.process.clone(), thread, is_nonblocking: false, is_gone: false };
    match fd.0 {
        SELF_THREAD => return Ok(own(Some(me.tid))),
        SELF_PROCESS => return Ok(own(None)),
        _ => {}
    }
    let file = fs::files().get(fd)?;
    match fs::proc::process_of_directory(file.inode()) {
        Some(pid) => {
            let process = process::find(pid).ok_or(Errno::ESRCH)?;
            Ok(Target { process, thread: None, is_nonblocking: false, is_gone: false })
        }
        None => pidfd::target(fd),
    }
}

const SIGNAL_THREAD: u32 = 1;
const SIGNAL_THREAD_GROUP: u32 = 2;
const SIGNAL_PROCESS_GROUP: u32 = 4;

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(fd: Fd, number: i32, info: UserPtr<SigInfo>, flags: u32) -> SysResult {
    if flags & !(SIGNAL_THREAD | SIGNAL_THREAD_GROUP | SIGNAL_PROCESS_GROUP) != 0 || flags.count_ones() > 1 {
        return Err(Errno::EINVAL.into());
    }
    let target = target_of(fd)?;
    if target.is_gone {
        return Err(Errno::ESRCH.into());
    }
    let number_of_thread = target.thread.unwrap_or(target.process.pid);
    let scope = match flags {
        SIGNAL_THREAD => Scope::Thread(number_of_thread),
        SIGNAL_PROCESS_GROUP => Scope::Group(number_of_thread),
        0 if target.thread.is_some() => Scope::Thread(number_of_thread),
        _ => Scope::Process,
    };
    signal::send_by_descriptor(&target.process, number, info, scope)
}

/// pidfd_getfd(2).
pub fn pidfd_getfd(fd: Fd, theirs: Fd, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = pidfd::target(fd)?;
    let is_dead = target.process.zombie.load(core::sync::atomic::Ordering::Acquire);
    if target.is_gone || is_dead {
        return Err(Errno::ESRCH.into());
    }
    check_access(&target.process)?;
    let file = target.process.shared_files().get_any(theirs)?;
    Ok(fs::files().insert(file, OnExec::Close)?.0 as usize)
}
