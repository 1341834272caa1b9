//! Our own terminal, while the guest has one: raw, so that every key reaches the guest's line discipline.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::termios::{self, SetArg, Termios};

/// Gives the terminal back as it was, however we leave.
pub(crate) struct RawTerminal(Termios);

impl RawTerminal {
    /// Makes standard input's terminal raw. `None` if it isn't a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// Rows and columns of our terminal, if we have one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = |fd: std::os::fd::BorrowedFd<'_>| {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
        // SAFETY: TIOCGWINSZ fills a winsize.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
        (result == 0).then_some((size.ws_row, size.ws_col))
    };
    size(io::stdin().as_fd()).or_else(|| size(io::stdout().as_fd())).or_else(|| size(io::stderr().as_fd()))
}

/// What our three streams are.
pub(crate) fn streams() -> [launch::StreamKind; 3] {
    let kind = |is_terminal: bool, mode: Option<u32>| {
        const TYPE_MASK: u32 = 0o170_000;
        const REGULAR: u32 = 0o100_000;
        if is_terminal {
            launch::StreamKind::Tty
        } else if mode.is_some_and(|mode| mode & TYPE_MASK == REGULAR) {
            launch::StreamKind::File
        } else {
            launch::StreamKind::Pipe
        }
    };
    [
        kind(io::stdin().is_terminal(), mode_of(io::stdin().as_fd())),
        kind(io::stdout().is_terminal(), mode_of(io::stdout().as_fd())),
        kind(io::stderr().is_terminal(), mode_of(io::stderr().as_fd())),
    ]
}

/// Type and permission bits of what a descriptor refers to.
fn mode_of(fd: std::os::fd::BorrowedFd<'_>) -> Option<u32> {
    nix::sys::stat::fstat(fd).ok().map(|stat| stat.st_mode)
}
