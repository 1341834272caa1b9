//! ioctl(2): what holds for every descriptor; the rest is the file's own.

use abi::{Errno, Ioctl, OpenFlags};
use fdmap::OnExec;

use super::{Fd, SysResult};
use crate::fs::file::OpenFile;
use crate::fs::inode::FileKind;
use crate::fs::{self, sigio};
use crate::mm::UserPtr;

/// ioctl(2).
pub fn ioctl(fd: Fd, cmd: u32, argument: usize) -> SysResult {
    let files = fs::files();
    let file = files.get(fd)?;
    match Ioctl(cmd) {
        Ioctl::FIOCLEX => files.set_on_exec(fd, OnExec::Close)?,
        Ioctl::FIONCLEX => files.set_on_exec(fd, OnExec::Keep)?,
        Ioctl::FIONBIO => set_flag(&file, OpenFlags::NONBLOCK, argument)?,
        Ioctl::FIOASYNC => {
            let on = UserPtr::<i32>::new(argument).read()? != 0;
            // Without a change to make, nobody looks at what kind of file it is.
            if on != file.flags().contains(OpenFlags::ASYNC) && !sigio::switch(fd.0, &file, on)? {
                return Err(Errno::ENOTTY.into());
            }
        }
        Ioctl::FIOQSIZE => match file.inode().kind {
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => {
                UserPtr::<i64>::new(argument).write(&file.inode().size().cast_signed())?;
            }
            _ => return Err(Errno::ENOTTY.into()),
        },
        Ioctl::FIGETBSZ => UserPtr::<i32>::new(argument).write(&(crate::mm::PAGE_SIZE as i32))?,
        Ioctl::FIONREAD if file.inode().kind == FileKind::Regular => {
            // Negative behind the end, as on Linux.
            let rest = file.inode().size().wrapping_sub(file.position());
            UserPtr::<i32>::new(argument).write(&(rest as i32))?;
        }
        _ => return file.ops.ioctl(&file, cmd, argument),
    }
    Ok(0)
}

fn set_flag(file: &OpenFile, flag: OpenFlags, argument: usize) -> Result<(), Errno> {
    let on = UserPtr::<i32>::new(argument).read()? != 0;
    let mut flags = file.flags();
    flags.set(flag, on);
    file.set_flags(flags);
    Ok(())
}
