//! Locks that have owners, as priority-inheriting futexes do: who waits for whom, who is next, and whose urgency an owner inherits.
//!
//! Only locks that somebody waits for are known here. A lock is handed to the most urgent of its waiters, and among equals to the one that came
//! first. What the lock's word in memory says is the caller's affair; so is waking.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;

/// A thread's number.
pub type Tid = u32;

/// Chains of owners that wait are followed so far (`max_lock_depth` of Linux).
const MAX_DEPTH: usize = 1024;

/// Waiting would never end: the lock's owner waits, through others perhaps, for the one that wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlock;

#[derive(Debug)]
struct Waiting<W> {
    tid: Tid,
    /// Larger is more urgent.
    urgency: u32,
    payload: W,
}

#[derive(Debug)]
struct Lock<K, W> {
    key: K,
    owner: Tid,
    /// The owner got it from one that died, and hasn't written its number into the word yet.
    unsettled: bool,
    /// In order of arrival.
    waiters: Vec<Waiting<W>>,
}

/// All locks that are waited for. `K` names a lock, `W` is what a waiter leaves for the one that hands it the lock.
#[derive(Debug)]
pub struct Locks<K, W>(Vec<Lock<K, W>>);

impl<K, W> Default for Locks<K, W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, W> Locks<K, W> {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Copy + Eq, W> Locks<K, W> {
    fn position(&self, key: K) -> Option<usize> {
        self.0.iter().position(|lock| lock.key == key)
    }

    /// Who owns a lock that is waited for, and whether its word says so yet.
    pub fn owner(&self, key: K) -> Option<(Tid, bool)> {
        let lock = self.0.iter().find(|lock| lock.key == key)?;
        Some((lock.owner, !lock.unsettled))
    }

    /// The lock that a thread waits for.
    pub fn blocked_on(&self, tid: Tid) -> Option<K> {
        self.0.iter().find(|lock| lock.waiters.iter().any(|waiter| waiter.tid == tid)).map(|lock| lock.key)
    }

    /// Whether `tid` waits for itself if it waits for `owner`.
    pub fn closes_circle(&self, owner: Tid, tid: Tid) -> bool {
        let mut owner = owner;
        for _ in 0..MAX_DEPTH {
            if owner == tid {
                return true;
            }
            let next = self.blocked_on(owner).and_then(|key| self.owner(key));
            let Some((next, _)) = next else { return false };
            owner = next;
        }
        true
    }

    /// Queues a waiter on a lock that `owner` has.
    ///
    /// # Errors
    /// [`Deadlock`].
    pub fn wait(&mut self, key: K, owner: Tid, tid: Tid, urgency: u32, payload: W) -> Result<(), Deadlock> {
        if self.closes_circle(owner, tid) {
            return Err(Deadlock);
        }
        let waiting = Waiting { tid, urgency, payload };
        match self.0.iter_mut().find(|lock| lock.key == key) {
            Some(lock) => lock.waiters.push(waiting),
            None => {
                let waiters = alloc::vec![waiting];
                self.0.push(Lock { key, owner, unsettled: false, waiters });
            }
        }
        Ok(())
    }

    fn most_urgent(waiters: &[Waiting<W>]) -> Option<usize> {
        let best = waiters.iter().map(|waiter| waiter.urgency).max()?;
        waiters.iter().position(|waiter| waiter.urgency == best)
    }

    /// Who would be next.
    pub fn next(&self, key: K) -> Option<Tid> {
        let lock = self.0.iter().find(|lock| lock.key == key)?;
        lock.waiters.get(Self::most_urgent(&lock.waiters)?).map(|waiter| waiter.tid)
    }

    /// Makes the next waiter the owner. `None` if nobody waits.
    pub fn hand_over(&mut self, key: K) -> Option<(Tid, W)> {
        let at = self.position(key)?;
        let lock = self.0.get_mut(at)?;
        let next = lock.waiters.remove(Self::most_urgent(&lock.waiters)?);
        lock.owner = next.tid;
        lock.unsettled = false;
        self.forget_if_idle(at);
        Some((next.tid, next.payload))
    }

    /// A thread has died: one of the locks that it owned goes to the next waiter, which is to `settle` it. Called until there is none.
    pub fn orphan(&mut self, dead: Tid) -> Option<(Tid, W)> {
        loop {
            let at = self.0.iter().position(|lock| lock.owner == dead)?;
            let lock = self.0.get_mut(at)?;
            match Self::most_urgent(&lock.waiters) {
                Some(index) => {
                    let next = lock.waiters.remove(index);
                    lock.owner = next.tid;
                    lock.unsettled = true;
                    return Some((next.tid, next.payload));
                }
                // Unsettled, and its owner died before it could.
                None => drop(self.0.swap_remove(at)),
            }
        }
    }

    /// The new owner of an orphaned lock has written its number.
    pub fn settle(&mut self, key: K) {
        let Some(at) = self.position(key) else { return };
        if let Some(lock) = self.0.get_mut(at) {
            lock.unsettled = false;
        }
        self.forget_if_idle(at);
    }

    /// A waiter gives up; whether it still waited.
    pub fn cancel(&mut self, key: K, tid: Tid) -> bool {
        let Some(at) = self.position(key) else { return false };
        let Some(lock) = self.0.get_mut(at) else { return false };
        let before = lock.waiters.len();
        lock.waiters.retain(|waiter| waiter.tid != tid);
        let found = lock.waiters.len() < before;
        self.forget_if_idle(at);
        found
    }

    fn forget_if_idle(&mut self, at: usize) {
        if self.0.get(at).is_some_and(|lock| lock.waiters.is_empty() && !lock.unsettled) {
            self.0.swap_remove(at);
        }
    }

    /// The greatest urgency among those that wait for a thread's locks; 0 without any.
    pub fn inherited(&self, owner: Tid) -> u32 {
        let owned = self.0.iter().filter(|lock| lock.owner == owner);
        owned.flat_map(|lock| &lock.waiters).map(|waiter| waiter.urgency).max().unwrap_or(0)
    }

    /// A waiter's urgency changed. Returns the owner that it waits for, whose inheritance may have changed with it.
    pub fn set_urgency(&mut self, tid: Tid, urgency: u32) -> Option<Tid> {
        for lock in &mut self.0 {
            if let Some(waiter) = lock.waiters.iter_mut().find(|waiter| waiter.tid == tid) {
                if waiter.urgency == urgency {
                    return None;
                }
                waiter.urgency = urgency;
                return Some(lock.owner);
            }
        }
        None
    }
}
