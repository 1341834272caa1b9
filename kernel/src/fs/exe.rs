//! Executables: the file that a program runs from.

use alloc::sync::Arc;

use abi::{AtFlags, Errno, OpenFlags};
use namei::Follow;

use super::file::{InodeFile, MappedFile, Mode, OpenFile};
use super::inode::FileKind;
use super::mount::flag;
use super::notify::{self, event};
use super::path::{Path, resolve, start_at};
use super::perm::{self, Want};
use crate::mm::MemoryObject;
use crate::syscall::Fd;

/// A file that a program runs from. While there is one, nobody writes to the file (ETXTBSY).
#[derive(Clone)]
pub struct ExeFile(Arc<Running>);

struct Running(Arc<OpenFile>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.inode().end_execution();
    }
}

impl ExeFile {
    /// Its contents, for the loader and for mappings.
    pub fn object(&self) -> Arc<dyn MemoryObject> {
        Arc::new(MappedFile::new(self.0.0.clone()))
    }

    pub fn path(&self) -> &Path {
        &self.0.0.path
    }
}

fn open_place(path: Path) -> Result<ExeFile, Errno> {
    let inode = path.inode().clone();
    if inode.kind != FileKind::Regular || path.mount.flags() & flag::NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    perm::check(&inode, Want::EXECUTE)?;
    inode.begin_execution()?;
    let file = OpenFile::new(path, OpenFlags::empty(), Mode::READ | Mode::SEEK, InodeFile);
    notify::note(&file.path.dentry, event::OPEN);
    notify::note(&file.path.dentry, event::ACCESS);
    Ok(ExeFile(Arc::new(Running(Arc::new(file)))))
}

/// The file for execveat(2): `flags` are AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW. EACCES, ELOOP, ETXTBSY, and what resolution reports.
pub fn open_executable(dirfd: Fd, path: &[u8], flags: u32) -> Result<ExeFile, Errno> {
    let flags = AtFlags::from_bits_retain(flags);
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        return open_place(start_at(dirfd)?);
    }
    let follow = if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { Follow::No } else { Follow::Yes };
    let place = resolve(dirfd, path, follow)?;
    if place.inode().kind == FileKind::Symlink {
        return Err(Errno::ELOOP);
    }
    open_place(place)
}
