//! Our own terminal, while the guest has one: raw, so that every key reaches the guest's line discipline.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use launch::StreamKind;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, SetArg, SpecialCharacterIndices, Termios};

/// The terminal as it was, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes standard input's terminal raw, until [`restore`]. A panic restores it as well.
pub(crate) fn make_raw() {
    let Ok(attributes) = termios::tcgetattr(io::stdin()) else { return };
    let mut raw = attributes.clone();
    termios::cfmakeraw(&mut raw);
    raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            earlier(info);
        }));
    });
    let mut before = before();
    if termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).is_ok() {
        before.get_or_insert(attributes);
    }
}

/// Makes the terminal raw again, if it should be: a shell that continues a stopped job may have changed it.
pub(crate) fn make_raw_again() {
    if before().is_some() {
        make_raw();
    }
}

/// Gives the terminal back as it was. Whether it was raw.
pub(crate) fn restore() -> bool {
    let attributes = before().take();
    if let Some(attributes) = &attributes {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, attributes);
    }
    attributes.is_some()
}

/// Gives the terminal back on drop.
pub(crate) struct RawTerminal;

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Something of our own on standard error. A raw terminal wants its line ends whole.
pub(crate) fn say(text: &str) {
    let raw = before().is_some() && io::stderr().is_terminal();
    let text = if raw { text.replace('\n', "\r\n") } else { text.to_owned() };
    let _ = write_all(io::stderr().as_fd(), text.as_bytes());
}

/// Writes everything, unbuffered, also where somebody else made the stream non-blocking.
pub(crate) fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(stream, bytes) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stream, PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Reads once, waiting for something also where somebody else made the stream non-blocking.
pub(crate) fn read(stream: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    loop {
        match nix::unistd::read(stream, &mut *buffer) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stream, PollFlags::POLLIN)], PollTimeout::NONE);
            }
            result => return result,
        }
    }
}

/// Rows and columns of our terminal, if we have one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = |fd: BorrowedFd<'_>| {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
        // SAFETY: TIOCGWINSZ fills a winsize.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
        (result == 0).then_some((size.ws_row, size.ws_col))
    };
    size(io::stdin().as_fd()).or_else(|| size(io::stdout().as_fd())).or_else(|| size(io::stderr().as_fd()))
}

/// What our three streams are.
pub(crate) fn streams() -> [StreamKind; 3] {
    let kind = |fd: BorrowedFd<'_>| {
        let mode = nix::sys::stat::fstat(fd).map_or(0, |stat| stat.st_mode);
        if fd.is_terminal() {
            StreamKind::Tty
        } else if mode & libc::S_IFMT == libc::S_IFREG {
            StreamKind::File
        } else {
            StreamKind::Pipe
        }
    };
    [kind(io::stdin().as_fd()), kind(io::stdout().as_fd()), kind(io::stderr().as_fd())]
}
