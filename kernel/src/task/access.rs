//! Whether one process may look into another (ptrace(2), "Ptrace access mode checking").

use core::sync::atomic::Ordering;

use abi::Errno;
use caps::cap;

use super::process::{Cred, Process};
use super::sched::current;

/// PTRACE_MODE_ATTACH or _READ with the real credentials: the same user in every respect, or CAP_SYS_PTRACE; and not a process that made itself
/// undumpable. EPERM.
pub fn check_access(target: &Process) -> Result<(), Errno> {
    check(target, |cred| (cred.uid, cred.gid))
}

/// As `check_access`, with the credentials by which files are judged. EPERM.
pub fn check_file_access(target: &Process) -> Result<(), Errno> {
    check(target, |cred| (cred.fsuid, cred.fsgid))
}

fn check(target: &Process, ids: fn(&Cred) -> (u32, u32)) -> Result<(), Errno> {
    let me = &current().process;
    if target.pid == me.pid {
        return Ok(());
    }
    let ((uid, gid), privileged) = {
        let cred = me.cred.lock();
        (ids(&cred), cred.has(cap::SYS_PTRACE))
    };
    if privileged {
        return Ok(());
    }
    let is_same_user = {
        let cred = target.cred.lock();
        [cred.uid, cred.euid, cred.suid].iter().all(|&id| id == uid)
            && [cred.gid, cred.egid, cred.sgid].iter().all(|&id| id == gid)
    };
    if is_same_user && target.dumpable.load(Ordering::Relaxed) == 1 { Ok(()) } else { Err(Errno::EPERM) }
}
