//! What happens to a byte that the terminal sends.

use alloc::vec::Vec;

use super::flags::class;
use super::{BUFFER, DISABLED, Event, LineDiscipline, Signal, cc, iflag, lflag};

/// Which key erases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Erase {
    Character,
    Word,
    Line,
}

impl LineDiscipline {
    /// Whether [`LineDiscipline::receive`] can take a byte; if not, input has to wait until something was read.
    pub fn has_room(&self) -> bool {
        // Without a whole line nothing could ever be read, so there the last byte gives way to the newest.
        self.count() < BUFFER - 1 || (self.is_canonical() && self.canon == self.tail)
    }

    /// Takes one byte from the terminal. What is to be echoed is appended to `echo`.
    pub fn receive(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Event> {
        if self.count() >= BUFFER - 1 {
            if !self.is_canonical() || self.canon != self.tail {
                return None;
            }
            // The newline that ends 4,095 bytes has a place of its own.
            if self.count() >= BUFFER {
                self.head = self.head.wrapping_sub(1);
            }
        }
        let mut byte = byte;
        if self.input_mode(iflag::ISTRIP) {
            byte &= 0x7f;
        }
        if self.input_mode(iflag::IUCLC) && self.local(lflag::IEXTEN) {
            byte = class::to_lower(byte);
        }
        if core::mem::take(&mut self.literal) {
            self.store_echoed(byte, echo);
            return None;
        }
        let mut event = None;
        if self.stopped && self.input_mode(iflag::IXON) && self.input_mode(iflag::IXANY) {
            self.stopped = false;
            event = Some(Event::Start);
        }
        self.receive_special(byte, echo).or(event)
    }

    fn is(&self, byte: u8, index: usize) -> bool {
        byte != DISABLED && byte == self.char_at(index)
    }

    fn receive_special(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Event> {
        if self.input_mode(iflag::IXON) {
            if self.is(byte, cc::VSTART) {
                self.stopped = false;
                return Some(Event::Start);
            }
            if self.is(byte, cc::VSTOP) {
                self.stopped = true;
                return Some(Event::Stop);
            }
        }
        if self.local(lflag::ISIG) {
            let signals =
                [(cc::VINTR, Signal::Interrupt), (cc::VQUIT, Signal::Quit), (cc::VSUSP, Signal::Suspend)];
            for (index, signal) in signals {
                if self.is(byte, index) {
                    if !self.local(lflag::NOFLSH) {
                        self.flush_input();
                    }
                    if self.input_mode(iflag::IXON) {
                        self.stopped = false;
                    }
                    if self.local(lflag::ECHO) {
                        self.echo_char(byte, echo);
                    }
                    return Some(Event::Signal(signal));
                }
            }
        }
        let typed = byte;
        let byte = match typed {
            b'\r' if self.input_mode(iflag::IGNCR) => return None,
            b'\r' if self.input_mode(iflag::ICRNL) => b'\n',
            b'\n' if self.input_mode(iflag::INLCR) => b'\r',
            other => other,
        };
        if self.is_canonical() && self.edit(byte, echo) {
            return None;
        }
        if byte == b'\n' && typed == b'\r' && self.local(lflag::ECHO) {
            self.finish_erasing(echo);
            self.echo_byte(byte, echo);
            self.store(byte);
        } else {
            self.store_echoed(byte, echo);
        }
        None
    }

    /// The keys of canonical mode. Returns whether the byte was one.
    fn edit(&mut self, byte: u8, echo: &mut Vec<u8>) -> bool {
        let extended = self.local(lflag::IEXTEN);
        if self.is(byte, cc::VERASE) {
            self.erase(Erase::Character, echo);
        } else if self.is(byte, cc::VKILL) {
            self.erase(Erase::Line, echo);
        } else if extended && self.is(byte, cc::VWERASE) {
            self.erase(Erase::Word, echo);
        } else if extended && self.is(byte, cc::VLNEXT) {
            self.literal = true;
            if self.local(lflag::ECHO) {
                self.finish_erasing(echo);
                if self.local(lflag::ECHOCTL) {
                    self.echo_byte(b'^', echo);
                    self.echo_byte(0x08, echo);
                }
            }
        } else if extended && self.local(lflag::ECHO) && self.is(byte, cc::VREPRINT) {
            self.finish_erasing(echo);
            self.echo_char(byte, echo);
            self.echo_byte(b'\n', echo);
            let mut at = self.canon;
            while at != self.head {
                self.echo_char(self.byte(at), echo);
                at = at.wrapping_add(1);
            }
        } else if byte == b'\n' {
            if self.local(lflag::ECHO | lflag::ECHONL) {
                self.echo_byte(b'\n', echo);
            }
            self.end_line(byte);
        } else if self.is(byte, cc::VEOF) {
            self.end_line(DISABLED);
        } else if self.is(byte, cc::VEOL) || (extended && self.is(byte, cc::VEOL2)) {
            if self.local(lflag::ECHO) {
                self.begin_line();
                self.echo_char(byte, echo);
            }
            self.double_mark(byte);
            self.end_line(byte);
        } else {
            return false;
        }
        true
    }

    /// Remembers where on the screen the line that is typed begins.
    fn begin_line(&mut self) {
        if self.canon == self.head {
            self.canon_column = self.column;
        }
    }

    fn store_echoed(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.local(lflag::ECHO) {
            self.finish_erasing(echo);
            self.begin_line();
            self.echo_char(byte, echo);
        }
        self.double_mark(byte);
        self.store(byte);
    }

    /// PARMRK writes 0xff as two bytes.
    fn double_mark(&mut self, byte: u8) {
        if byte == 0xff && self.input_mode(iflag::PARMRK) && self.count() < BUFFER - 2 {
            self.store(byte);
        }
    }

    fn store(&mut self, byte: u8) {
        if self.ring.is_empty() {
            self.ring.resize(BUFFER, 0);
            self.ends.resize(BUFFER / 64, 0);
        }
        self.clear_end(self.head);
        if let Some(slot) = self.ring.get_mut(self.head % BUFFER) {
            *slot = byte;
        }
        self.head = self.head.wrapping_add(1);
    }

    fn end_line(&mut self, byte: u8) {
        self.store(byte);
        self.mark_end(self.head.wrapping_sub(1));
        self.canon = self.head;
    }

    fn erase(&mut self, what: Erase, echo: &mut Vec<u8>) {
        if self.head == self.canon {
            return;
        }
        let echoes = self.local(lflag::ECHO);
        if what == Erase::Line {
            if !echoes {
                self.head = self.canon;
                return;
            }
            if !(self.local(lflag::ECHOK) && self.local(lflag::ECHOKE) && self.local(lflag::ECHOE)) {
                self.head = self.canon;
                self.finish_erasing(echo);
                self.echo_char(self.char_at(cc::VKILL), echo);
                if self.local(lflag::ECHOK) {
                    self.echo_byte(b'\n', echo);
                }
                return;
            }
        }
        let mut in_word = false;
        while self.head != self.canon {
            let mut at = self.head;
            let mut byte;
            // All bytes of one character.
            loop {
                at = at.wrapping_sub(1);
                byte = self.byte(at);
                if !self.is_continuation(byte) || at == self.canon {
                    break;
                }
            }
            if self.is_continuation(byte) {
                break;
            }
            if what == Erase::Word {
                if class::is_alphanumeric(byte) || byte == b'_' {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let count = self.head.wrapping_sub(at);
            self.head = at;
            if echoes {
                self.echo_erased(what, byte, at, count, echo);
            }
            if what == Erase::Character {
                break;
            }
        }
        if self.head == self.canon && echoes {
            self.finish_erasing(echo);
        }
    }

    /// Shows that the character of `count` bytes at `at` is gone.
    fn echo_erased(&mut self, what: Erase, byte: u8, at: usize, count: usize, echo: &mut Vec<u8>) {
        if self.local(lflag::ECHOPRT) {
            if !self.erasing {
                self.echo_byte(b'\\', echo);
                self.erasing = true;
            }
            self.echo_char(byte, echo);
            for offset in 1..count {
                self.echo_byte(self.byte(at.wrapping_add(offset)), echo);
                // As on Linux, where a later byte of a character moves the column back, though it never moved it forward.
                self.column = self.column.saturating_sub(1);
            }
        } else if what == Erase::Character && !self.local(lflag::ECHOE) {
            self.echo_char(self.char_at(cc::VERASE), echo);
        } else if byte == b'\t' {
            self.erase_tab(echo);
        } else {
            let is_control = byte.is_ascii_control();
            let columns = match (is_control, self.local(lflag::ECHOCTL)) {
                (true, true) => 2,
                (true, false) => 0,
                (false, _) => 1,
            };
            for _ in 0..columns {
                for byte in *b"\x08 \x08" {
                    self.echo_byte(byte, echo);
                }
            }
        }
    }

    /// Moves the cursor back over a tab, whose width depends on what stands before it in the line.
    fn erase_tab(&mut self, echo: &mut Vec<u8>) {
        let mut columns = 0;
        let mut after_tab = false;
        let mut at = self.head;
        while at != self.canon {
            at = at.wrapping_sub(1);
            let byte = self.byte(at);
            if byte == b'\t' {
                after_tab = true;
                break;
            }
            if byte.is_ascii_control() {
                if self.local(lflag::ECHOCTL) {
                    columns += 2;
                }
            } else if !self.is_continuation(byte) {
                columns += 1;
            }
        }
        if !after_tab {
            columns += self.canon_column;
        }
        for _ in 0..8 - columns % 8 {
            echo.push(0x08);
            self.column = self.column.saturating_sub(1);
        }
    }

    fn finish_erasing(&mut self, echo: &mut Vec<u8>) {
        if core::mem::take(&mut self.erasing) {
            self.echo_byte(b'/', echo);
        }
    }

    /// Echoes a byte, control characters as ^X with ECHOCTL.
    fn echo_char(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.local(lflag::ECHOCTL) && byte.is_ascii_control() && byte != b'\t' {
            echo.extend_from_slice(&[b'^', byte ^ 0o100]);
            self.column = self.column.wrapping_add(2);
        } else {
            self.echo_byte(byte, echo);
        }
    }

    /// Echoes a byte. 0xff escapes the output modes, as on Linux, whose echo buffer uses it as a mark.
    fn echo_byte(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if byte == 0xff {
            echo.push(byte);
            self.column = self.column.wrapping_add(1);
        } else {
            self.put(byte, echo);
        }
    }
}
