//! Futexes with priority inheritance: a lock word that holds its owner's number, so that the kernel can hand the lock over, pass urgency on to the
//! owner, find circles, and give the locks of the dead to those that wait (futex(2), "Priority-inheritance futexes").
//!
//! What is waited for is in one place, `LOCKS`, since chains of owners run across locks. Only locks that found an owner get there. Its lock is taken
//! inside a futex bucket's. Words are read and exchanged under it, after they were once read without.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::{Errno, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use pilock::Locks;

use super::futex::{self, Key, WaitOrErrno, Waiter};
use super::process;
use super::sched::{self, current};
use super::thread::Thread;
use super::wait::{self, WaitError};
use crate::arch::x86_64::usercopy::compare_exchange_u32;
use crate::mm::UserPtr;
use crate::sync::SpinLock;

/// What a waiter leaves for whoever hands it the lock.
pub struct Claim {
    thread: Arc<Thread>,
    state: AtomicU32,
}

/// States of a claim: waiting; the lock was handed over, and its word says so; the owner died, and the word is to be written.
const WAITING: u32 = 0;
const GIVEN: u32 = 1;
const INHERITED: u32 = 2;

static LOCKS: SpinLock<Locks<Key, Arc<Claim>>> = SpinLock::new(Locks::new());

impl Claim {
    fn new(thread: Arc<Thread>) -> Arc<Self> {
        Arc::new(Self { thread, state: AtomicU32::new(WAITING) })
    }

    fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Acquire) == WAITING
    }

    fn grant(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        sched::wake(&self.thread);
    }
}

/// Whether to wait for a lock that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Wait,
    Try,
}

enum Entry {
    Taken,
    Queued,
    /// The word changed meanwhile.
    Again,
}

fn exchange(address: UserPtr<u32>, old: u32, new: u32) -> Result<bool, Errno> {
    compare_exchange_u32(address.addr(), old, new).ok_or(Errno::EFAULT)
}

/// Takes the lock for a thread if it is free, else queues the thread's claim. EDEADLK; ESRCH if the owner is gone; EINVAL if the word doesn't name
/// the one that the kernel knows; EAGAIN without patience.
fn enter(
    locks: &mut Locks<Key, Arc<Claim>>,
    address: UserPtr<u32>,
    key: Key,
    claim: &Arc<Claim>,
    waiters: u32,
    patience: Patience,
) -> Result<Entry, Errno> {
    let tid = claim.thread.tid;
    let value = address.load()?;
    let named = value & FUTEX_TID_MASK;
    if named == tid {
        return Err(Errno::EDEADLK);
    }
    let owner = match locks.owner(key) {
        Some((owner, is_settled)) => {
            if is_settled && named != owner {
                return Err(Errno::EINVAL);
            }
            owner
        }
        None if named == 0 => {
            let taken = exchange(address, value, value & FUTEX_OWNER_DIED | tid | waiters)?;
            return Ok(if taken { Entry::Taken } else { Entry::Again });
        }
        None => {
            let marked = value | FUTEX_WAITERS;
            if value != marked && !exchange(address, value, marked)? {
                return Ok(Entry::Again);
            }
            if process::find_thread(named).is_none_or(|owner| owner.left_locks.load(Ordering::Acquire)) {
                return if address.load()? == marked { Err(Errno::ESRCH) } else { Ok(Entry::Again) };
            }
            named
        }
    };
    if patience == Patience::Try {
        return Err(Errno::EAGAIN);
    }
    let urgency = claim.thread.priorities.urgency();
    locks.wait(key, owner, tid, urgency, claim.clone()).map_err(|_| Errno::EDEADLK)?;
    pass_on(locks, owner);
    Ok(Entry::Queued)
}

/// A thread's waiters have changed: so has what it inherits from them, and then perhaps what it passes on.
fn pass_on(locks: &mut Locks<Key, Arc<Claim>>, owner: u32) {
    let mut next = Some(owner);
    while let Some(thread) = next.and_then(process::find_thread) {
        let before = thread.rank();
        if thread.priorities.set_inherited(locks.inherited(thread.tid)) {
            sched::priority_changed(&thread, before);
        }
        next = locks.set_urgency(thread.tid, thread.priorities.urgency());
    }
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI.
pub fn lock(
    address: UserPtr<u32>,
    key: Key,
    deadline: Option<u64>,
    patience: Patience,
) -> Result<(), WaitOrErrno> {
    let claim = Claim::new(sched::current_arc());
    loop {
        address.load()?;
        let entry = enter(&mut LOCKS.lock(), address, key, &claim, 0, patience)?;
        match entry {
            Entry::Taken => return Ok(()),
            Entry::Queued => break,
            Entry::Again => {}
        }
    }
    let ended = wait::sleep_while(deadline, || claim.is_waiting());
    conclude(address, key, &claim, ended)
}

/// A wait for a lock is over: it has it, or gives up.
fn conclude(
    address: UserPtr<u32>,
    key: Key,
    claim: &Claim,
    ended: Result<(), WaitError>,
) -> Result<(), WaitOrErrno> {
    let tid = claim.thread.tid;
    let mut locks = LOCKS.lock();
    match claim.state.load(Ordering::Acquire) {
        WAITING => {
            let owner = locks.owner(key);
            locks.cancel(key, tid);
            if let Some((owner, _)) = owner {
                pass_on(&mut locks, owner);
            }
            ended.map_err(WaitOrErrno::Wait)
        }
        INHERITED => {
            let written = loop {
                let exchanged = address
                    .load()
                    .and_then(|value| exchange(address, value, FUTEX_OWNER_DIED | FUTEX_WAITERS | tid));
                match exchanged {
                    Ok(false) => {}
                    Ok(true) => break Ok(()),
                    Err(errno) => break Err(errno.into()),
                }
            };
            locks.settle(key);
            written
        }
        _ => Ok(()),
    }
}

/// FUTEX_UNLOCK_PI. EPERM if the word doesn't name the caller, EINVAL if the kernel knows another owner.
pub fn unlock(address: UserPtr<u32>, key: Key) -> Result<(), Errno> {
    let me = current().tid;
    loop {
        let value = address.load()?;
        if value & FUTEX_TID_MASK != me {
            return Err(Errno::EPERM);
        }
        let mut locks = LOCKS.lock();
        if locks.owner(key).is_some_and(|(owner, _)| owner != me) {
            return Err(Errno::EINVAL);
        }
        let new = locks.next(key).map_or(0, |next| FUTEX_WAITERS | next);
        if !exchange(address, value, new)? {
            continue;
        }
        if let Some((next, claim)) = locks.hand_over(key) {
            pass_on(&mut locks, me);
            pass_on(&mut locks, next);
            claim.grant(GIVEN);
        }
        return Ok(());
    }
}

/// The running thread ends, or becomes another program: locks that it has, and others wait for, are theirs.
pub fn release_all() {
    let me = current();
    let mut locks = LOCKS.lock();
    me.left_locks.store(true, Ordering::Release);
    while let Some((next, claim)) = locks.orphan(me.tid) {
        pass_on(&mut locks, next);
        claim.grant(INHERITED);
    }
}

/// FUTEX_WAIT_REQUEUE_PI: waits for `key`, to be moved to the lock `target` before it is woken.
pub fn wait_and_lock(
    address: UserPtr<u32>,
    key: Key,
    expected: u32,
    bitset: u32,
    deadline: Option<u64>,
    target_address: UserPtr<u32>,
    target: Key,
) -> Result<(), WaitOrErrno> {
    let claim = Claim::new(sched::current_arc());
    let waiter = Waiter::on(key, bitset, Some((target, claim.clone())));
    futex::enqueue(&waiter, address, expected)?;
    let ended = wait::sleep_while(deadline, || !waiter.is_woken() && claim.is_waiting());
    if futex::remove(&waiter) {
        return ended.map_err(WaitOrErrno::Wait);
    }
    if waiter.is_woken() {
        return Err(Errno::EAGAIN.into());
    }
    match conclude(target_address, target, &claim, ended) {
        // It can't go back to where it waited first.
        Err(WaitOrErrno::Wait(WaitError::Interrupted)) => Err(Errno::EAGAIN.into()),
        other => other,
    }
}

/// FUTEX_CMP_REQUEUE_PI: if the word has the value expected, gives the lock `target` to the first waiter or queues it there, and up to
/// `more` others. Returns how many. EAGAIN, EINVAL for a waiter that didn't ask for this.
pub fn requeue(
    address: UserPtr<u32>,
    from: Key,
    target_address: UserPtr<u32>,
    target: Key,
    more: usize,
    expected: u32,
) -> Result<usize, Errno> {
    address.load()?;
    target_address.load()?;
    futex::with_bucket(from, |bucket| {
        if address.load()? != expected {
            return Err(Errno::EAGAIN);
        }
        let mut locks = LOCKS.lock();
        let mut moved = 0;
        while moved <= more {
            let Some(waiter) = bucket.iter().find(|waiter| waiter.key() == from) else { break };
            let claim = waiter.claim(target).ok_or(Errno::EINVAL)?.clone();
            let waiters = if more > 0 { FUTEX_WAITERS } else { 0 };
            match enter(&mut locks, target_address, target, &claim, waiters, Patience::Wait) {
                Ok(Entry::Again) => continue,
                Ok(entry) => {
                    bucket.remove(waiter);
                    futex::forget_waiter();
                    if let Entry::Taken = entry {
                        claim.grant(GIVEN);
                    }
                }
                Err(errno) if moved == 0 => return Err(errno),
                Err(_) => break,
            }
            moved += 1;
        }
        Ok(moved)
    })
}

impl Waiter {
    /// The claim of a waiter that asked to be moved to this lock.
    fn claim(&self, target: Key) -> Option<&Arc<Claim>> {
        self.value.pi.as_ref().filter(|pi| pi.0 == target).map(|pi| &pi.1)
    }
}
