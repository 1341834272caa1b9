//! /proc/PID/fd and fdinfo.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::{Errno, OpenFlags};
use fdmap::OnExec;

use super::text::put;
use super::{Text, process_of};
use crate::fs::file::{Mode, OpenFile};
use crate::fs::inode::FileKind;
use crate::syscall::Fd;

/// Which of the two directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Links = 0,
    Infos = 1,
}

/// The open file of a process's descriptor. EBADF, ESRCH.
pub fn get(pid: u32, fd: u32) -> Result<Arc<OpenFile>, Errno> {
    process_of(pid)?.shared_files().get_any(Fd(i32::try_from(fd).map_err(|_| Errno::EBADF)?))
}

/// Descriptors of a process from one on, as many as are listed at a time.
pub fn some(pid: u32, from: usize) -> Result<Vec<u32>, Errno> {
    const MOST: usize = 500;
    let files = process_of(pid)?.shared_files();
    let mut fds = Vec::new();
    let mut at = from;
    while fds.len() < MOST
        && let Some((fd, _)) = files.next(at)
    {
        fds.push(fd as u32);
        at = fd + 1;
    }
    Ok(fds)
}

/// A link's permissions show how the file is open.
pub fn kind_and_mode(pid: u32, view: View, fd: u32) -> (FileKind, u32) {
    if view == View::Infos {
        return (FileKind::Regular, 0o444);
    }
    let mode = get(pid, fd).map_or(Mode::empty(), |file| file.mode);
    let read = if mode.contains(Mode::READ) { 0o500 } else { 0 };
    let write = if mode.contains(Mode::WRITE) { 0o300 } else { 0 };
    (FileKind::Symlink, read | write)
}

/// The text of an fdinfo file.
pub fn write_info(pid: u32, fd: u32, text: &mut Text) -> Result<(), Errno> {
    let file = get(pid, fd)?;
    let mut flags = file.flags();
    let files = process_of(pid)?.shared_files();
    flags.set(OpenFlags::CLOEXEC, files.on_exec(Fd(fd as i32)) == Ok(OnExec::Close));
    put!(text, "pos:\t{}\nflags:\t0{:o}\n", file.position(), flags.bits());
    put!(text, "mnt_id:\t{}\nino:\t{}\n", file.path.mount.id, file.inode().number);
    file.ops.describe(text);
    Ok(())
}
