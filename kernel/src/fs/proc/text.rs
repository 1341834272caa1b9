//! Files whose text is written when it is read.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use abi::{Errno, OpenFlags};

use super::Node;
use crate::fs::file::{FileOps, Mode, OpenFile};
use crate::fs::path::Path;
use crate::mm::{Sink, Source};
use crate::sync::SpinLock;
use crate::syscall::SysResult;

/// Text under construction: bytes, since names needn't be UTF-8.
#[derive(Default)]
pub struct Text(pub Vec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

impl Text {
    /// Formats; there is nothing that could fail.
    pub fn put(&mut self, arguments: fmt::Arguments<'_>) {
        let _ = fmt::Write::write_fmt(self, arguments);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes with white space and backslashes as octal escapes, as in /proc/mounts.
    pub fn escaped(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => self.put(format_args!("\\{byte:03o}")),
                _ => self.0.push(byte),
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
    /// The text as it was when last read from the start.
    text: SpinLock<Option<Arc<[u8]>>>,
}

impl TextFile {
    pub fn open(node: Node, path: Path, flags: OpenFlags) -> Arc<OpenFile> {
        let mode = Mode::from_flags(flags) | Mode::SEEK | Mode::OFFSET;
        Arc::new(OpenFile::new(path, flags, mode, Self { node, text: SpinLock::new(None) }))
    }

    fn text(&self, at: u64) -> Result<Arc<[u8]>, Errno> {
        if at > 0
            && let Some(text) = &*self.text.lock()
        {
            return Ok(text.clone());
        }
        let mut text = Text::default();
        self.node.write_text(&mut text)?;
        let text: Arc<[u8]> = text.0.into();
        *self.text.lock() = Some(text.clone());
        Ok(text)
    }
}

impl FileOps for TextFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let text = self.text(*at)?;
        let rest = usize::try_from(*at).ok().and_then(|at| text.get(at..)).unwrap_or_default();
        if rest.is_empty() {
            return Ok(0);
        }
        let done = dst.write(rest)?;
        *at += done as u64;
        Ok(done)
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
