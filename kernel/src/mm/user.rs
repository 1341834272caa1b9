//! A program's memory as the kernel sees it: typed addresses, and cursors that a read fills or a write drains.
//!
//! No Rust reference ever points into it. A range outside the program's half is EFAULT without an access; a page that isn't there yet is
//! faulted in on the way.
#![expect(unsafe_code, reason = "owns the raw ends of user copies")]

mod cursor;

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

use abi::{Errno, Stat};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

pub use self::cursor::{Sink, Source};
use super::USER_TOP;
use crate::arch::x86_64::usercopy;

/// Most bytes that one read or write moves (`MAX_RW_COUNT` of Linux).
pub const MAX_IO: usize = 0x7fff_f000;

/// Whether `[address, address + len)` lies in the program's half.
#[inline(always)]
pub fn is_user_range(address: usize, len: usize) -> bool {
    let (end, wraps) = address.overflowing_add(len);
    if wraps {
        unlikely();
        return false;
    }
    end <= USER_TOP
}

/// Keeps a branch a branch, for a case that hardly ever comes.
#[cold]
#[inline(always)]
fn unlikely() {}

/// A buffer that lies in the program's half as a whole.
#[derive(Clone, Copy, Debug)]
pub struct UserRange {
    address: usize,
    len: usize,
}

impl UserRange {
    #[inline(always)]
    pub fn new(buf: UserPtr<u8>, len: usize) -> Option<Self> {
        is_user_range(buf.0, len).then_some(Self { address: buf.0, len })
    }

    #[inline(always)]
    pub fn address(self) -> usize {
        self.address
    }

    #[inline(always)]
    pub fn len(self) -> usize {
        self.len
    }

    pub fn sink(self) -> Sink<'static> {
        Sink::user(UserPtr::new(self.address), self.len)
    }

    pub fn source(self) -> Source<'static> {
        Source::user(UserPtr::new(self.address), self.len)
    }

    /// Copies from its beginning; `None` if not all could be.
    #[inline]
    pub fn read(self, dst: &mut [u8]) -> Option<()> {
        (dst.len() <= self.len && usercopy::from_user(dst, self.address) == 0).then_some(())
    }

    /// Copies to its beginning; `None` if not all could be.
    #[inline]
    pub fn write(self, src: &[u8]) -> Option<()> {
        (src.len() <= self.len && usercopy::to_user(self.address, src) == 0).then_some(())
    }

    /// Clears all of it; whether all could be.
    #[inline(always)]
    pub fn clear(self) -> bool {
        usercopy::fill(self.address, 0, self.len) == 0
    }
}

/// An address in the program's memory where a `T` is meant to be.
#[repr(transparent)]
pub struct UserPtr<T>(usize, PhantomData<*mut T>);

// SAFETY: only an address.
unsafe impl<T> Send for UserPtr<T> {}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("NULL") } else { write!(f, "{:#x}", self.0) }
    }
}

impl<T> UserPtr<T> {
    #[inline(always)]
    pub const fn new(address: usize) -> Self {
        Self(address, PhantomData)
    }

    #[inline(always)]
    pub const fn addr(self) -> usize {
        self.0
    }

    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address of the element `count` further on; wraps, since the access itself is checked.
    #[must_use]
    pub const fn add(self, count: usize) -> Self {
        Self::new(self.0.wrapping_add(count.wrapping_mul(size_of::<T>())))
    }

    /// The address `bytes` further on, as another type.
    pub const fn field<U>(self, bytes: usize) -> UserPtr<U> {
        UserPtr::new(self.0.wrapping_add(bytes))
    }

    /// `None` for a null pointer.
    pub const fn non_null(self) -> Option<Self> {
        if self.0 == 0 { None } else { Some(self) }
    }
}

impl<T: FromBytes> UserPtr<T> {
    /// Reads the value. EFAULT.
    #[inline]
    pub fn read(self) -> Result<T, Errno> {
        if !is_user_range(self.0, size_of::<T>()) {
            return Err(Errno::EFAULT);
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the destination is as large as the copy.
        let left =
            unsafe { usercopy::from_user_raw(value.as_mut_ptr().cast::<u8>(), self.0, size_of::<T>()) };
        if left != 0 {
            return Err(Errno::EFAULT);
        }
        // SAFETY: all bytes were written, and FromBytes says that any bytes make a value.
        Ok(unsafe { value.assume_init() })
    }
}

impl<T: IntoBytes + Immutable> UserPtr<T> {
    /// Writes the value. EFAULT.
    #[inline]
    pub fn write(self, value: &T) -> Result<(), Errno> {
        let bytes = value.as_bytes();
        if !is_user_range(self.0, bytes.len()) || usercopy::to_user(self.0, bytes) != 0 {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }
}

impl UserPtr<u8> {
    /// Reads exactly `dst.len()` bytes. EFAULT.
    pub fn read_bytes(self, dst: &mut [u8]) -> Result<(), Errno> {
        if !is_user_range(self.0, dst.len()) || usercopy::from_user(dst, self.0) != 0 {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }

    /// Writes bytes up to the first that can't be written. Returns how many it were.
    pub fn write_some(self, src: &[u8]) -> usize {
        let reachable = src.len().min(USER_TOP.saturating_sub(self.0));
        let src = src.get(..reachable).unwrap_or_default();
        reachable - usercopy::to_user(self.0, src).min(reachable)
    }

    /// Writes all bytes. EFAULT.
    pub fn write_bytes(self, src: &[u8]) -> Result<(), Errno> {
        if !is_user_range(self.0, src.len()) || usercopy::to_user(self.0, src) != 0 {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }
}

impl UserPtr<u32> {
    /// One atomic-sized load (futex words). EFAULT.
    #[inline]
    pub fn load(self) -> Result<u32, Errno> {
        if !is_user_range(self.0, 4) {
            return Err(Errno::EFAULT);
        }
        usercopy::read_u32(self.0).ok_or(Errno::EFAULT)
    }
}

impl UserPtr<u64> {
    /// One word. EFAULT.
    #[inline]
    pub fn load(self) -> Result<u64, Errno> {
        if !is_user_range(self.0, 8) {
            return Err(Errno::EFAULT);
        }
        usercopy::read_u64(self.0).ok_or(Errno::EFAULT)
    }
}

impl UserPtr<u16> {
    /// Two bytes. EFAULT.
    #[inline]
    pub fn store(self, value: u16) -> Result<(), Errno> {
        if !is_user_range(self.0, 2) {
            return Err(Errno::EFAULT);
        }
        usercopy::write_u16(self.0, value).ok_or(Errno::EFAULT)
    }
}

impl UserPtr<(u32, u64)> {
    /// A word of four bytes and one of eight right behind it (`struct epoll_event`). EFAULT.
    #[inline(always)]
    pub fn store(self, first: u32, second: u64) -> Result<(), Errno> {
        if !is_user_range(self.0, 12) {
            return Err(Errno::EFAULT);
        }
        usercopy::write_event(self.0, first, second).ok_or(Errno::EFAULT)
    }
}

impl UserPtr<[u64; 2]> {
    /// Two words, without a loop. EFAULT.
    #[inline(always)]
    pub fn store(self, values: [u64; 2]) -> Result<(), Errno> {
        if !is_user_range(self.0, 16) {
            return Err(Errno::EFAULT);
        }
        usercopy::write_two(self.0, values).ok_or(Errno::EFAULT)
    }
}

impl UserPtr<Stat> {
    /// The first six words (device, inode, links; mode and uid; gid; device number), and the three at the end that are nothing. EFAULT.
    #[inline(always)]
    pub fn store_head(self, head: [u64; 3], mode: u32, uid: u32, gid: u32, rdev: u64) -> Result<(), Errno> {
        if !is_user_range(self.0, size_of::<Stat>()) {
            return Err(Errno::EFAULT);
        }
        usercopy::write_stat_head(self.0, head, mode, uid, gid, rdev).ok_or(Errno::EFAULT)
    }

    /// The nine words behind those, from the size on. EFAULT.
    #[inline(always)]
    pub fn store_tail(self, tail: [u64; 9]) -> Result<(), Errno> {
        if !is_user_range(self.0, size_of::<Stat>()) {
            return Err(Errno::EFAULT);
        }
        usercopy::write_nine(self.0.wrapping_add(core::mem::offset_of!(Stat, size)), tail)
            .ok_or(Errno::EFAULT)
    }
}

impl UserPtr<[u64; 4]> {
    /// Four words, without a loop. EFAULT.
    #[inline(always)]
    pub fn load(self) -> Result<[u64; 4], Errno> {
        if !is_user_range(self.0, 32) {
            return Err(Errno::EFAULT);
        }
        usercopy::read_four(self.0).ok_or(Errno::EFAULT)
    }

    /// As `load`, the other way.
    #[inline(always)]
    pub fn store(self, values: [u64; 4]) -> Result<(), Errno> {
        if !is_user_range(self.0, 32) {
            return Err(Errno::EFAULT);
        }
        usercopy::write_four(self.0, values).ok_or(Errno::EFAULT)
    }
}

/// Room for a few values of an array, not filled before they are read.
pub struct Few<T, const N: usize>(MaybeUninit<[T; N]>);

impl<const N: usize> Few<u8, N> {
    /// Reads a string up to its NUL, which isn't part of what it gives. ENAMETOOLONG when no NUL came in time; EFAULT.
    #[inline(always)]
    pub fn read_cstr(&mut self, from: UserPtr<u8>) -> Result<&[u8], Errno> {
        // What lies beyond the program's half is not looked at.
        let max = USER_TOP.saturating_sub(from.addr()).min(N);
        let to = self.0.as_mut_ptr().cast::<u8>();
        // SAFETY: there is room for as many.
        match unsafe { usercopy::string_from_user_raw(to, from.addr(), max) } {
            // SAFETY: the bytes before the NUL were just written.
            Some(len) if len < max => Ok(unsafe { core::slice::from_raw_parts(to, len) }),
            Some(len) if len == N => Err(Errno::ENAMETOOLONG),
            _ => Err(Errno::EFAULT),
        }
    }
}

impl<T: FromBytes + IntoBytes, const N: usize> Few<T, N> {
    #[inline(always)]
    pub const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Reads `count` values, at most `N`. EFAULT.
    #[inline]
    pub fn read(&mut self, from: UserPtr<T>, count: usize) -> Result<&mut [T], Errno> {
        let count = count.min(N);
        let len = count * size_of::<T>();
        let to = self.0.as_mut_ptr().cast::<T>();
        // SAFETY: there is room for as many.
        if !is_user_range(from.0, len) || unsafe { usercopy::from_user_raw(to.cast(), from.0, len) } != 0 {
            return Err(Errno::EFAULT);
        }
        // SAFETY: all bytes of the values were just written, and any bytes are values.
        Ok(unsafe { core::slice::from_raw_parts_mut(to, count) })
    }
}

/// Reads `count` values of an array. EFAULT; ENOMEM.
pub fn read_array<T: FromBytes + FromZeros + IntoBytes + Clone>(
    ptr: UserPtr<T>,
    count: usize,
) -> Result<Vec<T>, Errno> {
    let bytes = count.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
    if !is_user_range(ptr.addr(), bytes) {
        return Err(Errno::EFAULT);
    }
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    values.resize(count, T::new_zeroed());
    if usercopy::from_user(values.as_mut_slice().as_mut_bytes(), ptr.addr()) != 0 {
        return Err(Errno::EFAULT);
    }
    Ok(values)
}

/// Copies a NUL-terminated string of up to `dst.len()` bytes, the NUL included, into `dst`. Returns its length without the NUL.
/// ENAMETOOLONG when no NUL came in time; EFAULT.
#[inline]
pub fn read_cstr_into(ptr: UserPtr<u8>, dst: &mut [u8]) -> Result<usize, Errno> {
    // What lies beyond the program's half is not looked at.
    let room = USER_TOP.saturating_sub(ptr.addr());
    let max = dst.len().min(room);
    match usercopy::string_from_user(dst.get_mut(..max).unwrap_or_default(), ptr.addr()) {
        Some(len) if len < max => Ok(len),
        Some(_) if max == dst.len() => Err(Errno::ENAMETOOLONG),
        _ => Err(Errno::EFAULT),
    }
}

/// Copies a NUL-terminated string. ENAMETOOLONG beyond `max` bytes (NUL included), EFAULT.
pub fn read_cstr(ptr: UserPtr<u8>, max: usize) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    let mut buffer = [0u8; 256];
    loop {
        let room = (max - out.len()).min(buffer.len());
        let Some(window) = buffer.get_mut(..room) else { return Err(Errno::ENAMETOOLONG) };
        match read_cstr_into(ptr.field(out.len()), window) {
            Ok(len) => {
                out.try_reserve(len).map_err(|_| Errno::ENOMEM)?;
                out.extend_from_slice(buffer.get(..len).unwrap_or_default());
                return Ok(out);
            }
            Err(Errno::ENAMETOOLONG) if out.len() + room < max => {
                out.try_reserve(room).map_err(|_| Errno::ENOMEM)?;
                out.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Err(error) => return Err(error),
        }
    }
}
