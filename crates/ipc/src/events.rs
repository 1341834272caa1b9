//! inotify(7)'s queue of events: what a read returns, equal events that follow each other counted once, and overflow.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The queue ran over; the event has no watch (IN_Q_OVERFLOW).
pub const OVERFLOW: u32 = 0x4000;
/// A watch is gone (IN_IGNORED): such events are never merged.
pub const IGNORED: u32 = 0x8000;
/// Size of `struct inotify_event` without a name; names are padded to a multiple of it.
pub const HEADER: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    /// Its name's length with NUL and padding; 0 without a name.
    fn name_len(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    fn size(&self) -> usize {
        HEADER + self.name_len()
    }
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// The last event in the queue says the same.
    Merged,
    /// The queue is full; the overflow is reported once.
    Dropped,
}

/// One instance's events.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    overflowed: bool,
}

impl Queue {
    #[must_use]
    pub const fn new() -> Self {
        Self { events: VecDeque::new(), bytes: 0, overflowed: false }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes that reading all of it takes (FIONREAD).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event, if there are fewer than `limit`.
    pub fn push(&mut self, watch: i32, mask: u32, cookie: u32, name: &[u8], limit: usize) -> Pushed {
        let mut copy = Vec::new();
        let full = self.events.len() >= limit || copy.try_reserve_exact(name.len()).is_err();
        if !full {
            copy.extend_from_slice(name);
        }
        let event = if full {
            Event { watch: -1, mask: OVERFLOW, cookie: 0, name: Vec::new() }
        } else {
            Event { watch, mask, cookie, name: copy }
        };
        // As on Linux, the cookie doesn't count: the halves of two renames differ in their names.
        let is_same = |last: &Event| last.mask == mask && last.watch == watch && last.name == name;
        // A full queue isn't looked into.
        if !full && mask & IGNORED == 0 && self.events.back().is_some_and(is_same) {
            return Pushed::Merged;
        }
        if full && self.overflowed || self.events.try_reserve(1).is_err() {
            return Pushed::Dropped;
        }
        self.overflowed |= full;
        self.bytes += event.size();
        self.events.push_back(event);
        if full { Pushed::Dropped } else { Pushed::Queued }
    }

    /// Size of the next event.
    #[must_use]
    pub fn next_size(&self) -> Option<usize> {
        self.events.front().map(Event::size)
    }

    /// Takes the next event, as read(2) returns it, if it has at most `room` bytes.
    pub fn pop(&mut self, room: usize) -> Option<Vec<u8>> {
        let size = self.next_size().filter(|&size| size <= room)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).ok()?;
        let event = self.events.pop_front()?;
        let name_len = u32::try_from(event.name_len()).unwrap_or(0);
        bytes.extend_from_slice(&event.watch.to_le_bytes());
        for word in [event.mask, event.cookie, name_len] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&event.name);
        bytes.resize(size, 0);
        self.bytes -= size;
        self.overflowed &= event.mask & OVERFLOW == 0;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue, watch: i32, mask: u32, name: &[u8]) -> Pushed {
        queue.push(watch, mask, 0, name, 4)
    }

    #[test]
    fn equal_neighbours_are_one() {
        let mut queue = Queue::new();
        assert_eq!(push(&mut queue, 1, 2, b"a"), Pushed::Queued);
        assert_eq!(push(&mut queue, 1, 2, b"a"), Pushed::Merged);
        assert_eq!(push(&mut queue, 1, 2, b"b"), Pushed::Queued);
        assert_eq!(push(&mut queue, 1, 2, b"a"), Pushed::Queued);
        assert_eq!(queue.bytes(), 3 * 32);
        assert_eq!(push(&mut queue, 1, IGNORED, b""), Pushed::Queued);
    }

    #[test]
    fn the_layout_of_an_event() {
        let mut queue = Queue::new();
        queue.push(7, 0x100, 9, b"fifteen letters", 4);
        queue.push(7, 0x200, 0, b"sixteen letters!", 4);
        queue.push(7, 0x400, 0, b"", 4);
        assert_eq!(queue.next_size(), Some(32));
        assert!(queue.pop(31).is_none());
        let bytes = queue.pop(32).unwrap();
        assert_eq!(bytes[..16], [7, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0, 16, 0, 0, 0]);
        assert_eq!(&bytes[16..], b"fifteen letters\0");
        assert_eq!(queue.pop(100).unwrap().len(), 48);
        assert_eq!(queue.pop(100).unwrap().len(), 16);
        assert_eq!((queue.bytes(), queue.is_empty()), (0, true));
    }

    #[test]
    fn overflow_is_told_once() {
        let mut queue = Queue::new();
        for watch in 0..10 {
            let expected = if watch < 4 { Pushed::Queued } else { Pushed::Dropped };
            assert_eq!(push(&mut queue, watch, 2, b""), expected);
        }
        let events: Vec<_> = core::iter::from_fn(|| queue.pop(100)).collect();
        assert_eq!(events.len(), 5);
        assert_eq!(events[4][..8], [255, 255, 255, 255, 0, 0x40, 0, 0]);
        for watch in 0..6 {
            push(&mut queue, watch, 2, b"");
        }
        assert_eq!(core::iter::from_fn(|| queue.pop(100)).count(), 5);
    }
}
