//! The messages that wait for a socket. A short one that is alone stands in the queue itself, with little to be written and read; it becomes a
//! message like others as soon as anybody wants to see it as one.

use alloc::collections::{VecDeque, vec_deque};
use alloc::sync::Arc;

use super::Endpoint;
use super::message::{Message, Payload, SHORT};

#[derive(Default)]
pub struct Queue {
    alone: Alone,
    /// Empty while there is one alone.
    messages: VecDeque<Message>,
}

/// A short message with nothing beside it. None without a sender.
#[derive(Default)]
struct Alone {
    sender: Option<Arc<Endpoint>>,
    bytes: [u8; SHORT],
    len: u8,
    charge: u32,
}

impl Queue {
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.alone.sender.is_none() && self.messages.is_empty()
    }

    pub fn len(&self) -> usize {
        usize::from(self.alone.sender.is_some()) + self.messages.len()
    }

    /// Puts a short message into the empty queue.
    #[inline(always)]
    pub fn put_alone(&mut self, sender: &Arc<Endpoint>, bytes: [u8; SHORT], len: u8, charge: u32) {
        self.alone.bytes = bytes;
        self.alone.len = len;
        self.alone.charge = charge;
        self.alone.sender = Some(sender.clone());
    }

    /// The bytes of the message that is alone, and how many they are.
    #[inline(always)]
    pub fn alone(&self) -> Option<([u8; SHORT], usize)> {
        self.alone.sender.as_ref()?;
        Some((self.alone.bytes, self.alone.len.into()))
    }

    /// Drops that message: who sent it, and what it cost.
    #[inline(always)]
    pub fn drop_alone(&mut self) -> Option<(Arc<Endpoint>, u32)> {
        Some((self.alone.sender.take()?, self.alone.charge))
    }

    /// The messages, all of them as such.
    #[inline]
    pub fn all(&mut self) -> &mut VecDeque<Message> {
        if self.alone.sender.is_some() {
            self.join();
        }
        &mut self.messages
    }

    #[inline(never)]
    fn join(&mut self) {
        if let Some((sender, charge)) = self.drop_alone() {
            self.put_back(sender, self.alone.bytes, self.alone.len.into(), charge);
        }
    }

    /// Puts a short message in front of all others.
    #[cold]
    pub fn put_back(&mut self, sender: Arc<Endpoint>, bytes: [u8; SHORT], len: usize, charge: u32) {
        let payload = Payload::Short(bytes);
        let (len, start) = (len as u32, 0);
        self.all().push_front(Message {
            payload,
            len,
            start,
            charge,
            credentials: None,
            rights: None,
            sender,
        });
    }
}

impl IntoIterator for Queue {
    type Item = Message;
    type IntoIter = vec_deque::IntoIter<Message>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.join();
        self.messages.into_iter()
    }
}
