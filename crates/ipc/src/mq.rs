//! A POSIX message queue's contents: highest priority first, and within a priority in the order of their coming (mq_receive(3)).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Messages by priority.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    levels: BTreeMap<Reverse<u32>, VecDeque<Vec<u8>>>,
    count: usize,
    bytes: usize,
}

impl Queue {
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: BTreeMap::new(), count: 0, bytes: 0 }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes in all messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, priority: u32, message: Vec<u8>) {
        self.count += 1;
        self.bytes += message.len();
        self.levels.entry(Reverse(priority)).or_default().push_back(message);
    }

    /// The next message and its priority.
    pub fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        let mut level = self.levels.first_entry()?;
        let priority = level.key().0;
        let message = level.get_mut().pop_front()?;
        if level.get().is_empty() {
            level.remove();
        }
        self.count -= 1;
        self.bytes -= message.len();
        Some((priority, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_priority_then_by_age() {
        let mut queue = Queue::new();
        for (priority, text) in [(1, "a"), (5, "b"), (1, "c"), (5, "d"), (0, "e")] {
            queue.push(priority, text.as_bytes().to_vec());
        }
        assert_eq!((queue.len(), queue.bytes()), (5, 5));
        let order: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
        let order: Vec<_> = order.iter().map(|(p, m)| (*p, m[0])).collect();
        assert_eq!(order, [(5, b'b'), (5, b'd'), (1, b'a'), (1, b'c'), (0, b'e')]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
