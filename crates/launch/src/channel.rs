//! What a running machine and its launcher say to each other, seen from the launcher's user.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use wire::{FrameHeader, Kind};

use crate::qemu::Usage;

/// Pieces in which input goes to the guest.
const INPUT_PIECE: usize = 4096;

/// What the machine says, as it says it.
pub trait Host {
    /// Bytes that a job wrote to standard output (1) or error (2).
    ///
    /// # Errors
    /// They could not be passed on; the machine is ended, and [`crate::run`] returns this error.
    fn output(&mut self, job: u16, stream: u8, bytes: &[u8]) -> io::Result<()>;
    /// A job's first process ended with this raw wait status.
    fn exit(&mut self, job: u16, status: u32);
    /// A job could not be started.
    fn exec_failed(&mut self, job: u16, errno: u32, text: &str);
    /// The kernel has something to say to the user: lines, each with its newline.
    fn notice(&mut self, text: &str);
    /// The kernel's counters at its end.
    fn counters(&mut self, _text: &str) {}
    /// What QEMU had used when it ended.
    fn usage(&mut self, _usage: Usage) {}
    /// The kernel's log, as it comes.
    fn log(&mut self, bytes: &[u8]);
}

/// Where the jobs' standard input comes from.
pub enum Input {
    /// There is none: at its end from the start.
    Empty,
    /// Read when the guest asks for input, in a thread of its own.
    Reader(Box<dyn Read + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Reader(_) => "Reader",
        })
    }
}

/// How long a machine may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From power-on to the end.
    pub total: Option<Duration>,
    /// For each job; the first one's includes the boot.
    pub per_job: Option<Duration>,
}

impl From<Option<Duration>> for Limits {
    fn from(total: Option<Duration>) -> Self {
        Self { total, per_job: None }
    }
}

/// How the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All jobs ran.
    Done,
    /// The kernel panicked; its last words.
    Panic(String),
    /// It, or a job, ran longer than allowed.
    TimedOut,
    /// The launcher ended it ([`Sender::stop`]).
    Stopped,
    /// QEMU ended for a reason of its own: its exit status and what it said.
    Died { status: Option<i32>, message: String },
}

#[derive(Debug, Default)]
struct Credit {
    /// Bytes of input that the guest can take.
    bytes: usize,
    over: bool,
}

/// What the threads around a machine share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Frames on their way to the guest. Nobody but the event loop writes to the channel, so that nobody waits for the guest.
    outbox: Mutex<VecDeque<u8>>,
    /// Wakes the event loop.
    pub(crate) waker: EventFd,
    pidfd: OwnedFd,
    credit: Mutex<Credit>,
    granted: Condvar,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(pidfd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            outbox: Mutex::default(),
            waker: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            pidfd,
            credit: Mutex::default(),
            granted: Condvar::new(),
            stopped: AtomicBool::new(false),
        })
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the loop wakes anyway.
        let _ = self.waker.write(1);
    }

    fn send(&self, kind: Kind, body: &[u8]) {
        let header = FrameHeader { kind, stream: 0, job: 0, len: u32::try_from(body.len()).unwrap_or(0) };
        let mut outbox = lock(&self.outbox);
        outbox.extend(header.encode());
        outbox.extend(body);
        drop(outbox);
        self.wake();
    }

    /// Runs `write` on what is to be sent; it returns how many bytes it got rid of.
    pub(crate) fn with_outbox(&self, write: impl FnOnce(&[u8]) -> usize) {
        let mut outbox = lock(&self.outbox);
        let written = write(outbox.as_slices().0);
        outbox.drain(..written);
    }

    pub(crate) fn has_output(&self) -> bool {
        !lock(&self.outbox).is_empty()
    }

    pub(crate) fn grant(&self, bytes: usize) {
        let mut credit = lock(&self.credit);
        credit.bytes = credit.bytes.saturating_add(bytes);
        self.granted.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn kill(&self) {
        crate::qemu::kill(&self.pidfd);
    }

    /// The machine is gone: the feeder ends as well.
    pub(crate) fn close(&self) {
        lock(&self.credit).over = true;
        self.granted.notify_all();
    }

    /// Waits until the guest takes input. `None` when the machine is gone.
    fn room(&self) -> Option<usize> {
        let credit = lock(&self.credit);
        let waited = self.granted.wait_while(credit, |credit| credit.bytes == 0 && !credit.over);
        let credit = waited.unwrap_or_else(PoisonError::into_inner);
        (!credit.over).then(|| credit.bytes.min(INPUT_PIECE))
    }

    /// Passes input on, as the guest asks for it, then its end. Returns when the machine is gone or the input has ended.
    pub(crate) fn feed(&self, input: Input) {
        if let Input::Reader(mut reader) = input {
            let mut chunk = [0; INPUT_PIECE];
            loop {
                let Some(window) = self.room().and_then(|room| chunk.get_mut(..room)) else { return };
                match reader.read(window) {
                    Ok(0) => break,
                    Ok(len) => {
                        let mut credit = lock(&self.credit);
                        credit.bytes = credit.bytes.saturating_sub(len);
                        drop(credit);
                        self.send(Kind::Stdin, window.get(..len).unwrap_or_default());
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        self.send(Kind::StdinEof, &[]);
    }
}

/// Sends things to a running machine from other threads. Never waits for the guest.
#[derive(Clone, Debug)]
pub struct Sender(pub(crate) Arc<Shared>);

impl Sender {
    /// A signal for the foreground processes. Nothing happens if the machine is gone.
    pub fn signal(&self, number: u32) {
        self.0.send(Kind::Signal, &number.to_le_bytes());
    }

    /// The terminal's new size.
    pub fn resize(&self, rows: u16, cols: u16) {
        let [a, b] = rows.to_le_bytes();
        let [c, d] = cols.to_le_bytes();
        self.0.send(Kind::Winsize, &[a, b, c, d]);
    }

    /// Ends the machine at once.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.kill();
        self.0.wake();
    }
}
