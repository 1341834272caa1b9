//! ELF64 headers and program headers (System V ABI, AMD64 supplement; the decisions are those of Linux's `fs/binfmt_elf.c`).

use alloc::vec;
use alloc::vec::Vec;

use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR, PT_TLS};
use goblin::elf64::header::{ELFMAG, Header, SIZEOF_EHDR};
use goblin::elf64::program_header::{ProgramHeader, SIZEOF_PHDR};

use crate::{PAGE_SIZE, ReadError, Source, USER_TOP};

/// Linux reads at most this much of program headers (ELF_MIN_ALIGN bytes of them, 64 KiB).
const MAX_HEADERS_SIZE: usize = 65_536;
/// Longest interpreter path, its NUL included (PATH_MAX).
const MAX_INTERPRETER: u64 = 4096;
const ELFCLASS32: u8 = 1;
const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;

/// Errno values that exec gives (asm-generic/errno-base.h).
mod errno {
    pub(super) const EIO: i32 = 5;
    pub(super) const ENOEXEC: i32 = 8;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EINVAL: i32 = 22;
}

/// Why a file can't be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("not an ELF file")]
    NotElf,
    #[error("a 32-bit program; Whelk runs 64-bit x86 programs")]
    Class32,
    #[error("not a little-endian 64-bit ELF file")]
    Class,
    #[error("built for another processor (ELF machine {0}); Whelk runs x86_64 programs")]
    Machine(u16),
    #[error("not an executable (ELF type {0}); an object file or a core dump?")]
    Type(u16),
    #[error("the ELF header is truncated")]
    TruncatedHeader,
    #[error("the program headers are truncated or malformed")]
    BadProgramHeaders,
    #[error("there is nothing to load: no PT_LOAD segment")]
    NothingToLoad,
    #[error("the interpreter's path is malformed")]
    BadInterpreter,
    #[error("a segment's file size is larger than its memory size")]
    FileLargerThanMemory,
    #[error("a segment's address and file offset don't agree modulo the page size")]
    Misaligned,
    #[error("a segment lies outside the program's memory")]
    OutOfRange,
    #[error("the interpreter's path lies outside the file")]
    InterpreterOutside,
    #[error("the file could not be read")]
    Unreadable,
}

impl ElfError {
    /// The errno with which Linux's execve refuses such a file, or with which it fails before killing the process.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::FileLargerThanMemory | Self::Misaligned | Self::InterpreterOutside => errno::EINVAL,
            Self::OutOfRange => errno::ENOMEM,
            Self::Unreadable => errno::EIO,
            _ => errno::ENOEXEC,
        }
    }

    /// Whether Linux finds out only when the old program is gone: then the process ends by SIGSEGV.
    #[must_use]
    pub const fn is_late(self) -> bool {
        matches!(self, Self::FileLargerThanMemory | Self::Misaligned | Self::OutOfRange | Self::NothingToLoad)
    }
}

impl From<ReadError> for ElfError {
    fn from(_: ReadError) -> Self {
        Self::Unreadable
    }
}

/// Whether the program says where it wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ET_EXEC: at the addresses in the file.
    Fixed,
    /// ET_DYN: anywhere.
    Relocatable,
}

/// One PT_LOAD as mappings. Addresses are as in the file: add the load bias.
///
/// `[start, file_end)` maps the file from `offset`; `[file_end, end)` is anonymous; `[zero_start, zero_end)`, inside the last
/// file page, is to be zeroed when the segment is writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First page.
    pub start: u64,
    /// End of the pages that the file backs.
    pub file_end: u64,
    /// End of the segment, page-aligned.
    pub end: u64,
    /// File offset of `start`, page-aligned.
    pub offset: u64,
    pub zero_start: u64,
    pub zero_end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
}

/// A program, planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub kind: Kind,
    pub entry: u64,
    /// In file order.
    pub segments: Vec<Segment>,
    /// Lowest and highest address, page-aligned.
    pub low: u64,
    pub high: u64,
    /// Largest alignment asked for, at least a page.
    pub align: u64,
    /// Unaligned end of the highest segment: where the heap begins.
    pub brk: u64,
    /// Address of the program headers in memory, 0 if no segment holds them.
    pub phdr: u64,
    pub phnum: u16,
    pub phent: u16,
    /// Path of the dynamic linker, without its NUL.
    pub interpreter: Option<Vec<u8>>,
    /// PT_GNU_STACK: `Some(true)` asks for an executable stack; `None` when there is no such header.
    pub stack_executable: Option<bool>,
    pub has_tls: bool,
}

fn read_exact<S: Source + ?Sized>(source: &S, offset: u64, dst: &mut [u8]) -> Result<bool, ReadError> {
    Ok(source.read_at(offset, dst)? == dst.len())
}

/// Checks the ELF header alone.
fn header<S: Source + ?Sized>(source: &S) -> Result<Header, ElfError> {
    let mut bytes = [0; SIZEOF_EHDR];
    let len = source.read_at(0, &mut bytes)?;
    if len < ELFMAG.len() || !bytes.starts_with(ELFMAG) {
        return Err(ElfError::NotElf);
    }
    if len < SIZEOF_EHDR {
        return Err(ElfError::TruncatedHeader);
    }
    let header = *Header::from_bytes(&bytes);
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return Err(ElfError::Type(header.e_type));
    }
    if header.e_machine != EM_X86_64 {
        return Err(ElfError::Machine(header.e_machine));
    }
    Ok(header)
}

/// Whether a file says that it is a 64-bit little-endian one. Linux doesn't ask: a program whose header is otherwise right runs there.
///
/// # Errors
/// `Class32`, `Class`, and `NotElf`.
pub fn check_class<S: Source + ?Sized>(source: &S) -> Result<(), ElfError> {
    let mut identification = [0; 16];
    let len = source.read_at(0, &mut identification)?;
    if len < ELFMAG.len() || !identification.starts_with(ELFMAG) {
        return Err(ElfError::NotElf);
    }
    if len < identification.len() {
        return Err(ElfError::TruncatedHeader);
    }
    match (identification[4], identification[5]) {
        (ELFCLASS32, _) => Err(ElfError::Class32),
        (ELFCLASS64, ELFDATA2LSB) => Ok(()),
        _ => Err(ElfError::Class),
    }
}

fn program_headers<S: Source + ?Sized>(source: &S, header: &Header) -> Result<Vec<ProgramHeader>, ElfError> {
    let count = usize::from(header.e_phnum);
    let size = count * SIZEOF_PHDR;
    if usize::from(header.e_phentsize) != SIZEOF_PHDR || count == 0 || size > MAX_HEADERS_SIZE {
        return Err(ElfError::BadProgramHeaders);
    }
    let mut bytes = vec![0; size];
    if !read_exact(source, header.e_phoff, &mut bytes)? {
        return Err(ElfError::BadProgramHeaders);
    }
    let (chunks, _) = bytes.as_chunks::<SIZEOF_PHDR>();
    Ok(chunks.iter().map(parse_program_header).collect())
}

fn parse_program_header(bytes: &[u8; SIZEOF_PHDR]) -> ProgramHeader {
    let half = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(bytes.get(at..at + 4).unwrap_or(&[0; 4]));
        u32::from_le_bytes(word)
    };
    let word = |at: usize| u64::from(half(at)) | u64::from(half(at + 4)) << 32;
    ProgramHeader {
        p_type: half(0),
        p_flags: half(4),
        p_offset: word(8),
        p_vaddr: word(16),
        p_paddr: word(24),
        p_filesz: word(32),
        p_memsz: word(40),
        p_align: word(48),
    }
}

const fn floor(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

fn ceil(value: u64) -> Result<u64, ElfError> {
    Ok(floor(value.checked_add(PAGE_SIZE - 1).ok_or(ElfError::OutOfRange)?))
}

fn segment(header: &ProgramHeader) -> Result<Segment, ElfError> {
    let ProgramHeader { p_vaddr, p_offset, p_filesz, p_memsz, p_flags, .. } = *header;
    if p_filesz > p_memsz {
        return Err(ElfError::FileLargerThanMemory);
    }
    if p_vaddr >= USER_TOP || p_memsz > USER_TOP || USER_TOP - p_memsz < p_vaddr {
        return Err(ElfError::OutOfRange);
    }
    if p_filesz > 0 && p_vaddr % PAGE_SIZE != p_offset % PAGE_SIZE {
        return Err(ElfError::Misaligned);
    }
    let file_data_end = p_vaddr + p_filesz;
    let start = floor(p_vaddr);
    let file_end = if p_filesz == 0 { start } else { ceil(file_data_end)? };
    let end = ceil(p_vaddr + p_memsz)?.max(file_end);
    let offset = floor(p_offset);
    // Files end at i64::MAX.
    if offset.checked_add(file_end - start).is_none_or(|end| end > i64::MAX as u64) {
        return Err(ElfError::OutOfRange);
    }
    let zero_start = if p_filesz > 0 && p_memsz > p_filesz { file_data_end } else { file_end };
    Ok(Segment {
        start,
        file_end,
        end,
        offset,
        zero_start: zero_start.min(file_end),
        zero_end: file_end,
        readable: p_flags & PF_R != 0,
        writable: p_flags & PF_W != 0,
        executable: p_flags & PF_X != 0,
    })
}

fn interpreter<S: Source + ?Sized>(source: &S, header: &ProgramHeader) -> Result<Vec<u8>, ElfError> {
    if header.p_filesz > MAX_INTERPRETER || header.p_filesz < 2 {
        return Err(ElfError::BadInterpreter);
    }
    let mut path = vec![0; usize::try_from(header.p_filesz).map_err(|_| ElfError::BadInterpreter)?];
    if header.p_offset > i64::MAX as u64 {
        return Err(ElfError::InterpreterOutside);
    }
    if !read_exact(source, header.p_offset, &mut path)? {
        return Err(ElfError::Unreadable);
    }
    if path.pop() != Some(0) {
        return Err(ElfError::BadInterpreter);
    }
    let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
    path.truncate(end);
    Ok(path)
}

/// Plans how a file is loaded.
///
/// # Errors
/// Why it can't be; `ElfError::errno` is what execve(2) says then.
pub fn plan<S: Source + ?Sized>(source: &S) -> Result<Image, ElfError> {
    let header = header(source)?;
    let headers = program_headers(source, &header)?;
    let mut image = Image {
        kind: if header.e_type == ET_EXEC { Kind::Fixed } else { Kind::Relocatable },
        entry: header.e_entry,
        segments: Vec::with_capacity(4),
        low: u64::MAX,
        high: 0,
        align: PAGE_SIZE,
        brk: 0,
        phdr: 0,
        phnum: header.e_phnum,
        phent: header.e_phentsize,
        interpreter: None,
        stack_executable: None,
        has_tls: false,
    };
    let mut phdr_segment = None;
    for program_header in &headers {
        match program_header.p_type {
            PT_LOAD => {
                let segment = segment(program_header)?;
                let holds_headers = program_header.p_offset <= header.e_phoff
                    && header.e_phoff - program_header.p_offset < program_header.p_filesz;
                if holds_headers {
                    image.phdr = header.e_phoff - program_header.p_offset + program_header.p_vaddr;
                }
                image.low = image.low.min(segment.start);
                image.high = image.high.max(segment.end);
                image.brk = image.brk.max(program_header.p_vaddr + program_header.p_memsz);
                if program_header.p_align.is_power_of_two() {
                    image.align = image.align.max(program_header.p_align);
                }
                image.segments.push(segment);
            }
            // Only the first counts, as on Linux.
            PT_INTERP if image.interpreter.is_none() => {
                image.interpreter = Some(interpreter(source, program_header)?);
            }
            PT_PHDR => phdr_segment = Some(program_header.p_vaddr),
            PT_GNU_STACK => image.stack_executable = Some(program_header.p_flags & PF_X != 0),
            PT_TLS => image.has_tls = true,
            _ => {}
        }
    }
    if image.segments.is_empty() {
        return Err(ElfError::NothingToLoad);
    }
    if let Some(address) = phdr_segment {
        image.phdr = address;
    }
    Ok(image)
}
