//! Limits and use of resources: prlimit(2), getrusage(2), times(2).

use alloc::sync::Arc;

use abi::{Errno, Rlimit64, Rusage, Timeval, Tms};
use caps::cap;

use super::SysResult;
use crate::mm::{PAGE_SIZE, UserPtr};
use crate::task::clock::clock_ticks;
use crate::task::process::has_capability;
use crate::task::process::{self, rlimit};
use crate::task::usage::{self, Usage};
use crate::task::{Process, current, signal};
use crate::time;

/// The limit of RLIMIT_NOFILE's limit (`fs.nr_open`).
const NOFILE_MAX: u64 = 1 << 20;

fn process_of(tid: i32) -> Result<Arc<Process>, Errno> {
    match u32::try_from(tid) {
        Ok(0) => Ok(current().process.clone()),
        Ok(tid) => process::of_number(tid),
        Err(_) => Err(Errno::ESRCH),
    }
}

/// Only CAP_SYS_RESOURCE sees and sets limits of processes that run for others.
fn check_permission(target: &Process) -> Result<(), Errno> {
    let me = &current().process;
    if target.pid == me.pid {
        return Ok(());
    }
    let (uid, gid, is_privileged) = {
        let cred = me.cred.lock();
        (cred.uid, cred.gid, cred.has(cap::SYS_RESOURCE))
    };
    let cred = target.cred.lock();
    let same = [cred.uid, cred.euid, cred.suid] == [uid; 3] && [cred.gid, cred.egid, cred.sgid] == [gid; 3];
    if same || is_privileged { Ok(()) } else { Err(Errno::EPERM) }
}

/// prlimit64(2).
pub fn prlimit64(tid: i32, resource: u32, new: UserPtr<Rlimit64>, old: UserPtr<Rlimit64>) -> SysResult {
    let new = new.non_null().map(UserPtr::read).transpose()?;
    let target = process_of(tid)?;
    check_permission(&target)?;
    let resource = usize::try_from(resource).unwrap_or(usize::MAX);
    let privileged = has_capability(cap::SYS_RESOURCE);
    let before = target.change_limits(|limits| -> Result<_, Errno> {
        let limit = limits.0.get_mut(resource).ok_or(Errno::EINVAL)?;
        let before = *limit;
        if let Some(new) = new {
            if new.cur > new.max {
                return Err(Errno::EINVAL);
            }
            if resource == rlimit::NOFILE && new.max > NOFILE_MAX || new.max > before.1 && !privileged {
                return Err(Errno::EPERM);
            }
            *limit = (new.cur, new.max);
        }
        Ok(before)
    })?;
    if let Some(new) = new {
        if resource == rlimit::STACK
            && let Some(space) = target.space()
        {
            space.with(|inner| inner.stack_limit = usize::try_from(new.cur).unwrap_or(usize::MAX));
        }
        if resource == rlimit::CPU {
            signal::timers::limit_cpu_time(&target);
        }
    }
    if let Some(old) = old.non_null() {
        old.write(&Rlimit64 { cur: before.0, max: before.1 })?;
    }
    Ok(0)
}

pub fn getrlimit(resource: u32, out: UserPtr<Rlimit64>) -> SysResult {
    let limit = current().process.limits.lock().0.get(resource as usize).copied().ok_or(Errno::EINVAL)?;
    out.write(&Rlimit64 { cur: limit.0, max: limit.1 })?;
    Ok(0)
}

pub fn setrlimit(resource: u32, new: UserPtr<Rlimit64>) -> SysResult {
    let Some(new) = new.non_null() else { return Err(Errno::EFAULT.into()) };
    prlimit64(0, resource, new, UserPtr::new(0))
}

/// Nanoseconds as a `struct timeval`.
fn timeval(ns: u64) -> Timeval {
    Timeval { sec: (ns / time::NS_PER_SEC).cast_signed(), usec: (ns % time::NS_PER_SEC / 1000).cast_signed() }
}

impl From<Usage> for Rusage {
    fn from(usage: Usage) -> Self {
        Self {
            utime: timeval(time::ticks_to_ns(usage.run_ticks - usage.system_ticks)),
            stime: timeval(time::ticks_to_ns(usage.system_ticks)),
            maxrss: (usage.max_resident * (PAGE_SIZE / 1024)) as i64,
            minflt: usage.faults.cast_signed(),
            nvcsw: usage.voluntary.cast_signed(),
            nivcsw: usage.involuntary.cast_signed(),
            ..Self::default()
        }
    }
}

const RUSAGE_SELF: i32 = 0;
const RUSAGE_CHILDREN: i32 = -1;
const RUSAGE_THREAD: i32 = 1;

/// getrusage(2).
pub fn getrusage(who: i32, out: UserPtr<Rusage>) -> SysResult {
    let me = current();
    let usage = match who {
        RUSAGE_SELF => usage::of_process(&me.process),
        RUSAGE_CHILDREN => usage::of_children(&me.process),
        RUSAGE_THREAD => {
            let mut usage = usage::of_thread(me);
            usage.max_resident = me.address_space().map_or(0, |space| space.resident().1);
            usage
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    out.write(&usage.into())?;
    Ok(0)
}

/// times(2).
pub fn times(out: UserPtr<Tms>) -> SysResult {
    let ticks = |ticks: u64| clock_ticks(time::ticks_to_ns(ticks)).cast_signed();
    if let Some(out) = out.non_null() {
        let process = &current().process;
        let (own, children) = (usage::of_process(process), usage::of_children(process));
        out.write(&Tms {
            utime: ticks(own.run_ticks - own.system_ticks),
            stime: ticks(own.system_ticks),
            cutime: ticks(children.run_ticks - children.system_ticks),
            cstime: ticks(children.system_ticks),
        })?;
    }
    Ok(clock_ticks(time::monotonic_ns()) as usize)
}
