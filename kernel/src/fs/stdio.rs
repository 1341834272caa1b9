//! The first program's standard streams: pipes to the launcher, or its terminal.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use abi::{Errno, Ioctl, OpenFlags};
use spin::Once;
use wire::{Stdin, StreamKind};

use super::anon;
use super::dentry::Dentry;
use super::file::{FileOps, Mode, OpenFile};
use super::inode::{Contents, FileKind, Inode, InodeOps};
use super::lock::SleepLock;
use super::mount::{Mount, PIPEFS};
use super::path::Path;
use super::poll::{Events, PollHead, Poller};
use super::table::FileTable;
use super::tty;
use crate::config::Job;
use crate::console;
use crate::mm::{Sink, Source, UserPtr};
use crate::syscall::{SysError, SysResult};
use crate::task::exec::FIRST_PID;

/// Those who wait for input.
static INPUT: PollHead = PollHead::new();
/// Held by a reader while it copies, so that no bytes come twice.
static READING: SleepLock = SleepLock::new();
/// Whether the launcher's standard input is a terminal: then its bytes go through the line discipline as they come.
static INPUT_IS_TERMINAL: AtomicBool = AtomicBool::new(false);

/// Input, or its end, came from the launcher. Called by the console's interrupt.
pub fn input_arrived() {
    if INPUT_IS_TERMINAL.load(Ordering::Relaxed) {
        tty::console().pump();
    }
    INPUT.notify();
}

/// Standard input from the launcher's pipe or file.
struct HostReader;

impl FileOps for HostReader {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        loop {
            {
                let _guard = READING.lock();
                if let Some(done) = console::read_input(dst)? {
                    return Ok(done);
                }
            }
            if file.is_nonblocking() {
                return Err(Errno::EAGAIN.into());
            }
            INPUT.wait_until(None, &mut || {
                let (waiting, ended) = console::input_state();
                waiting > 0 || ended
            })?;
        }
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        INPUT.add(poller);
        let (waiting, ended) = console::input_state();
        let mut events = Events::empty();
        events.set(Events::READABLE, waiting > 0);
        events.set(Events::HUP, ended);
        events
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, _: &OpenFile, command: u32, argument: usize) -> SysResult {
        if Ioctl(command) != Ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        UserPtr::<i32>::new(argument).write(&(console::input_state().0 as i32))?;
        Ok(0)
    }
}

/// Standard output or error to the launcher's pipe or file.
struct HostWriter(u8);

impl FileOps for HostWriter {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn write(&self, _: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        console::write(self.0, src)
    }

    fn poll(&self, _: &OpenFile, _: Poller<'_>) -> Events {
        Events::WRITABLE
    }

    fn is_pollable(&self) -> bool {
        true
    }
}

/// Standard input that was given with the job.
struct GivenBytes {
    bytes: Box<[u8]>,
    taken: AtomicUsize,
}

struct BytesReader(Arc<GivenBytes>);

impl FileOps for BytesReader {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let _guard = READING.lock();
        let rest = self.0.bytes.get(self.0.taken.load(Ordering::Relaxed)..).unwrap_or_default();
        let done = if rest.is_empty() { 0 } else { dst.write(rest)? };
        self.0.taken.fetch_add(done, Ordering::Relaxed);
        Ok(done)
    }

    fn poll(&self, _: &OpenFile, _: Poller<'_>) -> Events {
        let is_empty = self.0.taken.load(Ordering::Relaxed) >= self.0.bytes.len();
        if is_empty { Events::HUP } else { Events::READABLE | Events::HUP }
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, _: &OpenFile, command: u32, argument: usize) -> SysResult {
        if Ioctl(command) != Ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let rest = self.0.bytes.len().saturating_sub(self.0.taken.load(Ordering::Relaxed));
        UserPtr::<i32>::new(argument).write(&(rest as i32))?;
        Ok(0)
    }
}

/// The inode of a standard stream, through which /dev/stdout and its like open it again.
#[derive(Clone)]
enum Stream {
    Host,
    Bytes(Arc<GivenBytes>),
    Output(u8),
}

impl Stream {
    fn open_at(&self, path: Path, flags: OpenFlags) -> Arc<OpenFile> {
        Arc::new(match self {
            Self::Host => OpenFile::new(path, flags, Mode::READ, HostReader),
            Self::Bytes(bytes) => OpenFile::new(path, flags, Mode::READ, BytesReader(bytes.clone())),
            Self::Output(stream) => OpenFile::new(path, flags, Mode::WRITE, HostWriter(*stream)),
        })
    }
}

impl InodeOps for Stream {
    fn open(&self, path: &Path, flags: OpenFlags) -> Result<Option<Arc<OpenFile>>, SysError> {
        Ok(Some(self.open_at(path.clone(), flags)))
    }
}

/// An open file that looks like one end of a pipe.
fn pipe_like(flags: OpenFlags, stream: Stream) -> Arc<OpenFile> {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    let mount = anon::internal_mount(&MOUNT, &PIPEFS);
    let number = mount.fs.next_inode();
    let attributes = anon::attributes(FileKind::Fifo, 0o600);
    let inode = Arc::new(Inode::new(&mount.fs, number, &attributes, Contents::other(stream.clone())));
    let dentry = Dentry::detached(format!("pipe:[{number}]").as_bytes(), inode);
    stream.open_at(Path { mount: mount.clone(), dentry }, flags)
}

/// Installs a job's standard streams: input, output, error.
pub fn install(files: &FileTable, job: &Job) -> Result<(), Errno> {
    let [input, output, error] = job.streams;
    let from_terminal = matches!(job.stdin, Stdin::Host) && input == StreamKind::Tty;
    INPUT_IS_TERMINAL.store(from_terminal, Ordering::Relaxed);
    if job.streams.contains(&StreamKind::Tty) {
        // The first process leads the session that the launcher's terminal controls.
        tty::console().control(FIRST_PID, FIRST_PID);
    }
    if from_terminal {
        // Keys do things without anybody reading them: the launcher is asked for them now.
        tty::console().pump();
    }
    let mut terminal = None;
    let mut open_terminal = || -> Result<Arc<OpenFile>, Errno> {
        match &terminal {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(terminal.insert(tty::open_console()?).clone()),
        }
    };
    let stdin = match &job.stdin {
        Stdin::Host if from_terminal => open_terminal()?,
        Stdin::Host => pipe_like(OpenFlags::empty(), Stream::Host),
        Stdin::Null => super::open_kernel(b"/dev/null", OpenFlags::empty())?,
        Stdin::Bytes(bytes) => {
            let given = GivenBytes { bytes: bytes.as_slice().into(), taken: AtomicUsize::new(0) };
            pipe_like(OpenFlags::empty(), Stream::Bytes(Arc::new(given)))
        }
    };
    files.install(0, stdin);
    for (stream, kind) in [(1u8, output), (2, error)] {
        let file = match kind {
            StreamKind::Tty => open_terminal()?,
            // A regular file on the other side can't be sought from here: it behaves as a pipe too.
            StreamKind::Pipe | StreamKind::File => pipe_like(OpenFlags::WRONLY, Stream::Output(stream)),
        };
        files.install(stream.into(), file);
    }
    Ok(())
}
