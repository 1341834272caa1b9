//! Our own terminal, while the guest has one: raw, so that every key reaches the guest's line discipline.

use std::io::IsTerminal;

use rustix::stdio;
use rustix::termios::{self, OptionalActions, Termios};

/// Gives the terminal back as it was, however we leave.
pub(crate) struct RawTerminal(Termios);

impl RawTerminal {
    /// Makes standard input's terminal raw. `None` if it isn't a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = termios::tcgetattr(stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdio::stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Rows and columns of our terminal, if we have one.
pub(crate) fn size() -> Option<(u16, u16)> {
    [stdio::stdin(), stdio::stdout(), stdio::stderr()]
        .into_iter()
        .find_map(|stream| termios::tcgetwinsize(stream).ok())
        .map(|size| (size.ws_row, size.ws_col))
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
    let mode = |stream| rustix::fs::fstat(stream).ok().map(|stat| stat.st_mode);
    [
        kind(std::io::stdin().is_terminal(), mode(stdio::stdin())),
        kind(std::io::stdout().is_terminal(), mode(stdio::stdout())),
        kind(std::io::stderr().is_terminal(), mode(stdio::stderr())),
    ]
}
