//! Pseudoterminals (pty(7)): the master's side, and the terminals that there are.
//!
//! A terminal is made once and used again: it is free when neither its master nor its other side is open anywhere.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use abi::{Errno, Ioctl, OpenFlags, Winsize};
use fdmap::OnExec;

use super::device;
use super::file::{FileOps, Mode, OpenFile};
use super::hooks;
use super::inode::{Device, FileKind, NewFile};
use super::path::Path;
use super::poll::{Events, PollHead, Poller};
use super::tty::Tty;
use super::{mount, tmpfs};
use crate::mm::{Sink, Source, UserPtr};
use crate::sync::SpinLock;
use crate::syscall::{SysError, SysResult};
use crate::task::{Process, current};

/// The major number of /dev/pts/N.
pub const MAJOR: u32 = 136;
/// Output that waits for the master's reader before writers wait.
const ROOM: usize = 4096;
/// The group of terminals.
const TTY_GROUP: u32 = 5;

/// What a pseudoterminal has besides what every terminal has.
pub struct Pair {
    number: u32,
    /// What programs wrote, and echoes, on their way to the master.
    output: SpinLock<Vec<u8>>,
    readable: PollHead,
    writable: PollHead,
    is_locked: AtomicBool,
    /// Open files of the terminal, and whether there were some and none is left.
    pub opens: AtomicUsize,
    pub is_left: AtomicBool,
    size: SpinLock<Winsize>,
    /// In packet mode: what the master's next read says has happened to the terminal.
    packet: SpinLock<Option<u8>>,
    /// The master is open, or the terminal.
    in_use: AtomicBool,
}

/// What a master in packet mode reads in place of data: `TIOCPKT_*` (ioctl_tty(2)).
pub mod packet {
    pub const FLUSH_READ: u8 = 1;
    pub const FLUSH_WRITE: u8 = 2;
    pub const STOP: u8 = 4;
    pub const START: u8 = 8;
    pub const NO_STOP: u8 = 16;
    pub const DO_STOP: u8 = 32;
    pub const IOCTL: u8 = 64;
}

/// All that were ever made, by number.
static ALL: SpinLock<Vec<&'static Tty>> = SpinLock::new(Vec::new());
/// The first place to look for a free one.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether there is any terminal but the console.
pub fn exist() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

/// Finds one of the pseudoterminals.
pub fn find(is_wanted: impl Fn(&Tty) -> bool) -> Option<&'static Tty> {
    if !exist() {
        return None;
    }
    ALL.lock().iter().copied().find(|tty| is_wanted(tty))
}

impl Pair {
    /// ENOMEM.
    fn new(number: u32) -> Result<Self, Errno> {
        let mut output = Vec::new();
        output.try_reserve_exact(2 * ROOM).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            number,
            output: SpinLock::new(output),
            readable: PollHead::new(),
            writable: PollHead::new(),
            is_locked: AtomicBool::new(true),
            opens: AtomicUsize::new(0),
            is_left: AtomicBool::new(false),
            size: SpinLock::new(Winsize::default()),
            packet: SpinLock::new(None),
            in_use: AtomicBool::new(true),
        })
    }

    pub fn device(&self) -> Device {
        Device::new(MAJOR, self.number)
    }

    /// Whether a program that writes must wait for the master.
    pub fn is_full(&self) -> bool {
        self.output.lock().len() >= ROOM
    }

    /// Output of a program; an echo, unless there is no room. What one write adds (`Tty::write`) has room above `ROOM`.
    pub fn put(&self, bytes: &[u8]) {
        self.output.lock().extend_from_slice(bytes);
        self.readable.notify();
    }

    /// The terminal has taken input.
    pub fn input_taken(&self) {
        self.writable.notify();
    }

    pub fn winsize(&self) -> Winsize {
        *self.size.lock()
    }

    pub fn set_winsize(&self, size: Winsize) {
        *self.size.lock() = size;
    }

    /// A master in packet mode is to hear of this.
    pub fn tell(&self, news: u8) {
        use packet::{DO_STOP, NO_STOP, START, STOP};
        if let Some(told) = &mut *self.packet.lock() {
            let outdated = (news & (STOP | NO_STOP)) << 1 | (news & (START | DO_STOP)) >> 1;
            *told = *told & !outdated | news;
        }
        if self.has_news() {
            self.readable.notify();
        }
    }

    fn take_news(&self) -> Option<u8> {
        self.packet.lock().as_mut().map(core::mem::take)
    }

    fn has_news(&self) -> bool {
        self.packet.lock().is_some_and(|told| told != 0)
    }

    /// Forgets what programs wrote.
    pub fn flush_output(&self) {
        self.output.lock().clear();
    }

    /// One file of the terminal less is open.
    pub fn close(&self) {
        if self.opens.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.is_left.store(true, Ordering::Release);
            self.readable.notify();
        }
    }
}

/// Its name in /dev/pts.
#[inline(never)]
fn name_of(number: u32) -> Vec<u8> {
    format!("{number}").into_bytes()
}

/// A free terminal, or a new one.
fn allocate() -> Result<&'static Tty, Errno> {
    let mut all = ALL.lock();
    for tty in all.iter() {
        let Some(pair) = &tty.pair else { continue };
        if pair.opens.load(Ordering::Acquire) == 0 && !pair.in_use.swap(true, Ordering::AcqRel) {
            tty.reset();
            pair.flush_output();
            *pair.size.lock() = Winsize::default();
            *pair.packet.lock() = None;
            pair.is_locked.store(true, Ordering::Relaxed);
            pair.is_left.store(false, Ordering::Relaxed);
            return Ok(tty);
        }
    }
    all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    let tty: &'static Tty = Box::leak(Box::new(Tty::pseudo(Pair::new(all.len() as u32)?)));
    all.push(tty);
    COUNT.store(all.len() as u32, Ordering::Relaxed);
    Ok(tty)
}

/// The directory of the terminals.
pub fn directory() -> Result<Path, Errno> {
    let dev = mount::first_dev().ok_or(Errno::ENODEV)?;
    let mut path = Path { dentry: dev.root.lookup(b"pts")?, mount: dev };
    mount::cross_down(&mut path);
    Ok(path)
}

/// Opens /dev/ptmx: a new pair.
pub fn open_master(path: Path, flags: OpenFlags) -> Result<Arc<OpenFile>, SysError> {
    let tty = allocate()?;
    // From here on a failure frees it again.
    let master = MasterFile(tty);
    let number = master.pair().number;
    let directory = directory()?;
    let uid = current().process.cred.lock().fsuid;
    let new = NewFile {
        kind: FileKind::CharDevice,
        mode: 0o620,
        uid,
        gid: TTY_GROUP,
        device: Device::new(MAJOR, number),
        target: &[],
    };
    let inode = tmpfs::make(&directory.mount.fs, &new)?;
    directory.dentry.insert(&name_of(number), inode)?;
    Ok(Arc::new(OpenFile::new(path, flags, Mode::from_flags(flags), master)))
}

/// The terminal of a device number, for an open. ENXIO; EIO while it is locked.
pub fn by_number(number: u32) -> Result<&'static Tty, Errno> {
    let tty = ALL.lock().get(number as usize).copied().ok_or(Errno::ENXIO)?;
    let Some(pair) = &tty.pair else { return Err(Errno::ENXIO) };
    if !pair.in_use.load(Ordering::Acquire) || pair.is_locked.load(Ordering::Acquire) || tty.is_hung_up() {
        return Err(Errno::EIO);
    }
    Ok(tty)
}

/// The process gives up whatever terminal controls its session.
pub fn release(process: &Process) {
    // Also one that has lost its master: its group in front is told at the end.
    while let Some(tty) = find(|tty| tty.session() == process.pid) {
        tty.release(process.pid);
    }
}

/// A master's open file.
struct MasterFile(&'static Tty);

impl MasterFile {
    #[expect(clippy::unreachable, reason = "masters are made for pairs")]
    fn pair(&self) -> &'static Pair {
        match &self.0.pair {
            Some(pair) => pair,
            None => unreachable!(),
        }
    }
}

impl Drop for MasterFile {
    fn drop(&mut self) {
        let pair = self.pair();
        if let Ok(directory) = directory()
            && let Some(node) = directory.dentry.child(&name_of(pair.number))
        {
            let _ = directory.dentry.remove(node.name().bytes(), &node);
        }
        self.0.hang_up_session();
        pair.in_use.store(false, Ordering::Release);
    }
}

impl FileOps for MasterFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let pair = self.pair();
        let mut buffer = [0; 512];
        let mut done = 0;
        while dst.remaining() > 0 {
            let room = dst.remaining().min(buffer.len());
            // In packet mode a 0 stands before data.
            let news = if done == 0 { pair.take_news() } else { None };
            let lead = match news {
                None => 0,
                Some(0) => 1,
                Some(news) => return Ok(dst.write(&[news])?),
            };
            let mut taken = 0;
            let has_some = {
                let mut output = pair.output.lock();
                for (slot, byte) in buffer.iter_mut().take(room).skip(lead).zip(&*output) {
                    *slot = *byte;
                    taken += 1;
                }
                let len = output.len();
                output.copy_within(taken.., 0);
                output.truncate(len - taken);
                len > 0
            };
            if has_some {
                self.0.output_taken();
                done += dst.write(buffer.get(..lead + taken).unwrap_or_default())?;
            } else if done > 0 {
                break;
            } else if pair.is_left.load(Ordering::Acquire) {
                return Err(Errno::EIO.into());
            } else if file.is_nonblocking() {
                return Err(Errno::EAGAIN.into());
            } else {
                let can_go_on = || {
                    !pair.output.lock().is_empty() || pair.is_left.load(Ordering::Acquire) || pair.has_news()
                };
                pair.readable.wait_until(None, &mut { can_go_on })?;
            }
        }
        Ok(done)
    }

    fn write(&self, file: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        let mut done = 0;
        while src.remaining() > 0 {
            if !self.0.has_room() {
                if done > 0 {
                    break;
                }
                if file.is_nonblocking() {
                    return Err(Errno::EAGAIN.into());
                }
                self.pair().writable.wait_until(None, &mut || self.0.has_room())?;
            }
            let mut byte = [0];
            match src.read(&mut byte) {
                Ok(1) => self.0.insert(byte[0]),
                Err(error) if done == 0 => return Err(error.into()),
                _ => break,
            }
            done += 1;
        }
        Ok(done)
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        let pair = self.pair();
        pair.readable.add(poller);
        pair.writable.add(poller);
        let mut events = Events::empty();
        let has_news = pair.has_news();
        events.set(Events::PRI, has_news);
        events.set(Events::READABLE, has_news || !pair.output.lock().is_empty());
        events.set(Events::WRITABLE, self.0.has_room());
        events.set(Events::HUP, pair.is_left.load(Ordering::Acquire));
        events
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, file: &OpenFile, command: u32, argument: usize) -> SysResult {
        let pair = self.pair();
        let int = UserPtr::<i32>::new(argument);
        match Ioctl(command) {
            Ioctl::FIONREAD => int.write(&(pair.output.lock().len() as i32))?,
            Ioctl::TIOCGPTN => int.write(&pair.number.cast_signed())?,
            Ioctl::TIOCGPTLCK => int.write(&i32::from(pair.is_locked.load(Ordering::Acquire)))?,
            Ioctl::TIOCSPTLCK => pair.is_locked.store(int.read()? != 0, Ordering::Release),
            Ioctl::TIOCGPKT => int.write(&i32::from(pair.packet.lock().is_some()))?,
            Ioctl::TIOCPKT => {
                let is_on = int.read()? != 0;
                let mut packet = pair.packet.lock();
                *packet = is_on.then(|| packet.unwrap_or(0));
            }
            Ioctl::TIOCGPTPEER => {
                let flags = OpenFlags::from_bits_retain(argument as u32);
                let directory = directory()?;
                let dentry = directory.dentry.child(&name_of(pair.number)).ok_or(Errno::EIO)?;
                pair.is_locked.store(false, Ordering::Release);
                let peer = device::open(&Path { dentry, ..directory }, flags & !OpenFlags::CLOEXEC)?;
                let on_exec = if flags.contains(OpenFlags::CLOEXEC) { OnExec::Close } else { OnExec::Keep };
                return Ok(super::files().insert(peer, on_exec)?.0 as usize);
            }
            _ => return self.0.ioctl_of_master(file, command, argument),
        }
        Ok(0)
    }
}

impl Tty {
    /// The master is gone: the session's leader is told, and nothing can be read or written any more.
    fn hang_up_session(&self) {
        self.note_hang_up();
        hooks::hang_up(self.session());
    }
}
