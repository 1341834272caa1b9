//! With a terminal on our side the program has one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::common::{probe, xtask};

/// A terminal with a program in it.
pub(crate) struct Terminal {
    keyboard: File,
    /// Our copy of the other side: settings outlive those who made them only while somebody has it open.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: String,
    before: Termios,
    child: Child,
}

impl Terminal {
    /// With `cargo xtask run` in it.
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self::start(xtask(arguments))
    }

    /// With this program in it.
    pub(crate) fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let side = || Stdio::from(pair.slave.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(side());
        let adopt = || {
            nix::unistd::setsid()?;
            // SAFETY: makes the terminal on descriptor 0 the new session's own; takes a number.
            let result = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
            if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: two system calls and no allocation between fork and exec.
        unsafe {
            command.pre_exec(adopt);
        }
        let before = tcgetattr(&pair.slave).unwrap();
        let child = command.spawn().unwrap();
        let keyboard = File::from(pair.master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keyboard, line: pair.slave, screen, seen: String::new(), before, child }
    }

    pub(crate) fn type_in(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits until this appears, and forgets it and what stood before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} did not come; there was {:?}", self.seen),
            }
        }
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads a winsize.
        assert_eq!(unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn is_as_before(&self) -> bool {
        let now = tcgetattr(self.line.as_fd()).unwrap();
        now.local_flags == self.before.local_flags
            && now.input_flags == self.before.input_flags
            && now.output_flags == self.before.output_flags
            && now.control_chars == self.before.control_chars
    }

    /// The exit status, after which the terminal must be as it was.
    #[track_caller]
    pub(crate) fn end(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        assert!(self.is_as_before());
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn lines_signals_and_sizes() {
    for mode in ["--mode=flat", "--mode=guarded"] {
        let mut terminal = Terminal::run(&[mode, probe(), "--", "terminal"]);
        terminal.expect("tty 1 1 1\r\nsignal 0 size 33 99\r\n");
        assert!(!terminal.is_as_before());
        // Echoed, editable, and delivered by the line.
        terminal.type_in(b"helko\x7f\x7flo\r");
        terminal.expect("helko\x08 \x08\x08 \x08lo\r\nline hello\r\n");
        terminal.type_in(b"\x03");
        terminal.expect("^Csignal 2 size 33 99\r\n");
        terminal.resize(40, 120);
        terminal.expect("signal 28 size 40 120\r\n");
        terminal.signal(Signal::SIGINT);
        terminal.expect("signal 2 size 40 120\r\n");
        terminal.type_in(b"\x04");
        terminal.expect("end\r\n");
        assert_eq!(terminal.end(), Some(4));
    }
}

#[test]
fn raw_mode() {
    let mut terminal = Terminal::run(&[probe(), "--", "terminal"]);
    terminal.expect("size");
    terminal.type_in(b"raw\r");
    terminal.expect("line raw\r\nraw\r\n");
    // Neither echoed nor a signal.
    terminal.type_in(b"\x03");
    terminal.expect("key 3\r\n");
    assert_eq!(terminal.end(), Some(5));
}

#[test]
fn two_interrupts_in_a_row_end_the_machine() {
    let mut terminal = Terminal::run(&[probe(), "--", "ignore"]);
    terminal.expect("ready");
    terminal.type_in(b"\x03\x03");
    assert_eq!(terminal.end(), Some(130));
}

#[test]
fn a_hang_up_ends_the_machine() {
    let mut terminal = Terminal::run(&[probe(), "--", "terminal"]);
    terminal.expect("size");
    terminal.signal(Signal::SIGHUP);
    assert_eq!(terminal.end(), Some(129));
}

#[test]
fn a_time_limit_gives_the_terminal_back() {
    let mut terminal = Terminal::run(&["--timeout=2", probe(), "--", "terminal"]);
    terminal.expect("size");
    terminal.expect("whelk: ended after 2 seconds (--timeout)\r\n");
    assert_eq!(terminal.end(), Some(124));
}

#[test]
fn a_stop_gives_the_terminal_back_until_we_go_on() {
    let mut terminal = Terminal::run(&[probe(), "--", "terminal"]);
    terminal.expect("size");
    terminal.signal(Signal::SIGTSTP);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !terminal.is_as_before() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    terminal.signal(Signal::SIGCONT);
    while terminal.is_as_before() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    terminal.type_in(b"on\r");
    terminal.expect("line on\r\n");
    terminal.type_in(b"\x04");
    assert_eq!(terminal.end(), Some(4));
}

#[test]
fn the_log_keeps_to_the_left() {
    let mut terminal = Terminal::run(&["--strace", probe(), "--", "exit", "0"]);
    terminal.expect("exit_group(0");
    let end = {
        let mut rest = std::mem::take(&mut terminal.seen);
        while let Ok(bytes) = terminal.screen.recv_timeout(Duration::from_millis(500)) {
            rest.push_str(&String::from_utf8_lossy(&bytes));
        }
        rest
    };
    assert!(!end.replace("\r\n", "").contains(['\r', '\n']), "{end:?}");
    assert_eq!(terminal.end(), Some(0));
}
