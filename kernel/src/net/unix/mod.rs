//! Unix-domain sockets (unix(7)).
//!
//! An [`Endpoint`] is one socket: what was sent to it waits in its own queue, and its peer is the endpoint that it sends to. The sender pays
//! for what waits (`charged`), as on Linux.
//!
//! Lock order: `Endpoint::reading` (sleeps) → `Endpoint::inner` of one endpoint at a time, or `names`' or `rights`' lists → nothing.
//! Nobody is notified, and no file or endpoint dropped, under `inner`.

mod connect;
mod cycles;
mod message;
mod names;
mod packet;
mod queue;
pub mod rights;
mod short;
mod show;
mod stream;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use abi::Errno;

use super::options::{Options, so};
use super::{Credentials, Incoming, Kind, Outgoing, SocketOps, Whose, msg, shut};
use crate::fs::lock::SleepLock;
use crate::fs::poll::{Events, PollHead, Poller};
use crate::mm::user::UserRange;
use crate::mm::{Sink, Source, UserPtr};
use crate::sync::SpinLock;
use crate::syscall::{SysError, SysResult};
use crate::task::{WaitError, current};
use message::Message;
use names::Address;
use queue::Queue;

pub use connect::{new, pair};
pub use show::write_table;

/// What a reader hears, and what a writer does.
const INPUT: Events = Events::IN.union(Events::RDNORM).union(Events::RDBAND);
const OUTPUT: Events = Events::OUT.union(Events::WRNORM).union(Events::WRBAND);

/// Most messages that wait for a datagram socket from senders that it isn't connected to (`net.unix.max_dgram_qlen`).
const MAX_QUEUE: usize = 10;

/// How far a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Closed = 0,
    /// A connect(2) is under way.
    Connecting = 1,
    Listening = 2,
    /// Stays so when the peer goes.
    Connected = 3,
}

/// What changes under the lock.
struct Inner {
    address: Option<Arc<Address>>,
    peer: Option<Arc<Endpoint>>,
    /// The peer's; a listener's own.
    credentials: Option<Credentials>,
    messages: Queue,
    /// Of a listener: connections that nobody has accepted yet, and how many there may be.
    pending: VecDeque<Arc<Endpoint>>,
    backlog: usize,
    /// Endpoints that wait for room in one of the queues.
    waiting: Vec<Weak<Endpoint>>,
    /// The file is closed.
    is_dead: bool,
}

/// A socket.
pub struct Endpoint {
    kind: Kind,
    options: Options,
    /// Changed under `inner`.
    state: AtomicU32,
    /// Bits of [`shut`], changed under `inner`.
    shutdown: AtomicU32,
    /// What messages on their way from here cost, bytes.
    charged: AtomicUsize,
    /// When it was last sent in a message, as `cycles` counts.
    departed_in: AtomicU32,
    /// In sockfs; 0 until accepted.
    inode: AtomicU64,
    /// Where it stands in the list of all, changed under the list's lock.
    listed_at: AtomicUsize,
    inner: SpinLock<Inner>,
    /// Held by a reader that takes messages.
    reading: SleepLock,
    readable: PollHead,
    writable: PollHead,
}

/// The running process as a peer of others sees it: by its effective IDs.
fn own_credentials() -> Credentials {
    let process = &current().process;
    let cred = process.cred.lock();
    Credentials { pid: process.pid, uid: cred.euid, gid: cred.egid }
}

/// Sleeps until `condition` holds. EAGAIN at the deadline; a call with a deadline isn't restarted.
fn sleep<T>(
    head: &PollHead,
    deadline: Option<u64>,
    condition: &mut dyn FnMut() -> Option<T>,
) -> Result<T, SysError> {
    head.wait(deadline, condition).map_err(|error| match error {
        WaitError::TimedOut => Errno::EAGAIN.into(),
        WaitError::Interrupted if deadline.is_some() => Errno::EINTR.into(),
        WaitError::Interrupted => error.into(),
    })
}

impl Endpoint {
    fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            kind,
            options: Options::default(),
            state: AtomicU32::new(State::Closed as u32),
            shutdown: AtomicU32::new(0),
            charged: AtomicUsize::new(0),
            departed_in: AtomicU32::new(0),
            inode: AtomicU64::new(0),
            listed_at: AtomicUsize::new(0),
            inner: SpinLock::new(Inner {
                address: None,
                peer: None,
                credentials: None,
                messages: Queue::default(),
                pending: VecDeque::new(),
                backlog: MAX_QUEUE,
                waiting: Vec::new(),
                is_dead: false,
            }),
            reading: SleepLock::new(),
            readable: PollHead::new(),
            writable: PollHead::new(),
        })
    }

    #[inline]
    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u32
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    #[inline]
    fn is_shut(&self, how: u32) -> bool {
        self.shutdown.load(Ordering::Acquire) & how != 0
    }

    fn peer(&self) -> Option<Arc<Self>> {
        self.inner.lock().peer.clone()
    }

    fn limit(&self) -> usize {
        self.options.send_buffer.load(Ordering::Relaxed) as usize
    }

    /// Whether poll says that it can be written: a quarter of the buffer may be in use.
    fn has_room(&self) -> bool {
        self.charged.load(Ordering::Acquire).saturating_mul(4) <= self.limit()
    }

    /// A message from here has left its queue.
    #[inline(always)]
    fn discharge(&self, charge: u32) {
        self.charged.fetch_sub(charge as usize, Ordering::AcqRel);
        if self.has_room() {
            self.writable.notify_of(OUTPUT);
        }
    }

    /// Whether the send buffer takes another message, and nothing speaks against it.
    #[inline]
    fn can_send(&self) -> bool {
        self.charged.load(Ordering::Acquire) < self.limit()
            && !self.options.has_error()
            && !self.is_shut(shut::WRITE)
    }

    /// Waits until the send buffer takes another message. EPIPE (without a signal), EAGAIN, the pending error.
    fn wait_for_buffer(&self, flags: u32) -> Result<(), SysError> {
        if self.can_send() {
            return Ok(());
        }
        self.wait_for_buffer_slowly(flags)
    }

    #[cold]
    fn wait_for_buffer_slowly(&self, flags: u32) -> Result<(), SysError> {
        let deadline = self.options.send_deadline();
        loop {
            self.options.check_error()?;
            if self.is_shut(shut::WRITE) {
                return Err(Errno::EPIPE.into());
            }
            let has_space = || self.charged.load(Ordering::Acquire) < self.limit();
            if has_space() {
                return Ok(());
            }
            if flags & msg::DONTWAIT != 0 {
                return Err(Errno::EAGAIN.into());
            }
            let changed = || has_space() || self.options.has_error() || self.is_shut(shut::WRITE);
            sleep(&self.writable, deadline, &mut || changed().then_some(()))?;
        }
    }

    /// Those who waited for room look again.
    fn wake_waiting(&self) {
        let waiting = core::mem::take(&mut self.inner.lock().waiting);
        for endpoint in waiting.iter().filter_map(Weak::upgrade) {
            endpoint.writable.notify_of(OUTPUT);
        }
    }

    /// Everybody looks again: `end` if nothing goes either way any more.
    fn notify_all(&self, end: bool) {
        // Signals tell the two apart by the last bit, and come from the first head alone.
        self.readable.notify_of(if end { Events::all() } else { Events::all().difference(Events::MSG) });
        self.writable.notify_of(OUTPUT.union(Events::ERR).union(Events::HUP).union(Events::RDHUP));
    }

    /// Whether SO_PASSCRED asks for the senders' credentials.
    #[inline]
    fn wants_credentials(&self) -> bool {
        self.options.is_on(so::PASSCRED)
    }

    /// close(2) of the last descriptor.
    fn release(self: &Arc<Self>) {
        self.close(false);
    }

    /// The end of a socket; `is_refused` if it was never accepted.
    fn close(self: &Arc<Self>, is_refused: bool) {
        names::forget(self);
        let (messages, pending, peer) = {
            let mut inner = self.inner.lock();
            inner.is_dead = true;
            self.shutdown.store(shut::BOTH, Ordering::Release);
            let messages = core::mem::take(&mut inner.messages);
            (messages, core::mem::take(&mut inner.pending), inner.peer.take())
        };
        if let Some(peer) = peer
            && self.kind != Kind::Datagram
        {
            {
                let _inner = peer.inner.lock();
                peer.shutdown.store(shut::BOTH, Ordering::Release);
                if is_refused || !messages.is_empty() {
                    peer.options.set_error(Errno::ECONNRESET);
                }
            }
            peer.notify_all(true);
        }
        self.wake_waiting();
        self.notify_all(true);
        drop_messages(messages);
        for embryo in pending {
            embryo.close(true);
        }
    }
}

impl Endpoint {
    /// Looks at everything that waits here, also for connections that nobody has accepted.
    fn for_each_message(&self, look: &mut dyn FnMut(&Message)) {
        let pending: Vec<Arc<Self>> = {
            let mut inner = self.inner.lock();
            inner.messages.all().iter().for_each(&mut *look);
            inner.pending.iter().cloned().collect()
        };
        pending.iter().for_each(|embryo| embryo.for_each_message(look));
    }
}

/// Messages that nobody will read.
fn drop_messages(messages: Queue) {
    for message in messages {
        message.sender.discharge(message.charge);
    }
}

/// The socket as its file sees it.
struct UnixSocket(Arc<Endpoint>);

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.0.release();
        cycles::collect();
    }
}

impl SocketOps for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn kind(&self) -> Kind {
        self.0.kind
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn opened(&self, inode: u64) {
        self.0.inode.store(inode, Ordering::Relaxed);
    }

    fn bind(&self, address: &[u8], mode: u32) -> Result<(), Errno> {
        self.0.bind(address, mode)
    }

    fn connect(&self, address: &[u8], flags: u32) -> Result<(), SysError> {
        match self.0.kind {
            Kind::Datagram => Ok(self.0.connect_datagram(address)?),
            _ => self.0.connect_stream(address, flags),
        }
    }

    fn listen(&self, backlog: u32) -> Result<(), Errno> {
        self.0.listen(backlog)
    }

    fn is_listening(&self) -> bool {
        self.0.is(State::Listening)
    }

    fn accept(&self, flags: u32) -> Result<Box<dyn SocketOps>, SysError> {
        Ok(Box::new(Self(self.0.accept(flags)?)))
    }

    fn address(&self, whose: Whose) -> Result<Vec<u8>, Errno> {
        match whose {
            Whose::Own => Ok(self.0.address_bytes()),
            Whose::Peer => Ok(self.0.peer().ok_or(Errno::ENOTCONN)?.address_bytes()),
        }
    }

    fn peer_credentials(&self) -> Option<Credentials> {
        self.0.inner.lock().credentials
    }

    fn send(&self, src: &mut Source<'_>, flags: u32, with: Option<&Outgoing<'_>>) -> SysResult {
        match self.0.kind {
            Kind::Stream => self.0.send_stream(src, flags, with),
            _ => self.0.send_packet(src, flags, with),
        }
    }

    fn write_program(&self, buf: UserRange, flags: u32) -> SysResult {
        match self.0.send_short(buf) {
            Some(len) => Ok(len),
            None => self.send(&mut buf.source(), flags, None),
        }
    }

    fn read_program(&self, buf: UserRange, flags: u32) -> SysResult {
        self.0.read_program(buf, flags)
    }

    fn receive(&self, dst: &mut Sink<'_>, flags: u32, with: Option<&mut Incoming>) -> SysResult {
        match self.0.kind {
            Kind::Stream => self.0.receive_stream(dst, flags, with),
            _ => self.0.receive_packet(dst, flags, with),
        }
    }

    fn shutdown(&self, how: u32) -> Result<(), Errno> {
        let shut = |endpoint: &Endpoint, how: u32| {
            {
                let _inner = endpoint.inner.lock();
                endpoint.shutdown.fetch_or(how, Ordering::AcqRel);
            }
            endpoint.notify_all(endpoint.is_shut(shut::READ) && endpoint.is_shut(shut::WRITE));
        };
        shut(&self.0, how);
        if let Some(peer) = self.0.peer().filter(|_| self.0.kind != Kind::Datagram) {
            // One side's reading is the other's writing.
            shut(&peer, (how & shut::READ) << 1 | how >> 1);
        }
        Ok(())
    }

    fn poll(&self, poller: Poller<'_>) -> Events {
        self.0.poll(poller)
    }

    fn ioctl(&self, command: u32, argument: usize) -> SysResult {
        const SIOCOUTQ: u32 = 0x5411;
        const SIOCINQ: u32 = 0x541b;
        let bytes = match command {
            SIOCOUTQ => self.0.charged.load(Ordering::Acquire),
            SIOCINQ if self.is_listening() => return Err(Errno::EINVAL.into()),
            SIOCINQ => {
                let mut inner = self.0.inner.lock();
                let lens = inner.messages.all().iter().map(Message::remaining);
                if self.0.kind == Kind::Datagram { lens.take(1).sum() } else { lens.sum() }
            }
            _ => return Err(Errno::ENOTTY.into()),
        };
        UserPtr::<i32>::new(argument).write(&(bytes as i32))?;
        Ok(0)
    }

    fn send_buffer_changed(&self) {
        if self.0.has_room() {
            self.0.writable.notify_of(OUTPUT);
        }
    }
}

impl Endpoint {
    fn poll(self: &Arc<Self>, poller: Poller<'_>) -> Events {
        self.readable.add(poller);
        self.writable.add(poller);
        let (has_input, peer) = {
            let inner = self.inner.lock();
            let peer = if self.kind == Kind::Datagram { inner.peer.clone() } else { None };
            (!inner.messages.is_empty() || !inner.pending.is_empty(), peer)
        };
        let shutdown = self.shutdown.load(Ordering::Acquire);
        let mut events = Events::empty();
        events.set(Events::ERR, self.options.has_error());
        let is_closed =
            self.kind != Kind::Datagram && !self.is(State::Connected) && !self.is(State::Listening);
        events.set(Events::HUP, shutdown == shut::BOTH || is_closed);
        events.set(Events::RDHUP, shutdown & shut::READ != 0);
        if has_input || shutdown & shut::READ != 0 {
            events |= Events::READABLE;
        }
        // A full peer tells when it has room again.
        let is_blocked = || peer.as_ref().is_some_and(|peer| self.is_blocked_by(peer));
        if !self.is(State::Listening) && self.has_room() && !is_blocked() {
            events |= OUTPUT;
        }
        events
    }

    /// Whether a datagram's receiver has a full queue. Then it will notify this endpoint's writers.
    fn is_blocked_by(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        if Arc::ptr_eq(self, other) {
            return false;
        }
        let mut inner = other.inner.lock();
        let is_own = inner.peer.as_ref().is_some_and(|back| Arc::ptr_eq(back, self));
        if is_own || inner.is_dead || inner.messages.len() <= MAX_QUEUE {
            return false;
        }
        inner.await_room(self);
        true
    }
}

impl Inner {
    /// Notes who waits for room.
    fn await_room(&mut self, endpoint: &Arc<Endpoint>) {
        // The place of one that was closed meanwhile is as good as its own.
        let may_stand_at = |weak: &&mut Weak<Endpoint>| {
            core::ptr::eq(weak.as_ptr(), Arc::as_ptr(endpoint)) || weak.strong_count() == 0
        };
        if let Some(place) = self.waiting.iter_mut().find(may_stand_at) {
            *place = Arc::downgrade(endpoint);
        } else if self.waiting.try_reserve(1).is_ok() {
            // Without memory nobody wakes the sender but time or a signal.
            self.waiting.push(Arc::downgrade(endpoint));
        }
    }
}
