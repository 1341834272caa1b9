//! signalfd(2): pending signals of whoever reads, taken from a descriptor.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use abi::{Errno, OpenFlags, SigSet};
use zerocopy::IntoBytes;

use super::anon;
use super::file::{FileOps, Mode, OpenFile, Whence};
use super::poll::{Events, PollHead, Poller};
use crate::mm::Sink;
use crate::syscall::SysResult;
use crate::task::{current, signal};

/// Size of `struct signalfd_siginfo`.
const RECORD_SIZE: usize = 128;

/// All who wait on such a descriptor: signals that nobody handles are rare, and who wakes looks at its own.
static SENT: PollHead = PollHead::new();
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A signal that is blocked, or not yet handled, was sent to somebody.
#[inline(always)]
pub fn notify_sent() {
    if OPEN.load(Ordering::Relaxed) > 0 {
        SENT.notify();
    }
}

struct SignalFile {
    wanted: AtomicU64,
}

impl SignalFile {
    fn wanted(&self) -> SigSet {
        SigSet(self.wanted.load(Ordering::Relaxed))
    }

    fn take(&self) -> Option<signal::Info> {
        let me = current();
        me.process.signals.lock().take(me, self.wanted())
    }
}

impl Drop for SignalFile {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileOps for SignalFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        if dst.remaining() < RECORD_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let mut done = 0;
        while dst.remaining() >= RECORD_SIZE {
            let info = match self.take() {
                Some(info) => info,
                None if done > 0 => break,
                None if file.is_nonblocking() => return Err(Errno::EAGAIN.into()),
                None => SENT.wait(None, || self.take())?,
            };
            match dst.write(info.to_signalfd().as_bytes()) {
                Ok(len) if len == RECORD_SIZE => done += len,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT.into()),
            }
        }
        Ok(done)
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        SENT.add(poller);
        if signal::has_pending(current(), self.wanted()) { Events::IN } else { Events::empty() }
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn describe(&self, out: &mut dyn fmt::Write) {
        let _ = writeln!(out, "sigmask:\t{:016x}", self.wanted().0);
    }
}

/// A new descriptor for these signals.
pub fn new(wanted: SigSet, flags: OpenFlags) -> Arc<OpenFile> {
    OPEN.fetch_add(1, Ordering::Relaxed);
    let file = SignalFile { wanted: AtomicU64::new(wanted.0) };
    anon::open("[signalfd]", flags | OpenFlags::RDWR, Mode::READ | Mode::WRITE | Mode::LSEEK, file)
}

/// Other signals for a descriptor that is there. EINVAL for other files.
pub fn set(file: &OpenFile, wanted: SigSet) -> Result<(), Errno> {
    let file = file.ops.as_any().downcast_ref::<SignalFile>().ok_or(Errno::EINVAL)?;
    file.wanted.store(wanted.0, Ordering::Relaxed);
    SENT.notify();
    Ok(())
}
