//! Signals: sigaction(2), sigprocmask(2), kill(2) and their relatives.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::{Errno, OpenFlags, SigInfo, SigSet, Sigaction, Signal, StackT};
use caps::cap;
use fdmap::OnExec;
use sigstate::{AltStack, AltStackError, Info};

use super::{Fd, Restart, SysError, SysResult};
use crate::fs::{self, signalfd};
use crate::mm::UserPtr;
use crate::task::process::{self, Process};
use crate::task::signal::{self, restart_call};
use crate::task::thread::Thread;
use crate::task::wait::sleep_while;
use crate::task::{WaitError, current};
use crate::time;

/// Size of the kernel's `sigset_t`.
const SET_SIZE: usize = 8;

fn check_size(size: usize) -> Result<(), Errno> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

fn signal_of(number: i32) -> Result<Signal, Errno> {
    u32::try_from(number).ok().and_then(Signal::new).ok_or(Errno::EINVAL)
}

/// A number that may be 0: no signal, only the checks.
fn signal_or_none(number: i32) -> Result<Option<Signal>, Errno> {
    if number == 0 { Ok(None) } else { signal_of(number).map(Some) }
}

pub fn rt_sigaction(number: i32, new: UserPtr<Sigaction>, old: UserPtr<Sigaction>, size: usize) -> SysResult {
    check_size(size)?;
    if new.is_null() {
        return look_at_action(number, old);
    }
    let [handler, flags, restorer, mask] = new.field::<[u64; 4]>(0).load()?;
    let Some(signal) = Signal::new(number.cast_unsigned()) else { return Err(Errno::EINVAL.into()) };
    if SigSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::EINVAL.into());
    }
    let action = Sigaction { handler, flags, restorer, mask: SigSet(mask) };
    let me = current();
    let mut signals = me.process.signals.lock();
    // What is pending of a signal that is ignored from now on goes: nearly always nothing.
    if handler <= 1
        && (me.process.was_threaded.load(Ordering::Acquire)
            || !me.signals.private_set().is_empty()
            || !signals.shared.set().is_empty())
    {
        drop(signals);
        return set_unhandled(signal, action, old);
    }
    if old.is_null() {
        signals.actions.set(signal, action);
        return Ok(0);
    }
    drop(signals);
    exchange_action(signal, action, old)
}

#[inline(never)]
fn exchange_action(signal: Signal, action: Sigaction, old: UserPtr<Sigaction>) -> SysResult {
    let before = current().process.signals.lock().actions.replace(signal, action);
    write_action(old, &before)
}

/// SIG_DFL or SIG_IGN.
#[inline(never)]
fn set_unhandled(signal: Signal, action: Sigaction, old: UserPtr<Sigaction>) -> SysResult {
    let before = signal::set_unhandled(&current().process, signal, action);
    if old.is_null() { Ok(0) } else { write_action(old, &before) }
}

#[inline(always)]
fn write_action(out: UserPtr<Sigaction>, action: &Sigaction) -> SysResult {
    let Sigaction { handler, flags, restorer, mask } = *action;
    out.field::<[u64; 4]>(0).store([handler, flags, restorer, mask.0])?;
    Ok(0)
}

#[inline(never)]
fn look_at_action(number: i32, old: UserPtr<Sigaction>) -> SysResult {
    let signal = signal_of(number)?;
    let action = *current().process.signals.lock().actions.get(signal);
    if old.is_null() { Ok(0) } else { write_action(old, &action) }
}

const SIG_BLOCK: i32 = 0;
const SIG_UNBLOCK: i32 = 1;
const SIG_SETMASK: i32 = 2;

pub fn rt_sigprocmask(how: i32, set: UserPtr<SigSet>, old: UserPtr<SigSet>, size: usize) -> SysResult {
    check_size(size)?;
    let before = match set.non_null() {
        None => current().signals.mask(),
        Some(set) => {
            let set = set.read()?;
            match how {
                SIG_BLOCK => signal::change_mask(|mask| mask.union(set)),
                SIG_UNBLOCK => signal::change_mask(|mask| mask.difference(set)),
                SIG_SETMASK => signal::change_mask(|_| set),
                _ => return Err(Errno::EINVAL.into()),
            }
        }
    };
    if let Some(old) = old.non_null() {
        old.write(&before)?;
    }
    Ok(0)
}

pub fn rt_sigpending(set: UserPtr<u8>, size: usize) -> SysResult {
    if size > SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let me = current();
    let pending = {
        let shared = me.process.signals.lock();
        shared.shared.set().union(me.signals.private_set()).intersection(me.signals.mask())
    };
    let bytes = pending.0.to_le_bytes();
    set.write_bytes(bytes.get(..size).unwrap_or_default())?;
    Ok(0)
}

/// Sleeps until a signal is to be handled.
fn wait_for_signal() -> SysError {
    // Nothing ends the wait but a signal.
    let _ = sleep_while(None, || true);
    SysError::restart(Restart::NoHandler)
}

pub fn rt_sigsuspend(set: UserPtr<SigSet>, size: usize) -> SysResult {
    check_size(size)?;
    let set = set.read()?;
    signal::set_temporary_mask(set);
    Err(wait_for_signal())
}

pub fn pause() -> SysResult {
    Err(wait_for_signal())
}

pub fn rt_sigtimedwait(
    set: UserPtr<SigSet>,
    info: UserPtr<SigInfo>,
    timeout: UserPtr<abi::Timespec>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let wanted = set.read()?.blockable();
    let deadline = match timeout.non_null() {
        None => None,
        Some(timeout) => {
            let ns = timeout.read()?.to_ns().ok_or(Errno::EINVAL)?;
            Some(time::monotonic_ns().saturating_add(ns))
        }
    };
    let taken = wait_for(wanted, deadline)?;
    if let Some(info) = info.non_null() {
        info.write(&taken.to_abi())?;
    }
    Ok(usize::from(taken.signal.number()))
}

/// Takes a pending signal of a set, or the next one that comes. EAGAIN at the deadline, EINTR when another signal is to be handled.
fn wait_for(wanted: SigSet, deadline: Option<u64>) -> Result<Info, Errno> {
    if let Some(info) = take(wanted) {
        return Ok(info);
    }
    if deadline.is_some_and(|at| at <= time::monotonic_ns()) {
        return Err(Errno::EAGAIN);
    }
    let me = current();
    // Open the mask for what is waited for, so that its arrival wakes this thread, which then takes it from the queue.
    me.signals.begin_awaiting();
    signal::change_mask(|mask| mask.difference(wanted));
    let ended = sleep_while(deadline, || !signal::has_pending(me, wanted));
    let real = me.signals.end_awaiting();
    signal::change_mask(|_| real);
    match (take(wanted), ended) {
        (Some(info), _) => Ok(info),
        (None, Err(WaitError::TimedOut)) => Err(Errno::EAGAIN),
        (None, _) => Err(Errno::EINTR),
    }
}

/// Takes the first pending signal of a set.
fn take(wanted: SigSet) -> Option<Info> {
    let me = current();
    me.process.signals.lock().take(me, wanted)
}

/// Whether the caller may signal a process: as the user that it runs as, as root, or to continue one of its session.
fn check_permission(target: &Process, signal: Option<Signal>) -> Result<(), Errno> {
    let me = &current().process;
    if target.pid == me.pid {
        return Ok(());
    }
    let (uid, euid, is_privileged) = {
        let cred = me.cred.lock();
        (cred.uid, cred.euid, cred.has(cap::KILL))
    };
    let (target_uid, target_suid) = {
        let cred = target.cred.lock();
        (cred.uid, cred.suid)
    };
    let is_same_user = [uid, euid].into_iter().any(|id| id == target_uid || id == target_suid);
    let continues = signal == Some(Signal::SIGCONT)
        && target.session.load(Ordering::Relaxed) == me.session.load(Ordering::Relaxed);
    if is_privileged || is_same_user || continues { Ok(()) } else { Err(Errno::EPERM) }
}

/// What a signal says that the calling process sends.
#[inline(always)]
fn own_info(signal: Signal, code: i32) -> Info {
    let me = &current().process;
    let uid = me.cred.lock().uid;
    Info::user(signal, code, me.pid, uid)
}

fn send_to(target: &Process, number: i32) -> Result<(), Errno> {
    let signal = signal_or_none(number)?;
    check_permission(target, signal)?;
    match signal {
        None => Ok(()),
        Some(signal) => signal::send_to_process(target, own_info(signal, SigInfo::SI_USER)),
    }
}

/// Sends to all processes of a kind: success if one took it, else the last error, ESRCH without any.
fn send_to_all(number: i32, is_meant: impl Fn(&Process) -> bool) -> SysResult {
    let mut result = Err(Errno::ESRCH);
    for target in process::all().filter(|target| is_meant(target)) {
        let sent = send_to(&target, number);
        if result.is_err() {
            result = sent;
        }
    }
    result?;
    Ok(0)
}

pub fn kill(pid: i32, number: i32) -> SysResult {
    let me = &current().process;
    match Signal::new(number.cast_unsigned()) {
        // To oneself no permission is needed.
        Some(signal) if pid.cast_unsigned() == me.pid => {
            signal::send_to_process(me, own_info(signal, SigInfo::SI_USER))?;
            Ok(0)
        }
        _ => kill_others(pid, number),
    }
}

#[inline(never)]
fn kill_others(pid: i32, number: i32) -> SysResult {
    let me = &current().process;
    let in_group = |group: u32| move |target: &Process| target.group.load(Ordering::Relaxed) == group;
    match pid {
        1.. => {
            send_to(&*process::of_number(pid.unsigned_abs())?, number)?;
            Ok(0)
        }
        0 => send_to_all(number, in_group(me.group.load(Ordering::Relaxed))),
        -1 => send_to_all(number, |target| target.pid > 1 && target.pid != me.pid),
        i32::MIN => Err(Errno::ESRCH.into()),
        _ => send_to_all(number, in_group(pid.unsigned_abs())),
    }
}

/// A thread, of a certain process if one is named. ESRCH.
fn find_thread(tgid: Option<u32>, tid: u32) -> Result<Arc<Thread>, Errno> {
    process::find_thread(tid)
        .filter(|thread| tgid.is_none_or(|tgid| thread.process.pid == tgid))
        .ok_or(Errno::ESRCH)
}

fn send_to_one_thread(tgid: Option<i32>, tid: i32, number: i32) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|tgid| tgid <= 0) {
        return Err(Errno::EINVAL.into());
    }
    let (tgid, tid) = (tgid.map(i32::unsigned_abs), tid.unsigned_abs());
    let me = current();
    let other;
    let target = if tid == me.tid && tgid.is_none_or(|tgid| tgid == me.process.pid) {
        me
    } else {
        other = find_thread(tgid, tid)?;
        &*other
    };
    let signal = signal_or_none(number)?;
    check_permission(&target.process, signal)?;
    if let Some(signal) = signal {
        signal::send_to_thread(target, own_info(signal, SigInfo::SI_TKILL))?;
    }
    Ok(0)
}

pub fn tgkill(tgid: i32, tid: i32, number: i32) -> SysResult {
    send_to_one_thread(Some(tgid), tid, number)
}

pub fn tkill(tid: i32, number: i32) -> SysResult {
    send_to_one_thread(None, tid, number)
}

/// Reads the information that a program wants to send with a signal. EFAULT; E2BIG if it says more than anybody knows.
fn read_info(number: i32, info: UserPtr<SigInfo>) -> Result<(SigInfo, i32), Errno> {
    /// Codes from here to 0 have layouts that are known.
    const SI_DETHREAD: i32 = -7;
    const SI_ASYNCNL: i32 = -60;
    let mut info = info.read()?;
    info.signo = number;
    let is_known = info.code >= SI_DETHREAD || info.code == SI_ASYNCNL;
    if !is_known && info.fields.iter().skip(4).any(|&word| word != 0) {
        return Err(Errno::E2BIG);
    }
    Ok((info, info.code))
}

/// Only to itself may a process claim to be the kernel, or kill(2).
fn check_forgery(code: i32, target: i32, me: u32) -> Result<(), Errno> {
    let is_claimed = code >= 0 || code == SigInfo::SI_TKILL;
    if is_claimed && target.unsigned_abs() != me { Err(Errno::EPERM) } else { Ok(()) }
}

pub fn rt_sigqueueinfo(pid: i32, number: i32, info: UserPtr<SigInfo>) -> SysResult {
    let (info, code) = read_info(number, info)?;
    check_forgery(code, pid, current().tid)?;
    let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let target = process::of_number(pid)?;
    let signal = signal_or_none(number)?;
    check_permission(&target, signal)?;
    if let (Some(_), Some(info)) = (signal, signal::compact(&info)) {
        signal::send_to_process(&target, info)?;
    }
    Ok(0)
}

/// Whom a signal by descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Process,
    Thread(u32),
    Group(u32),
}

/// pidfd_send_signal(2), its target found. EINVAL, EFAULT, EPERM, ESRCH.
pub fn send_by_descriptor(target: &Process, number: i32, info: UserPtr<SigInfo>, scope: Scope) -> SysResult {
    let me = current();
    let info = match info.non_null() {
        Some(info) => {
            if info.read()?.signo != number {
                return Err(Errno::EINVAL.into());
            }
            let (info, code) = read_info(number, info)?;
            let own = if matches!(scope, Scope::Thread(_)) { me.tid } else { me.process.pid };
            let theirs = if let Scope::Thread(tid) = scope { tid } else { target.pid };
            check_forgery(code, theirs.cast_signed(), own)?;
            signal::compact(&info)
        }
        None => Signal::new(number.cast_unsigned()).map(|signal| own_info(signal, SigInfo::SI_USER)),
    };
    let signal = signal_or_none(number)?;
    let group = match scope {
        Scope::Group(group) => group,
        _ => 0,
    };
    if group != 0 {
        return send_to_all(number, |other| other.group.load(Ordering::Relaxed) == group);
    }
    check_permission(target, signal)?;
    let (Some(_), Some(info)) = (signal, info) else { return Ok(0) };
    match scope {
        Scope::Thread(tid) => signal::send_to_thread(&*find_thread(Some(target.pid), tid)?, info)?,
        _ => signal::send_to_process(target, info)?,
    }
    Ok(0)
}

pub fn rt_tgsigqueueinfo(tgid: i32, tid: i32, number: i32, info: UserPtr<SigInfo>) -> SysResult {
    let (info, code) = read_info(number, info)?;
    if tid <= 0 || tgid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    check_forgery(code, tid, current().tid)?;
    let target = find_thread(Some(tgid.unsigned_abs()), tid.unsigned_abs())?;
    let signal = signal_or_none(number)?;
    check_permission(&target.process, signal)?;
    if let (Some(_), Some(info)) = (signal, signal::compact(&info)) {
        signal::send_to_thread(&target, info)?;
    }
    Ok(0)
}

pub fn sigaltstack(new: UserPtr<StackT>, old: UserPtr<StackT>) -> SysResult {
    let new = new.non_null().map(UserPtr::read).transpose()?;
    let me = current();
    let rsp = me.frame().rsp;
    let before = me.signals.altstack();
    if let Some(new) = new {
        let mut stack = before;
        let new = AltStack { base: new.sp, size: new.size, flags: new.flags.cast_unsigned() };
        stack.set(new, rsp).map_err(|error| match error {
            AltStackError::InUse => Errno::EPERM,
            AltStackError::BadFlags => Errno::EINVAL,
            AltStackError::TooSmall => Errno::ENOMEM,
        })?;
        me.signals.set_altstack(stack);
    }
    if let Some(old) = old.non_null() {
        let flags = before.reported_flags(rsp).cast_signed();
        old.write(&StackT { sp: before.base, flags, pad: 0, size: before.size })?;
    }
    Ok(0)
}

/// sigreturn(2): RAX is the frame's, not a result.
pub fn rt_sigreturn() -> SysResult {
    let rax = signal::restore(current().frame());
    Ok(rax as usize)
}

pub fn restart_syscall() -> SysResult {
    restart_call()
}

/// signalfd4(2): a new descriptor, or other signals for the one in `fd`.
pub fn signalfd4(fd: Fd, set: UserPtr<SigSet>, size: usize, flags: u32) -> SysResult {
    check_size(size)?;
    let wanted = set.read()?.blockable();
    let allowed = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
    let flags = OpenFlags::from_bits(flags).filter(|&flags| allowed.contains(flags)).ok_or(Errno::EINVAL)?;
    if fd.0 != -1 {
        signalfd::set(&*fs::files().get(fd)?, wanted)?;
        return Ok(fd.0 as usize);
    }
    let file = signalfd::new(wanted, flags & OpenFlags::NONBLOCK);
    let on_exec = if flags.contains(OpenFlags::CLOEXEC) { OnExec::Close } else { OnExec::Keep };
    Ok(fs::files().insert(file, on_exec)?.0 as usize)
}

pub fn signalfd(fd: Fd, set: UserPtr<SigSet>, size: usize) -> SysResult {
    signalfd4(fd, set, size, 0)
}
