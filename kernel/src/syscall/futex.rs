//! futex(2), futex_waitv(2), and the robust list.

use core::sync::atomic::Ordering;

use abi::Errno;
use caps::cap;

use super::{Restart, SysError, SysResult};
use crate::mm::UserPtr;
use crate::mm::user::read_array;
use crate::task::futex::{self, Key, Scope, WaitOrErrno};
use crate::task::futex_pi::{self, Patience};
use crate::task::{WaitError, current, process};
use crate::time;

/// Operations and flags (linux/futex.h).
mod op {
    pub(super) const WAIT: u32 = 0;
    pub(super) const WAKE: u32 = 1;
    pub(super) const REQUEUE: u32 = 3;
    pub(super) const CMP_REQUEUE: u32 = 4;
    pub(super) const WAKE_OP: u32 = 5;
    pub(super) const LOCK_PI: u32 = 6;
    pub(super) const UNLOCK_PI: u32 = 7;
    pub(super) const TRYLOCK_PI: u32 = 8;
    pub(super) const WAIT_BITSET: u32 = 9;
    pub(super) const WAKE_BITSET: u32 = 10;
    pub(super) const WAIT_REQUEUE_PI: u32 = 11;
    pub(super) const CMP_REQUEUE_PI: u32 = 12;
    pub(super) const LOCK_PI2: u32 = 13;
    pub(super) const PRIVATE: u32 = 128;
    pub(super) const CLOCK_REALTIME: u32 = 256;
}

const NS_PER_SEC: i64 = 1_000_000_000;

/// A `struct timespec` in nanoseconds. EINVAL if it isn't normalised or negative.
fn read_timespec(at: UserPtr<[i64; 2]>) -> Result<u64, Errno> {
    let [sec, nsec] = at.read()?;
    if sec < 0 || !(0..NS_PER_SEC).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok(sec.cast_unsigned().saturating_mul(time::NS_PER_SEC).saturating_add(nsec.cast_unsigned()))
}

/// A time of the wall clock as a deadline of the monotonic one.
fn from_realtime(ns: u64) -> u64 {
    let offset = time::wall_offset_ns();
    ns.saturating_add_signed(offset.checked_neg().unwrap_or(i64::MAX))
}

fn finish(result: Result<(), WaitOrErrno>, is_relative: bool) -> SysResult {
    match result {
        Ok(()) => Ok(0),
        Err(WaitOrErrno::Errno(errno)) => Err(errno.into()),
        Err(WaitOrErrno::Wait(WaitError::TimedOut)) => Err(Errno::ETIMEDOUT.into()),
        // A relative wait can't simply start again: its time would, too.
        Err(WaitOrErrno::Wait(WaitError::Interrupted)) if is_relative => {
            Err(SysError::restart(Restart::NoHandler))
        }
        Err(WaitOrErrno::Wait(WaitError::Interrupted)) => Err(SysError::restart(Restart::IfAsked)),
    }
}

pub fn futex(
    address: UserPtr<u32>,
    operation: u32,
    value: u32,
    timeout: usize,
    address2: UserPtr<u32>,
    value3: u32,
) -> SysResult {
    if operation == op::WAKE | op::PRIVATE {
        let key = Key::private(address)?;
        return Ok(futex::wake(key, wake_count(value), futex::ANY));
    }
    let waits_for_any =
        operation & !op::CLOCK_REALTIME == op::WAIT_BITSET | op::PRIVATE && value3 == futex::ANY;
    if timeout == 0 && (operation == op::WAIT | op::PRIVATE || waits_for_any) {
        let key = Key::private(address)?;
        return finish(futex::wait(address, key, value, futex::ANY, None), false);
    }
    futex_other(address, operation, value, timeout, address2, value3)
}

/// How many a wake wakes at most: one even if asked for none, as on Linux.
#[inline(always)]
fn wake_count(value: u32) -> usize {
    value.cast_signed().max(1) as usize
}

/// Everything but the two that mutexes are made of.
#[inline(never)]
fn futex_other(
    address: UserPtr<u32>,
    operation: u32,
    value: u32,
    timeout: usize,
    address2: UserPtr<u32>,
    value3: u32,
) -> SysResult {
    let scope = if operation & op::PRIVATE != 0 { Scope::Private } else { Scope::Shared };
    let realtime = operation & op::CLOCK_REALTIME != 0;
    let command = operation & !(op::PRIVATE | op::CLOCK_REALTIME);
    if realtime && !matches!(command, op::WAIT_BITSET | op::WAIT_REQUEUE_PI | op::LOCK_PI2) {
        return Err(Errno::ENOSYS.into());
    }
    match command {
        op::WAIT | op::WAIT_BITSET => {
            let bitset = if command == op::WAIT { futex::ANY } else { value3 };
            let deadline = match UserPtr::<[i64; 2]>::new(timeout).non_null() {
                None => None,
                Some(at) => {
                    let ns = read_timespec(at)?;
                    Some(match (command, realtime) {
                        (op::WAIT, _) => time::monotonic_ns().saturating_add(ns),
                        (_, true) => from_realtime(ns),
                        (_, false) => ns,
                    })
                }
            };
            if bitset == 0 {
                return Err(Errno::EINVAL.into());
            }
            let key = Key::of(address, scope)?;
            let relative = command == op::WAIT && deadline.is_some();
            finish(futex::wait(address, key, value, bitset, deadline), relative)
        }
        op::WAKE => Ok(futex::wake(Key::of(address, scope)?, wake_count(value), futex::ANY)),
        op::WAKE_BITSET => {
            if value3 == 0 {
                return Err(Errno::EINVAL.into());
            }
            Ok(futex::wake(Key::of(address, scope)?, wake_count(value), value3))
        }
        op::REQUEUE | op::CMP_REQUEUE => {
            if value.cast_signed() < 0 || (timeout as u32).cast_signed() < 0 {
                return Err(Errno::EINVAL.into());
            }
            let (from, to) = (Key::of(address, scope)?, Key::of(address2, scope)?);
            let expected = (command == op::CMP_REQUEUE).then_some(value3);
            let (woken, moved) =
                futex::requeue(address, from, to, value as usize, timeout as u32 as usize, expected)?;
            Ok(woken + moved)
        }
        op::WAKE_OP => {
            let (first, second) = (Key::of(address, scope)?, Key::of(address2, scope)?);
            loop {
                let woken = futex::wake_op(
                    first,
                    address2,
                    second,
                    wake_count(value),
                    wake_count(timeout as u32),
                    value3,
                );
                match woken {
                    // The word changed under our hands.
                    Err(Errno::EAGAIN) => {}
                    other => return Ok(other?),
                }
            }
        }
        _ => futex_pi(address, command, realtime, scope, [value, value3], timeout, address2),
    }
}

/// The operations with priority inheritance.
#[cold]
fn futex_pi(
    address: UserPtr<u32>,
    command: u32,
    realtime: bool,
    scope: Scope,
    [value, value3]: [u32; 2],
    timeout: usize,
    address2: UserPtr<u32>,
) -> SysResult {
    let deadline = || -> Result<Option<u64>, Errno> {
        let Some(at) = UserPtr::<[i64; 2]>::new(timeout).non_null() else { return Ok(None) };
        let ns = read_timespec(at)?;
        // The first kind of lock had the wall clock without saying so.
        Ok(Some(if realtime || command == op::LOCK_PI { from_realtime(ns) } else { ns }))
    };
    let result = match command {
        op::LOCK_PI | op::LOCK_PI2 => {
            let deadline = deadline()?;
            futex_pi::lock(address, Key::of(address, scope)?, deadline, Patience::Wait)
        }
        op::TRYLOCK_PI => futex_pi::lock(address, Key::of(address, scope)?, None, Patience::Try),
        op::UNLOCK_PI => {
            let named = address.load()?;
            if named & TID_MASK != current().tid {
                return Err(Errno::EPERM.into());
            }
            futex_pi::unlock(address, Key::of(address, scope)?)?;
            return Ok(0);
        }
        op::WAIT_REQUEUE_PI => {
            let deadline = deadline()?;
            if address.addr() == address2.addr() {
                return Err(Errno::EINVAL.into());
            }
            let (key, target) = (Key::of(address, scope)?, Key::of(address2, scope)?);
            if key == target {
                return Err(Errno::EINVAL.into());
            }
            futex_pi::wait_and_lock(address, key, value, futex::ANY, deadline, address2, target)
        }
        op::CMP_REQUEUE_PI => {
            let more = usize::try_from((timeout as u32).cast_signed()).map_err(|_| Errno::EINVAL)?;
            if address.addr() == address2.addr() || value != 1 {
                return Err(Errno::EINVAL.into());
            }
            let (from, target) = (Key::of(address, scope)?, Key::of(address2, scope)?);
            if from == target {
                return Err(Errno::EINVAL.into());
            }
            return Ok(futex_pi::requeue(address, from, address2, target, more, value3)?);
        }
        _ => return Err(Errno::ENOSYS.into()),
    };
    match result {
        Ok(()) => Ok(0),
        Err(WaitOrErrno::Errno(errno)) => Err(errno.into()),
        Err(WaitOrErrno::Wait(WaitError::TimedOut)) => Err(Errno::ETIMEDOUT.into()),
        Err(WaitOrErrno::Wait(WaitError::Interrupted)) => Err(SysError::restart(Restart::Always)),
    }
}

/// `struct futex_waitv`.
#[derive(Clone, zerocopy::FromBytes, zerocopy::IntoBytes)]
#[repr(C)]
pub struct WaitVector {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

const MAX_VECTOR: u32 = 128;
const SIZE_U32: u32 = 2;
const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;

pub fn futex_waitv(
    words: UserPtr<WaitVector>,
    count: u32,
    flags: u32,
    timeout: UserPtr<[i64; 2]>,
    clock: i32,
) -> SysResult {
    if flags != 0 || count == 0 || count > MAX_VECTOR || words.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let deadline = match timeout.non_null() {
        None => None,
        Some(at) => {
            if clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC {
                return Err(Errno::EINVAL.into());
            }
            let ns = read_timespec(at)?;
            Some(if clock == CLOCK_REALTIME { from_realtime(ns) } else { ns })
        }
    };
    let vector = read_array(words, count as usize)?;
    let mut list = alloc::vec::Vec::new();
    list.try_reserve(vector.len()).map_err(|_| Errno::ENOMEM)?;
    for word in vector {
        if word.flags & !(op::PRIVATE | SIZE_U32) != 0 || word.flags & 3 != SIZE_U32 || word.reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        let scope = if word.flags & op::PRIVATE != 0 { Scope::Private } else { Scope::Shared };
        let address = UserPtr::new(word.address as usize);
        list.push((address, Key::of(address, scope)?, word.value as u32));
    }
    match futex::wait_many(&list, deadline) {
        Ok(index) => Ok(index),
        Err(WaitOrErrno::Errno(errno)) => Err(errno.into()),
        Err(WaitOrErrno::Wait(WaitError::TimedOut)) => Err(Errno::ETIMEDOUT.into()),
        Err(WaitOrErrno::Wait(WaitError::Interrupted)) => Err(SysError::restart(Restart::IfAsked)),
    }
}

/// get_robust_list(2). EPERM for a thread that runs for another user.
pub fn get_robust_list(tid: i32, head: UserPtr<u64>, len: UserPtr<u64>) -> SysResult {
    let list = match tid.cast_unsigned() {
        0 => current().robust_list.load(Ordering::Relaxed),
        tid => {
            let thread = process::find_thread(tid).ok_or(Errno::ESRCH)?;
            let (uid, is_privileged) = {
                let cred = current().process.cred.lock();
                (cred.uid, cred.has(cap::SYS_PTRACE))
            };
            let cred = thread.process.cred.lock();
            if !is_privileged && [cred.uid, cred.euid, cred.suid] != [uid; 3] {
                return Err(Errno::EPERM.into());
            }
            drop(cred);
            thread.robust_list.load(Ordering::Relaxed)
        }
    };
    len.write(&24)?;
    head.write(&(list as u64))?;
    Ok(0)
}

/// Entries of a robust list that are looked at (ROBUST_LIST_LIMIT).
const ROBUST_LIMIT: usize = 2048;
const TID_MASK: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

/// A thread ends: locks that it still holds are marked, and one waiter of each is woken. The list is the program's, so nothing in it is
/// trusted, and an unreadable entry ends the walk.
pub fn release_robust_list() {
    let thread = current();
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let word = |at: usize| UserPtr::<u64>::new(at).load().ok().map(|value| value as usize);
    let (Some(mut entry), Some(offset), Some(pending)) =
        (word(head), word(head.wrapping_add(8)), word(head.wrapping_add(16)))
    else {
        return;
    };
    let release = |entry: usize, is_pending: bool| {
        // The lowest bit marks a lock with priority inheritance, which `futex_pi` hands over.
        let is_pi = entry & 1 != 0;
        let at = UserPtr::<u32>::new((entry & !1).wrapping_add(offset));
        let Ok(value) = at.load() else { return };
        if !at.addr().is_multiple_of(4) {
            return;
        }
        let wake = || {
            if let Ok(key) = Key::of(at, Scope::Shared) {
                futex::wake(key, 1, futex::ANY);
            }
        };
        // Unlocked just now, but perhaps nobody was woken yet.
        if is_pending && !is_pi && value & TID_MASK == 0 {
            return wake();
        }
        if value & TID_MASK != thread.tid {
            return;
        }
        let new = value & WAITERS | OWNER_DIED;
        if crate::arch::x86_64::usercopy::compare_exchange_u32(at.addr(), value, new) == Some(true)
            && value & WAITERS != 0
            && !is_pi
        {
            wake();
        }
    };
    for _ in 0..ROBUST_LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = word(entry & !1);
        if entry & !1 != pending & !1 {
            release(entry, false);
        }
        let Some(next) = next else { return };
        entry = next;
    }
    if pending != 0 {
        release(pending, true);
    }
}
