//! How urgent threads are: nice values, scheduling policies, I/O priorities. And on which CPUs they may run.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::{Errno, SchedAttr, SchedPolicy, Timespec};
use caps::cap;

use super::SysResult;
use crate::arch::x86_64::cpu;
use crate::mm::UserPtr;
use crate::task::priority::Policy;
use crate::task::process::has_capability;
use crate::task::process::{self, rlimit};
use crate::task::{Process, Thread, current, sched};

fn thread_of(tid: i32) -> Result<Arc<Thread>, Errno> {
    match u32::try_from(tid) {
        Ok(0) => Ok(sched::current_arc()),
        Ok(tid) => process::find_thread(tid).ok_or(Errno::ESRCH),
        Err(_) => Err(Errno::ESRCH),
    }
}

fn euid() -> u32 {
    current().process.cred.lock().euid
}

/// CAP_SYS_NICE.
fn may_schedule() -> bool {
    has_capability(cap::SYS_NICE)
}

/// Whether the caller's effective user is the one that `target` runs for.
fn is_same_owner(target: &Process) -> bool {
    let euid = euid();
    let cred = target.cred.lock();
    euid == cred.euid || euid == cred.uid
}

/// Whom getpriority(2) and its like mean.
#[derive(Clone, Copy)]
enum Whom {
    Thread,
    Group,
    User,
}

/// Calls `f` for every thread that is meant.
fn for_each(whom: Whom, who: i32, f: &mut dyn FnMut(&Thread)) {
    if let Whom::Thread = whom {
        if let Ok(thread) = thread_of(who) {
            f(&thread);
        }
        return;
    }
    let me = &current().process;
    let id = match (whom, who.cast_unsigned()) {
        (Whom::User, 0) => me.cred.lock().uid,
        (_, 0) => me.group.load(Ordering::Relaxed),
        (_, id) => id,
    };
    for process in process::all() {
        let found = match whom {
            Whom::User => process.cred.lock().uid,
            _ => process.group.load(Ordering::Relaxed),
        };
        if found == id {
            let threads = process.threads.lock().clone();
            threads.iter().for_each(|thread| f(thread));
        }
    }
}

fn priority_kind(which: i32) -> Result<Whom, Errno> {
    match which {
        0 => Ok(Whom::Thread),
        1 => Ok(Whom::Group),
        2 => Ok(Whom::User),
        _ => Err(Errno::EINVAL),
    }
}

/// getpriority(2), the system call: 20 - nice, of the most urgent.
pub fn getpriority(which: i32, who: i32) -> SysResult {
    let mut best = None;
    for_each(priority_kind(which)?, who, &mut |thread| best = best.max(Some(20 - thread.priorities.nice())));
    Ok(best.ok_or(Errno::ESRCH)? as usize)
}

/// Whether a thread's nice value may become this (RLIMIT_NICE).
fn may_be_nice(thread: &Thread, nice: i32) -> bool {
    let limit = thread.process.limit(rlimit::NICE);
    u64::from((20 - nice).unsigned_abs()) <= limit || may_schedule()
}

pub fn setpriority(which: i32, who: i32, value: i32) -> SysResult {
    let value = value.clamp(-20, 19);
    let mut result = Err(Errno::ESRCH);
    for_each(priority_kind(which)?, who, &mut |thread| {
        let me = current().process.cred.lock().uid;
        if !is_same_owner(&thread.process) && thread.process.cred.lock().euid != me && !may_schedule() {
            result = Err(Errno::EPERM);
        } else if value < thread.priorities.nice() && !may_be_nice(thread, value) {
            result = Err(Errno::EACCES);
        } else {
            thread.priorities.set_nice(value);
            if result == Err(Errno::ESRCH) {
                result = Ok(0);
            }
        }
    });
    Ok(result?)
}

/// Flags of `sched_attr`.
mod flag {
    pub(super) const RESET_ON_FORK: u64 = 1;
    pub(super) const KEEP_POLICY: u64 = 8;
    pub(super) const KEEP_PARAMS: u64 = 0x10;
    pub(super) const UTIL_CLAMP: u64 = 0x60;
    pub(super) const ALL: u64 = 0x7f;
}

const MAX_PRIORITY: u32 = 99;

const fn is_realtime(policy: SchedPolicy) -> bool {
    matches!(policy, SchedPolicy::FIFO | SchedPolicy::RR)
}

/// What is to become of a thread.
struct Wish {
    /// `None`: as it is.
    policy: Option<SchedPolicy>,
    priority: u32,
    nice: i32,
    reset_on_fork: bool,
    /// SCHED_FLAG_KEEP_PARAMS: neither policy nor priorities change, whatever was said.
    keeps: bool,
}

/// EINVAL, EPERM.
fn apply(thread: &Thread, wish: &Wish) -> SysResult {
    let priorities = &thread.priorities;
    let old = priorities.policy();
    let policy = wish.policy.unwrap_or(old.policy);
    let known = matches!(policy, SchedPolicy::NORMAL | SchedPolicy::BATCH | SchedPolicy::IDLE);
    if !known && !is_realtime(policy)
        || wish.priority > MAX_PRIORITY
        || is_realtime(policy) != (wish.priority != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let reset_on_fork = if wish.policy.is_some() { wish.reset_on_fork } else { old.reset_on_fork };
    let limit = thread.process.limit(rlimit::RTPRIO);
    let asks_too_much = if is_realtime(policy) {
        policy != old.policy && limit == 0 || wish.priority > old.priority && u64::from(wish.priority) > limit
    } else {
        wish.nice < priorities.nice() && !may_be_nice(thread, wish.nice)
    };
    let leaves_idle = old.policy == SchedPolicy::IDLE
        && policy != SchedPolicy::IDLE
        && !may_be_nice(thread, priorities.nice());
    if (asks_too_much
        || leaves_idle
        || old.reset_on_fork && !reset_on_fork
        || !is_same_owner(&thread.process))
        && !may_schedule()
    {
        return Err(Errno::EPERM.into());
    }
    if wish.keeps {
        priorities.set_policy(Policy { reset_on_fork, ..old });
        return Ok(0);
    }
    let before = thread.rank();
    if !is_realtime(policy) {
        priorities.set_nice(wish.nice);
    }
    priorities.set_policy(Policy { policy, priority: wish.priority, reset_on_fork });
    sched::begin_turn(thread);
    sched::priority_changed(thread, before);
    Ok(0)
}

fn set(tid: i32, policy: Option<i32>, param: UserPtr<i32>) -> SysResult {
    if param.is_null() || tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = param.read()?;
    let thread = thread_of(tid)?;
    let raw = policy.map(i32::cast_unsigned);
    let reset = SchedPolicy::RESET_ON_FORK;
    let wish = Wish {
        policy: raw.map(|raw| SchedPolicy(raw & !reset)),
        priority: u32::try_from(priority).map_err(|_| Errno::EINVAL)?,
        nice: thread.priorities.nice(),
        reset_on_fork: raw.is_some_and(|raw| raw & reset != 0),
        keeps: false,
    };
    apply(&thread, &wish)
}

pub fn sched_setscheduler(tid: i32, policy: i32, param: UserPtr<i32>) -> SysResult {
    if policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    set(tid, Some(policy), param)
}

pub fn sched_setparam(tid: i32, param: UserPtr<i32>) -> SysResult {
    set(tid, None, param)
}

fn policy_of(tid: i32) -> Result<Policy, Errno> {
    if tid < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(thread_of(tid)?.priorities.policy())
}

pub fn sched_getscheduler(tid: i32) -> SysResult {
    let policy = policy_of(tid)?;
    let reset = if policy.reset_on_fork { SchedPolicy::RESET_ON_FORK } else { 0 };
    Ok((policy.policy.0 | reset) as usize)
}

pub fn sched_getparam(tid: i32, param: UserPtr<u32>) -> SysResult {
    if param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    param.write(&policy_of(tid)?.priority)?;
    Ok(0)
}

/// `SCHED_ATTR_SIZE_VER0`, and the size that ends with the utilisation clamps.
const ATTR_SIZE_VER0: u32 = 48;
const ATTR_SIZE: u32 = size_of::<SchedAttr>() as u32;

/// sched_setattr(2). Deadlines and utilisation clamps aren't known: EINVAL for a policy, EOPNOTSUPP for a clamp, as without CONFIG_UCLAMP_TASK.
pub fn sched_setattr(tid: i32, attr: UserPtr<u8>, flags: u32) -> SysResult {
    if attr.is_null() || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = match attr.field::<u32>(0).load()? {
        0 => ATTR_SIZE_VER0,
        size => size,
    };
    let too_large = || -> Result<bool, Errno> {
        if !(ATTR_SIZE_VER0..=crate::mm::PAGE_SIZE as u32).contains(&size) {
            return Ok(true);
        }
        for at in ATTR_SIZE..size {
            if attr.add(at as usize).read()? != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if too_large()? {
        attr.field::<u32>(0).write(&ATTR_SIZE)?;
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = [0u8; ATTR_SIZE as usize];
    attr.read_bytes(bytes.get_mut(..(size.min(ATTR_SIZE)) as usize).unwrap_or_default())?;
    let new: SchedAttr = zerocopy::transmute!(bytes);
    let clamps = new.flags & flag::UTIL_CLAMP != 0;
    if clamps && size < ATTR_SIZE || new.policy.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let thread = thread_of(tid)?;
    let old = thread.priorities.policy();
    let keeps = new.flags & flag::KEEP_PARAMS != 0;
    if new.flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let wish = Wish {
        policy: (new.flags & flag::KEEP_POLICY == 0).then_some(SchedPolicy(new.policy)),
        priority: if keeps { old.priority } else { new.priority },
        nice: if keeps { thread.priorities.nice() } else { new.nice.clamp(-20, 19) },
        reset_on_fork: new.flags & flag::RESET_ON_FORK != 0,
        keeps,
    };
    if clamps {
        return Err(Errno::EOPNOTSUPP.into());
    }
    apply(&thread, &wish)
}

pub fn sched_getattr(tid: i32, attr: UserPtr<u8>, size: u32, flags: u32) -> SysResult {
    let sizes = ATTR_SIZE_VER0..=crate::mm::PAGE_SIZE as u32;
    if attr.is_null() || tid < 0 || !sizes.contains(&size) || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let thread = thread_of(tid)?;
    let policy = thread.priorities.policy();
    let fair = !is_realtime(policy.policy);
    let size = size.min(ATTR_SIZE);
    let found = SchedAttr {
        size,
        policy: policy.policy.0,
        flags: if policy.reset_on_fork { flag::RESET_ON_FORK } else { 0 },
        nice: if fair { thread.priorities.nice() } else { 0 },
        priority: policy.priority,
        runtime: if fair { sched::SLICE_NS } else { 0 },
        ..SchedAttr::default()
    };
    let bytes: [u8; ATTR_SIZE as usize] = zerocopy::transmute!(found);
    attr.write_bytes(bytes.get(..size as usize).unwrap_or_default())?;
    Ok(0)
}

fn priority_limit(policy: i32, of_realtime: usize) -> SysResult {
    match SchedPolicy(policy.cast_unsigned()) {
        SchedPolicy::FIFO | SchedPolicy::RR => Ok(of_realtime),
        SchedPolicy::NORMAL | SchedPolicy::BATCH | SchedPolicy::IDLE | SchedPolicy::DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub fn sched_get_priority_max(policy: i32) -> SysResult {
    priority_limit(policy, MAX_PRIORITY as usize)
}

pub fn sched_get_priority_min(policy: i32) -> SysResult {
    priority_limit(policy, 1)
}

pub fn sched_rr_get_interval(tid: i32, out: UserPtr<Timespec>) -> SysResult {
    let ns = match policy_of(tid)?.policy {
        SchedPolicy::FIFO => 0,
        SchedPolicy::RR => sched::ROUND_ROBIN_NS,
        _ => sched::SLICE_NS,
    };
    out.write(&Timespec::from_ns(ns))?;
    Ok(0)
}

/// I/O priority classes (linux/ioprio.h): the class stands above 13 bits of data, of which three are the level.
mod io_class {
    pub(super) const NONE: u32 = 0;
    pub(super) const REALTIME: u32 = 1;
    pub(super) const BEST_EFFORT: u32 = 2;
    pub(super) const IDLE: u32 = 3;
    pub(super) const SHIFT: u32 = 13;
}

fn io_kind(which: i32) -> Result<Whom, Errno> {
    match which {
        1 => Ok(Whom::Thread),
        2 => Ok(Whom::Group),
        3 => Ok(Whom::User),
        _ => Err(Errno::EINVAL),
    }
}

/// ioprio_set(2).
pub fn ioprio_set(which: i32, who: i32, priority: i32) -> SysResult {
    let priority = priority.cast_unsigned();
    match priority >> io_class::SHIFT & 7 {
        io_class::REALTIME if !may_schedule() => return Err(Errno::EPERM.into()),
        io_class::REALTIME | io_class::BEST_EFFORT | io_class::IDLE => {}
        io_class::NONE if priority & 7 == 0 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    let mut result = Err(Errno::ESRCH);
    for_each(io_kind(which)?, who, &mut |thread| {
        let (uid, euid) = {
            let cred = current().process.cred.lock();
            (cred.uid, cred.euid)
        };
        let target = thread.process.cred.lock().uid;
        if target != uid && target != euid && !may_schedule() {
            result = Err(Errno::EPERM);
        } else {
            thread.priorities.io.store(priority & 0xffff, Ordering::Relaxed);
            if result == Err(Errno::ESRCH) {
                result = Ok(0);
            }
        }
    });
    Ok(result?)
}

/// The I/O priority that follows from a thread's policy and nice value, if it was given none.
fn effective_io(thread: &Thread) -> u32 {
    let own = thread.priorities.io.load(Ordering::Relaxed);
    if own >> io_class::SHIFT != io_class::NONE {
        return own;
    }
    let class = match thread.priorities.policy().policy {
        SchedPolicy::IDLE => io_class::IDLE,
        SchedPolicy::FIFO | SchedPolicy::RR => io_class::REALTIME,
        _ => io_class::BEST_EFFORT,
    };
    let level = (thread.priorities.nice() + 20).unsigned_abs() / 5;
    class << io_class::SHIFT | level
}

/// ioprio_get(2): of a thread what was set, of several the most urgent in effect.
pub fn ioprio_get(which: i32, who: i32) -> SysResult {
    let kind = io_kind(which)?;
    let mut best: Option<u32> = None;
    for_each(kind, who, &mut |thread| {
        let found = match kind {
            Whom::Thread => thread.priorities.io.load(Ordering::Relaxed),
            _ => effective_io(thread),
        };
        best = Some(best.map_or(found, |best| best.min(found)));
    });
    Ok(best.ok_or(Errno::ESRCH)? as usize)
}

/// Bytes of a CPU mask.
const MASK_SIZE: usize = 8;

/// sched_getaffinity(2): the CPUs on which a thread may run. Returns the size of the kernel's mask. EINVAL, ESRCH, EFAULT.
pub fn sched_getaffinity(tid: i32, len: usize, mask: UserPtr<u8>) -> SysResult {
    if len.saturating_mul(8) < cpu::online_count() || !len.is_multiple_of(MASK_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let bits = thread_of(tid)?.affinity.load(Ordering::Relaxed) & cpu::online_mask();
    mask.write_bytes(&bits.to_le_bytes())?;
    Ok(MASK_SIZE)
}

/// sched_setaffinity(2): EFAULT, ESRCH, EPERM; EINVAL when no CPU would be left. The thread has left the others when it is next in its program.
pub fn sched_setaffinity(tid: i32, len: usize, mask: UserPtr<u8>) -> SysResult {
    let mut bytes = [0; MASK_SIZE];
    mask.read_bytes(bytes.get_mut(..len.min(MASK_SIZE)).unwrap_or_default())?;
    let thread = thread_of(tid)?;
    if !is_same_owner(&thread.process) && !may_schedule() {
        return Err(Errno::EPERM.into());
    }
    let bits = u64::from_le_bytes(bytes) & cpu::online_mask();
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    thread.affinity.store(bits, Ordering::SeqCst);
    sched::affinity_changed(&thread);
    Ok(0)
}
