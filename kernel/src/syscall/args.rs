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
    const SHAPE: Shape;
}

/// How strace prints an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Not an argument.
    None,
    Fd,
    Path,
    OpenFlags,
    Pointer,
    I32,
    U32,
    I64,
    U64,
    Size,
}

/// Where programs that choose their own addresses begin.
const LOWEST_ADDRESS: i64 = 0x40_0000;

impl Shape {
    /// Prints a register.
    pub fn show(self, raw: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Fd if raw as i32 == Fd::CWD.0 => f.write_str("AT_FDCWD"),
            Self::Path => match read_cstr(UserPtr::new(raw as usize), 256) {
                Ok(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
                Err(_) => write!(f, "{raw:#x}"),
            },
            Self::OpenFlags => write!(f, "{}", OpenFlags::from_bits_retain(raw as u32)),
            Self::Pointer if raw == 0 => f.write_str("NULL"),
            Self::Pointer | Self::U64 => write!(f, "{raw:#x}"),
            Self::U32 => write!(f, "{:#x}", raw as u32),
            Self::Fd | Self::I32 => write!(f, "{}", raw as i32),
            // Too large to be a length or a position: an address.
            Self::Size | Self::I64 if raw.cast_signed() >= LOWEST_ADDRESS => write!(f, "{raw:#x}"),
            Self::Size | Self::I64 => write!(f, "{}", raw.cast_signed()),
        }
    }
}

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
    const SHAPE: Shape = Shape::Fd;
}

/// A path in the program's memory.
#[derive(Clone, Copy, Debug)]
pub struct Path(pub UserPtr<u8>);

impl Arg for Path {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self(UserPtr::new(raw as usize))
    }
    const SHAPE: Shape = Shape::Path;
}

impl Arg for OpenFlags {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self::from_bits_retain(raw as u32)
    }
    const SHAPE: Shape = Shape::OpenFlags;
}

impl<T> Arg for UserPtr<T> {
    #[inline(always)]
    fn from_arg(raw: u64) -> Self {
        Self::new(raw as usize)
    }
    const SHAPE: Shape = Shape::Pointer;
}

macro_rules! integer {
    ($($type:ty: $shape:ident),* $(,)?) => { $(
        impl Arg for $type {
            #[inline(always)]
            fn from_arg(raw: u64) -> Self {
                raw as Self
            }
            const SHAPE: Shape = Shape::$shape;
        }
    )* };
}
integer!(i32: I32, u32: U32, i64: I64, u64: U64, usize: Size, isize: I64);
