//! Files whose text is written when it is read.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use abi::{Errno, OpenFlags};

use super::Node;
use crate::fs::file::{FileOps, Mode, OpenFile, Whence};
use crate::fs::path::Path;
use crate::mm::{Sink, Source, frame};
use crate::sync::SpinLock;
use crate::syscall::SysResult;

/// Text under construction: bytes, since names needn't be UTF-8.
#[derive(Default)]
pub struct Text {
    pub bytes: Vec<u8>,
    /// Of a long text: where this piece starts, then where the next one does.
    pub place: Place,
    memory: Memory,
}

/// Whether there was memory for all of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Memory {
    #[default]
    Enough,
    Short,
}

/// Where a piece of a long text starts, and, when it has been written, where the next one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Start,
    At(usize),
    End,
}

/// What a read of a long text gives at most, as long as that is one record (seq_file).
pub const PIECE: usize = 4096;

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}

impl Text {
    /// Formats; there is nothing that could fail.
    pub fn put(&mut self, arguments: fmt::Arguments<'_>) {
        let _ = fmt::Write::write_fmt(self, arguments);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        let is_full = self.bytes.capacity() - self.bytes.len() < bytes.len();
        // A long text isn't what the kernel keeps its reserve for.
        if is_full
            && (self.bytes.capacity() > PIECE && frame::is_short()
                || self.bytes.try_reserve(bytes.len()).is_err())
        {
            self.memory = Memory::Short;
        } else if self.memory == Memory::Enough {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Bytes with white space and backslashes as octal escapes, as in /proc/mounts.
    pub fn escaped(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => self.put(format_args!("\\{byte:03o}")),
                _ => self.bytes(&[byte]),
            }
        }
    }
}

/// `put!(text, "…", …)`: formatted text.
macro_rules! put {
    ($text:expr, $($format:tt)*) => { $text.put(format_args!($($format)*)) };
}
pub(crate) use put;

/// An open file of that sort.
pub struct TextFile {
    node: Node,
    piece: SpinLock<Piece>,
}

/// The part of the text that was read last, as it was then.
#[derive(Clone)]
struct Piece {
    text: Arc<Vec<u8>>,
    /// Its offset in the file.
    start: u64,
    /// What follows it.
    next: Place,
}

impl TextFile {
    pub fn open(node: Node, path: Path, flags: OpenFlags) -> Arc<OpenFile> {
        let mode = Mode::from_flags(flags) | Mode::SEEK | Mode::OFFSET;
        Arc::new(OpenFile::new(path, flags, mode, Self { node, piece: SpinLock::new(Piece::none()) }))
    }

    /// What there is at an offset. A text is written anew when it is read from its start.
    fn piece(&self, at: u64) -> Result<Piece, Errno> {
        let mut piece = self.piece.lock().clone();
        if at == 0 || at < piece.start {
            piece = Piece::none();
        }
        loop {
            let end = piece.start + piece.text.len() as u64;
            if at < end || piece.next == Place::End {
                return Ok(piece);
            }
            let mut text = Text { place: piece.next, ..Text::default() };
            self.node.write_text(&mut text)?;
            if text.memory == Memory::Short {
                return Err(Errno::ENOMEM);
            }
            let next = if text.place == piece.next { Place::End } else { text.place };
            piece = Piece { text: Arc::new(text.bytes), start: end, next };
            *self.piece.lock() = piece.clone();
        }
    }
}

impl Piece {
    fn none() -> Self {
        Self { text: Arc::default(), start: 0, next: Place::Start }
    }
}

impl FileOps for TextFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let piece = self.piece(*at)?;
        let at_byte = usize::try_from(at.saturating_sub(piece.start)).unwrap_or(usize::MAX);
        let rest = piece.text.get(at_byte..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(0);
        }
        let done = dst.write(rest)?;
        *at += done as u64;
        Ok(done)
    }

    fn seek(&self, file: &OpenFile, offset: i64, whence: Whence) -> Result<u64, Errno> {
        match whence {
            // Nobody knows how long the text will be; but settings are appended to.
            Whence::End if !file.mode.contains(Mode::WRITE) => Err(Errno::EINVAL),
            Whence::Data | Whence::Hole => Err(Errno::EINVAL),
            _ => file.seek_plainly(offset, whence),
        }
    }

    fn write(&self, _: &OpenFile, at: &mut u64, src: &mut Source<'_>) -> SysResult {
        /// Settings are short.
        const LONGEST: usize = 4096;
        let len = src.remaining().min(LONGEST);
        let mut bytes = alloc::vec![0; len];
        src.read(&mut bytes)?;
        self.node.store(&bytes)?;
        *at += len as u64;
        Ok(len)
    }
}
