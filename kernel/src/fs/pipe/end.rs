//! The ends of pipes, as their files see them, and FIFOs, which have a name (fifo(7)).

use alloc::format;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::sync::atomic::Ordering;

use abi::{Errno, Ioctl, OpenFlags};
use spin::Once;

use super::Pipe;
use crate::fs::anon;
use crate::fs::dentry::Dentry;
use crate::fs::file::{FileOps, Mode, OpenFile};
use crate::fs::inode::{Contents, FileKind, Inode};
use crate::fs::mount::{Mount, PIPEFS};
use crate::fs::path::Path;
use crate::fs::poll::{Events, Poller};
use crate::fs::tmpfs::Special;
use crate::mm::user::UserRange;
use crate::mm::{Sink, Source, UserPtr};
use crate::sync::SpinLock;
use crate::syscall::{SysError, SysResult};

/// One end of a pipe, or both (a FIFO opened for reading and writing).
pub struct PipeEnd {
    pub pipe: Arc<Pipe>,
    mode: Mode,
    /// Opens for writing when this end was opened without any writer: until there is one, the end of file isn't reported by poll.
    quiet_until: Option<u32>,
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.pipe.remove_end(self.mode);
    }
}

impl PipeEnd {
    /// Nothing is there, or not what `read_one` takes.
    #[inline(never)]
    fn read_waiting(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        let pipe = &self.pipe;
        let wait = !file.is_nonblocking();
        let is_over = || !pipe.is_empty() || !pipe.has_writers();
        if wait && buf.len() > 0 && !is_over() {
            let slept = pipe.readable.sleep_unless(None, is_over);
            if let Some(len) = pipe.read_one(buf) {
                return Ok(len);
            }
            if !is_over() {
                slept?;
            }
        }
        pipe.read(&mut buf.sink(), wait)
    }

    #[inline(never)]
    fn read_present(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        match self.pipe.read_one(buf) {
            Some(len) => Ok(len),
            None => self.pipe.read(&mut buf.sink(), !file.is_nonblocking()),
        }
    }

    #[inline(never)]
    fn write_source(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        self.write(file, &mut 0, &mut buf.source())
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        self.pipe.read(dst, !file.is_nonblocking())
    }

    fn write(&self, file: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        let flags = file.flags();
        self.pipe.write(src, !flags.contains(OpenFlags::NONBLOCK), flags.contains(OpenFlags::DIRECT))
    }

    fn read_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        if self.pipe.is_empty() { self.read_waiting(file, buf) } else { self.read_present(file, buf) }
    }

    fn write_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        if !file.flags().contains(OpenFlags::DIRECT)
            && let Some(len) = self.pipe.write_one(buf)
        {
            return Ok(len);
        }
        self.write_source(file, buf)
    }

    #[inline]
    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        let pipe = &self.pipe;
        let mut events = Events::empty();
        if self.mode.contains(Mode::READ) {
            pipe.readable.add(poller);
            if !pipe.is_empty() {
                events |= Events::READABLE;
            }
            if !pipe.has_writers() && self.quiet_until != Some(pipe.writer_opens.load(Ordering::Acquire)) {
                events |= Events::HUP;
            }
        }
        if self.mode.contains(Mode::WRITE) {
            pipe.writable.add(poller);
            if !pipe.is_full() {
                events |= Events::WRITABLE;
            }
            if !pipe.has_readers() {
                events |= Events::ERR;
            }
        }
        events
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, _: &OpenFile, command: u32, argument: usize) -> SysResult {
        if Ioctl(command) != Ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        UserPtr::<i32>::new(argument).write(&(self.pipe.pending() as i32))?;
        Ok(0)
    }
}

/// The pipe behind an open file, if it is one.
pub fn of(file: &OpenFile) -> Option<&PipeEnd> {
    file.ops.as_any().downcast_ref()
}

/// A FIFO's pipe, which lives while it is open.
#[derive(Default)]
pub struct Fifo {
    pipe: SpinLock<Weak<Pipe>>,
    /// Made by pipe(2): an open by way of /proc waits for nobody.
    has_no_name: bool,
}

impl Fifo {
    fn of(pipe: &Arc<Pipe>) -> Self {
        Self { pipe: SpinLock::new(Arc::downgrade(pipe)), has_no_name: true }
    }

    /// fifo(7): waits for the other side, unless both are asked for or O_NONBLOCK. ENXIO for a nonblocking writer without readers.
    pub fn open(&self, path: &Path, flags: OpenFlags) -> Result<Arc<OpenFile>, SysError> {
        let mode = Mode::from_flags(flags);
        let pipe = {
            let mut slot = self.pipe.lock();
            match slot.upgrade() {
                Some(pipe) => pipe,
                None => {
                    let pipe = Pipe::new();
                    *slot = Arc::downgrade(&pipe);
                    pipe
                }
            }
        };
        let wait = !flags.contains(OpenFlags::NONBLOCK);
        // Both are looked at before this end is there, the counts first. A partner that waits for this end is still there then, and one that
        // opens, and even closes again, after that has come.
        let writers_before = pipe.writer_opens.load(Ordering::Acquire);
        let readers_before = pipe.reader_opens.load(Ordering::Acquire);
        let (had_readers, had_writers) = (pipe.has_readers(), pipe.has_writers());
        if mode == Mode::WRITE && !wait && !had_readers && !self.has_no_name {
            return Err(Errno::ENXIO.into());
        }
        pipe.add_end(mode);
        let mut end = PipeEnd { pipe, mode, quiet_until: None };
        end.pipe.readable.notify();
        end.pipe.writable.notify();
        let pipe = end.pipe.clone();
        if self.has_no_name {
            // Whoever had the other end may be gone.
        } else if mode == Mode::READ && !had_writers {
            if wait {
                let came = || pipe.writer_opens.load(Ordering::Acquire) != writers_before;
                pipe.readable.wait_until(None, &mut { came })?;
            } else {
                end.quiet_until = Some(writers_before);
            }
        } else if mode == Mode::WRITE && !had_readers {
            let came = || pipe.reader_opens.load(Ordering::Acquire) != readers_before;
            pipe.writable.wait_until(None, &mut { came })?;
        }
        Ok(Arc::new(OpenFile::new(path.clone(), flags, mode, end)))
    }
}

/// pipe2(2): the reading and the writing end.
pub fn new(flags: OpenFlags) -> (Arc<OpenFile>, Arc<OpenFile>) {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    let mount = anon::internal_mount(&MOUNT, &PIPEFS);
    let pipe = Pipe::new();
    let number = mount.fs.next_inode();
    let special = Special::with_fifo(Fifo::of(&pipe));
    let inode = Arc::new(Inode::new(
        &mount.fs,
        number,
        &anon::attributes(FileKind::Fifo, 0o600),
        Contents::other(special),
    ));
    let dentry = Dentry::detached(format!("pipe:[{number}]").as_bytes(), inode);
    let path = Path { mount: mount.clone(), dentry };
    let open = |mode: Mode, flags: OpenFlags| {
        pipe.add_end(mode);
        let end = PipeEnd { pipe: pipe.clone(), mode, quiet_until: None };
        let readiness = if mode == Mode::READ { &pipe.reader } else { &pipe.writer };
        Arc::new(OpenFile::new(path.clone(), flags, mode, end).with_readiness(readiness))
    };
    // Packets are the writer's business.
    let read_flags = flags & !OpenFlags::DIRECT;
    (open(Mode::READ, read_flags), open(Mode::WRITE, flags | OpenFlags::WRONLY))
}
