//! Extended attributes: no file system here stores any, and each says so as Linux's tmpfs does (xattr(7)).

use abi::Errno;
use namei::Follow;

use super::args::Path as PathArg;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::inode::Inode;
use crate::fs::path::{UserPath, resolve};
use crate::mm::{UserPtr, read_cstr};

/// Longest name, the NUL included.
const NAME_MAX: usize = 256;

/// What a name gets for not being there. ERANGE, EOPNOTSUPP, ENODATA.
fn missing(inode: &Inode, name: UserPtr<u8>) -> Errno {
    match read_cstr(name, NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => Errno::ERANGE,
        Err(error) => error,
        Ok(name) if name.is_empty() => Errno::ERANGE,
        Ok(name) => {
            let stored = [&b"trusted."[..], b"security."].iter().any(|prefix| name.starts_with(prefix));
            if stored && inode.ops().has_attributes() { Errno::ENODATA } else { Errno::EOPNOTSUPP }
        }
    }
}

fn with_path(path: PathArg, follow: Follow, act: impl FnOnce(&Inode) -> SysResult) -> SysResult {
    let place = resolve(Fd::CWD, UserPath::new().read(path)?, follow)?;
    act(place.inode())
}

/// setxattr(2).
pub fn setxattr(path: PathArg, name: UserPtr<u8>) -> SysResult {
    with_path(path, Follow::Yes, |inode| Err(refuse(inode, name)))
}

/// lsetxattr(2).
pub fn lsetxattr(path: PathArg, name: UserPtr<u8>) -> SysResult {
    with_path(path, Follow::No, |inode| Err(refuse(inode, name)))
}

/// fsetxattr(2).
pub fn fsetxattr(fd: Fd, name: UserPtr<u8>) -> SysResult {
    Err(refuse(fs::files().get(fd)?.inode(), name))
}

fn refuse(inode: &Inode, name: UserPtr<u8>) -> super::SysError {
    match missing(inode, name) {
        Errno::ENODATA => Errno::EOPNOTSUPP,
        other => other,
    }
    .into()
}

/// getxattr(2), removexattr(2).
pub fn getxattr(path: PathArg, name: UserPtr<u8>) -> SysResult {
    with_path(path, Follow::Yes, |inode| Err(missing(inode, name).into()))
}

/// lgetxattr(2), lremovexattr(2).
pub fn lgetxattr(path: PathArg, name: UserPtr<u8>) -> SysResult {
    with_path(path, Follow::No, |inode| Err(missing(inode, name).into()))
}

/// fgetxattr(2), fremovexattr(2).
pub fn fgetxattr(fd: Fd, name: UserPtr<u8>) -> SysResult {
    Err(missing(fs::files().get(fd)?.inode(), name).into())
}

/// listxattr(2): none.
pub fn listxattr(path: PathArg) -> SysResult {
    with_path(path, Follow::Yes, |_| Ok(0))
}

/// llistxattr(2): none.
pub fn llistxattr(path: PathArg) -> SysResult {
    with_path(path, Follow::No, |_| Ok(0))
}

/// flistxattr(2): none.
pub fn flistxattr(fd: Fd) -> SysResult {
    fs::files().get(fd)?;
    Ok(0)
}
