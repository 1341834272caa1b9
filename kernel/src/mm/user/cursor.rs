//! What a read fills and a write drains: a buffer or an I/O vector of the program's, or memory of the kernel's own.
#![expect(unsafe_code, reason = "copies to and from raw addresses")]

use abi::{Errno, IoVec};

use super::{MAX_IO, UserPtr, is_user_range};
use crate::arch::x86_64::usercopy;
use crate::mm::USER_TOP;

/// The memory that a cursor walks over.
#[derive(Clone, Copy)]
struct Segment {
    address: usize,
    len: usize,
    kernel: bool,
}

/// Segment by segment over a buffer or an I/O vector.
struct Cursor<'a> {
    now: Segment,
    rest: &'a [IoVec],
    remaining: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn user(address: usize, len: usize) -> Self {
        let len = len.min(MAX_IO);
        Self { now: Segment { address, len, kernel: false }, rest: &[], remaining: len }
    }

    fn kernel(address: usize, len: usize) -> Self {
        Self { now: Segment { address, len, kernel: true }, rest: &[], remaining: len }
    }

    fn iovecs(vectors: &'a [IoVec]) -> Self {
        let total = vectors.iter().fold(0usize, |sum, v| sum.saturating_add(v.len as usize)).min(MAX_IO);
        Self { now: Segment { address: 0, len: 0, kernel: false }, rest: vectors, remaining: total }
    }

    /// The address and length, if all that is left is one piece of the program's half.
    #[inline(always)]
    fn as_user(&self) -> Option<(usize, usize)> {
        let Segment { address, len, kernel } = self.now;
        let whole = self.remaining;
        (!kernel && whole <= len && is_user_range(address, whole)).then_some((address, whole))
    }

    /// Notes that so much was moved, out of what `as_user` gave.
    #[inline(always)]
    fn advance(&mut self, moved: usize) {
        self.now.address = self.now.address.wrapping_add(moved);
        self.now.len -= moved;
        self.remaining -= moved;
    }

    /// Moves up to `len` bytes with `copy(user_or_kernel_address, is_kernel, done, piece) -> left`. EFAULT if none could be moved.
    #[inline]
    fn walk(
        &mut self,
        len: usize,
        mut copy: impl FnMut(usize, bool, usize, usize) -> usize,
    ) -> Result<usize, Errno> {
        let len = len.min(self.remaining);
        // Nearly always it is all in one piece of the program's memory, and there.
        if len <= self.now.len && !self.now.kernel && is_user_range(self.now.address, len) {
            let left = copy(self.now.address, false, 0, len);
            let moved = len - left.min(len);
            self.now.address += moved;
            self.now.len -= moved;
            self.remaining -= moved;
            return if moved > 0 || len == 0 { Ok(moved) } else { Err(Errno::EFAULT) };
        }
        self.walk_slowly(len, &mut copy)
    }

    /// Piece by piece.
    #[inline(never)]
    fn walk_slowly(
        &mut self,
        len: usize,
        copy: &mut dyn FnMut(usize, bool, usize, usize) -> usize,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len {
            if self.now.len == 0 {
                let Some((first, rest)) = self.rest.split_first() else { break };
                self.now = Segment { address: first.base as usize, len: first.len as usize, kernel: false };
                self.rest = rest;
                continue;
            }
            let piece = self.now.len.min(len - done);
            let left = if self.now.kernel || is_user_range(self.now.address, piece) {
                copy(self.now.address, self.now.kernel, done, piece)
            } else {
                // The part below the limit is still good, as on Linux when the fault comes in the middle.
                let good = USER_TOP.saturating_sub(self.now.address).min(piece);
                piece - good + if good > 0 { copy(self.now.address, false, done, good) } else { 0 }
            };
            let moved = piece - left.min(piece);
            done += moved;
            self.now.address = self.now.address.wrapping_add(moved);
            self.now.len -= moved;
            self.remaining -= moved;
            if left > 0 {
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
        }
        Ok(done)
    }
}

/// What the two have in common.
macro_rules! ends_of_a_copy {
    ($($name:ident)*) => { $(
        impl<'a> $name<'a> {
            /// Address and length, if all of it is one piece of the program's half: for copies that need no more than these.
            #[inline(always)]
            pub fn as_user(&self) -> Option<(usize, usize)> {
                self.0.as_user()
            }

            /// Notes that so many bytes were copied at the address that `as_user` gave.
            #[inline(always)]
            pub fn advance(&mut self, moved: usize) {
                self.0.advance(moved);
            }

            #[inline]
            pub fn user(ptr: UserPtr<u8>, len: usize) -> Self {
                Self(Cursor::user(ptr.addr(), len))
            }

            pub fn iovecs(vectors: &'a [IoVec]) -> Self {
                Self(Cursor::iovecs(vectors))
            }

            /// Bytes that still fit, or are left to take.
            #[inline]
            pub fn remaining(&self) -> usize {
                self.0.remaining
            }
        }
    )* };
}
ends_of_a_copy!(Sink Source);

/// Where a read's bytes go: a program's buffer or I/O vector, or kernel memory.
pub struct Sink<'a>(Cursor<'a>);

impl<'a> Sink<'a> {
    pub fn kernel(buffer: &'a mut [u8]) -> Self {
        Self(Cursor::kernel(buffer.as_mut_ptr().expose_provenance(), buffer.len()))
    }

    /// Puts bytes, as many as fit. EFAULT only if none could be put.
    #[inline]
    pub fn write(&mut self, src: &[u8]) -> Result<usize, Errno> {
        // SAFETY: the slice is valid for its length.
        unsafe { self.write_raw(src.as_ptr(), src.len()) }
    }

    /// As `write`, from memory that no reference may name.
    ///
    /// # Safety
    /// `src` is valid for reads of `len` bytes.
    #[inline]
    pub unsafe fn write_raw(&mut self, src: *const u8, len: usize) -> Result<usize, Errno> {
        self.0.walk(len, |address, kernel, done, piece| {
            // SAFETY: the caller's promise for the source; a kernel destination came from a mutable slice that the Sink borrows.
            unsafe {
                if kernel {
                    core::ptr::copy_nonoverlapping(
                        src.add(done),
                        core::ptr::with_exposed_provenance_mut(address),
                        piece,
                    );
                    0
                } else {
                    usercopy::to_user_raw(address, src.add(done), piece)
                }
            }
        })
    }

    /// Fills all of it with zeros. EFAULT only if none could be put.
    #[inline]
    pub fn clear(&mut self) -> Result<usize, Errno> {
        match self.as_user() {
            Some((address, len)) if usercopy::fill(address, 0, len) == 0 => {
                self.advance(len);
                Ok(len)
            }
            _ => self.fill(0, self.remaining()),
        }
    }

    /// Puts `len` times the same byte, as far as they fit. EFAULT only if none could be put.
    #[inline]
    pub fn fill(&mut self, byte: u8, len: usize) -> Result<usize, Errno> {
        self.0.walk(len, |address, kernel, _, piece| {
            if kernel {
                // SAFETY: a kernel destination came from a mutable slice that the Sink borrows.
                unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address).write_bytes(byte, piece) };
                0
            } else {
                usercopy::fill(address, byte, piece)
            }
        })
    }
}

/// Where a write's bytes come from: a program's buffer or I/O vector, or kernel memory.
pub struct Source<'a>(Cursor<'a>);

impl<'a> Source<'a> {
    pub fn kernel(buffer: &'a [u8]) -> Self {
        Self(Cursor::kernel(buffer.as_ptr().expose_provenance(), buffer.len()))
    }

    /// Shortens what is left to at most `len` bytes.
    pub fn limit(&mut self, len: usize) {
        self.0.remaining = self.0.remaining.min(len);
    }

    /// Takes up to `dst.len()` bytes. EFAULT only if none could be taken.
    #[inline]
    pub fn read(&mut self, dst: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: the slice is valid for its length.
        unsafe { self.read_raw(dst.as_mut_ptr(), dst.len()) }
    }

    /// As `read`, into memory that no reference may name.
    ///
    /// # Safety
    /// `dst` is valid for writes of `len` bytes.
    #[inline]
    pub unsafe fn read_raw(&mut self, dst: *mut u8, len: usize) -> Result<usize, Errno> {
        self.0.walk(len, |address, kernel, done, piece| {
            // SAFETY: the caller's promise for the destination; a kernel source came from a slice that the Source borrows.
            unsafe {
                if kernel {
                    core::ptr::copy_nonoverlapping(
                        core::ptr::with_exposed_provenance::<u8>(address),
                        dst.add(done),
                        piece,
                    );
                    0
                } else {
                    usercopy::from_user_raw(dst.add(done), address, piece)
                }
            }
        })
    }

    /// Passes over up to `len` bytes without looking at them (`/dev/null`). Returns how many.
    #[inline]
    pub fn skip(&mut self, len: usize) -> usize {
        self.0.walk(len, |_, _, _, _| 0).unwrap_or(0)
    }
}
