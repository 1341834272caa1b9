//! Which message of a System V queue a receiver gets (msgrcv(2)).

use alloc::vec::Vec;

use crate::NoMemory;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Positive.
    pub kind: i64,
    pub data: Vec<u8>,
}

impl Message {
    /// A copy.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn try_clone(&self) -> Result<Self, NoMemory> {
        let mut data = Vec::new();
        data.try_reserve_exact(self.data.len()).map_err(|_| NoMemory)?;
        data.extend_from_slice(&self.data);
        Ok(Self { data, ..*self })
    }
}

/// What a receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The first.
    Any,
    /// The first of this type.
    Kind(i64),
    /// The first of another type (MSG_EXCEPT).
    Except(i64),
    /// The first of the lowest type up to this one.
    UpTo(i64),
    /// The one at this position (MSG_COPY).
    Position(i64),
}

impl Select {
    /// From msgrcv's type argument.
    #[must_use]
    pub fn new(kind: i64, except: bool) -> Self {
        match kind {
            0 => Self::Any,
            ..0 => Self::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
            _ if except => Self::Except(kind),
            _ => Self::Kind(kind),
        }
    }
}

/// Messages in the order of their coming.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    messages: Vec<Message>,
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

    /// Whether a message of that length has room in a queue of `limit` bytes, which also bounds the number of messages.
    #[must_use]
    pub fn fits(&self, len: usize, limit: u64) -> bool {
        let bytes = self.bytes.saturating_add(len) as u64;
        bytes <= limit && (self.messages.len() as u64) < limit
    }

    pub fn push(&mut self, message: Message) -> Result<(), NoMemory> {
        self.messages.try_reserve(1).map_err(|_| NoMemory)?;
        self.bytes += message.data.len();
        self.messages.push(message);
        Ok(())
    }

    /// Where the wanted message is.
    #[must_use]
    pub fn find(&self, select: Select) -> Option<usize> {
        let mut kinds = self.messages.iter().map(|message| message.kind);
        match select {
            Select::Any => (!self.messages.is_empty()).then_some(0),
            Select::Kind(wanted) => kinds.position(|kind| kind == wanted),
            Select::Except(unwanted) => kinds.position(|kind| kind != unwanted),
            Select::UpTo(highest) => {
                let lowest = kinds.filter(|&kind| kind <= highest).min()?;
                self.messages.iter().position(|message| message.kind == lowest)
            }
            Select::Position(at) => usize::try_from(at).ok().filter(|&at| at < self.messages.len()),
        }
    }

    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Message> {
        self.messages.get(at)
    }

    pub fn remove(&mut self, at: usize) -> Option<Message> {
        if at >= self.messages.len() {
            return None;
        }
        let message = self.messages.remove(at);
        self.bytes -= message.data.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(kinds: &[i64]) -> Queue {
        let mut queue = Queue::new();
        for &kind in kinds {
            queue.push(Message { kind, data: alloc::vec![0; 10] }).unwrap();
        }
        queue
    }

    #[test]
    fn selection() {
        let q = queue(&[5, 3, 9, 3, 1]);
        let at = |kind, except| q.find(Select::new(kind, except));
        assert_eq!(at(0, false), Some(0));
        assert_eq!(at(3, false), Some(1));
        assert_eq!(at(7, false), None);
        assert_eq!(at(5, true), Some(1));
        assert_eq!(at(-4, false), Some(4));
        assert_eq!(at(i64::MIN, false), Some(4));
        assert_eq!(queue(&[5, 3, 9, 3]).find(Select::new(-8, false)), Some(1));
        assert_eq!(queue(&[5]).find(Select::new(-4, false)), None);
        assert_eq!(q.find(Select::Position(4)), Some(4));
        assert_eq!(q.find(Select::Position(5)), None);
        assert_eq!(q.find(Select::Position(-1)), None);
    }

    #[test]
    fn room() {
        let mut q = queue(&[1, 2]);
        assert_eq!(q.bytes(), 20);
        assert!(q.fits(10, 30));
        assert!(!q.fits(11, 30));
        assert!(!q.fits(0, 2));
        assert_eq!(q.remove(0).unwrap().kind, 1);
        assert_eq!(q.bytes(), 10);
        assert!(q.remove(1).is_none());
    }
}
