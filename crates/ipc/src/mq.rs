//! A POSIX message queue's contents: highest priority first, and within a priority in the order of their coming (mq_receive(3)).

use alloc::vec::Vec;

use crate::NoMemory;

/// Messages by priority; the last is the next to be received.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    messages: Vec<(u32, Vec<u8>)>,
    bytes: usize,
}

impl Queue {
    #[must_use]
    pub const fn new() -> Self {
        Self { messages: Vec::new(), bytes: 0 }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes in all messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, priority: u32, message: Vec<u8>) -> Result<(), NoMemory> {
        self.messages.try_reserve(1).map_err(|_| NoMemory)?;
        // Before all of its own priority, which came earlier.
        let at = self.messages.partition_point(|other| other.0 < priority);
        self.bytes += message.len();
        self.messages.insert(at, (priority, message));
        Ok(())
    }

    /// The next message and its priority.
    pub fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        let next = self.messages.pop()?;
        self.bytes -= next.1.len();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_priority_then_by_age() {
        let mut queue = Queue::new();
        for (priority, text) in [(1, "a"), (5, "b"), (1, "c"), (5, "d"), (0, "e")] {
            queue.push(priority, text.as_bytes().to_vec()).unwrap();
        }
        assert_eq!((queue.len(), queue.bytes()), (5, 5));
        let order: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
        let order: Vec<_> = order.iter().map(|(p, m)| (*p, m[0])).collect();
        assert_eq!(order, [(5, b'b'), (5, b'd'), (1, b'a'), (1, b'c'), (0, b'e')]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
