//! How Linux loads a program, as pure logic: an ELF file becomes a plan of mappings (`plan`), a `#!` line an interpreter (`script`),
//! and arguments, environment and auxiliary vector an initial stack (`stack`). Nothing is read beyond what headers ask for.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod elf;
pub mod script;
pub mod stack;

pub use elf::{ElfError, Image, Kind, Segment, check_class, plan};

/// Page size of x86_64.
pub const PAGE_SIZE: u64 = 4096;
/// First address above a program's memory.
pub const USER_TOP: u64 = 0x7fff_ffff_f000;

/// The file could not be read at that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadError;

/// Where a program file's bytes come from.
pub trait Source {
    /// Length of the file in bytes.
    fn size(&self) -> u64;

    /// Reads at an offset; short only at the end of the file.
    ///
    /// # Errors
    /// The storage failed.
    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<usize, ReadError>;
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<usize, ReadError> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let len = rest.len().min(dst.len());
        for (to, from) in dst.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(len)
    }
}
