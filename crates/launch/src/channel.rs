//! A running machine: its streams, its signals, its end.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wire::{FRAME_HEADER_LEN, FrameHeader, Kind};

use crate::machine::{Machine, QEMU};

/// Largest frame that a kernel may send; more is a broken guest.
const MAX_FRAME: u32 = 1 << 20;
/// Pieces in which input goes to the guest.
const INPUT_PIECE: usize = 4096;
/// QEMU's exit status when the kernel panicked: 0x3f to isa-debug-exit.
const PANIC_STATUS: i32 = 0x3f << 1 | 1;
/// How long QEMU may take to end once the kernel said that it is done.
const GRACE: Duration = Duration::from_secs(10);

/// What the machine says, as it says it.
pub trait Host {
    /// Bytes that a job wrote to standard output (1) or error (2).
    ///
    /// # Errors
    /// They could not be passed on; the machine is ended.
    fn output(&mut self, job: u16, stream: u8, bytes: &[u8]) -> io::Result<()>;
    /// A job's first process ended with this raw wait status.
    fn exit(&mut self, job: u16, status: u32);
    /// A job could not be started.
    fn exec_failed(&mut self, job: u16, errno: u32, text: &str);
    /// The kernel has something to say to the user.
    fn notice(&mut self, text: &str);
    /// The kernel's log, as it comes.
    fn log(&mut self, bytes: &[u8]);
}

/// Where the jobs' standard input comes from.
pub enum Input {
    /// There is none: at its end from the start.
    Empty,
    /// Read on demand, in a thread of its own.
    Reader(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Reader(_) => "Reader",
        })
    }
}

/// How the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All jobs ran.
    Done,
    /// The kernel panicked; its last words.
    Panic(String),
    /// It ran longer than allowed.
    TimedOut,
    /// The launcher ended it ([`Sender::stop`]).
    Stopped,
    /// QEMU ended for a reason of its own: its exit status and what it said.
    Died { status: Option<i32>, message: String },
}

struct Shared {
    channel: Mutex<UnixStream>,
    credit: Mutex<usize>,
    granted: Condvar,
    over: AtomicBool,
    timed_out: AtomicBool,
    stopped: AtomicBool,
    child: Mutex<Option<Child>>,
    finished: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn send(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let header = FrameHeader { kind, stream: 0, job: 0, len: u32::try_from(body.len()).unwrap_or(0) };
        let mut channel = lock(&self.channel);
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(body);
        channel.write_all(&frame)
    }

    fn kill(&self) {
        if let Some(child) = lock(&self.child).as_mut() {
            let _ = child.kill();
        }
    }
}

/// Sends things to a running machine from other threads.
#[derive(Clone)]
pub struct Sender(Arc<Shared>);

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

impl Sender {
    /// A signal for the foreground processes. Nothing happens if the machine is gone.
    pub fn signal(&self, number: u32) {
        let _ = self.0.send(Kind::Signal, &number.to_le_bytes());
    }

    /// The terminal's new size.
    pub fn resize(&self, rows: u16, cols: u16) {
        let [a, b] = rows.to_le_bytes();
        let [c, d] = cols.to_le_bytes();
        let _ = self.0.send(Kind::Winsize, &[a, b, c, d]);
    }

    /// Ends the machine at once.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.kill();
    }
}

/// Starts the machine and stays with it to its end. `ready` gets the means to signal it.
///
/// # Errors
/// QEMU isn't installed or could not be started, or the machine sent nonsense.
pub fn run(
    machine: &Machine,
    initrd: &[u8],
    input: Input,
    timeout: Option<Duration>,
    host: &mut dyn Host,
    ready: impl FnOnce(Sender),
) -> Result<End> {
    let mut file = tempfile::NamedTempFile::new().context("a temporary file for the initrd")?;
    file.write_all(initrd).context("writing the initrd")?;
    let (ours, theirs) = UnixStream::pair()?;
    let (our_serial, their_serial) = UnixStream::pair()?;
    for end in [&theirs, &their_serial] {
        rustix::io::fcntl_setfd(end.as_fd(), rustix::io::FdFlags::empty())?;
    }
    let mut child = Command::new(QEMU)
        .args(machine.qemu_arguments(file.path(), theirs.as_raw_fd(), their_serial.as_raw_fd()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!(
                "{QEMU} isn't installed; on Debian: apt-get install --no-install-recommends qemu-system-x86"
            ),
            _ => anyhow::Error::new(error).context(QEMU),
        })?;
    drop((theirs, their_serial));
    let stderr = child.stderr.take();
    let shared = Arc::new(Shared {
        channel: Mutex::new(ours.try_clone()?),
        credit: Mutex::new(0),
        granted: Condvar::new(),
        over: AtomicBool::new(false),
        timed_out: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        child: Mutex::new(Some(child)),
        finished: Condvar::new(),
    });

    let messages = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    });
    // The log is collected beside the frames and handed over between them.
    let log = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&log);
    let serial = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        let mut our_serial = our_serial;
        while let Ok(len) = our_serial.read(&mut chunk) {
            if len == 0 {
                break;
            }
            lock(&collected).extend_from_slice(chunk.get(..len).unwrap_or_default());
        }
    });
    let feeder = Arc::clone(&shared);
    // Not joined: it may sit in a read of our own standard input for ever.
    std::thread::spawn(move || feed(&feeder, input));
    if let Some(limit) = timeout {
        let watched = Arc::clone(&shared);
        std::thread::spawn(move || watch(&watched, limit));
    }
    ready(Sender(Arc::clone(&shared)));

    let mut said = Vec::new();
    let result = receive(ours, &shared, host, &log, &mut said);
    if result.is_err() {
        shared.kill();
    }
    let done = matches!(result, Ok(true));
    let status = wait_for_end(&shared, done)?;
    shared.over.store(true, Ordering::SeqCst);
    shared.granted.notify_all();
    shared.finished.notify_all();
    let _ = lock(&shared.channel).shutdown(Shutdown::Both);
    let _ = serial.join();
    let rest = std::mem::take(&mut *lock(&log));
    said.extend_from_slice(&rest);
    host.log(&rest);
    let message = messages.join().unwrap_or_default();
    if shared.timed_out.load(Ordering::SeqCst) {
        return Ok(End::TimedOut);
    }
    if shared.stopped.load(Ordering::SeqCst) {
        return Ok(End::Stopped);
    }
    if status == Some(PANIC_STATUS) {
        return Ok(End::Panic(String::from_utf8_lossy(&said).into_owned()));
    }
    result?;
    if done { Ok(End::Done) } else { Ok(End::Died { status, message: message.trim().to_owned() }) }
}

fn wait_for_end(shared: &Shared, done: bool) -> Result<Option<i32>> {
    let start = std::time::Instant::now();
    loop {
        {
            let mut child = lock(&shared.child);
            let Some(process) = child.as_mut() else { bail!("the machine was waited for twice") };
            if let Some(status) = process.try_wait()? {
                *child = None;
                return Ok(status.code());
            }
            if done && start.elapsed() > GRACE {
                process.kill()?;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn watch(shared: &Shared, limit: Duration) {
    let guard = lock(&shared.credit);
    let waited = shared.finished.wait_timeout_while(guard, limit, |_| !shared.over.load(Ordering::SeqCst));
    let timed_out = waited.map_or(true, |(_, result)| result.timed_out());
    if timed_out && !shared.over.load(Ordering::SeqCst) {
        shared.timed_out.store(true, Ordering::SeqCst);
        shared.kill();
    }
}

/// Input on credit, then its end.
fn feed(shared: &Shared, input: Input) {
    let mut reader = match input {
        Input::Empty => {
            let _ = shared.send(Kind::StdinEof, &[]);
            return;
        }
        Input::Reader(reader) => reader,
    };
    let mut chunk = [0; INPUT_PIECE];
    loop {
        let room = {
            let mut credit = lock(&shared.credit);
            while *credit == 0 {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                credit = shared.granted.wait(credit).unwrap_or_else(PoisonError::into_inner);
            }
            (*credit).min(INPUT_PIECE)
        };
        let Some(window) = chunk.get_mut(..room) else { return };
        match reader.read(window) {
            Ok(0) => break,
            Ok(len) => {
                *lock(&shared.credit) -= len;
                if shared.send(Kind::Stdin, window.get(..len).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = shared.send(Kind::StdinEof, &[]);
}

/// Reads frames until the kernel is done (true) or the channel ends.
fn receive(
    mut channel: UnixStream,
    shared: &Shared,
    host: &mut dyn Host,
    log: &Mutex<Vec<u8>>,
    said: &mut Vec<u8>,
) -> Result<bool> {
    let mut body = Vec::new();
    loop {
        let mut header = [0; FRAME_HEADER_LEN];
        if channel.read_exact(&mut header).is_err() {
            return Ok(false);
        }
        let new_log = std::mem::take(&mut *lock(log));
        if !new_log.is_empty() {
            said.extend_from_slice(&new_log);
            host.log(&new_log);
        }
        let header = FrameHeader::decode(&header).context("the guest sent nonsense")?;
        if header.len > MAX_FRAME {
            bail!("the guest sent a frame of {} bytes", header.len);
        }
        body.resize(usize::try_from(header.len)?, 0);
        if channel.read_exact(&mut body).is_err() {
            return Ok(false);
        }
        let number = || {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(&body) {
                *to = *from;
            }
            u32::from_le_bytes(word)
        };
        match header.kind {
            Kind::Output => host.output(header.job, header.stream, &body).context("passing on output")?,
            Kind::Exit => host.exit(header.job, number()),
            Kind::ExecFailed => {
                let text = String::from_utf8_lossy(body.get(4..).unwrap_or_default()).into_owned();
                host.exec_failed(header.job, number(), &text);
            }
            Kind::Credit => {
                *lock(&shared.credit) += usize::try_from(number())?;
                shared.granted.notify_all();
            }
            Kind::Notice | Kind::Counters => host.notice(&String::from_utf8_lossy(&body)),
            Kind::AllDone => return Ok(true),
            Kind::Stdin | Kind::StdinEof | Kind::Signal | Kind::Winsize => {
                bail!("the guest sent a frame that only the host sends");
            }
        }
    }
}
