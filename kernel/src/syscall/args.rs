//! Argument types: how each is taken from a register, and how strace prints it.

use core::fmt;

use abi::OpenFlags;

use crate::mm::UserPtr;
use crate::mm::user::read_cstr;

/// A system call argument.
pub trait Arg: Sized {
    /// From the register, as the ABI says (`int` is the low half).
    fn from_arg(raw: u64) -> Self;
    /// For strace.
    fn show(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// `Arg::show` of an argument's type.
pub type Show = fn(u64, &mut fmt::Formatter<'_>) -> fmt::Result;

/// A file descriptor number, as passed: may be negative or not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

impl Fd {
    /// `AT_FDCWD`.
    pub const CWD: Self = Self(-100);
}

impl Arg for Fd {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self(raw as i32)
    }
    fn show(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if raw as i32 == -100 { f.write_str("AT_FDCWD") } else { write!(f, "{}", raw as i32) }
    }
}

/// A path in the program's memory.
#[derive(Clone, Copy, Debug)]
pub struct Path(pub UserPtr<u8>);

impl Arg for Path {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self(UserPtr::new(raw as usize))
    }
    fn show(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match read_cstr(UserPtr::new(raw as usize), 256) {
            Ok(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Err(_) => write!(f, "{raw:#x}"),
        }
    }
}

impl Arg for OpenFlags {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self::from_bits_retain(raw as u32)
    }
    fn show(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Self::from_bits_retain(raw as u32))
    }
}

impl<T> Arg for UserPtr<T> {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self::new(raw as usize)
    }
    fn show(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if raw == 0 { f.write_str("NULL") } else { write!(f, "{raw:#x}") }
    }
}

/// A number: what is too large to be a length or a position is an address.
pub fn show_word(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if raw > u64::from(u32::MAX) { write!(f, "{raw:#x}") } else { write!(f, "{raw}") }
}

fn show_int(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", raw as i32)
}

fn show_flags(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:#x}", raw as u32)
}

fn show_signed(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if raw.cast_signed() < 0 { write!(f, "{}", raw.cast_signed()) } else { show_word(raw, f) }
}

macro_rules! integer {
    ($($type:ty: $show:ident),* $(,)?) => { $(
        impl Arg for $type {
            #[inline(always)]
            fn from_arg(raw: u64) -> Self {
                raw as Self
            }
            fn show(raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $show(raw, f)
            }
        }
    )* };
}
integer!(i32: show_int, u32: show_flags, i64: show_signed, u64: show_word, usize: show_word, isize: show_signed);
