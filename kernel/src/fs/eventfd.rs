//! eventfd(2): a counter to wait for.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::{Errno, OpenFlags};

use super::anon;
use super::file::{FileOps, Mode, OpenFile, Whence};
use super::poll::{Events, PollHead, Poller};
use crate::mm::{Sink, Source};
use crate::syscall::SysResult;

/// How much a read takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    All,
    /// EFD_SEMAPHORE
    One,
}

struct EventCounter {
    count: AtomicU64,
    taking: Taking,
    changed: PollHead,
}

impl EventCounter {
    /// Takes from the counter; `None` while it is 0.
    fn take(&self) -> Option<u64> {
        let rest = |count: u64| match (count, self.taking) {
            (0, _) => None,
            (_, Taking::All) => Some(0),
            (_, Taking::One) => Some(count - 1),
        };
        let before = self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).ok()?;
        Some(if self.taking == Taking::All { before } else { 1 })
    }

    /// Adds to the counter; `None` while that would take it beyond its largest value.
    fn add(&self, value: u64) -> Option<()> {
        let sum = |count: u64| count.checked_add(value).filter(|&sum| sum != u64::MAX);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).ok().map(|_| ())
    }
}

impl FileOps for EventCounter {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        if dst.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL.into());
        }
        let value = match self.take() {
            Some(value) => value,
            None if file.is_nonblocking() => return Err(Errno::EAGAIN.into()),
            None => self.changed.wait(None, || self.take())?,
        };
        self.changed.notify_of(Events::OUT);
        if dst.write(&value.to_le_bytes())? < size_of::<u64>() {
            return Err(Errno::EFAULT.into());
        }
        Ok(size_of::<u64>())
    }

    fn write(&self, file: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        if src.remaining() != size_of::<u64>() {
            return Err(Errno::EINVAL.into());
        }
        let mut bytes = [0; size_of::<u64>()];
        if src.read(&mut bytes)? < bytes.len() {
            return Err(Errno::EFAULT.into());
        }
        let value = u64::from_le_bytes(bytes);
        if value == u64::MAX {
            return Err(Errno::EINVAL.into());
        }
        match self.add(value) {
            Some(()) => {}
            None if file.is_nonblocking() => return Err(Errno::EAGAIN.into()),
            None => self.changed.wait(None, || self.add(value))?,
        }
        self.changed.notify_of(Events::IN);
        Ok(size_of::<u64>())
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.changed.add(poller);
        let count = self.count.load(Ordering::Acquire);
        let mut events = Events::empty();
        events.set(Events::IN, count > 0);
        events.set(Events::OUT, count < u64::MAX - 1);
        events.set(Events::ERR, count == u64::MAX);
        events
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
        let _ = writeln!(out, "eventfd-count: {:16x}", self.count.load(Ordering::Relaxed));
    }
}

/// A new counter.
pub fn new(initial: u32, taking: Taking, flags: OpenFlags) -> Arc<OpenFile> {
    let counter = EventCounter { count: AtomicU64::new(initial.into()), taking, changed: PollHead::new() };
    anon::open("[eventfd]", flags | OpenFlags::RDWR, Mode::READ | Mode::WRITE | Mode::LSEEK, counter)
}
