//! A running machine's event loop: its streams, its time limits, its end.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ChildStderr, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use wire::{FRAME_HEADER_LEN, FrameHeader, Kind};

use crate::channel::{End, Host, Input, Limits, Sender, Shared};
use crate::machine::Machine;
use crate::qemu::{self, Process, STUCK, set_nonblocking};
use crate::root::Initrd;

/// Largest frame that a kernel may send; more is a broken guest.
const MAX_FRAME: u32 = 1 << 20;
/// QEMU's exit status when the kernel panicked: 0x3f to isa-debug-exit.
const PANIC_STATUS: i32 = 0x3f << 1 | 1;
/// How long QEMU may take to end once the kernel said that it is done.
const GRACE: Duration = Duration::from_secs(10);
/// What is kept of the kernel's log, for the case that it ends in a panic, and of QEMU's messages.
const KEPT: usize = 256 << 10;

/// Starts the machine and stays with it to its end. `ready` gets the means to signal it.
///
/// # Errors
/// QEMU isn't installed or could not be started, the machine sent nonsense, or `host` failed.
pub fn run(
    machine: &Machine,
    initrd: &Initrd,
    input: Input,
    limits: impl Into<Limits>,
    host: &mut dyn Host,
    ready: impl FnOnce(Sender),
) -> Result<End> {
    let (channel, their_channel) = UnixStream::pair()?;
    let (serial, their_serial) = UnixStream::pair()?;
    let inherited = [initrd.file.as_raw_fd(), their_channel.as_raw_fd(), their_serial.as_raw_fd()];
    let [_, channel_end, serial_end] = inherited.map(|fd| format!("socket,fd={fd}"));
    let mut command = Command::new(qemu::QEMU);
    command.args(machine.qemu_arguments(initrd.path_here().as_ref(), &channel_end, &serial_end));
    let process = Process::spawn(&mut command, &inherited)?;
    drop((their_channel, their_serial));
    converse(process, channel, serial, input, limits.into(), host, ready)
}

/// Starts a machine that isn't ours, with nothing but a serial line, and stays with it to its end: `host` gets what it says there as its log.
/// `arguments` makes QEMU's arguments from the initrd's path and what `-chardev` takes for the line.
///
/// # Errors
/// QEMU isn't installed or could not be started.
pub fn run_other(
    initrd: &Initrd,
    limit: Duration,
    host: &mut dyn Host,
    arguments: impl FnOnce(&Path, &str) -> Vec<OsString>,
) -> Result<End> {
    let (channel, _) = UnixStream::pair()?;
    let (serial, their_serial) = UnixStream::pair()?;
    let inherited = [initrd.file.as_raw_fd(), their_serial.as_raw_fd()];
    let mut command = Command::new(qemu::QEMU);
    command.args(arguments(initrd.path_here().as_ref(), &format!("socket,fd={}", their_serial.as_raw_fd())));
    let process = Process::spawn(&mut command, &inherited)?;
    drop(their_serial);
    converse(process, channel, serial, Input::Empty, Some(limit).into(), host, |_| ())
}

/// Moves the streams between a machine's process and its host until the process has ended.
fn converse(
    mut process: Process,
    channel: UnixStream,
    serial: UnixStream,
    input: Input,
    limits: Limits,
    host: &mut dyn Host,
    ready: impl FnOnce(Sender),
) -> Result<End> {
    let shared = Arc::new(Shared::new(process.pidfd()?)?);
    let stderr = process.take_stderr();
    channel.set_nonblocking(true)?;
    serial.set_nonblocking(true)?;
    if let Some(stderr) = &stderr {
        set_nonblocking(stderr)?;
    }
    let now = Instant::now();
    let mut pump = Pump {
        channel,
        serial,
        stderr,
        shared: Arc::clone(&shared),
        host,
        limits,
        total_deadline: limits.total.and_then(|limit| now.checked_add(limit)),
        job_deadline: limits.per_job.and_then(|limit| now.checked_add(limit)),
        grace_deadline: None,
        inbox: Vec::new(),
        log: Vec::new(),
        message: Vec::new(),
        open: Open { channel: true, serial: true, stderr: true },
        done: false,
        timed_out: false,
        failure: None,
    };
    let feeder = Arc::clone(&shared);
    // Not joined: it may sit in a read of our own standard input for ever.
    std::thread::spawn(move || feeder.feed(input));
    ready(Sender(Arc::clone(&shared)));

    let result = pump.turn();
    shared.close();
    result?;
    pump.host.usage(process.usage().unwrap_or_default());
    let status = process.wait()?;
    pump.end(status.code())
}

/// Which of the streams haven't ended.
struct Open {
    channel: bool,
    serial: bool,
    stderr: bool,
}

struct Pump<'a> {
    channel: UnixStream,
    serial: UnixStream,
    stderr: Option<ChildStderr>,
    shared: Arc<Shared>,
    host: &'a mut dyn Host,
    limits: Limits,
    total_deadline: Option<Instant>,
    job_deadline: Option<Instant>,
    grace_deadline: Option<Instant>,
    /// What came over the channel and isn't a whole frame yet.
    inbox: Vec<u8>,
    log: Vec<u8>,
    message: Vec<u8>,
    open: Open,
    done: bool,
    timed_out: bool,
    failure: Option<anyhow::Error>,
}

/// What one look at all descriptors found.
struct Ready {
    readable: Option<PollFlags>,
    serial: bool,
    stderr: bool,
    ended: bool,
}

impl Pump<'_> {
    /// Runs until the process has ended and everything that it said has been passed on.
    fn turn(&mut self) -> Result<()> {
        loop {
            let ready = self.wait()?;
            if ready.serial {
                self.read_serial();
            }
            if ready.stderr {
                self.read_stderr();
            }
            if let Some(flags) = ready.readable {
                if flags.contains(PollFlags::POLLOUT) {
                    self.write_channel();
                }
                self.read_channel();
            }
            if ready.ended {
                // All that it ever wrote is in the sockets by now.
                self.read_serial();
                self.read_stderr();
                self.read_channel();
                self.flush_partial_output();
                return Ok(());
            }
            let now = Instant::now();
            let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
            if over(self.total_deadline) || over(self.job_deadline) {
                (self.total_deadline, self.job_deadline) = (None, None);
                self.timed_out = !self.done;
                self.shared.kill();
            }
            if over(self.grace_deadline) {
                self.grace_deadline = None;
                self.shared.kill();
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let shared = &self.shared;
        let mut wanted = PollFlags::POLLIN;
        if shared.has_output() {
            wanted |= PollFlags::POLLOUT;
        }
        // A descriptor at its end is always ready: it is looked at no more, in favour of one that never is.
        let idle = PollFlags::empty();
        let deadline =
            [self.total_deadline, self.job_deadline, self.grace_deadline].into_iter().flatten().min();
        let stderr = self.stderr.as_ref().filter(|_| self.open.stderr);
        let mut fds = [
            PollFd::new(shared.pidfd(), PollFlags::POLLIN),
            PollFd::new(shared.waker.as_fd(), PollFlags::POLLIN),
            if self.open.channel {
                PollFd::new(self.channel.as_fd(), wanted)
            } else {
                PollFd::new(shared.waker.as_fd(), idle)
            },
            if self.open.serial {
                PollFd::new(self.serial.as_fd(), PollFlags::POLLIN)
            } else {
                PollFd::new(shared.waker.as_fd(), idle)
            },
            match stderr {
                Some(stderr) => PollFd::new(stderr.as_fd(), PollFlags::POLLIN),
                None => PollFd::new(shared.waker.as_fd(), idle),
            },
        ];
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            TimeSpec::from_duration(left)
        });
        match ppoll(&mut fds, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => {
                return Ok(Ready { readable: None, serial: false, stderr: false, ended: false });
            }
            Err(errno) => return Err(errno).context("waiting for the machine"),
        }
        let [ended, woken, channel, serial, stderr] =
            fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !woken.is_empty() {
            let _ = shared.waker.read();
        }
        Ok(Ready {
            readable: (self.open.channel && !channel.is_empty()).then_some(channel),
            serial: self.open.serial && !serial.is_empty(),
            stderr: self.open.stderr && !stderr.is_empty(),
            ended: !ended.is_empty(),
        })
    }

    fn read_serial(&mut self) {
        while let Some(bytes) = read_some(&mut self.serial, &mut self.open.serial) {
            keep(&mut self.log, &bytes);
            self.host.log(&bytes);
        }
    }

    fn read_stderr(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        while let Some(bytes) = read_some(stderr, &mut self.open.stderr) {
            keep(&mut self.message, &bytes);
        }
        if self.grace_deadline.is_none() && self.message.windows(STUCK.len()).any(|window| window == STUCK) {
            // Time to say the rest of it.
            self.grace_deadline = Instant::now().checked_add(Duration::from_millis(100));
        }
    }

    fn write_channel(&mut self) {
        let channel = &mut self.channel;
        self.shared.with_outbox(|bytes| match io::Write::write(channel, bytes) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            // The machine is ending: nobody will read it.
            Err(_) => bytes.len(),
        });
    }

    fn read_channel(&mut self) {
        while let Some(bytes) = read_some(&mut self.channel, &mut self.open.channel) {
            if self.failure.is_some() {
                continue;
            }
            self.inbox.extend_from_slice(&bytes);
            if let Err(error) = self.take_frames() {
                self.failure = Some(error);
                self.shared.kill();
            }
        }
    }

    /// Deals with the whole frames of the inbox.
    fn take_frames(&mut self) -> Result<()> {
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = &inbox[..];
        while let Some((header, after)) = rest.split_first_chunk::<FRAME_HEADER_LEN>() {
            let header = FrameHeader::decode(header).context("the guest sent nonsense")?;
            if header.len > MAX_FRAME {
                bail!("the guest sent a frame of {} bytes", header.len);
            }
            let Some((body, after)) = after.split_at_checked(usize::try_from(header.len)?) else { break };
            self.take_frame(header, body)?;
            rest = after;
        }
        self.inbox = rest.to_vec();
        Ok(())
    }

    fn take_frame(&mut self, header: FrameHeader, body: &[u8]) -> Result<()> {
        let number = || body.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match header.kind {
            Kind::Output => self.host.output(header.job, header.stream, body).context("passing on output")?,
            Kind::Exit => {
                self.host.exit(header.job, number());
                self.next_job();
            }
            Kind::ExecFailed => {
                self.host.exec_failed(header.job, number(), &text(body.get(4..).unwrap_or_default()));
                self.next_job();
            }
            Kind::Credit => self.shared.grant(usize::try_from(number())?),
            Kind::Notice => self.host.notice(&text(body)),
            Kind::Counters => self.host.counters(&text(body)),
            Kind::AllDone => {
                self.done = true;
                self.job_deadline = None;
                self.grace_deadline = Instant::now().checked_add(GRACE);
            }
            Kind::Stdin | Kind::StdinEof | Kind::Signal | Kind::Winsize => {
                bail!("the guest sent a frame that only the host sends");
            }
        }
        Ok(())
    }

    fn next_job(&mut self) {
        self.job_deadline = self.limits.per_job.and_then(|limit| Instant::now().checked_add(limit));
    }

    /// A machine that was killed may have got half of a frame out: what there is of a program's output is still passed on.
    fn flush_partial_output(&mut self) {
        let inbox = std::mem::take(&mut self.inbox);
        if self.failure.is_none()
            && let Some((header, body)) = inbox.split_first_chunk::<FRAME_HEADER_LEN>()
            && let Ok(header @ FrameHeader { kind: Kind::Output, .. }) = FrameHeader::decode(header)
        {
            self.failure =
                self.host.output(header.job, header.stream, body).context("passing on output").err();
        }
    }

    /// What it all amounts to, once the process has ended with this status.
    fn end(self, status: Option<i32>) -> Result<End> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if self.shared.is_stopped() {
            return Ok(End::Stopped);
        }
        if self.timed_out {
            return Ok(End::TimedOut);
        }
        if status == Some(PANIC_STATUS) {
            return Ok(End::Panic(text(&self.log)));
        }
        if self.done {
            return Ok(End::Done);
        }
        Ok(End::Died { status, message: text(&self.message) })
    }
}

/// Reads once. `None` if there is nothing now, or no more, which it notes in `open`.
fn read_some(stream: &mut impl Read, open: &mut bool) -> Option<Vec<u8>> {
    let mut chunk = [0; 64 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => {
                *open = false;
                return None;
            }
            Ok(len) => return chunk.get(..len).map(<[u8]>::to_vec),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => {
                *open = false;
                return None;
            }
        }
    }
}

/// Appends, and forgets the oldest bytes of too many.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    if kept.len() > 2 * KEPT {
        kept.drain(..kept.len() - KEPT);
    }
}

#[cfg(test)]
mod tests;
