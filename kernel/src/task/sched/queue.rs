//! A CPU's run queue.

use crate::task::thread::Thread;

/// Threads that wait for their turn on one CPU, the next one first: a list through `Thread::queued_behind`. Threads that aren't dead hold a
/// count of themselves (`enqueue`), so that neither this list nor `PerCpu::current` has to.
pub struct RunQueue {
    pub(super) first: *const Thread,
    pub(super) last: *const Thread,
}

// SAFETY: threads may be used anywhere.
unsafe impl Send for RunQueue {}

impl RunQueue {
    pub const fn new() -> Self {
        Self { first: core::ptr::null(), last: core::ptr::null() }
    }

    #[inline(always)]
    pub(super) fn first(&self) -> Option<&'static Thread> {
        // SAFETY: nobody on the queue is dead.
        unsafe { self.first.as_ref() }
    }

    #[inline(always)]
    pub(super) fn last(&self) -> Option<&'static Thread> {
        // SAFETY: as above.
        unsafe { self.last.as_ref() }
    }

    /// Enters a thread behind those that come before it or are its equals.
    #[inline]
    pub(super) fn insert(&mut self, thread: &'static Thread) {
        self.insert_behind(thread, thread.rank());
    }

    /// Enters a thread behind those up to a rank.
    #[inline(always)]
    pub(super) fn insert_behind(&mut self, thread: &'static Thread, rank: u64) {
        match self.last() {
            Some(last) if last.rank() > rank => self.insert_before_last(thread, rank),
            _ => self.append(thread),
        }
    }

    #[inline(always)]
    pub(super) fn append(&mut self, thread: &'static Thread) {
        thread.queued_behind.set(core::ptr::null());
        match self.last() {
            Some(last) => last.queued_behind.set(thread),
            None => self.first = thread,
        }
        self.last = thread;
    }

    #[inline(never)]
    fn insert_before_last(&mut self, thread: &'static Thread, rank: u64) {
        let mut before: Option<&Thread> = None;
        let mut at = self.first;
        // SAFETY: nobody on the queue is dead; the last one stops the search.
        while let Some(other) = unsafe { at.as_ref() }
            && other.rank() <= rank
        {
            before = Some(other);
            at = other.queued_behind.get();
        }
        thread.queued_behind.set(at);
        match before {
            Some(before) => before.queued_behind.set(thread),
            None => self.first = thread,
        }
    }

    /// Takes the first thread.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<&'static Thread> {
        let first = self.first()?;
        self.first = first.queued_behind.get();
        if self.first.is_null() {
            self.last = core::ptr::null();
        }
        Some(first)
    }

    /// Takes the first thread that is wanted.
    pub(super) fn take(&mut self, is_wanted: &dyn Fn(&Thread) -> bool) -> Option<&'static Thread> {
        let mut before: Option<&Thread> = None;
        let mut at = self.first;
        // SAFETY: nobody on the queue is dead.
        while let Some(thread) = unsafe { at.as_ref() } {
            let next = thread.queued_behind.get();
            if !is_wanted(thread) {
                before = Some(thread);
                at = next;
                continue;
            }
            match before {
                Some(before) => before.queued_behind.set(next),
                None => self.first = next,
            }
            if next.is_null() {
                self.last = before.map_or(core::ptr::null(), core::ptr::from_ref);
            }
            return Some(thread);
        }
        None
    }
}
