//! Streams: bytes in order, read across the writes that they came by.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::Errno;
use sockmsg::charge;

use super::message::{Message, Payload};
use super::rights::{self, Passed, Rights};
use super::{Endpoint, INPUT, State, sleep};
use crate::fs::hooks;
use crate::mm::{Sink, Source};
use crate::net::{Credentials, Incoming, Outgoing, msg, shut};
use crate::syscall::SysResult;

/// Credentials of nobody: what a receiver that asks is shown of a message without.
pub const NOBODY: Credentials = Credentials { pid: 0, uid: 65534, gid: 65534 };

/// Why a reader stops.
enum Stop {
    /// There is nothing more for now than so many messages, which were looked at.
    Empty(usize),
    /// It has what it wanted, or must not take more at once.
    Done,
    Failed(Errno),
}

/// How a read goes on.
struct Reading<'a> {
    with: Option<&'a mut Incoming>,
    /// Whose bytes these are, once that matters.
    writer: Option<Option<Credentials>>,
    copied: usize,
}

impl Reading<'_> {
    /// Files that came along; a caller that can't take them lets them go.
    fn accept_rights(&mut self, rights: Option<Box<Rights>>) {
        if let Some(rights) = rights
            && let Some(incoming) = &mut self.with
        {
            incoming.rights = rights.take();
        }
    }
}

impl Endpoint {
    /// EPIPE, with SIGPIPE unless the call says otherwise.
    fn broken_pipe(flags: u32, sent: usize) -> SysResult {
        if sent > 0 {
            return Ok(sent);
        }
        if flags & msg::NOSIGNAL == 0 {
            hooks::send_pipe_signal();
        }
        Err(Errno::EPIPE.into())
    }

    /// Everything, unless interrupted or told not to wait.
    pub fn send_stream(
        self: &Arc<Self>,
        src: &mut Source<'_>,
        flags: u32,
        with: Option<&Outgoing<'_>>,
    ) -> SysResult {
        let mut passed = None;
        if let Some(with) = with {
            if !with.control.is_empty() {
                passed = Some(Passed::read(with.control)?);
            }
            if flags & msg::OOB != 0 {
                return Err(Errno::EOPNOTSUPP.into());
            }
            if !with.address.is_empty() {
                let connected = self.is(State::Connected);
                return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }.into());
            }
        }
        let peer = self.peer().ok_or(Errno::ENOTCONN)?;
        if self.is_shut(shut::WRITE) {
            return Self::broken_pipe(flags, 0);
        }
        let wants_credentials = self.wants_credentials() || peer.wants_credentials();
        let mut sent = 0;
        while src.remaining() > 0 {
            if let Err(error) = self.wait_for_buffer(flags) {
                return if sent > 0 { Ok(sent) } else { Err(error) };
            }
            let (len, charge) = charge::stream(src.remaining(), self.limit());
            let (mut credentials, mut rights) = (None, None);
            if let Some(passed) = &mut passed {
                // Files go with the first bytes.
                passed.depart()?;
                (credentials, rights) = (passed.credentials, passed.rights.take());
            }
            let payload = match Payload::take(src, len) {
                Ok(payload) => payload,
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error.into()),
            };
            if wants_credentials && credentials.is_none() {
                credentials = Some(rights::own());
            }
            let message = Message {
                payload,
                len: len as u32,
                start: 0,
                charge: charge as u32,
                credentials,
                rights,
                sender: self.clone(),
            };
            if let Err((message, errno)) = peer.push(message) {
                drop(message);
                return match errno {
                    Errno::EPIPE => Self::broken_pipe(flags, sent),
                    _ if sent > 0 => Ok(sent),
                    _ => Err(errno.into()),
                };
            }
            sent += len;
        }
        Ok(sent)
    }

    /// Puts a message into the queue; it comes back if nobody will read it (EPIPE), or if there is no memory (ENOBUFS).
    pub fn push(&self, message: Message) -> Result<(), (Message, Errno)> {
        {
            let mut inner = self.inner.lock();
            if inner.is_dead || self.is_shut(shut::READ) {
                return Err((message, Errno::EPIPE));
            }
            let queue = inner.messages.all();
            if queue.try_reserve(1).is_err() {
                return Err((message, Errno::ENOBUFS));
            }
            message.sender.charged.fetch_add(message.charge as usize, Ordering::AcqRel);
            queue.push_back(message);
        }
        self.readable.notify_of(INPUT);
        Ok(())
    }

    /// Whatever is there; with MSG_WAITALL everything.
    pub fn receive_stream(&self, dst: &mut Sink<'_>, flags: u32, with: Option<&mut Incoming>) -> SysResult {
        if !self.is(State::Connected) {
            return Err(Errno::EINVAL.into());
        }
        if flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let size = dst.remaining();
        let low_water = self.options.low_water.load(Ordering::Relaxed) as usize;
        let target = if flags & msg::WAITALL != 0 { size } else { size.min(low_water) }.max(1);
        let mut reading = Reading { with, writer: None, copied: 0 };
        let mut deadline = None;
        let error = loop {
            let stop = {
                let _guard = self.reading.lock();
                if flags & msg::PEEK == 0 {
                    self.take_some(dst, &mut reading)
                } else {
                    self.peek_some(dst, &mut reading)
                }
            };
            let seen = match stop {
                Stop::Done => break None,
                Stop::Failed(error) => break Some(error.into()),
                Stop::Empty(_) if reading.copied >= target => break None,
                Stop::Empty(seen) => seen,
            };
            if let Err(error) = self.options.check_error() {
                break Some(error.into());
            }
            if self.is_shut(shut::READ) && !self.has_messages() {
                break None;
            }
            if flags & msg::DONTWAIT != 0 {
                break Some(Errno::EAGAIN.into());
            }
            let until = *deadline.get_or_insert_with(|| self.options.receive_deadline());
            // A peek that looks beyond what is there waits for more than that.
            let has_come = || {
                self.inner.lock().messages.len() > seen
                    || self.is_shut(shut::READ)
                    || self.options.has_error()
            };
            if let Err(error) = sleep(&self.readable, until, &mut || has_come().then_some(())) {
                break Some(error);
            }
        };
        if let Some(incoming) = reading.with
            && self.wants_credentials()
        {
            // At the end, where there is nobody's message, Linux shows zeros.
            let zeros = Some(Credentials { pid: 0, uid: 0, gid: 0 });
            incoming.credentials = Some(reading.writer.unwrap_or(zeros).unwrap_or(NOBODY));
        }
        match error {
            Some(error) if reading.copied == 0 => Err(error),
            _ => Ok(reading.copied),
        }
    }

    pub fn has_messages(&self) -> bool {
        !self.inner.lock().messages.is_empty()
    }

    /// Takes bytes until there are no more, or what is wanted is there.
    fn take_some(&self, dst: &mut Sink<'_>, reading: &mut Reading<'_>) -> Stop {
        loop {
            let wanted = dst.remaining();
            let mut inner = self.inner.lock();
            let Some(first) = inner.messages.all().front_mut() else { return Stop::Empty(0) };
            if !self.goes_with(first, reading) {
                return Stop::Done;
            }
            let (start, len) = (first.start as usize, first.remaining());
            if len > wanted || !matches!(first.payload, Payload::Short(_)) {
                let chunk = len.min(wanted);
                // The bytes are taken out for the copy: the lock is not held meanwhile.
                let payload = core::mem::replace(&mut first.payload, Payload::NONE);
                drop(inner);
                let given = payload.give(start, chunk, dst);
                let is_finished = given.is_ok() && chunk == len;
                let mut inner = self.inner.lock();
                let message = if is_finished {
                    inner.messages.all().pop_front()
                } else {
                    if let Some(first) = inner.messages.all().front_mut() {
                        first.payload = payload;
                        if given.is_ok() {
                            first.start += chunk as u32;
                        }
                    }
                    None
                };
                let partly_read = inner.messages.all().front_mut().filter(|_| given.is_ok() && !is_finished);
                let rights = partly_read.and_then(|first| first.rights.take());
                drop(inner);
                if let Err(error) = given {
                    return if reading.copied > 0 { Stop::Done } else { Stop::Failed(error) };
                }
                reading.copied += chunk;
                self.advance_peek_offset(-(chunk as i64));
                match message {
                    Some(message) => {
                        if self.finish(message, reading) || dst.remaining() == 0 {
                            return Stop::Done;
                        }
                        continue;
                    }
                    None => {
                        reading.accept_rights(rights);
                        return Stop::Done;
                    }
                }
            }
            let message = inner.messages.all().pop_front();
            drop(inner);
            let Some(message) = message else { return Stop::Empty(0) };
            if let Err(error) = message.payload.give(start, len, dst) {
                self.inner.lock().messages.all().push_front(message);
                return if reading.copied > 0 { Stop::Done } else { Stop::Failed(error) };
            }
            reading.copied += len;
            self.advance_peek_offset(-(len as i64));
            if self.finish(message, reading) || dst.remaining() == 0 {
                return Stop::Done;
            }
        }
    }

    /// A message was read to its end. Whether no other may follow in this read: its files would be lost among the next one's.
    fn finish(&self, mut message: Message, reading: &mut Reading<'_>) -> bool {
        message.sender.discharge(message.charge);
        let rights = message.rights.take();
        let has_rights = rights.is_some();
        reading.accept_rights(rights);
        has_rights
    }

    /// Whether a message can be read together with what was read before it: only one writer's, if it matters whose they are.
    fn goes_with(&self, message: &Message, reading: &mut Reading<'_>) -> bool {
        match reading.writer {
            Some(writer) => return writer == message.credentials,
            None if self.wants_credentials() => reading.writer = Some(message.credentials),
            None => {}
        }
        if reading.copied == 0
            && let Some(incoming) = &mut reading.with
            && incoming.address.is_empty()
        {
            incoming.address = message.sender.name_bytes();
        }
        true
    }

    /// Looks at bytes, which stay.
    fn peek_some(&self, dst: &mut Sink<'_>, reading: &mut Reading<'_>) -> Stop {
        let mut skip = usize::try_from(self.options.peek_offset.load(Ordering::Relaxed)).unwrap_or(0);
        let mut index = 0;
        loop {
            let mut inner = self.inner.lock();
            let Some(message) = inner.messages.all().get_mut(index) else {
                return if reading.copied > 0 || (index > 0 && dst.remaining() == 0) {
                    Stop::Done
                } else {
                    Stop::Empty(index)
                };
            };
            let remaining = message.remaining();
            if skip > 0 && skip >= remaining {
                skip -= remaining;
                index += 1;
                continue;
            }
            if !self.goes_with(message, reading) {
                return Stop::Done;
            }
            let start = message.start as usize + skip;
            let chunk = (remaining - skip).min(dst.remaining());
            let payload = core::mem::replace(&mut message.payload, Payload::NONE);
            let rights = message.rights.as_ref().map(|rights| rights.share());
            drop(inner);
            let given = payload.give(start, chunk, dst);
            if let Some(message) = self.inner.lock().messages.all().get_mut(index) {
                message.payload = payload;
            }
            if let Err(error) = given {
                return if reading.copied > 0 { Stop::Done } else { Stop::Failed(error) };
            }
            reading.copied += chunk;
            self.advance_peek_offset(chunk as i64);
            if let Some(files) = rights {
                if let Some(incoming) = &mut reading.with {
                    incoming.rights = files;
                }
                return Stop::Done;
            }
            if dst.remaining() == 0 {
                return Stop::Done;
            }
            skip = 0;
            index += 1;
        }
    }

    /// SO_PEEK_OFF follows what is looked at and what is taken.
    pub fn advance_peek_offset(&self, by: i64) {
        let offset = self.options.peek_offset.load(Ordering::Relaxed);
        if offset >= 0 {
            let moved = (i64::from(offset) + by).clamp(0, i64::from(i32::MAX));
            self.options.peek_offset.store(moved as i32, Ordering::Relaxed);
        }
    }
}
