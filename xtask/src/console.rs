//! Between the machine and our own streams, signals and terminal.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use launch::{Host, Sender};
use nix::errno::Errno;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::terminal::{self, say};
use crate::{build, status};

/// Two interrupts within this time, with nothing printed between them, end the machine when the guest has our terminal.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(1);
const CONTROL_C: u8 = 3;
pub(crate) const SIGNAL_EXIT_BASE: u8 = 128;
/// How long an end may take before we leave without it: somebody may not be reading our output.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shared by everything that may end the machine.
#[derive(Default)]
pub(crate) struct Session {
    sender: Option<Sender>,
    /// The last Ctrl-C that came as a key, unless something was printed since.
    interrupted: Option<Instant>,
    /// The exit status of a machine that was ended from outside.
    stopped: Option<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Session>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the machine; we'll exit as if this signal had ended us.
    fn stop(&self, signal: i32) {
        let status = u8::try_from(signal).map_or(status::LAUNCHER, |signal| SIGNAL_EXIT_BASE + signal);
        let mut session = self.lock();
        session.stopped.get_or_insert(status);
        if let Some(sender) = &session.sender {
            sender.stop();
        }
        drop(session);
        leave_after(PATIENCE, status, "");
    }

    /// The exit status of a machine that was ended from outside.
    pub(crate) fn stopped(&self) -> u8 {
        self.lock().stopped.unwrap_or(SIGNAL_EXIT_BASE + 2)
    }
}

/// Leaves, whatever else is going on, unless we have left before. QEMU goes with us.
fn leave_after(time: Duration, status: u8, message: &'static str) {
    thread::spawn(move || {
        thread::sleep(time);
        terminal::restore();
        say(message);
        std::process::exit(i32::from(status));
    });
}

/// Sees to it that a time limit holds even if nobody reads our output.
pub(crate) fn enforce(limit: Duration) {
    if let Some(time) = limit.checked_add(PATIENCE) {
        leave_after(time, status::TIMEOUT, "whelk: ended because of --timeout; some output may be lost\n");
    }
}

/// Standard input, watched for a double Ctrl-C when it is a raw terminal.
pub(crate) struct Keyboard {
    pub(crate) shared: Shared,
    pub(crate) is_terminal: bool,
}

impl io::Read for Keyboard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = terminal::read(io::stdin().as_fd(), buffer)?;
        let keys = buffer.get(..len).unwrap_or_default();
        if self.is_terminal && !keys.is_empty() && keys.iter().all(|&key| key == CONTROL_C) {
            let mut session = self.shared.lock();
            let before = session.interrupted.replace(Instant::now());
            drop(session);
            if keys.len() > 1 || before.is_some_and(|before| before.elapsed() < DOUBLE_INTERRUPT) {
                self.shared.stop(SIGINT);
            }
        }
        Ok(len)
    }
}

/// Our standard output and error.
pub(crate) struct Console {
    pub(crate) shared: Shared,
    pub(crate) show_log: bool,
    pub(crate) show_counters: bool,
    /// The program's exit status, as a shell sees it.
    pub(crate) ended: Option<u8>,
}

impl Host for Console {
    fn output(&mut self, _job: u16, stream: u8, bytes: &[u8]) -> io::Result<()> {
        self.shared.lock().interrupted = None;
        let written = match stream {
            2 => terminal::write_all(io::stderr().as_fd(), bytes),
            _ => terminal::write_all(io::stdout().as_fd(), bytes),
        };
        match written {
            // We were started without that stream: as in /dev/null.
            Ok(()) | Err(Errno::EBADF) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn exit(&mut self, _job: u16, raw: u32) {
        let [low, high, ..] = raw.to_le_bytes();
        let signal = low & 0x7f;
        self.ended = Some(if signal == 0 { high } else { SIGNAL_EXIT_BASE + signal });
    }

    fn exec_failed(&mut self, _job: u16, errno: u32, text: &str) {
        const ENOENT: u32 = 2;
        say(&format!("whelk: {text}\n"));
        self.ended = Some(if errno == ENOENT { status::NOT_FOUND } else { status::CANNOT_EXECUTE });
    }

    fn notice(&mut self, text: &str) {
        say(text);
    }

    fn counters(&mut self, text: &str) {
        if self.show_counters {
            say(text);
        }
    }

    fn log(&mut self, bytes: &[u8]) {
        if self.show_log {
            // A serial line's line ends aren't ours.
            say(&String::from_utf8_lossy(bytes).replace('\r', ""));
        }
    }
}

/// The signals that this process ignores: bit N - 1 for signal N (proc_pid_status(5), SigIgn).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Passes our signals on: the first interrupt, termination or quit goes to the program, the second one ends the machine; a hang-up ends it
/// at once.
pub(crate) fn forward_signals(shared: &Shared, sender: Sender) -> Result<()> {
    shared.lock().sender = Some(sender.clone());
    let all = [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT];
    // What whoever started us had us ignore (nohup) stays ignored.
    let ignored = ignored_signals();
    let mut signals = Signals::new(all.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0))?;
    let shared = shared.clone();
    thread::spawn(move || {
        let mut asked = false;
        for signal in &mut signals {
            match signal {
                SIGWINCH => {
                    if let Some((rows, cols)) = terminal::size() {
                        sender.resize(rows, cols);
                    }
                }
                SIGTSTP => {
                    // The shell that gets the terminal now finds it as it was.
                    let raw = terminal::restore();
                    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                    if raw {
                        terminal::make_raw();
                    }
                }
                SIGCONT => terminal::make_raw_again(),
                SIGINT | SIGTERM | SIGQUIT if !asked => {
                    asked = true;
                    sender.signal(signal.cast_unsigned());
                }
                _ => shared.stop(signal),
            }
        }
    });
    Ok(())
}

/// A kernel's last words, with names for its addresses.
pub(crate) fn report_panic(log: &str, kernel: &build::Kernel) {
    say("whelk: the kernel panicked; please report this:\n");
    say(&build::symbolise(log, &kernel.full));
}
