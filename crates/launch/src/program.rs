//! A look at the program before a machine is started for it, so that what can't run is said in words.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use loader::{ElfError, Source, script};

use crate::root::Root;

const PAGE_SIZE: u64 = 4096;

/// Why a program can't be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{}: no such file", .path.display())]
    NotFound { path: PathBuf },
    #[error("{}: {error}", .path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", .path.display())]
    Script { path: PathBuf, error: script::BadScript },
    #[error("{}: {error}", .path.display())]
    Elf { path: PathBuf, error: ElfError },
    #[error("{} is truncated: it has {size} bytes, and its segments go on to byte {end}", .path.display())]
    Truncated { path: PathBuf, size: u64, end: u64 },
    #[error(
        "{} is dynamically linked and needs {interpreter}, which isn't in the guest's root; \
         give a directory that holds it and the program's libraries with --root, or link statically",
        .path.display()
    )]
    NoLoader { path: PathBuf, interpreter: String },
    #[error(
        "{} is a script for {interpreter}, which isn't in the guest's root; give a directory that holds it with --root",
        .path.display()
    )]
    NoInterpreter { path: PathBuf, interpreter: String },
    #[error(
        "{} needs {} MiB of memory for its data alone; the machine has {} MiB (see --memory)",
        .path.display(),
        needed.div_ceil(1 << 20), memory >> 20
    )]
    TooLarge { path: PathBuf, needed: u64, memory: u64 },
}

struct Bytes(File);

impl Source for Bytes {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<usize, loader::ReadError> {
        let mut done = 0;
        while let Some(rest) = dst.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(_) => return Err(loader::ReadError),
            }
        }
        Ok(done)
    }
}

/// Checks a program file of the host. `root` is what the guest will see; `memory` the machine's, in bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_program(path: &Path, root: &Root, memory: u64) -> Result<(), ProgramError> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => ProgramError::NotFound { path: path.to_owned() },
        _ => ProgramError::Unreadable { path: path.to_owned(), error },
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        let error = std::io::Error::other("not a regular file");
        return Err(ProgramError::Unreadable { path: path.to_owned(), error });
    }
    let source = Bytes(file);
    let mut head = [0; script::HEAD_SIZE];
    let len = source.read_at(0, &mut head).unwrap_or(0);
    let is_missing = |interpreter: &str| root.resolve(Path::new(interpreter)).is_none();
    if let Some(line) = script::parse(head.get(..len).unwrap_or_default()) {
        let script = line.map_err(|error| ProgramError::Script { path: path.to_owned(), error })?;
        let interpreter = String::from_utf8_lossy(script.interpreter).into_owned();
        // A relative one is looked up from the directory in which the program starts.
        if interpreter.starts_with('/') && is_missing(&interpreter) {
            return Err(ProgramError::NoInterpreter { path: path.to_owned(), interpreter });
        }
        return Ok(());
    }
    let elf_error = |error| ProgramError::Elf { path: path.to_owned(), error };
    loader::check_class(&source).map_err(elf_error)?;
    let image = loader::plan(&source).map_err(elf_error)?;
    let size = source.size();
    // Segments are mapped by pages: what lies behind the file in its last one is zeros.
    let mapped = size.next_multiple_of(PAGE_SIZE);
    let ends = image
        .segments
        .iter()
        .map(|segment| segment.offset.saturating_add(segment.zero_start.saturating_sub(segment.start)));
    if let Some(end) = ends.max().filter(|&end| end > mapped) {
        return Err(ProgramError::Truncated { path: path.to_owned(), size, end });
    }
    let needed: u64 = image.segments.iter().filter(|s| s.writable).map(|s| s.file_end - s.start).sum();
    if needed > memory {
        return Err(ProgramError::TooLarge { path: path.to_owned(), needed, memory });
    }
    if let Some(interpreter) = &image.interpreter {
        let interpreter = String::from_utf8_lossy(interpreter).into_owned();
        if is_missing(&interpreter) {
            return Err(ProgramError::NoLoader { path: path.to_owned(), interpreter });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A static ELF of one segment.
    fn elf() -> Vec<u8> {
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let halves =
            |elf: &mut Vec<u8>, values: &[u16]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let words =
            |elf: &mut Vec<u8>, values: &[u32]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let longs =
            |elf: &mut Vec<u8>, values: &[u64]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        halves(&mut elf, &[2, 62]);
        words(&mut elf, &[1]);
        longs(&mut elf, &[0x40_0078, 64, 0]);
        words(&mut elf, &[0]);
        halves(&mut elf, &[64, 56, 1, 0, 0, 0]);
        words(&mut elf, &[1, 6]);
        longs(&mut elf, &[0, 0x40_0000, 0x40_0000, 0x1000, 0x1000, 0x1000]);
        elf.resize(0x1000, 0xcc);
        elf
    }

    /// What is said of a program of these bytes, with its directory left out. Empty if nothing is wrong with it.
    fn said_with(bytes: &[u8], root: &Root, memory: u64) -> String {
        let directory = crate::temp::TempDir::new().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, bytes).unwrap();
        let error = check_program(&path, root, memory).err().map(|error| error.to_string());
        error.unwrap_or_default().replace(&*directory.path().to_string_lossy(), "")
    }

    fn said(bytes: &[u8]) -> String {
        said_with(bytes, &Root::new(), 64 << 20)
    }

    fn changed(at: usize, value: u8) -> Vec<u8> {
        let mut elf = elf();
        elf[at] = value;
        elf
    }

    #[test]
    fn what_can_run_passes() {
        assert_eq!(said(&elf()), "");
        // A segment may end, with the file, in the middle of a page.
        let mut short = elf();
        short[64 + 32..64 + 40].copy_from_slice(&0x800u64.to_le_bytes());
        short[64 + 40..64 + 48].copy_from_slice(&0x800u64.to_le_bytes());
        short.truncate(0x800);
        assert_eq!(said(&short), "");
    }

    #[test]
    fn what_cannot_run_is_said() {
        assert!(said(b"hello").contains("/program: not an ELF file"));
        assert!(said(b"").contains("not an ELF file"));
        assert!(said(&changed(4, 1)).contains("32-bit"));
        assert!(said(&changed(18, 183)).contains("another processor"));
        assert!(said(&changed(16, 1)).contains("not an executable"));
        assert!(said(&elf()[..40]).contains("truncated"));
        assert!(said(&elf()[..100]).contains("truncated"));
        let mut twice_as_long = elf();
        twice_as_long[64 + 32..64 + 40].copy_from_slice(&0x2000u64.to_le_bytes());
        twice_as_long[64 + 40..64 + 48].copy_from_slice(&0x2000u64.to_le_bytes());
        assert_eq!(
            said(&twice_as_long),
            "/program is truncated: it has 4096 bytes, and its segments go on to byte 8192"
        );
        // A segment at the end of the address space, and one whose file part is larger than it.
        assert!(said(&changed(64 + 16 + 7, 0xff)).contains("outside the program's memory"));
        assert!(said(&changed(64 + 32 + 3, 0x7f)).contains("file size is larger"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let root = Root::new();
        let check = |path: &str| check_program(Path::new(path), &root, 1 << 20).unwrap_err().to_string();
        assert_eq!(check("/no/such/program"), "/no/such/program: no such file");
        assert_eq!(check("/"), "/: not a regular file");
    }

    #[test]
    fn too_little_memory_is_said() {
        let error = said_with(&elf(), &Root::new(), 4095);
        assert!(error.contains("needs 1 MiB of memory"), "{error}");
    }

    #[test]
    fn scripts_need_their_interpreter() {
        let mut root = Root::new();
        let error = said_with(b"#!/bin/sh -e\n", &root, 1 << 20);
        assert!(error.starts_with("/program is a script for /bin/sh, which isn't"), "{error}");
        root.add_bytes(Path::new("/bin/sh"), 0o755, Vec::new());
        assert_eq!(said_with(b"#!/bin/sh -e\n", &root, 1 << 20), "");
        assert!(said(b"#!\n").contains("malformed #! line"));
    }

    #[test]
    fn dynamic_programs_need_their_loader() {
        let Ok(program) = std::fs::read("/bin/true") else { return };
        let error = said(&program);
        assert!(error.contains("dynamically linked and needs /lib64/ld-linux-x86-64.so.2"), "{error}");
        let mut root = Root::new();
        root.add_bytes(Path::new("/lib64/ld-linux-x86-64.so.2"), 0o755, Vec::new());
        assert_eq!(said_with(&program, &root, 64 << 20), "");
    }
}
