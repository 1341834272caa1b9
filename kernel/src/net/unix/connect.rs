//! How endpoints find each other: pairs, listening and accepting, connecting.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::Errno;
use sockmsg::address;

use super::{Endpoint, INPUT, State, UnixSocket, drop_messages, names, own_credentials, sleep};
use crate::net::options::so;
use crate::net::{Kind, SocketOps, msg, shut};
use crate::syscall::SysError;

/// `AF_UNSPEC`
const UNSPECIFIED: u16 = 0;

/// socket(2).
pub fn new(kind: Kind) -> Box<dyn SocketOps> {
    let endpoint = Endpoint::new(kind);
    names::register(&endpoint);
    Box::new(UnixSocket(endpoint))
}

/// socketpair(2).
pub fn pair(kind: Kind) -> [Box<dyn SocketOps>; 2] {
    let ends = [Endpoint::new(kind), Endpoint::new(kind)];
    let [a, b] = &ends;
    for (end, peer) in [(a, b), (b, a)] {
        let mut inner = end.inner.lock();
        inner.peer = Some(peer.clone());
        inner.credentials = Some(own_credentials());
        end.set_state(State::Connected);
    }
    ends.map(|end| -> Box<dyn SocketOps> {
        names::register(&end);
        Box::new(UnixSocket(end))
    })
}

impl Endpoint {
    /// listen(2). EOPNOTSUPP, EINVAL.
    pub fn listen(&self, backlog: u32) -> Result<(), Errno> {
        if self.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        {
            let own = own_credentials();
            let mut inner = self.inner.lock();
            if inner.address.is_none() || !(self.is(State::Closed) || self.is(State::Listening)) {
                return Err(Errno::EINVAL);
            }
            inner.backlog = backlog as usize;
            inner.credentials = Some(own);
            self.set_state(State::Listening);
        }
        self.wake_waiting();
        Ok(())
    }

    /// accept(2). EOPNOTSUPP, EINVAL, EAGAIN.
    pub fn accept(&self, flags: u32) -> Result<Arc<Self>, SysError> {
        if self.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if !self.is(State::Listening) {
            return Err(Errno::EINVAL.into());
        }
        let mut deadline = None;
        loop {
            self.options.check_error()?;
            let first = self.inner.lock().pending.pop_front();
            if let Some(first) = first {
                self.wake_waiting();
                return Ok(first);
            }
            if flags & msg::DONTWAIT != 0 {
                return Err(Errno::EAGAIN.into());
            }
            if self.is_shut(shut::READ) {
                return Err(Errno::EINVAL.into());
            }
            let until = *deadline.get_or_insert_with(|| self.options.receive_deadline());
            let has_come = || !self.inner.lock().pending.is_empty() || self.is_shut(shut::READ);
            sleep(&self.readable, until, &mut || has_come().then_some(()))?;
        }
    }

    /// connect(2) of a stream or of packets in order. ECONNREFUSED, EISCONN, EINVAL, EAGAIN; what the address says.
    pub fn connect_stream(self: &Arc<Self>, raw: &[u8], flags: u32) -> Result<(), SysError> {
        address::parse(raw).map_err(|_| Errno::EINVAL)?;
        self.bind_for_credentials()?;
        let mut deadline = None;
        let own = own_credentials();
        let server = Self::new(self.kind);
        loop {
            let listener = names::look_up(raw, self.kind)?;
            let refused = || !listener.is(State::Listening) || listener.is_shut(shut::READ);
            let is_full = {
                let mut inner = listener.inner.lock();
                if refused() {
                    return Err(Errno::ECONNREFUSED.into());
                }
                let is_full = inner.pending.len() > inner.backlog;
                if is_full {
                    inner.await_room(self);
                }
                is_full
            };
            if is_full {
                if flags & msg::DONTWAIT != 0 {
                    return Err(Errno::EAGAIN.into());
                }
                let until = *deadline.get_or_insert_with(|| self.options.send_deadline());
                sleep(&self.writable, until, &mut || {
                    let mut inner = listener.inner.lock();
                    if inner.pending.len() <= inner.backlog || inner.is_dead || refused() {
                        return Some(());
                    }
                    inner.await_room(self);
                    None
                })?;
                continue;
            }
            {
                let mut inner = self.inner.lock();
                if self.is(State::Connected) {
                    return Err(Errno::EISCONN.into());
                }
                if !self.is(State::Closed) {
                    return Err(Errno::EINVAL.into());
                }
                self.set_state(State::Connecting);
                inner.peer = Some(server.clone());
            }
            {
                let mut inner = server.inner.lock();
                inner.peer = Some(self.clone());
                inner.credentials = Some(own);
                server.set_state(State::Connected);
            }
            // Before somebody can accept it, and close it.
            names::register(&server);
            let entered = {
                let mut inner = listener.inner.lock();
                let is_possible = !inner.is_dead && !refused() && inner.pending.len() <= inner.backlog;
                if is_possible {
                    server.inner.lock().address.clone_from(&inner.address);
                    server.options.switch(so::PASSCRED, listener.wants_credentials());
                    inner.pending.push_back(server.clone());
                }
                is_possible.then_some(inner.credentials)
            };
            let mut inner = self.inner.lock();
            if let Some(credentials) = entered {
                inner.credentials = credentials;
                self.set_state(State::Connected);
                drop(inner);
                listener.readable.notify_of(INPUT);
                return Ok(());
            }
            // Somebody was faster: from the start.
            self.set_state(State::Closed);
            let none = inner.peer.take();
            drop(inner);
            drop(none);
            names::forget(&server);
        }
    }

    /// connect(2) of a datagram socket: where what is sent without an address goes, and whose datagrams are taken. ECONNREFUSED, EPERM.
    pub fn connect_datagram(self: &Arc<Self>, raw: &[u8]) -> Result<(), Errno> {
        let family = address::family(raw).ok_or(Errno::EINVAL)?;
        let peer = if family == UNSPECIFIED {
            None
        } else {
            address::parse(raw).map_err(|_| Errno::EINVAL)?;
            self.bind_for_credentials()?;
            let peer = names::look_up(raw, self.kind)?;
            if !self.may_send_to(&peer) {
                return Err(Errno::EPERM);
            }
            Some(peer)
        };
        let old = {
            let mut inner = self.inner.lock();
            self.set_state(if peer.is_some() { State::Connected } else { State::Closed });
            core::mem::replace(&mut inner.peer, peer.clone())
        };
        if let Some(old) = old
            && !peer.is_some_and(|peer| Arc::ptr_eq(&peer, &old))
        {
            self.disconnected(&old);
        }
        Ok(())
    }

    /// A datagram socket that is connected takes only what its peer sends.
    pub fn may_send_to(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        other.inner.lock().peer.as_ref().is_none_or(|peer| Arc::ptr_eq(peer, self))
    }

    /// What the old peer sent is lost; it hears of it.
    pub fn disconnected(self: &Arc<Self>, old: &Arc<Self>) {
        let lost = {
            // Who looks at a message has its bytes out, and puts them back by its place.
            let _guard = self.reading.lock();
            core::mem::take(&mut self.inner.lock().messages)
        };
        if lost.is_empty() {
            return;
        }
        drop_messages(lost);
        self.wake_waiting();
        let is_mutual = {
            let inner = old.inner.lock();
            !inner.is_dead && inner.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(peer, self))
        };
        if is_mutual {
            old.options.set_error(Errno::ECONNRESET);
            old.notify_all(true);
        }
    }

    /// The inode number in sockfs, for /proc.
    pub fn inode_number(&self) -> u64 {
        self.inode.load(Ordering::Relaxed)
    }
}
