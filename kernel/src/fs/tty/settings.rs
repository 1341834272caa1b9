//! A terminal's settings as programs see them: `struct termios` (termios(3)).

use ldisc::{NCCS, Settings, cc, iflag, lflag};

use super::{Reason, Tty, packet};
use crate::mm::UserPtr;
use crate::syscall::SysResult;

/// Bytes of `struct termios`, and of `struct termios2`, which adds two speeds.
pub(super) const TERMIOS: usize = 4 * 4 + 1 + NCCS;
pub(super) const TERMIOS2: usize = TERMIOS + 8;

/// Whether ^S and ^Q stop output and let it go on.
fn uses_keys(settings: &Settings) -> bool {
    let keys = [settings.cc.get(cc::VSTART), settings.cc.get(cc::VSTOP)];
    settings.iflag & iflag::IXON != 0 && keys == [Some(&0o21), Some(&0o23)]
}

impl Tty {
    pub(super) fn settings_bytes(&self) -> [u8; TERMIOS2] {
        let line = self.line.lock();
        let settings = line.discipline.settings();
        let mut bytes = [0; TERMIOS2];
        let words = [settings.iflag, settings.oflag, line.extra.cflag, settings.lflag];
        let speeds = [line.extra.input_speed, line.extra.output_speed];
        let fields = words.iter().flat_map(|word| word.to_ne_bytes());
        let fields = fields.chain([line.extra.line]).chain(settings.cc);
        let fields = fields.chain(speeds.iter().flat_map(|word| word.to_ne_bytes()));
        for (slot, byte) in bytes.iter_mut().zip(fields) {
            *slot = byte;
        }
        bytes
    }

    fn set_settings(&self, bytes: &[u8]) {
        let word = |index: usize| {
            let at = index * 4;
            bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        let mut control = [0; NCCS];
        for (slot, byte) in control.iter_mut().zip(bytes.get(17..).unwrap_or_default()) {
            *slot = *byte;
        }
        let new = Settings { iflag: word(0), oflag: word(1), lflag: word(3), cc: control };
        let old = self.change(|line| {
            let old = *line.discipline.settings();
            line.discipline.set(new);
            line.extra.cflag = word(2);
            line.extra.line = bytes.get(16).copied().unwrap_or(0);
            if bytes.len() >= TERMIOS2 {
                line.extra.input_speed = word(9);
                line.extra.output_speed = word(10);
            }
            old
        });
        let mut news = if (old.lflag | new.lflag) & lflag::EXTPROC != 0 { packet::IOCTL } else { 0 };
        if uses_keys(&old) != uses_keys(&new) {
            news |= if uses_keys(&new) { packet::DO_STOP } else { packet::NO_STOP };
        }
        self.tell(news);
        self.readable.notify();
        self.writable.notify();
    }

    pub(super) fn set_from_user(&self, argument: usize, len: usize, flush: bool) -> SysResult {
        self.check_foreground(Reason::BackgroundWrite)?;
        let mut bytes = [0; TERMIOS2];
        let bytes = bytes.get_mut(..len).unwrap_or_default();
        UserPtr::new(argument).read_bytes(bytes)?;
        if flush {
            self.flush_input();
        }
        self.set_settings(bytes);
        Ok(0)
    }
}
