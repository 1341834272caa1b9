//! The short way of streams: a message of a few bytes with nothing beside it, by read(2) and write(2). Whatever is out of the ordinary goes the
//! long way (`stream`), which says what comes of it.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sockmsg::charge;

use super::message::SHORT;
use super::{Endpoint, INPUT, Kind, State};
use crate::mm::user::UserRange;
use crate::net::{msg, shut};
use crate::syscall::SysResult;

/// What comes of a short read.
enum Short {
    Took(usize),
    Empty,
    /// The long way says.
    Other,
}

impl Endpoint {
    /// Sends a short message. `None`: the long way.
    #[inline(always)]
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
        let mut inner = peer.inner.lock();
        if !inner.messages.is_empty() || inner.is_dead || peer.is_shut(shut::READ) {
            return None;
        }
        self.charged.fetch_add(charge, Ordering::AcqRel);
        inner.messages.put_alone(self, bytes, len as u8, charge as u32);
        drop(inner);
        peer.readable.notify_of(INPUT);
        Some(len)
    }

    /// read(2).
    pub fn read_program(&self, buf: UserRange, flags: u32) -> SysResult {
        // Nothing asked for is nothing done, unlike recv(2).
        if buf.len() == 0 {
            return Ok(0);
        }
        loop {
            match self.receive_short(buf) {
                Short::Took(len) => return Ok(len),
                Short::Empty if flags & msg::DONTWAIT == 0 => {}
                _ => return self.read_generally(buf, flags),
            }
            let has_ended = || self.is_shut(shut::READ) || self.options.has_error();
            if has_ended() || self.options.receives_by_a_deadline() {
                return self.read_generally(buf, flags);
            }
            let has_come = || self.has_messages() || has_ended();
            let slept = self.readable.sleep_unless(None, has_come);
            if slept.is_err() && !has_come() {
                slept?;
            }
        }
    }

    #[inline(never)]
    fn read_generally(&self, buf: UserRange, flags: u32) -> SysResult {
        match self.kind {
            Kind::Stream => self.receive_stream(&mut buf.sink(), flags, None),
            _ => self.receive_packet(&mut buf.sink(), flags, None),
        }
    }

    /// Receives the only message, if it is a short one and fits.
    #[inline(always)]
    fn receive_short(&self, buf: UserRange) -> Short {
        if self.kind != Kind::Stream
            || !self.is(State::Connected)
            || self.wants_credentials()
            || self.options.peek_offset.load(Ordering::Relaxed) >= 0
        {
            return Short::Other;
        }
        let _guard = self.reading.lock();
        let mut inner = self.inner.lock();
        let Some((bytes, len)) = inner.messages.alone() else {
            return if inner.messages.is_empty() { Short::Empty } else { Short::Other };
        };
        let wanted = self.options.low_water.load(Ordering::Relaxed) as usize;
        if len > buf.len() || len < wanted.min(buf.len()) {
            return Short::Other;
        }
        let Some((sender, charge)) = inner.messages.drop_alone() else { return Short::Other };
        drop(inner);
        if bytes.get(..len).and_then(|bytes| buf.write(bytes)).is_none() {
            self.inner.lock().messages.put_back(sender, bytes, len, charge);
            return Short::Other;
        }
        sender.discharge(charge);
        Short::Took(len)
    }
}
