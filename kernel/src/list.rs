//! Lists of what waits: the entries stand where those who wait have them, on their stacks mostly, so that joining and leaving takes no memory and
//! no search.
//!
//! A list and the links of its entries belong to whoever holds the lock that guards the list. An entry is on one list at most, and its owner
//! takes it off, under the lock, before it goes away: references that the list gives out are good for as long as the lock is held.
#![expect(unsafe_code, reason = "links to entries that others own")]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What stands on a list.
pub struct Entry<T> {
    next: Cell<*const Entry<T>>,
    previous: Cell<*const Entry<T>>,
    is_listed: Cell<bool>,
    pub value: T,
}

/// The first and the last entry; null for none.
pub struct List<T> {
    /// Atomic for those who look without the lock whether there is any.
    first: AtomicPtr<Entry<T>>,
    last: Cell<*const Entry<T>>,
}

// SAFETY: the links are used under the list's lock, by one CPU at a time, which shares the values with their owners.
unsafe impl<T: Sync> Send for List<T> {}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Entry<T> {
    pub const fn new(value: T) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            is_listed: Cell::new(false),
            value,
        }
    }

    #[inline(always)]
    pub fn is_listed(&self) -> bool {
        self.is_listed.get()
    }
}

impl<T> List<T> {
    pub const fn new() -> Self {
        Self { first: AtomicPtr::new(ptr::null_mut()), last: Cell::new(ptr::null()) }
    }

    /// Also without the lock.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.first.load(Ordering::Relaxed).is_null()
    }

    #[inline(always)]
    fn set_first(&self, entry: *const Entry<T>) {
        self.first.store(entry.cast_mut(), Ordering::Relaxed);
    }

    #[inline(always)]
    pub fn first(&self) -> Option<&Entry<T>> {
        // SAFETY: what is on the list is there (this module's rule).
        unsafe { self.first.load(Ordering::Relaxed).as_ref() }
    }

    /// The one behind an entry of this list.
    #[inline(always)]
    pub fn after(&self, entry: &Entry<T>) -> Option<&Entry<T>> {
        // SAFETY: as above.
        unsafe { entry.next.get().as_ref() }
    }

    /// The only one, if there is exactly one.
    #[inline(always)]
    pub fn only(&self) -> Option<&Entry<T>> {
        self.first().filter(|first| first.next.get().is_null())
    }

    /// Takes off the only one.
    #[inline(always)]
    pub fn remove_only(&self, only: &Entry<T>) {
        only.is_listed.set(false);
        self.set_first(ptr::null());
        self.last.set(ptr::null());
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        core::iter::successors(self.first(), |entry| self.after(entry))
    }

    /// Puts an entry at the end.
    ///
    /// # Safety
    /// The entry is on no list, and stays where it is until it was taken off, under the lock.
    #[inline]
    pub unsafe fn push_back(&self, entry: &Entry<T>) {
        let last = self.last.replace(entry);
        entry.is_listed.set(true);
        entry.previous.set(last);
        entry.next.set(ptr::null());
        // SAFETY: what is on the list is there.
        match unsafe { last.as_ref() } {
            Some(last) => last.next.set(entry),
            None => self.set_first(entry),
        }
    }

    /// Puts an entry before another one of this list, or at the end.
    ///
    /// # Safety
    /// As for `push_back`.
    pub unsafe fn insert_before(&self, entry: &Entry<T>, other: Option<&Entry<T>>) {
        let Some(other) = other else {
            // SAFETY: the caller's promise.
            return unsafe { self.push_back(entry) };
        };
        let previous = other.previous.replace(entry);
        entry.is_listed.set(true);
        entry.previous.set(previous);
        entry.next.set(other);
        // SAFETY: what is on the list is there.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(entry),
            None => self.set_first(entry),
        }
    }

    /// Takes an entry off, which is on this list or on none. Whether it was.
    #[inline]
    pub fn remove(&self, entry: &Entry<T>) -> bool {
        if !entry.is_listed.replace(false) {
            return false;
        }
        let (next, previous) = (entry.next.get(), entry.previous.get());
        // SAFETY: what is on the list is there.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.set_first(next),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last.set(previous),
        }
        true
    }

    /// Takes the first one off.
    #[inline(always)]
    pub fn pop_front(&self) -> Option<&Entry<T>> {
        let first = self.first()?;
        first.is_listed.set(false);
        self.set_first(first.next.get());
        match self.first() {
            Some(next) => next.previous.set(ptr::null()),
            None => self.last.set(ptr::null()),
        }
        Some(first)
    }
}
