//! inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).

use abi::{Errno, OpenFlags};
use namei::Follow;

use super::args::Path as PathArg;
use super::file::on_exec;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::notify::{self, flag};
use crate::fs::path::{UserPath, resolve};
use crate::fs::perm::{self, Want};

/// inotify_init1(2).
pub fn inotify_init1(flags: u32) -> SysResult {
    let allowed = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
    let flags = OpenFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    let file = notify::new(flags & OpenFlags::NONBLOCK)?;
    Ok(fs::files().insert(file, on_exec(flags))?.0 as usize)
}

/// inotify_init(2).
pub fn inotify_init() -> SysResult {
    inotify_init1(0)
}

/// inotify_add_watch(2).
pub fn inotify_add_watch(fd: Fd, path: PathArg, mask: u32) -> SysResult {
    if mask & !flag::KNOWN != 0 || mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = fs::files().get(fd)?;
    if mask & flag::MASK_ADD != 0 && mask & flag::MASK_CREATE != 0 {
        return Err(Errno::EINVAL.into());
    }
    notify::check(&file)?;
    let follow = if mask & flag::DONT_FOLLOW != 0 { Follow::No } else { Follow::Yes };
    let place = resolve(Fd::CWD, UserPath::new().read(path)?, follow)?;
    if mask & flag::ONLYDIR != 0 && !place.inode().is_directory() {
        return Err(Errno::ENOTDIR.into());
    }
    perm::check(place.inode(), Want::READ)?;
    Ok(notify::add(&file, place.inode(), mask)? as usize)
}

/// inotify_rm_watch(2).
pub fn inotify_rm_watch(fd: Fd, watch: i32) -> SysResult {
    let file = fs::files().get(fd)?;
    notify::remove(&file, watch)?;
    Ok(0)
}
