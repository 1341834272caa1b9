//! Options at the level SOL_SOCKET (socket(7)).

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use abi::{Errno, Timeval};
use caps::cap;
use zerocopy::IntoBytes;

use super::Socket;
use crate::mm::UserPtr;
use crate::task::process::has_capability;
use crate::time::NS_PER_SEC;

/// `net.core.wmem_default` and its likes.
const DEFAULT_BUFFER: u32 = 212_992;
/// `SOCK_MIN_SNDBUF` and `SOCK_MIN_RCVBUF`.
const MIN_SEND: u32 = 4608;
const MIN_RECEIVE: u32 = 2304;

/// `SO_*`
pub mod so {
    pub const DEBUG: u32 = 1;
    pub const REUSEADDR: u32 = 2;
    pub const TYPE: u32 = 3;
    pub const ERROR: u32 = 4;
    pub const DONTROUTE: u32 = 5;
    pub const BROADCAST: u32 = 6;
    pub const SNDBUF: u32 = 7;
    pub const RCVBUF: u32 = 8;
    pub const KEEPALIVE: u32 = 9;
    pub const OOBINLINE: u32 = 10;
    pub const NO_CHECK: u32 = 11;
    pub const PRIORITY: u32 = 12;
    pub const LINGER: u32 = 13;
    pub const PASSCRED: u32 = 16;
    pub const PEERCRED: u32 = 17;
    pub const RCVLOWAT: u32 = 18;
    pub const SNDLOWAT: u32 = 19;
    pub const RCVTIMEO: u32 = 20;
    pub const SNDTIMEO: u32 = 21;
    pub const ACCEPTCONN: u32 = 30;
    pub const SNDBUFFORCE: u32 = 32;
    pub const RCVBUFFORCE: u32 = 33;
    pub const PROTOCOL: u32 = 38;
    pub const DOMAIN: u32 = 39;
    pub const PEEK_OFF: u32 = 42;
}

/// What a program has set.
pub struct Options {
    /// Options that are on or off, by number.
    switches: AtomicU32,
    /// SO_SNDBUF and SO_RCVBUF, bytes.
    pub send_buffer: AtomicU32,
    receive_buffer: AtomicU32,
    /// ns; 0 for ever.
    send_timeout: AtomicU64,
    receive_timeout: AtomicU64,
    /// An error to report once.
    error: AtomicU32,
    /// SO_PEEK_OFF; -1 for none.
    pub peek_offset: AtomicI32,
    pub low_water: AtomicU32,
    priority: AtomicU32,
    linger_s: AtomicU32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            switches: AtomicU32::new(0),
            send_buffer: AtomicU32::new(DEFAULT_BUFFER),
            receive_buffer: AtomicU32::new(DEFAULT_BUFFER),
            send_timeout: AtomicU64::new(0),
            receive_timeout: AtomicU64::new(0),
            error: AtomicU32::new(0),
            peek_offset: AtomicI32::new(-1),
            low_water: AtomicU32::new(1),
            priority: AtomicU32::new(0),
            linger_s: AtomicU32::new(0),
        }
    }
}

/// A timeout's end on the monotonic clock.
fn deadline(timeout: &AtomicU64) -> Option<u64> {
    match timeout.load(Ordering::Relaxed) {
        0 => None,
        ns => Some(crate::time::monotonic_ns().saturating_add(ns)),
    }
}

impl Options {
    /// Whether SO_RCVTIMEO is set.
    #[inline(always)]
    pub fn receives_by_a_deadline(&self) -> bool {
        self.receive_timeout.load(Ordering::Relaxed) != 0
    }

    #[inline]
    pub fn is_on(&self, option: u32) -> bool {
        self.switches.load(Ordering::Relaxed) & 1 << option != 0
    }

    pub fn switch(&self, option: u32, on: bool) {
        let bit = 1 << option;
        if on {
            self.switches.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.switches.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    pub fn send_deadline(&self) -> Option<u64> {
        deadline(&self.send_timeout)
    }

    pub fn receive_deadline(&self) -> Option<u64> {
        deadline(&self.receive_timeout)
    }

    pub fn set_error(&self, error: Errno) {
        self.error.store(error.raw().into(), Ordering::Release);
    }

    #[inline]
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0
    }

    /// Reports the pending error, once.
    #[inline]
    pub fn check_error(&self) -> Result<(), Errno> {
        if self.has_error() { Err(self.take_error()) } else { Ok(()) }
    }

    #[cold]
    fn take_error(&self) -> Errno {
        Errno::from_raw(self.error.swap(0, Ordering::AcqRel) as u16)
    }
}

/// An option's value, as it is read.
enum Value {
    Number(u32),
    Words([u32; 3]),
    Pair([u32; 2]),
    Time(u64),
}

/// getsockopt(2) at SOL_SOCKET. ENOPROTOOPT; EINVAL, EFAULT.
pub fn get(socket: &Socket, name: u32, out: UserPtr<u8>, len: UserPtr<u32>) -> Result<(), Errno> {
    let room = usize::try_from(len.read()?.cast_signed()).map_err(|_| Errno::EINVAL)?;
    let options = socket.ops.options();
    let load = |word: &AtomicU32| Value::Number(word.load(Ordering::Relaxed));
    let value = match name {
        so::DEBUG
        | so::REUSEADDR
        | so::DONTROUTE
        | so::BROADCAST
        | so::KEEPALIVE
        | so::OOBINLINE
        | so::NO_CHECK
        | so::PASSCRED => Value::Number(options.is_on(name).into()),
        so::TYPE => Value::Number(socket.ops.kind() as u32),
        so::ERROR => Value::Number(options.check_error().err().map_or(0, |error| error.raw().into())),
        so::DOMAIN => Value::Number(socket.domain),
        so::PROTOCOL => Value::Number(0),
        so::ACCEPTCONN => Value::Number(socket.ops.is_listening().into()),
        so::SNDBUF => load(&options.send_buffer),
        so::RCVBUF => load(&options.receive_buffer),
        so::RCVLOWAT => load(&options.low_water),
        so::SNDLOWAT => Value::Number(1),
        so::PRIORITY => load(&options.priority),
        so::PEEK_OFF => Value::Number(options.peek_offset.load(Ordering::Relaxed).cast_unsigned()),
        so::LINGER => Value::Pair([options.is_on(name).into(), options.linger_s.load(Ordering::Relaxed)]),
        so::RCVTIMEO => Value::Time(options.receive_timeout.load(Ordering::Relaxed)),
        so::SNDTIMEO => Value::Time(options.send_timeout.load(Ordering::Relaxed)),
        so::PEERCRED => Value::Words(
            socket
                .ops
                .peer_credentials()
                .map_or([0, u32::MAX, u32::MAX], |peer| [peer.pid, peer.uid, peer.gid]),
        ),
        _ => return Err(Errno::ENOPROTOOPT),
    };
    let time;
    let bytes = match &value {
        Value::Number(number) => number.as_bytes(),
        Value::Words(words) => words.as_bytes(),
        Value::Pair(pair) => pair.as_bytes(),
        Value::Time(ns) => {
            time = Timeval {
                sec: (ns / NS_PER_SEC).cast_signed(),
                usec: (ns % NS_PER_SEC / 1000).cast_signed(),
            };
            time.as_bytes()
        }
    };
    let count = bytes.len().min(room);
    out.write_bytes(bytes.get(..count).unwrap_or_default())?;
    len.write(&(count as u32))
}

fn timeout(from: UserPtr<u8>, len: usize) -> Result<u64, Errno> {
    if len < size_of::<Timeval>() {
        return Err(Errno::EINVAL);
    }
    let time = from.field::<Timeval>(0).read()?;
    let Some(micros) = u64::try_from(time.usec).ok().filter(|&micros| micros < 1_000_000) else {
        return Err(Errno::EDOM);
    };
    // A negative time is no time: the shortest that isn't "for ever".
    let Ok(seconds) = u64::try_from(time.sec) else { return Ok(1) };
    Ok(seconds.saturating_mul(NS_PER_SEC).saturating_add(micros * 1000))
}

/// setsockopt(2) at SOL_SOCKET. ENOPROTOOPT; EINVAL, EFAULT, EDOM, EPERM, EACCES.
pub fn set(socket: &Socket, name: u32, from: UserPtr<u8>, len: usize) -> Result<(), Errno> {
    if len < size_of::<i32>() {
        return Err(Errno::EINVAL);
    }
    let value = from.field::<i32>(0).read()?;
    let options = socket.ops.options();
    match name {
        so::DEBUG if value != 0 && !has_capability(cap::NET_ADMIN) => return Err(Errno::EACCES),
        so::DEBUG
        | so::REUSEADDR
        | so::DONTROUTE
        | so::BROADCAST
        | so::KEEPALIVE
        | so::OOBINLINE
        | so::NO_CHECK
        | so::PASSCRED => options.switch(name, value != 0),
        so::SNDBUFFORCE | so::RCVBUFFORCE if !has_capability(cap::NET_ADMIN) => return Err(Errno::EPERM),
        so::SNDBUF | so::SNDBUFFORCE => {
            options.send_buffer.store(buffer(value, name == so::SNDBUF).max(MIN_SEND), Ordering::Relaxed);
            socket.ops.send_buffer_changed();
        }
        so::RCVBUF | so::RCVBUFFORCE => {
            let size = buffer(value, name == so::RCVBUF).max(MIN_RECEIVE);
            options.receive_buffer.store(size, Ordering::Relaxed);
        }
        so::PRIORITY => {
            if !(0..=6).contains(&value) && !has_capability(cap::NET_ADMIN) {
                return Err(Errno::EPERM);
            }
            options.priority.store(value.cast_unsigned(), Ordering::Relaxed);
        }
        so::RCVLOWAT => {
            let mark = if value < 0 { i32::MAX } else { value.max(1) };
            options.low_water.store(mark.cast_unsigned(), Ordering::Relaxed);
        }
        so::RCVTIMEO => options.receive_timeout.store(timeout(from, len)?, Ordering::Relaxed),
        so::SNDTIMEO => options.send_timeout.store(timeout(from, len)?, Ordering::Relaxed),
        so::PEEK_OFF => options.peek_offset.store(value.max(-1), Ordering::Relaxed),
        so::LINGER => {
            if len < size_of::<[u32; 2]>() {
                return Err(Errno::EINVAL);
            }
            let [on, seconds] = from.field::<[u32; 2]>(0).read()?;
            options.switch(name, on != 0);
            if on != 0 {
                options.linger_s.store(seconds, Ordering::Relaxed);
            }
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// SO_SNDBUF and SO_RCVBUF are doubled, and bounded unless forced.
fn buffer(value: i32, is_bounded: bool) -> u32 {
    const LARGEST: u32 = i32::MAX as u32 / 2;
    let value =
        if is_bounded { value.cast_unsigned().min(DEFAULT_BUFFER) } else { value.max(0).cast_unsigned() };
    value.min(LARGEST) * 2
}
