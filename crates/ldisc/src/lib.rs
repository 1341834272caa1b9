//! The terminal line discipline (`N_TTY`; termios(3)) as a state machine.
//!
//! Bytes from the terminal go in through [`LineDiscipline::receive`], which edits lines, echoes and finds signal characters; a program's
//! reads take them out through [`LineDiscipline::read`]; what it writes is processed by [`LineDiscipline::write`]. Waiting, timeouts and
//! signals are the caller's.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod flags;
mod input;
mod output;

use alloc::vec::Vec;

pub use flags::{DISABLED, NCCS, Settings, cc, iflag, lflag, oflag};

/// Size of the input buffer in bytes; one less fits.
pub const BUFFER: usize = 4096;

/// What a received byte asks of the terminal's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal for the foreground process group.
    Signal(Signal),
    /// Output is to pause (^S).
    Stop,
    /// Output may go on.
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Quit,
    Suspend,
}

/// Line buffer, settings and cursor column of one terminal.
#[derive(Debug)]
pub struct LineDiscipline {
    settings: Settings,
    /// Ring of `BUFFER` bytes; allocated with the first byte.
    ring: Vec<u8>,
    /// A bit per ring position: the byte ends a line (or, when it is [`DISABLED`], stands for an end of file).
    ends: Vec<u64>,
    /// Running counts, positions modulo `BUFFER`: next byte to read, end of the last whole line, end of the input.
    tail: usize,
    canon: usize,
    head: usize,
    /// The next byte is taken literally (^V).
    literal: bool,
    /// Inside a `\…/` of ECHOPRT.
    erasing: bool,
    stopped: bool,
    /// Cursor column, and the one where the line being edited begins.
    column: usize,
    canon_column: usize,
}

impl Default for LineDiscipline {
    fn default() -> Self {
        Self::new(Settings::COOKED)
    }
}

impl LineDiscipline {
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            ring: Vec::new(),
            ends: Vec::new(),
            tail: 0,
            canon: 0,
            head: 0,
            literal: false,
            erasing: false,
            stopped: false,
            column: 0,
            canon_column: 0,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings. Bytes typed so far become a line of their own when canonical mode begins.
    pub fn set(&mut self, settings: Settings) {
        let changed = (self.settings.lflag ^ settings.lflag) & lflag::ICANON != 0;
        self.settings = settings;
        if changed {
            self.ends.fill(0);
            self.canon = self.tail;
            if self.is_canonical() && self.head != self.tail {
                self.mark_end(self.head.wrapping_sub(1));
                self.canon = self.head;
            }
            self.erasing = false;
            self.literal = false;
        }
        if settings.iflag & iflag::IXON == 0 {
            self.stopped = false;
        }
    }

    /// Whether ^S holds output back.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Stops or restarts output (tcflow(3)).
    pub fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Forgets all input (tcflush(3)).
    pub fn flush_input(&mut self) {
        self.ends.fill(0);
        self.tail = self.head;
        self.canon = self.head;
        self.erasing = false;
        self.literal = false;
    }

    fn is_canonical(&self) -> bool {
        self.local(lflag::ICANON)
    }

    fn local(&self, flag: u32) -> bool {
        self.settings.lflag & flag != 0
    }

    fn input_mode(&self, flag: u32) -> bool {
        self.settings.iflag & flag != 0
    }

    fn char_at(&self, index: usize) -> u8 {
        self.settings.cc.get(index).copied().unwrap_or(DISABLED)
    }

    /// Bytes in the buffer.
    fn count(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    fn byte(&self, position: usize) -> u8 {
        self.ring.get(position % BUFFER).copied().unwrap_or(0)
    }

    fn mark_end(&mut self, position: usize) {
        let position = position % BUFFER;
        if let Some(word) = self.ends.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    fn is_end(&self, position: usize) -> bool {
        let position = position % BUFFER;
        self.ends.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 != 0)
    }

    fn clear_end(&mut self, position: usize) {
        let position = position % BUFFER;
        if let Some(word) = self.ends.get_mut(position / 64) {
            *word &= !(1 << (position % 64));
        }
    }

    /// Whether the byte is a later one of a UTF-8 sequence.
    fn is_continuation(&self, byte: u8) -> bool {
        self.input_mode(iflag::IUTF8) && byte & 0xc0 == 0x80
    }

    /// Bytes that a read can take at once (FIONREAD).
    pub fn available(&self) -> usize {
        if !self.is_canonical() {
            return self.count();
        }
        let lines = self.canon.wrapping_sub(self.tail);
        let marks =
            (0..lines).map(|at| self.tail.wrapping_add(at)).filter(|&at| self.is_eof_mark(at)).count();
        lines - marks
    }

    fn is_eof_mark(&self, position: usize) -> bool {
        self.is_end(position) && self.byte(position) == DISABLED
    }

    /// Whether a read would get something (an end of file included) now.
    pub fn can_read(&self) -> bool {
        if self.is_canonical() { self.canon != self.tail } else { self.count() > 0 }
    }

    /// Whether poll reports input: as [`LineDiscipline::can_read`], except that raw mode without a timer waits for VMIN bytes.
    pub fn poll_ready(&self) -> bool {
        if self.is_canonical() {
            return self.can_read();
        }
        let min = usize::from(self.char_at(cc::VMIN));
        let least = if self.char_at(cc::VTIME) == 0 && min > 0 { min } else { 1 };
        self.count() >= least
    }

    /// Takes bytes for a read: at most one line in canonical mode. Returns `None` if there is nothing to take, `Some(0)` at an end of file.
    pub fn read(&mut self, dst: &mut [u8]) -> Option<usize> {
        if !self.can_read() {
            return None;
        }
        let mut done = 0;
        if !self.is_canonical() {
            for slot in dst.iter_mut().take(self.count()) {
                *slot = self.byte(self.tail);
                self.tail = self.tail.wrapping_add(1);
                done += 1;
            }
            self.canon = self.tail;
            return Some(done);
        }
        while self.tail != self.canon {
            let (byte, is_end) = (self.byte(self.tail), self.is_end(self.tail));
            let is_eof = is_end && byte == DISABLED;
            if !is_eof {
                // A full buffer stops here, but an end-of-file mark right behind it goes with what it ended.
                let Some(slot) = dst.get_mut(done) else { break };
                *slot = byte;
                done += 1;
            }
            self.clear_end(self.tail);
            self.tail = self.tail.wrapping_add(1);
            if is_end {
                break;
            }
        }
        Some(done)
    }
}
