//! Terminals: the line discipline between programs and the other side, which is the launcher's terminal or a master (tty_ioctl(4), termios(3)).

mod settings;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::{Errno, Ioctl, OpenFlags, Winsize};
use caps::cap;
use ldisc::{Event, LineDiscipline, Settings, cc, lflag};

use self::settings::{TERMIOS, TERMIOS2};
use super::device;
use super::file::{FileOps, Mode, OpenFile};
use super::hooks;
use super::inode::Device;
use super::lock::SleepLock;
use super::path::Path;
use super::poll::{Events, PollHead, Poller};
use super::pty::{self, Pair, packet};
use crate::console;
use crate::mm::{Sink, Source, UserPtr};
use crate::sync::{OneAtATime, SpinLock};
use crate::syscall::{SysError, SysResult};
use crate::task::process::has_capability;
use crate::task::{Process, WaitError, current};
use crate::time;

/// 38400 baud, 8 bits, receiver on; and hang up on close (`tty_std_termios`).
const STANDARD_CFLAG: u32 = 0o17 | 0o60 | 0o200;
const HUPCL: u32 = 0o2000;
const STANDARD_SPEED: u32 = 38_400;

/// What the line discipline has no use for, but programs read back.
#[derive(Clone, Copy)]
struct Extra {
    cflag: u32,
    line: u8,
    input_speed: u32,
    output_speed: u32,
}

struct Line {
    discipline: LineDiscipline,
    extra: Extra,
    pixels: [u16; 2],
}

/// A terminal.
pub struct Tty {
    line: SpinLock<Line>,
    /// One reader, and one writer, at a time.
    read_lock: SleepLock,
    write_lock: SleepLock,
    readable: PollHead,
    writable: PollHead,
    hung_up: AtomicBool,
    /// The session that it controls, and that session's foreground group; 0 for none.
    session: AtomicU32,
    foreground: AtomicU32,
    /// The master's side; none for the console.
    pub pair: Option<Pair>,
}

static CONSOLE: Tty = Tty::new(None);

/// Who moves the console's input.
static PUMP: OneAtATime = OneAtATime::new();

impl Line {
    /// Of the console; a pseudoterminal isn't hung up by its last close.
    const fn new(is_console: bool) -> Self {
        Self {
            discipline: LineDiscipline::new(Settings::COOKED),
            extra: Extra {
                cflag: if is_console { STANDARD_CFLAG | HUPCL } else { STANDARD_CFLAG },
                line: 0,
                input_speed: STANDARD_SPEED,
                output_speed: STANDARD_SPEED,
            },
            pixels: [0; 2],
        }
    }
}

/// The launcher's terminal.
pub fn console() -> &'static Tty {
    &CONSOLE
}

/// Why a group is signalled by its terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Interrupt,
    Quit,
    Suspend,
    Hangup,
    Continue,
    WindowChange,
    BackgroundRead,
    BackgroundWrite,
}

/// The terminal that controls a process's session.
pub fn controlling(process: &Process) -> Option<&'static Tty> {
    if CONSOLE.is_controlling(process) {
        return Some(&CONSOLE);
    }
    pty::find(|tty| tty.is_controlling(process))
}

impl Tty {
    const fn new(pair: Option<Pair>) -> Self {
        Self {
            line: SpinLock::new(Line::new(pair.is_none())),
            read_lock: SleepLock::new(),
            write_lock: SleepLock::new(),
            readable: PollHead::new(),
            writable: PollHead::new(),
            hung_up: AtomicBool::new(false),
            session: AtomicU32::new(0),
            foreground: AtomicU32::new(0),
            pair,
        }
    }

    /// One with a master.
    #[inline(never)]
    pub fn pseudo(pair: Pair) -> Self {
        Self::new(Some(pair))
    }

    /// As new.
    pub fn reset(&self) {
        *self.line.lock() = Line::new(false);
        self.session.store(0, Ordering::Relaxed);
        self.foreground.store(0, Ordering::Relaxed);
        self.hung_up.store(false, Ordering::Release);
    }

    /// Its device number.
    pub fn device(&self) -> Device {
        self.pair.as_ref().map_or(device::CONSOLE, Pair::device)
    }

    pub fn session(&self) -> u32 {
        self.session.load(Ordering::Relaxed)
    }

    pub fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }

    fn has_lost_master(&self) -> bool {
        self.pair.is_some() && self.is_hung_up()
    }

    pub fn note_hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        self.readable.notify();
        self.writable.notify();
    }

    /// Whether the discipline can take more input.
    pub fn has_room(&self) -> bool {
        self.line.lock().discipline.has_room()
    }

    /// The master has read.
    pub fn output_taken(&self) {
        self.writable.notify();
    }

    /// Whether output has to wait.
    fn is_blocked(&self) -> bool {
        self.line.lock().discipline.is_stopped() || self.pair.as_ref().is_some_and(Pair::is_full)
    }

    fn winsize(&self) -> Winsize {
        if let Some(pair) = &self.pair {
            return pair.winsize();
        }
        let [xpixel, ypixel] = self.line.lock().pixels;
        Winsize { xpixel, ypixel, ..console::winsize() }
    }

    /// Takes what came from the keyboard, as far as the discipline has room.
    pub fn pump(&self) {
        if let Some(pair) = &self.pair {
            return pair.input_taken();
        }
        let mut echo = Vec::new();
        let mut events = Vec::new();
        // So that bytes come once and in order, whoever else comes meanwhile, an interrupt perhaps.
        PUMP.run(|| {
            while self.has_room() {
                let mut byte = [0];
                match console::read_input(&mut Sink::kernel(&mut byte)) {
                    Ok(Some(0)) => {
                        if !self.hung_up.swap(true, Ordering::AcqRel) {
                            self.hang_up();
                        }
                        break;
                    }
                    Ok(Some(_)) => events.extend(self.line.lock().discipline.receive(byte[0], &mut echo)),
                    _ => break,
                }
            }
        });
        self.act(&echo, &events);
    }

    /// A byte as if it came from the keyboard (TIOCSTI), or from the master.
    pub fn insert(&self, byte: u8) {
        let mut echo = Vec::new();
        let event = self.change(|line| line.discipline.receive(byte, &mut echo));
        self.act(&echo, event.as_slice());
    }

    /// Does what may stop output, or let it go on.
    fn change<T>(&self, what: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = self.line.lock();
        let was_stopped = line.discipline.is_stopped();
        let result = what(&mut line);
        let is_stopped = line.discipline.is_stopped();
        drop(line);
        if was_stopped != is_stopped {
            self.tell(if is_stopped { packet::STOP } else { packet::START });
            self.writable.notify();
        }
        result
    }

    /// A master in packet mode hears of this.
    fn tell(&self, news: u8) {
        if let Some(pair) = &self.pair {
            pair.tell(news);
        }
    }

    /// Shows an echo, sends signals, and wakes who waits.
    fn act(&self, echo: &[u8], events: &[Event]) {
        if let Some(pair) = &self.pair {
            if !echo.is_empty() && !pair.is_full() {
                pair.put(echo);
            }
        } else if !echo.is_empty() {
            // What the launcher doesn't take now is lost, as on a line that nobody reads.
            let _ = console::write(1, &mut Source::kernel(echo));
        }
        for event in events {
            match event {
                Event::Signal(signal) => {
                    let reason = match signal {
                        ldisc::Signal::Interrupt => Reason::Interrupt,
                        ldisc::Signal::Quit => Reason::Quit,
                        ldisc::Signal::Suspend => Reason::Suspend,
                    };
                    hooks::signal_group(self.foreground.load(Ordering::Relaxed), reason);
                    if self.line.lock().discipline.settings().lflag & lflag::NOFLSH == 0 {
                        self.tell(packet::FLUSH_READ | packet::FLUSH_WRITE);
                    }
                    // The key lets output go on as well.
                    self.writable.notify();
                }
                Event::Start => self.writable.notify(),
                Event::Stop => {}
            }
        }
        self.readable.notify();
    }

    /// The other side is gone: reads are at their end, writes fail.
    fn hang_up(&self) {
        self.readable.notify();
        self.writable.notify();
        hooks::signal_group(self.foreground.load(Ordering::Relaxed), Reason::Hangup);
    }

    /// Makes this a session's controlling terminal.
    pub fn control(&self, session: u32, group: u32) {
        self.session.store(session, Ordering::Relaxed);
        self.foreground.store(group, Ordering::Relaxed);
    }

    /// A session leader gives its terminal up, or ends: the foreground group is told, and returned.
    pub fn release(&self, session: u32) -> u32 {
        if self.session.load(Ordering::Relaxed) != session {
            return 0;
        }
        let group = self.foreground.swap(0, Ordering::Relaxed);
        self.session.store(0, Ordering::Relaxed);
        hooks::signal_group(group, Reason::Hangup);
        group
    }

    /// Forgets all input: who writes it may go on.
    fn flush_input(&self) {
        self.line.lock().discipline.flush_input();
        if let Some(pair) = &self.pair {
            pair.input_taken();
            pair.tell(packet::FLUSH_READ);
        }
    }

    /// The group that is signalled by keys; 0 for none.
    pub fn foreground(&self) -> u32 {
        self.foreground.load(Ordering::Relaxed)
    }

    /// Whether it controls the process's session: no more without its master.
    pub fn is_controlling(&self, process: &Process) -> bool {
        self.session() == process.session.load(Ordering::Relaxed) && !self.has_lost_master()
    }

    /// Stops a background process that wants to read, or to write where that is not allowed. EIO if it can't be stopped.
    fn check_foreground(&self, reason: Reason) -> Result<(), SysError> {
        let process = &current().process;
        let group = process.group.load(Ordering::Relaxed);
        let foreground = self.foreground.load(Ordering::Relaxed);
        if !self.is_controlling(process) || foreground == 0 || foreground == group {
            return Ok(());
        }
        hooks::stop_background(group, reason)
    }

    fn can_read(&self) -> bool {
        self.line.lock().discipline.can_read() || self.hung_up.load(Ordering::Acquire)
    }

    /// Takes what there is; `None` if there is nothing.
    fn take(&self, dst: &mut [u8]) -> Option<usize> {
        let taken = self.line.lock().discipline.read(dst);
        if taken.is_some() {
            self.pump();
        }
        taken
    }

    fn read(&self, file: &OpenFile, dst: &mut Sink<'_>) -> SysResult {
        self.check_foreground(Reason::BackgroundRead)?;
        if dst.remaining() == 0 || self.has_lost_master() {
            return Ok(0);
        }
        let _guard = self.read_lock.lock_interruptibly(!file.is_nonblocking())?;
        let (is_canonical, min, time) = {
            let line = self.line.lock();
            let settings = line.discipline.settings();
            let character = |index: usize| settings.cc.get(index).copied().unwrap_or(0);
            (settings.lflag & lflag::ICANON != 0, character(cc::VMIN), character(cc::VTIME))
        };
        let tenths = u64::from(time) * (time::NS_PER_SEC / 10);
        let least = if is_canonical || min == 0 { 1 } else { usize::from(min).min(dst.remaining()) };
        let mut buffer = [0; 256];
        let mut done = 0;
        let mut has_waited = false;
        loop {
            let room = dst.remaining().min(buffer.len());
            let piece = buffer.get_mut(..room).unwrap_or_default();
            match self.take(piece) {
                Some(count) => {
                    let is_whole_line = is_canonical && (count < room || !self.line_goes_on(piece, count));
                    done += match dst.write(piece.get(..count).unwrap_or_default()) {
                        Ok(moved) => moved,
                        Err(_) if done > 0 => return Ok(done),
                        Err(error) => return Err(error.into()),
                    };
                    if is_whole_line
                        || dst.remaining() == 0
                        || (!is_canonical && count < room && done >= least)
                    {
                        return Ok(done);
                    }
                    continue;
                }
                None if done >= least || (is_canonical && done > 0) => return Ok(done),
                None => {}
            }
            if self.hung_up.load(Ordering::Acquire) {
                // Who waited while the master went hears of it.
                let is_news = has_waited && done == 0 && self.pair.is_some();
                return if is_news { Err(Errno::EIO.into()) } else { Ok(done) };
            }
            if file.is_nonblocking() {
                return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN.into()) };
            }
            // With VMIN and VTIME the clock starts with the first byte; with VTIME alone, with the read.
            let timed = !is_canonical && time != 0 && (min == 0 || done > 0);
            let deadline = timed.then(|| time::monotonic_ns().saturating_add(tenths));
            if !is_canonical && min == 0 && time == 0 {
                return Ok(done);
            }
            has_waited = true;
            match self.readable.wait_until(deadline, &mut || self.can_read()) {
                Ok(()) => {}
                Err(WaitError::TimedOut) => return Ok(done),
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a canonical read that filled its piece may go on with the same line.
    fn line_goes_on(&self, piece: &[u8], count: usize) -> bool {
        let last = count.checked_sub(1).and_then(|at| piece.get(at)).copied();
        let line = self.line.lock();
        let settings = line.discipline.settings();
        let ends = [Some(b'\n'), settings.cc.get(cc::VEOL).copied(), settings.cc.get(cc::VEOL2).copied()];
        last.is_some_and(|byte| !ends.contains(&Some(byte)))
    }

    fn write(&self, file: &OpenFile, src: &mut Source<'_>) -> SysResult {
        if self.line.lock().discipline.settings().lflag & lflag::TOSTOP != 0 {
            self.check_foreground(Reason::BackgroundWrite)?;
        }
        let _guard = self.write_lock.lock_interruptibly(!file.is_nonblocking())?;
        let mut buffer = [0; 512];
        let mut out = Vec::new();
        let mut done = 0;
        while src.remaining() > 0 {
            if self.hung_up.load(Ordering::Acquire) {
                return if done > 0 { Ok(done) } else { Err(Errno::EIO.into()) };
            }
            if self.is_blocked() {
                if file.is_nonblocking() {
                    return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN.into()) };
                }
                let goes_on = || !self.is_blocked() || self.hung_up.load(Ordering::Acquire);
                match self.writable.wait_until(None, &mut { goes_on }) {
                    Ok(()) => continue,
                    Err(_) if done > 0 => return Ok(done),
                    Err(error) => return Err(error.into()),
                }
            }
            let len = src.remaining().min(buffer.len());
            let moved = match src.read(buffer.get_mut(..len).unwrap_or_default()) {
                Ok(moved) => moved,
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error.into()),
            };
            out.clear();
            self.line.lock().discipline.write(buffer.get(..moved).unwrap_or_default(), &mut out);
            match &self.pair {
                Some(pair) => pair.put(&out),
                None => drop(console::write(1, &mut Source::kernel(&out))?),
            }
            done += moved;
            if moved < len {
                break;
            }
        }
        Ok(done)
    }

    /// An ioctl on the master's side that means the terminal.
    pub fn ioctl_of_master(&self, _: &OpenFile, command: u32, argument: usize) -> SysResult {
        let int = UserPtr::<i32>::new(argument);
        match Ioctl(command) {
            Ioctl::TIOCGPGRP => int.write(&self.foreground().cast_signed())?,
            Ioctl::TIOCGSID if self.session() == 0 => return Err(Errno::ENOTTY.into()),
            Ioctl::TIOCGSID => int.write(&self.session().cast_signed())?,
            Ioctl::TCFLSH if argument <= 2 => {
                if let Some(pair) = self.pair.as_ref().filter(|_| argument != 1) {
                    pair.flush_output();
                    self.output_taken();
                }
            }
            Ioctl::TIOCSCTTY | Ioctl::TIOCNOTTY | Ioctl::TIOCSTI => return Err(Errno::ENOTTY.into()),
            _ => return self.ioctl(command, argument),
        }
        Ok(0)
    }

    fn ioctl(&self, command: u32, argument: usize) -> SysResult {
        if self.has_lost_master() {
            return Err(Errno::EIO.into());
        }
        let process = &current().process;
        let int = UserPtr::<i32>::new(argument);
        match Ioctl(command) {
            Ioctl::TCGETS | Ioctl::TCGETS2 => {
                let bytes = self.settings_bytes();
                let len = if Ioctl(command) == Ioctl::TCGETS { TERMIOS } else { TERMIOS2 };
                UserPtr::new(argument).write_bytes(bytes.get(..len).unwrap_or_default())?;
            }
            Ioctl::TCSETS | Ioctl::TCSETSW => return self.set_from_user(argument, TERMIOS, false),
            Ioctl::TCSETSF => return self.set_from_user(argument, TERMIOS, true),
            Ioctl::TCSETS2 | Ioctl::TCSETSW2 => return self.set_from_user(argument, TERMIOS2, false),
            Ioctl::TCSETSF2 => return self.set_from_user(argument, TERMIOS2, true),
            Ioctl::TCXONC => match argument {
                0 | 1 => self.change(|line| line.discipline.set_stopped(argument == 0)),
                2 | 3 => {}
                _ => return Err(Errno::EINVAL.into()),
            },
            Ioctl::TCFLSH => match argument {
                0..=2 => {
                    if argument != 1 {
                        self.flush_input();
                    }
                    if argument != 0 {
                        self.tell(packet::FLUSH_WRITE);
                    }
                }
                _ => return Err(Errno::EINVAL.into()),
            },
            Ioctl::TCSBRK | Ioctl::TCSBRKP | Ioctl::TIOCEXCL | Ioctl::TIOCNXCL => {}
            Ioctl::FIONREAD => int.write(&(self.line.lock().discipline.available() as i32))?,
            Ioctl::TIOCOUTQ | Ioctl::TIOCGETD => int.write(&0)?,
            Ioctl::TIOCSETD => {
                if int.read()? != 0 {
                    return Err(Errno::EINVAL.into());
                }
            }
            Ioctl::TIOCSTI => {
                // Whoever may type for others can run their commands.
                if !self.is_controlling(process) && !has_capability(cap::SYS_ADMIN) {
                    return Err(Errno::EPERM.into());
                }
                let byte = UserPtr::<u8>::new(argument).read()?;
                self.insert(byte);
            }
            Ioctl::TIOCGWINSZ => UserPtr::new(argument).write(&self.winsize())?,
            Ioctl::TIOCSWINSZ => {
                let size = UserPtr::<Winsize>::new(argument).read()?;
                let old = self.winsize();
                match &self.pair {
                    Some(pair) => pair.set_winsize(size),
                    None => {
                        self.line.lock().pixels = [size.xpixel, size.ypixel];
                        if (old.rows, old.cols) != (size.rows, size.cols) {
                            console::set_winsize(size.rows, size.cols);
                        }
                    }
                }
                if (old.rows, old.cols) != (size.rows, size.cols) {
                    hooks::signal_group(self.foreground.load(Ordering::Relaxed), Reason::WindowChange);
                }
            }
            Ioctl::TIOCGPGRP => {
                if !self.is_controlling(process) {
                    return Err(Errno::ENOTTY.into());
                }
                int.write(&self.foreground.load(Ordering::Relaxed).cast_signed())?;
            }
            Ioctl::TIOCSPGRP => {
                self.check_foreground(Reason::BackgroundWrite)?;
                if !self.is_controlling(process) {
                    return Err(Errno::ENOTTY.into());
                }
                let group = u32::try_from(int.read()?).map_err(|_| Errno::EINVAL)?;
                if !hooks::is_group_in_session(group, process.session.load(Ordering::Relaxed))? {
                    return Err(Errno::EPERM.into());
                }
                self.foreground.store(group, Ordering::Relaxed);
            }
            Ioctl::TIOCGSID => {
                if !self.is_controlling(process) {
                    return Err(Errno::ENOTTY.into());
                }
                int.write(&self.session.load(Ordering::Relaxed).cast_signed())?;
            }
            Ioctl::TIOCSCTTY => {
                let session = process.session.load(Ordering::Relaxed);
                let holder = self.session.load(Ordering::Relaxed);
                if process.pid == session && holder == session {
                    return Ok(0);
                }
                if process.pid != session
                    || controlling(process).is_some()
                    || (holder != 0 && (argument != 1 || !has_capability(cap::SYS_ADMIN)))
                {
                    return Err(Errno::EPERM.into());
                }
                self.control(session, process.group.load(Ordering::Relaxed));
            }
            Ioctl::TIOCNOTTY => {
                if !self.is_controlling(process) {
                    return Err(Errno::ENOTTY.into());
                }
                if process.pid == process.session.load(Ordering::Relaxed) {
                    hooks::signal_group(self.release(process.pid), Reason::Continue);
                }
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }
}

/// An open terminal.
struct TtyFile(&'static Tty);

impl TtyFile {
    fn new(tty: &'static Tty) -> Self {
        if let Some(pair) = &tty.pair {
            pair.opens.fetch_add(1, Ordering::AcqRel);
            pair.is_left.store(false, Ordering::Release);
        }
        Self(tty)
    }
}

impl Drop for TtyFile {
    fn drop(&mut self) {
        if let Some(pair) = &self.0.pair {
            pair.close();
        }
    }
}

impl FileOps for TtyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        self.0.read(file, dst)
    }

    fn write(&self, file: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        self.0.write(file, src)
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.0.readable.add(poller);
        self.0.writable.add(poller);
        let line = self.0.line.lock();
        let mut events = Events::empty();
        events.set(Events::READABLE, line.discipline.poll_ready());
        drop(line);
        events.set(Events::WRITABLE, !self.0.is_blocked());
        if self.0.hung_up.load(Ordering::Acquire) {
            events |= Events::READABLE | Events::HUP;
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
        self.0.ioctl(command, argument)
    }
}

/// Opens a terminal; /dev/tty is the one that controls the process. ENXIO.
pub fn open(path: Path, flags: OpenFlags) -> Result<Arc<OpenFile>, SysError> {
    let process = &current().process;
    let device = path.inode().device;
    let tty = match device {
        device::TTY => controlling(process).ok_or(Errno::ENXIO)?,
        device::CONSOLE => &CONSOLE,
        _ => pty::by_number(device.minor())?,
    };
    // A session leader without a terminal gets the first one that it opens.
    let session = process.session.load(Ordering::Relaxed);
    let may_control = !flags.contains(OpenFlags::NOCTTY) && device != device::CONSOLE;
    if may_control && process.pid == session && tty.session() == 0 && controlling(process).is_none() {
        tty.control(session, process.group.load(Ordering::Relaxed));
    }
    Ok(Arc::new(OpenFile::new(path, flags, Mode::from_flags(flags), TtyFile::new(tty))))
}

/// The terminal as a first process's standard stream.
pub fn open_console() -> Result<Arc<OpenFile>, Errno> {
    super::open_kernel(b"/dev/console", OpenFlags::RDWR)
}
