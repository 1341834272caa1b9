//! Datagrams and packets in order: each message is read at once, whole or cut off.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::Errno;
use sockmsg::{address, charge};

use super::message::{Message, Payload};
use super::rights::{self, Passed};
use super::stream::NOBODY;
use super::{Endpoint, INPUT, State, names, sleep};
use crate::mm::{Sink, Source};
use crate::net::{Incoming, Kind, Outgoing, msg, shut};
use crate::syscall::SysResult;

impl Endpoint {
    /// Sends one message. EMSGSIZE, ENOTCONN, ECONNREFUSED, EPERM, EPIPE, EAGAIN; what the address says.
    pub fn send_packet(
        self: &Arc<Self>,
        src: &mut Source<'_>,
        flags: u32,
        with: Option<&Outgoing<'_>>,
    ) -> SysResult {
        let mut to: &[u8] = &[];
        if self.kind == Kind::SeqPacket {
            self.options.check_error()?;
            if !self.is(State::Connected) {
                return Err(Errno::ENOTCONN.into());
            }
        } else if let Some(with) = with {
            to = with.address;
        }
        let mut passed = Passed::default();
        if let Some(with) = with
            && !with.control.is_empty()
        {
            passed = Passed::read(with.control)?;
        }
        if flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if !to.is_empty() {
            address::parse(to).map_err(|_| Errno::EINVAL)?;
        }
        self.bind_for_credentials()?;
        let len = src.remaining();
        if len.saturating_add(32) > self.limit() {
            return Err(Errno::EMSGSIZE.into());
        }
        self.wait_for_buffer(flags)?;
        passed.depart()?;
        let payload = Payload::take(src, len)?;
        let mut message = Some(Message {
            payload,
            len: len as u32,
            start: 0,
            charge: charge::datagram(len) as u32,
            credentials: passed.credentials,
            rights: passed.rights.take(),
            sender: self.clone(),
        });
        let mut deadline = None;
        loop {
            let other = if to.is_empty() {
                self.peer().ok_or(Errno::ENOTCONN)?
            } else {
                names::look_up(to, self.kind)?
            };
            match self.deliver(&other, &mut message) {
                Ok(()) => {
                    other.readable.notify_of(INPUT);
                    return Ok(len);
                }
                Err(Undelivered::Dead) => self.lose_peer(&other, to.is_empty())?,
                Err(Undelivered::Failed(error)) => return Err(error.into()),
                Err(Undelivered::Full) if flags & msg::DONTWAIT != 0 => {
                    self.is_blocked_by(&other);
                    return Err(Errno::EAGAIN.into());
                }
                Err(Undelivered::Full) => {
                    let until = *deadline.get_or_insert_with(|| self.options.send_deadline());
                    let may_go = || !self.is_blocked_by(&other) || other.is_shut(shut::READ);
                    sleep(&self.writable, until, &mut || may_go().then_some(()))?;
                }
            }
        }
    }

    /// The receiver is no more. Returns if another may be looked for. EPIPE, ECONNREFUSED, ECONNRESET.
    fn lose_peer(self: &Arc<Self>, other: &Arc<Self>, by_connection: bool) -> Result<(), Errno> {
        if self.kind == Kind::SeqPacket {
            return Err(Errno::EPIPE);
        }
        let peer = {
            let mut inner = self.inner.lock();
            let is_peer = inner.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(peer, other));
            if is_peer {
                self.set_state(State::Closed);
                inner.peer.take()
            } else {
                None
            }
        };
        match peer {
            Some(peer) => {
                self.disconnected(&peer);
                Err(Errno::ECONNREFUSED)
            }
            None if by_connection => Err(Errno::ECONNRESET),
            None => Ok(()),
        }
    }

    /// Puts the message into the receiver's queue, if it may.
    fn deliver(
        self: &Arc<Self>,
        other: &Arc<Self>,
        message: &mut Option<Message>,
    ) -> Result<(), Undelivered> {
        let wants_credentials = self.wants_credentials() || other.wants_credentials();
        if let Some(message) = message
            && wants_credentials
        {
            message.credentials.get_or_insert_with(rights::own);
        }
        let mut inner = other.inner.lock();
        let is_peer = inner.peer.as_ref().map(|peer| Arc::ptr_eq(peer, self));
        if is_peer == Some(false) {
            return Err(Undelivered::Failed(Errno::EPERM));
        }
        if inner.is_dead {
            return Err(Undelivered::Dead);
        }
        if other.is_shut(shut::READ) {
            return Err(Undelivered::Failed(Errno::EPIPE));
        }
        if is_peer.is_none() && !Arc::ptr_eq(self, other) && inner.messages.len() > super::MAX_QUEUE {
            return Err(Undelivered::Full);
        }
        let queue = inner.messages.all();
        queue.try_reserve(1).map_err(|_| Undelivered::Failed(Errno::ENOBUFS))?;
        if let Some(message) = message.take() {
            self.charged.fetch_add(message.charge as usize, Ordering::AcqRel);
            queue.push_back(message);
        }
        Ok(())
    }

    /// Receives one message. ENOTCONN, EAGAIN, the pending error.
    pub fn receive_packet(&self, dst: &mut Sink<'_>, flags: u32, with: Option<&mut Incoming>) -> SysResult {
        if self.kind == Kind::SeqPacket && !self.is(State::Connected) {
            return Err(Errno::ENOTCONN.into());
        }
        if flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let mut deadline = None;
        loop {
            let seen = {
                let _guard = self.reading.lock();
                self.options.check_error()?;
                let found = if flags & msg::PEEK == 0 { self.next_packet() } else { self.peek_packet() };
                match found {
                    Ok(found) => {
                        let result = self.hand_over(found, dst, flags, with);
                        self.wake_waiting_if_any();
                        return result;
                    }
                    Err(seen) => seen,
                }
            };
            let is_shut = self.is_shut(shut::READ);
            if flags & msg::DONTWAIT != 0 {
                // The end of packets in order is told; datagrams have none.
                return if is_shut && self.kind == Kind::SeqPacket {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN.into())
                };
            }
            if is_shut {
                return Ok(0);
            }
            let until = *deadline.get_or_insert_with(|| self.options.receive_deadline());
            let has_come = || {
                self.inner.lock().messages.len() > seen
                    || self.is_shut(shut::READ)
                    || self.options.has_error()
            };
            sleep(&self.readable, until, &mut || has_come().then_some(()))?;
        }
    }

    fn wake_waiting_if_any(&self) {
        if !self.inner.lock().waiting.is_empty() {
            self.wake_waiting();
        }
    }

    /// Takes the first message, or says how many there are that won't do.
    fn next_packet(&self) -> Result<Found, usize> {
        let message = self.inner.lock().messages.all().pop_front().ok_or(0usize)?;
        Ok(Found { message: Taken::Whole(message), skip: 0 })
    }

    /// Finds the message that SO_PEEK_OFF points into.
    fn peek_packet(&self) -> Result<Found, usize> {
        let mut skip = usize::try_from(self.options.peek_offset.load(Ordering::Relaxed)).unwrap_or(0);
        let mut inner = self.inner.lock();
        for (index, message) in inner.messages.all().iter_mut().enumerate() {
            let len = message.len as usize;
            if skip >= len && skip > 0 {
                skip -= len;
                continue;
            }
            let copy = Message {
                payload: core::mem::replace(&mut message.payload, Payload::NONE),
                rights: None,
                sender: message.sender.clone(),
                ..*message
            };
            return Ok(Found { message: Taken::Look(copy, index), skip });
        }
        Err(inner.messages.len())
    }

    /// Copies a message out.
    fn hand_over(
        &self,
        found: Found,
        dst: &mut Sink<'_>,
        flags: u32,
        with: Option<&mut Incoming>,
    ) -> SysResult {
        let Found { message, skip } = found;
        let (mut message, index) = match message {
            Taken::Whole(message) => (message, None),
            Taken::Look(message, index) => (message, Some(index)),
        };
        let whole = (message.len as usize).saturating_sub(skip);
        let size = whole.min(dst.remaining());
        let given = message.payload.give(skip, size, dst);
        let mut files = None;
        match index {
            Some(index) => {
                let mut inner = self.inner.lock();
                if let Some(original) = inner.messages.all().get_mut(index) {
                    original.payload = message.payload;
                    files = original.rights.as_ref().map(|rights| rights.share());
                }
                drop(inner);
                given?;
                self.advance_peek_offset(size as i64);
            }
            None => {
                message.sender.discharge(message.charge);
                given?;
                files = message.rights.take().map(|rights| rights.take());
                self.advance_peek_offset(-i64::from(message.len));
            }
        }
        if let Some(incoming) = with {
            incoming.address = message.sender.name_bytes();
            if size < whole {
                incoming.flags |= msg::TRUNC;
            }
            if self.wants_credentials() {
                incoming.credentials = Some(message.credentials.unwrap_or(NOBODY));
            }
            incoming.rights = files.unwrap_or_default();
        }
        Ok(if flags & msg::TRUNC != 0 { whole } else { size })
    }
}

/// Why a message can't be delivered now.
enum Undelivered {
    /// The receiver's file is closed.
    Dead,
    Full,
    Failed(Errno),
}

/// A message for a reader, and how much of it to leave out.
struct Found {
    message: Taken,
    skip: usize,
}

enum Taken {
    Whole(Message),
    /// A copy whose bytes go back to the message at this index.
    Look(Message, usize),
}
