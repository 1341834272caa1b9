//! A message on its way: its bytes, who sent it, and what goes with it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;

use super::Endpoint;
use super::rights::Rights;
use crate::mm::{Frame, PAGE_SIZE, Sink, Source};
use crate::net::Credentials;

/// So many bytes need no memory of their own.
pub const SHORT: usize = 31;
/// Longer ones have pages of their own.
const MEDIUM: usize = 1024;

/// Bytes.
pub enum Payload {
    Short([u8; SHORT]),
    Medium(Box<[u8]>),
    Long(Vec<Frame>),
}

impl Payload {
    /// In place of bytes that a reader has taken out for a moment.
    pub const NONE: Self = Self::Short([0; SHORT]);

    /// Takes all of `len` bytes. EFAULT, ENOMEM.
    pub fn take(src: &mut Source<'_>, len: usize) -> Result<Self, Errno> {
        let mut short = [0; SHORT];
        match short.get_mut(..len) {
            Some(bytes) => {
                whole(src.read(bytes)?, len)?;
                Ok(Self::Short(short))
            }
            None => Self::take_more(src, len),
        }
    }

    #[inline(never)]
    fn take_more(src: &mut Source<'_>, len: usize) -> Result<Self, Errno> {
        if len <= MEDIUM {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
            bytes.resize(len, 0);
            whole(src.read(&mut bytes)?, len)?;
            return Ok(Self::Medium(bytes.into()));
        }
        let mut pages = Vec::new();
        pages.try_reserve_exact(len.div_ceil(PAGE_SIZE)).map_err(|_| Errno::ENOMEM)?;
        let mut rest = len;
        while rest > 0 {
            let piece = rest.min(PAGE_SIZE);
            let page = Frame::uninit()?;
            whole(page.copy_from(0, piece, src)?, piece)?;
            pages.push(page);
            rest -= piece;
        }
        Ok(Self::Long(pages))
    }

    /// Gives `len` bytes from `at` on. EFAULT unless all could be given.
    pub fn give(&self, at: usize, len: usize, dst: &mut Sink<'_>) -> Result<(), Errno> {
        let bytes = match self {
            Self::Short(bytes) => &bytes[..],
            Self::Medium(bytes) => bytes,
            Self::Long(pages) => return give_pages(pages, at, len, dst),
        };
        let bytes = bytes.get(at..at + len).unwrap_or_default();
        whole(dst.write(bytes)?, len)
    }
}

fn give_pages(pages: &[Frame], at: usize, len: usize, dst: &mut Sink<'_>) -> Result<(), Errno> {
    let (mut at, end) = (at, at + len);
    while at < end {
        let within = at % PAGE_SIZE;
        let piece = (PAGE_SIZE - within).min(end - at);
        let page = pages.get(at / PAGE_SIZE).ok_or(Errno::EFAULT)?;
        whole(page.copy_to(within, piece, dst)?, piece)?;
        at += piece;
    }
    Ok(())
}

/// A copy that ended early met a bad address.
#[inline]
fn whole(moved: usize, wanted: usize) -> Result<(), Errno> {
    if moved == wanted { Ok(()) } else { Err(Errno::EFAULT) }
}

/// A message in a queue.
pub struct Message {
    pub payload: Payload,
    pub len: u32,
    /// Bytes of it that were read (streams).
    pub start: u32,
    /// What the sender pays for it.
    pub charge: u32,
    pub credentials: Option<Credentials>,
    pub rights: Option<Box<Rights>>,
    pub sender: Arc<Endpoint>,
}

impl Message {
    /// Bytes that haven't been read.
    pub fn remaining(&self) -> usize {
        self.len.saturating_sub(self.start) as usize
    }
}
