//! Advisory record locks on one file (fcntl_locking(2)): ranges of bytes with owners.
//!
//! One owner's locks never overlap: setting a range replaces what that owner had there, adjacent locks of a kind become one, and clearing
//! the middle of a lock leaves two. The same list serves flock(2), whose locks cover the whole file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;

/// Last byte of a lock that reaches to the end of the file, however large.
pub const TO_END: u64 = i64::MAX as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
}

/// A lock on the bytes `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock<O> {
    pub owner: O,
    pub kind: Kind,
    pub first: u64,
    pub last: u64,
}

impl<O: Copy + Eq> Lock<O> {
    fn overlaps(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }

    /// Whether the two can't be held at once.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.overlaps(other.first, other.last)
            && (self.kind == Kind::Write || other.kind == Kind::Write)
    }
}

/// No memory for another lock. ENOLCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// The locks on one file, by first byte.
#[derive(Debug)]
pub struct LockList<O> {
    locks: Vec<Lock<O>>,
}

impl<O> Default for LockList<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> LockList<O> {
    #[must_use]
    pub const fn new() -> Self {
        Self { locks: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }
}

impl<O: Copy + Eq> LockList<O> {
    /// Every lock, by first byte.
    pub fn iter(&self) -> impl Iterator<Item = &Lock<O>> {
        self.locks.iter()
    }

    /// The first lock that stands in the way of `wanted`.
    pub fn conflict(&self, wanted: &Lock<O>) -> Option<&Lock<O>> {
        self.locks.iter().find(|lock| lock.conflicts(wanted))
    }

    /// Sets a lock, whatever others hold: the caller has asked [`LockList::conflict`].
    pub fn set(&mut self, lock: Lock<O>) -> Result<(), NoMemory> {
        // Clearing may split one lock in two, and the new one comes on top.
        self.locks.try_reserve(2).map_err(|_| NoMemory)?;
        let mut merged = lock;
        self.locks.retain(|old| {
            let touches =
                old.first <= merged.last.saturating_add(1) && merged.first <= old.last.saturating_add(1);
            if old.owner != lock.owner || old.kind != lock.kind || !touches {
                return true;
            }
            merged.first = merged.first.min(old.first);
            merged.last = merged.last.max(old.last);
            false
        });
        self.cut(lock.owner, lock.first, lock.last);
        let at = self.locks.partition_point(|old| old.first <= merged.first);
        self.locks.insert(at, merged);
        Ok(())
    }

    /// Clears what an owner holds on `first..=last`. Returns whether anything changed.
    pub fn clear(&mut self, owner: O, first: u64, last: u64) -> Result<bool, NoMemory> {
        let hit = self.locks.iter().any(|lock| lock.owner == owner && lock.overlaps(first, last));
        if hit {
            self.locks.try_reserve(1).map_err(|_| NoMemory)?;
            self.cut(owner, first, last);
        }
        Ok(hit)
    }

    /// Clears everything an owner holds. Returns whether anything changed.
    pub fn clear_owner(&mut self, owner: O) -> bool {
        let before = self.locks.len();
        self.locks.retain(|lock| lock.owner != owner);
        self.locks.len() != before
    }

    /// Takes `first..=last` out of an owner's locks. Room for one more lock has been reserved.
    fn cut(&mut self, owner: O, first: u64, last: u64) {
        let mut tail = None;
        self.locks.retain_mut(|lock| {
            if lock.owner != owner || !lock.overlaps(first, last) {
                return true;
            }
            if lock.last > last {
                let rest = Lock { first: last.saturating_add(1), ..*lock };
                if lock.first < first {
                    tail = Some(rest);
                } else {
                    *lock = rest;
                    return true;
                }
            }
            if lock.first < first {
                lock.last = first - 1;
                return true;
            }
            false
        });
        if let Some(tail) = tail {
            self.locks.push(tail);
        }
        // Hardly anything is out of place, and the library's sorts are large.
        for end in 1..self.locks.len() {
            let mut at = end;
            while let Some([before, after]) = at.checked_sub(1).and_then(|from| self.locks.get_mut(from..=at))
                && before.first > after.first
            {
                core::mem::swap(before, after);
                at -= 1;
            }
        }
    }
}

/// Who waits for whom, so that a lock request that would close a circle is refused (EDEADLK).
///
/// An edge belongs to the file (`place`) whose lock is waited for, and is true for as long as its holder keeps that lock: a holder that lets
/// go of locks takes away the edges that lead to it, under the lock of the file's list, and the waiters come back with new ones.
#[derive(Debug)]
pub struct WaitGraph<O> {
    edges: Vec<Edge<O>>,
}

#[derive(Clone, Copy, Debug)]
struct Edge<O> {
    waiter: O,
    holder: O,
    place: usize,
}

impl<O> Default for WaitGraph<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> WaitGraph<O> {
    #[must_use]
    pub const fn new() -> Self {
        Self { edges: Vec::new() }
    }
}

impl<O: Copy + Eq> WaitGraph<O> {
    /// Notes that `waiter` waits at `place` for `holder`, and for nobody else there any more; false (and nothing noted) if `holder` already
    /// waits for `waiter`, directly or over others, or if there is no memory to note it.
    #[must_use]
    pub fn wait(&mut self, waiter: O, holder: O, place: usize) -> bool {
        self.done(waiter, place);
        let mut at = holder;
        // As on Linux, the first of an owner's edges stands for all; so a chain is no longer than the list.
        for _ in 0..=self.edges.len() {
            if at == waiter {
                return false;
            }
            match self.edges.iter().find(|edge| edge.waiter == at) {
                Some(edge) => at = edge.holder,
                None => break,
            }
        }
        if self.edges.try_reserve(1).is_err() {
            return false;
        }
        self.edges.push(Edge { waiter, holder, place });
        true
    }

    /// `waiter` waits there no longer.
    pub fn done(&mut self, waiter: O, place: usize) {
        self.edges.retain(|edge| edge.waiter != waiter || edge.place != place);
    }

    /// `holder` let go of locks there.
    pub fn released(&mut self, holder: O, place: usize) {
        self.edges.retain(|edge| edge.holder != holder || edge.place != place);
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a handful of bytes")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: u64 = 24;

    /// Byte by byte: who holds what.
    type Model = Vec<Vec<(u8, Kind)>>;

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Read), Just(Kind::Write)]
    }

    proptest! {
        #[test]
        fn behaves_byte_by_byte(
            ops in prop::collection::vec((0u8..3, prop::option::of(kind()), 0..BYTES, 0..BYTES), 1..60)
        ) {
            let mut list = LockList::new();
            let mut model: Model = alloc::vec![Vec::new(); BYTES as usize];
            for (owner, kind, a, b) in ops {
                let (first, last) = (a.min(b), a.max(b));
                match kind {
                    Some(kind) => {
                        let wanted = Lock { owner, kind, first, last };
                        let blocked = model[first as usize..=last as usize].iter().flatten().any(|held| {
                            held.0 != owner && (held.1 == Kind::Write || kind == Kind::Write)
                        });
                        prop_assert_eq!(list.conflict(&wanted).is_some(), blocked);
                        if blocked {
                            continue;
                        }
                        list.set(wanted).unwrap();
                    }
                    None => {
                        let held = model[first as usize..=last as usize].iter().flatten().any(|h| h.0 == owner);
                        prop_assert_eq!(list.clear(owner, first, last).unwrap(), held);
                    }
                }
                for byte in &mut model[first as usize..=last as usize] {
                    byte.retain(|held| held.0 != owner);
                    byte.extend(kind.map(|kind| (owner, kind)));
                }
                let mut seen: Model = alloc::vec![Vec::new(); BYTES as usize];
                for lock in list.iter() {
                    for byte in lock.first..=lock.last {
                        seen[byte as usize].push((lock.owner, lock.kind));
                    }
                    // Adjacent locks of a kind are one.
                    prop_assert!(!list.iter().any(|other| other.owner == lock.owner
                        && other.kind == lock.kind
                        && other.first == lock.last + 1));
                }
                for (a, b) in seen.iter_mut().zip(&mut model) {
                    a.sort_by_key(|h| h.0);
                    b.sort_by_key(|h| h.0);
                    prop_assert_eq!(&*a, &*b);
                }
                prop_assert!(list.locks.is_sorted_by_key(|lock| lock.first));
            }
        }
    }

    #[test]
    fn a_circle_of_waiters_is_refused() {
        let mut graph = WaitGraph::new();
        assert!(graph.wait(1, 2, 0));
        assert!(graph.wait(2, 3, 0));
        assert!(!graph.wait(3, 1, 0));
        graph.done(2, 0);
        assert!(graph.wait(3, 1, 0));
    }

    #[test]
    fn a_waiter_whose_holder_lets_go_waits_for_the_next_one() {
        let mut graph = WaitGraph::new();
        assert!(graph.wait(3, 1, 0));
        assert!(graph.wait(2, 3, 0));
        graph.released(1, 7);
        assert!(!graph.wait(1, 3, 7), "another file's lock was let go of");
        graph.released(1, 0);
        assert!(graph.wait(1, 3, 7));
        graph.done(1, 7);
        // What 1 had, 2 has too.
        assert!(!graph.wait(3, 2, 0));
    }

    #[test]
    fn a_lock_to_the_end_meets_every_byte() {
        let mut list = LockList::new();
        list.set(Lock { owner: 1, kind: Kind::Write, first: 10, last: TO_END }).unwrap();
        assert!(list.conflict(&Lock { owner: 2, kind: Kind::Read, first: 1 << 40, last: 1 << 41 }).is_some());
        assert!(list.conflict(&Lock { owner: 2, kind: Kind::Read, first: 0, last: 9 }).is_none());
    }
}
