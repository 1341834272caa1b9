//! What happens to a byte on its way to the terminal.

use alloc::vec::Vec;

use super::flags::class;
use super::{LineDiscipline, oflag};

impl LineDiscipline {
    /// Whether written bytes reach the terminal as they are.
    pub fn is_output_raw(&self) -> bool {
        self.settings.oflag & oflag::OPOST == 0
    }

    /// Appends to `out` what the terminal is to get for the bytes that a program wrote.
    pub fn write(&mut self, src: &[u8], out: &mut Vec<u8>) {
        if self.is_output_raw() {
            out.extend_from_slice(src);
            return;
        }
        for &byte in src {
            self.put(byte, out);
        }
    }

    /// One byte, with the output modes applied and the cursor column kept.
    pub(crate) fn put(&mut self, byte: u8, out: &mut Vec<u8>) {
        let flag = |flag: u32| self.settings.oflag & flag != 0;
        if !flag(oflag::OPOST) {
            out.push(byte);
            return;
        }
        let mut byte = byte;
        match byte {
            b'\n' => {
                if flag(oflag::ONLRET) {
                    self.column = 0;
                }
                if flag(oflag::ONLCR) {
                    self.column = 0;
                    self.canon_column = 0;
                    out.extend_from_slice(b"\r\n");
                    return;
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if flag(oflag::ONOCR) && self.column == 0 {
                    return;
                }
                if flag(oflag::OCRNL) {
                    byte = b'\n';
                    if flag(oflag::ONLRET) {
                        self.column = 0;
                        self.canon_column = 0;
                    }
                } else {
                    self.column = 0;
                    self.canon_column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column += spaces;
                if self.settings.oflag & oflag::TABDLY == oflag::XTABS {
                    out.extend_from_slice(b"        ".get(..spaces).unwrap_or_default());
                    return;
                }
            }
            0x08 => self.column = self.column.saturating_sub(1),
            _ if !byte.is_ascii_control() => {
                if flag(oflag::OLCUC) {
                    byte = class::to_upper(byte);
                }
                if !self.is_continuation(byte) {
                    self.column = self.column.wrapping_add(1);
                }
            }
            _ => {}
        }
        out.push(byte);
    }
}
