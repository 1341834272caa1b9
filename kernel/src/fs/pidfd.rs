//! Descriptors for processes (pidfd_open(2)).

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::Ordering;

use abi::{Errno, OpenFlags};
use fdmap::OnExec;

use super::anon;
use super::file::{FileOps, Mode, OpenFile};
use super::poll::{Events, PollHead, Poller};
use crate::syscall::Fd;
use crate::task::Process;

struct PidFile(Arc<Process>);

/// Where those wait who poll for any process's end: ends are rare, and who wakes looks at its own.
static ENDED: PollHead = PollHead::new();

/// A process ended.
pub fn notify_ended() {
    ENDED.notify();
}

impl FileOps for PidFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        ENDED.add(poller);
        if self.0.zombie.load(Ordering::Acquire) { Events::READABLE } else { Events::empty() }
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn describe(&self, out: &mut dyn fmt::Write) {
        let _ = writeln!(out, "Pid:\t{0}\nNSpid:\t{0}", self.0.pid);
    }
}

/// A new close-on-exec descriptor for a process. EMFILE.
pub fn pidfd(process: Arc<Process>) -> Result<i32, Errno> {
    open(process, OpenFlags::empty()).map(|fd| fd.0)
}

/// pidfd_open(2): `flags` may have O_NONBLOCK (PIDFD_NONBLOCK).
pub fn open(process: Arc<Process>, flags: OpenFlags) -> Result<Fd, Errno> {
    let file = anon::open("[pidfd]", flags | OpenFlags::RDWR, Mode::READ | Mode::WRITE, PidFile(process));
    super::files().insert(file, OnExec::Close)
}

/// The process that a descriptor is for. EBADF.
pub fn pidfd_process(fd: Fd) -> Result<u32, Errno> {
    let file = super::files().get(fd)?;
    file.ops.as_any().downcast_ref::<PidFile>().map(|file| file.0.pid).ok_or(Errno::EBADF)
}
