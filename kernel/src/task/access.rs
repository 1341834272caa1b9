//! Whether one process may look into another (ptrace(2), "Ptrace access mode checking").

use core::sync::atomic::Ordering;

use abi::Errno;
use caps::cap;

use super::process::Process;
use super::sched::current;

/// PTRACE_MODE_ATTACH or _READ with the real credentials: the same user in every respect, or CAP_SYS_PTRACE; and not a process that made itself
/// undumpable. EPERM.
pub fn check_access(target: &Process) -> Result<(), Errno> {
    let me = &current().process;
    if target.pid == me.pid {
        return Ok(());
    }
    let (uid, gid, privileged) = {
        let cred = me.cred.lock();
        (cred.uid, cred.gid, cred.has(cap::SYS_PTRACE))
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
