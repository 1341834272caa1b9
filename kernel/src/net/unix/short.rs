//! The short way of streams: a message of a few bytes with nothing beside it, by read(2) and write(2). Whatever is out of the ordinary goes the
//! long way (`stream`), which says what comes of it.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sockmsg::charge;

use super::message::{Message, Payload, SHORT};
use super::{Endpoint, Kind, State, sleep};
use crate::mm::user::UserRange;
use crate::net::shut;
use crate::syscall::SysError;

impl Endpoint {
    /// Sends a short message. `None`: the long way.
    pub fn send_short(self: &Arc<Self>, buf: UserRange) -> Option<usize> {
        let len = buf.len();
        if self.kind != Kind::Stream || !(1..=SHORT).contains(&len) || !self.can_send() {
            return None;
        }
        let peer = self.peer()?;
        if self.wants_credentials() || peer.wants_credentials() {
            return None;
        }
        let mut bytes = [0; SHORT];
        buf.read(bytes.get_mut(..len)?)?;
        let (_, charge) = charge::stream(len, self.limit());
        let message = Message {
            payload: Payload::Short(bytes),
            len: len as u32,
            start: 0,
            charge: charge as u32,
            credentials: None,
            rights: None,
            sender: self.clone(),
        };
        peer.push(message).ok().map(|()| len)
    }

    /// Receives the only message, if it is a short one and fits. `None`: the long way.
    pub fn receive_short(&self, buf: UserRange) -> Option<usize> {
        if self.kind != Kind::Stream
            || !self.is(State::Connected)
            || self.wants_credentials()
            || self.options.peek_offset.load(Ordering::Relaxed) >= 0
        {
            return None;
        }
        let _guard = self.reading.lock();
        let mut inner = self.inner.lock();
        if inner.messages.len() != 1 {
            return None;
        }
        let first = inner.messages.front()?;
        let Payload::Short(bytes) = first.payload else { return None };
        let (start, len) = (first.start as usize, first.remaining());
        let wanted = self.options.low_water.load(Ordering::Relaxed) as usize;
        if len > buf.len()
            || len < wanted.min(buf.len())
            || first.rights.is_some()
            || first.credentials.is_some()
        {
            return None;
        }
        let message = inner.messages.pop_front()?;
        drop(inner);
        if bytes.get(start..start + len).and_then(|bytes| buf.write(bytes)).is_none() {
            self.inner.lock().messages.push_front(message);
            return None;
        }
        message.sender.discharge(message.charge);
        Some(len)
    }

    /// Waits until something has come, if nothing is out of the ordinary.
    pub fn wait_for_message(&self) -> Result<(), SysError> {
        let is_usual = self.kind == Kind::Stream
            && self.is(State::Connected)
            && self.options.receive_deadline().is_none();
        let has_come = || self.has_messages() || self.is_shut(shut::READ) || self.options.has_error();
        if is_usual && !has_come() {
            sleep(&self.readable, None, &mut || has_come().then_some(()))?;
        }
        Ok(())
    }
}
