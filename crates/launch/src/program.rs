//! A look at the program before a machine is started for it, so that what can't run is said in words.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use loader::{ElfError, Source, script};

/// Why a program can't be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{}: no such file", .path.display())]
    NotFound { path: PathBuf },
    #[error("{}: {error}", .path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", .path.display())]
    Elf { path: PathBuf, error: ElfError },
    #[error(
        "{} is dynamically linked and needs {interpreter}, which isn't in the root; \
         give a directory that holds it and the program's libraries with --root, or link statically",
        .path.display()
    )]
    NoInterpreter { path: PathBuf, interpreter: String },
    #[error(
        "{} needs {needed} bytes of memory for its segments alone; the machine has {memory} (see --memory)", .path.display()
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

/// Checks a program file. `root` is the directory that becomes `/`, if any; `memory` the machine's, in bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_program(path: &Path, root: Option<&Path>, memory: u64) -> Result<(), ProgramError> {
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
    if script::parse(head.get(..len).unwrap_or_default()).is_some() {
        // A script: its interpreter is looked up in the guest.
        return Ok(());
    }
    let elf_error = |error| ProgramError::Elf { path: path.to_owned(), error };
    let image = loader::plan(&source).map_err(elf_error)?;
    let needed: u64 = image.segments.iter().filter(|s| s.writable).map(|s| s.file_end - s.start).sum();
    if needed > memory {
        return Err(ProgramError::TooLarge { path: path.to_owned(), needed, memory });
    }
    if let Some(interpreter) = &image.interpreter {
        let interpreter = String::from_utf8_lossy(interpreter).into_owned();
        let inside = root.map(|root| root.join(interpreter.trim_start_matches('/')));
        if inside.is_none_or(|path| path.symlink_metadata().is_err()) {
            return Err(ProgramError::NoInterpreter { path: path.to_owned(), interpreter });
        }
    }
    Ok(())
}
