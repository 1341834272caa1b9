//! ioctl(2): what holds for every descriptor; the rest is the file's own.

use abi::{Errno, OpenFlags};
use fdmap::OnExec;

use super::{Fd, SysResult};
use crate::fs::file::OpenFile;
use crate::fs::inode::FileKind;
use crate::fs::{self, sigio};
use crate::mm::UserPtr;

mod command {
    pub(super) const FIONREAD: u32 = 0x541b;
    pub(super) const FIONBIO: u32 = 0x5421;
    pub(super) const FIONCLEX: u32 = 0x5450;
    pub(super) const FIOCLEX: u32 = 0x5451;
    pub(super) const FIOASYNC: u32 = 0x5452;
    pub(super) const FIOQSIZE: u32 = 0x5460;
    pub(super) const FIGETBSZ: u32 = 2;
}

/// ioctl(2).
pub fn ioctl(fd: Fd, cmd: u32, argument: usize) -> SysResult {
    use command::*;
    let files = fs::files();
    let file = files.get(fd)?;
    match cmd {
        FIOCLEX => files.set_on_exec(fd, OnExec::Close)?,
        FIONCLEX => files.set_on_exec(fd, OnExec::Keep)?,
        FIONBIO => set_flag(&file, OpenFlags::NONBLOCK, argument)?,
        FIOASYNC => {
            let on = UserPtr::<i32>::new(argument).read()? != 0;
            // Without a change to make, nobody looks at what kind of file it is.
            if on != file.flags().contains(OpenFlags::ASYNC) && !sigio::switch(fd.0, &file, on)? {
                return Err(Errno::ENOTTY.into());
            }
        }
        FIOQSIZE => match file.inode().kind {
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => {
                UserPtr::<i64>::new(argument).write(&file.inode().size().cast_signed())?;
            }
            _ => return Err(Errno::ENOTTY.into()),
        },
        FIGETBSZ => UserPtr::<i32>::new(argument).write(&(crate::mm::PAGE_SIZE as i32))?,
        FIONREAD if file.inode().kind == FileKind::Regular => {
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
