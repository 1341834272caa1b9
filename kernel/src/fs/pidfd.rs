//! Descriptors for processes and threads (pidfd_open(2)).

use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use abi::{Errno, OpenFlags};
use fdmap::OnExec;

use super::anon;
use super::file::{FileOps, Mode, OpenFile};
use super::poll::{Events, PollHead, Poller};
use crate::syscall::Fd;
use crate::task::Process;
use crate::task::process;
use crate::task::thread::Thread;

struct PidFile {
    process: Arc<Process>,
    /// With PIDFD_THREAD: the thread and its number.
    thread: Option<(Weak<Thread>, u32)>,
}

/// Where those wait who poll for any process's end: ends are rare, and who wakes looks at its own.
static ENDED: PollHead = PollHead::new();
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A process or thread ended, or was waited for.
pub fn notify_ended() {
    if OPEN.load(Ordering::Relaxed) > 0 {
        ENDED.notify();
    }
}

impl PidFile {
    /// Whether the process has been waited for, or the thread is gone.
    fn is_gone(&self) -> bool {
        match &self.thread {
            None => !process::find(self.process.pid).is_some_and(|there| Arc::ptr_eq(&there, &self.process)),
            Some((thread, tid)) => !process::find_thread(*tid)
                .is_some_and(|there| core::ptr::eq(Arc::as_ptr(&there), thread.as_ptr())),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileOps for PidFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        ENDED.add(poller);
        if self.is_gone() {
            Events::READABLE | Events::HUP
        } else if self.process.zombie.load(Ordering::Acquire) {
            Events::READABLE
        } else {
            Events::empty()
        }
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn describe(&self, out: &mut dyn fmt::Write) {
        match &self.thread {
            _ if self.is_gone() => drop(writeln!(out, "Pid:\t-1\nNSpid:\t-1")),
            Some((_, tid)) => drop(writeln!(out, "Pid:\t{tid}\nNSpid:\t{tid}")),
            None => drop(writeln!(out, "Pid:\t{0}\nNSpid:\t{0}", self.process.pid)),
        }
    }
}

/// A new close-on-exec descriptor for a process. EMFILE.
pub fn pidfd(process: Arc<Process>) -> Result<i32, Errno> {
    open(process, None, OpenFlags::empty()).map(|fd| fd.0)
}

/// pidfd_open(2): `flags` may have O_NONBLOCK (PIDFD_NONBLOCK).
pub fn open(process: Arc<Process>, thread: Option<&Arc<Thread>>, flags: OpenFlags) -> Result<Fd, Errno> {
    OPEN.fetch_add(1, Ordering::Relaxed);
    let thread = thread.map(|thread| (Arc::downgrade(thread), thread.tid));
    let file = PidFile { process, thread };
    let file = anon::open("[pidfd]", flags | OpenFlags::RDWR, Mode::READ | Mode::WRITE, file);
    super::files().insert(file, OnExec::Close)
}

/// What a descriptor is for.
pub struct Target {
    pub process: Arc<Process>,
    /// With PIDFD_THREAD.
    pub thread: Option<u32>,
    pub is_nonblocking: bool,
    /// Waited for already.
    pub is_gone: bool,
}

/// The process or thread that a descriptor is for. EBADF.
pub fn target(fd: Fd) -> Result<Target, Errno> {
    let file = super::files().get(fd)?;
    let ops = file.ops.as_any().downcast_ref::<PidFile>().ok_or(Errno::EBADF)?;
    Ok(Target {
        process: ops.process.clone(),
        thread: ops.thread.as_ref().map(|(_, tid)| *tid),
        is_nonblocking: file.is_nonblocking(),
        is_gone: ops.is_gone(),
    })
}
