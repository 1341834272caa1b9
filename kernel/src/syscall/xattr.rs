//! Extended attributes (xattr(7)): files in memory have them, as on Linux's tmpfs.

use alloc::vec::Vec;

use abi::Errno;
use caps::cap;
use namei::Follow;

use super::args::Path as PathArg;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::attributes::flag;
use crate::fs::inode::{FileKind, Inode};
use crate::fs::notify::{self, event};
use crate::fs::path::{Path, UserPath, resolve};
use crate::fs::perm::{self, Want};
use crate::mm::heap::try_share;
use crate::mm::{UserPtr, read_cstr};
use crate::task::process::has_capability;

/// Longest name, the NUL included; longest value, and list of names.
const NAME_MAX: usize = 256;
const SIZE_MAX: usize = 65_536;

fn place(path: PathArg, follow: Follow) -> Result<Path, Errno> {
    resolve(Fd::CWD, UserPath::new().read(path)?, follow)
}

/// ERANGE, EFAULT.
fn read_name(name: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
    match read_cstr(name, NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        Ok(name) if name.is_empty() => Err(Errno::ERANGE),
        other => other,
    }
}

/// Whether the process may read, or change, an attribute of this name. EPERM, ENODATA, EACCES; EOPNOTSUPP for names that nobody stores.
fn check(inode: &Inode, name: &[u8], want: Want) -> Result<(), Errno> {
    let writes = want == Want::WRITE;
    let refused = if writes { Errno::EPERM } else { Errno::ENODATA };
    if name.starts_with(b"security.") {
        if writes && !has_capability(cap::SYS_ADMIN) {
            return Err(refused);
        }
    } else if name.starts_with(b"trusted.") {
        if !has_capability(cap::SYS_ADMIN) {
            return Err(refused);
        }
        perm::check(inode, want)?;
    } else {
        let is_user = name.starts_with(b"user.");
        if is_user && !matches!(inode.kind, FileKind::Regular | FileKind::Directory) {
            return Err(refused);
        }
        if is_user && writes && inode.is_directory() && inode.mode() & 0o1000 != 0 && !perm::is_owner(inode) {
            return Err(Errno::EPERM);
        }
        perm::check(inode, want)?;
        if !is_user {
            return Err(Errno::EOPNOTSUPP);
        }
    }
    if !inode.ops().has_attributes() {
        return Err(Errno::EOPNOTSUPP);
    }
    // Nothing behind the prefix.
    if name.ends_with(b".") && name.iter().filter(|&&byte| byte == b'.').count() == 1 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn changed(place: &Path) -> SysResult {
    place.inode().touch_changed();
    notify::note(&place.dentry, event::ATTRIB);
    Ok(0)
}

fn set(place: &Path, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) -> SysResult {
    place.check_writable()?;
    if flags & !(flag::CREATE | flag::REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = read_name(name)?;
    if size > SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(size, 0);
    value.read_bytes(&mut bytes)?;
    check(place.inode(), &name, Want::WRITE)?;
    place.inode().advisory_or_new().attributes.set(&name, try_share(&bytes)?, flags)?;
    changed(place)
}

/// Gives a program bytes that may be more than it has room for; without room, their number. ERANGE.
fn give(bytes: &[u8], to: UserPtr<u8>, size: usize) -> SysResult {
    if size != 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE.into());
        }
        to.write_bytes(bytes)?;
    }
    Ok(bytes.len())
}

fn get(place: &Path, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) -> SysResult {
    let name = read_name(name)?;
    let inode = place.inode();
    check(inode, &name, Want::READ)?;
    let found = inode.advisory().and_then(|own| own.attributes.get(&name)).ok_or(Errno::ENODATA)?;
    give(&found, value, size)
}

fn list(place: &Path, names: UserPtr<u8>, size: usize) -> SysResult {
    let Some(own) = place.inode().advisory() else { return Ok(0) };
    let sees_all = has_capability(cap::SYS_ADMIN);
    give(&own.attributes.list(|name| sees_all || !name.starts_with(b"trusted."))?, names, size)
}

fn remove(place: &Path, name: UserPtr<u8>) -> SysResult {
    place.check_writable()?;
    let name = read_name(name)?;
    let inode = place.inode();
    check(inode, &name, Want::WRITE)?;
    inode.advisory().ok_or(Errno::ENODATA)?.attributes.remove(&name)?;
    changed(place)
}

/// setxattr(2).
pub fn setxattr(path: PathArg, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) -> SysResult {
    set(&place(path, Follow::Yes)?, name, value, size, flags)
}

/// lsetxattr(2).
pub fn lsetxattr(path: PathArg, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) -> SysResult {
    set(&place(path, Follow::No)?, name, value, size, flags)
}

/// fsetxattr(2).
pub fn fsetxattr(fd: Fd, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) -> SysResult {
    set(&fs::files().get(fd)?.path, name, value, size, flags)
}

/// getxattr(2).
pub fn getxattr(path: PathArg, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) -> SysResult {
    get(&place(path, Follow::Yes)?, name, value, size)
}

/// lgetxattr(2).
pub fn lgetxattr(path: PathArg, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) -> SysResult {
    get(&place(path, Follow::No)?, name, value, size)
}

/// fgetxattr(2).
pub fn fgetxattr(fd: Fd, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) -> SysResult {
    get(&fs::files().get(fd)?.path, name, value, size)
}

/// listxattr(2).
pub fn listxattr(path: PathArg, names: UserPtr<u8>, size: usize) -> SysResult {
    list(&place(path, Follow::Yes)?, names, size)
}

/// llistxattr(2).
pub fn llistxattr(path: PathArg, names: UserPtr<u8>, size: usize) -> SysResult {
    list(&place(path, Follow::No)?, names, size)
}

/// flistxattr(2).
pub fn flistxattr(fd: Fd, names: UserPtr<u8>, size: usize) -> SysResult {
    list(&fs::files().get(fd)?.path, names, size)
}

/// removexattr(2).
pub fn removexattr(path: PathArg, name: UserPtr<u8>) -> SysResult {
    remove(&place(path, Follow::Yes)?, name)
}

/// lremovexattr(2).
pub fn lremovexattr(path: PathArg, name: UserPtr<u8>) -> SysResult {
    remove(&place(path, Follow::No)?, name)
}

/// fremovexattr(2).
pub fn fremovexattr(fd: Fd, name: UserPtr<u8>) -> SysResult {
    remove(&fs::files().get(fd)?.path, name)
}
