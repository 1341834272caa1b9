//! open(2) and openat2(2): from a path and flags to an open file.

use alloc::format;
use alloc::sync::Arc;

use abi::{Errno, OpenFlags};
use caps::cap;
use namei::{Follow, Followed, Last, Limits, Tree};

use super::dentry::Dentry;
use super::directory::DirectoryFile;
use super::file::{InodeFile, Mode, OpenFile, PlaceFile};
use super::inode::FileKind;
use super::mount::flag;
use super::names::{self, Node};
use super::notify::{self, event};
use super::path::{Names, Path, resolve, resolve_parent, walk};
use super::perm::{self, Want};
use crate::syscall::{Fd, SysError};
use crate::task::process::has_capability;

/// How a file is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub flags: OpenFlags,
    /// Permission bits of a new file, before the umask.
    pub mode: u32,
    pub limits: Limits,
}

impl How {
    /// Checks the combination of flags. EINVAL.
    pub fn check(&self) -> Result<(), Errno> {
        let flags = self.flags;
        if flags.contains(OpenFlags::TMPFILE_ONLY) {
            let is_whole = flags.contains(OpenFlags::DIRECTORY) && !flags.contains(OpenFlags::CREAT);
            if !is_whole || !Mode::from_flags(flags).contains(Mode::WRITE) {
                return Err(Errno::EINVAL);
            }
        } else if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn has(&self, flag: OpenFlags) -> bool {
        self.flags.contains(flag)
    }

    /// What the access mode and O_TRUNC want of the file.
    fn wanted(&self) -> Want {
        let mut want = match self.flags.bits() & 3 {
            0 => Want::READ,
            1 => Want::WRITE,
            _ => Want::READ | Want::WRITE,
        };
        if self.has(OpenFlags::TRUNC) {
            want |= Want::WRITE;
        }
        want
    }
}

/// Whether the open made the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Existing,
    Created,
}

/// Opens a path. The flags have been checked.
pub fn open(dirfd: Fd, path: &[u8], how: &How) -> Result<Arc<OpenFile>, SysError> {
    let exclusive = how.has(OpenFlags::CREAT | OpenFlags::EXCL);
    let follow = if how.has(OpenFlags::NOFOLLOW) || exclusive { Follow::No } else { Follow::Yes };
    if how.has(OpenFlags::CREAT) && !how.has(OpenFlags::PATH) {
        let (place, origin) = find_or_create(dirfd, path, follow, how)?;
        return finish(place, how, origin);
    }
    let place = if how.limits == Limits::default() {
        resolve(dirfd, path, follow)?
    } else {
        walk(&Names::new(path), dirfd, path, follow, how.limits)?.resolve()?
    };
    if how.has(OpenFlags::PATH) {
        if how.has(OpenFlags::DIRECTORY) && !place.inode().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let kept = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW;
        return Ok(Arc::new(OpenFile::new(place, how.flags & kept, Mode::PATH, PlaceFile)));
    }
    if how.has(OpenFlags::TMPFILE_ONLY) {
        return open_temporary(place, how);
    }
    finish(place, how, Origin::Existing)
}

/// What stands under a name, if anything.
fn look(directory: &Path, name: &[u8]) -> Result<Option<Arc<Dentry>>, Errno> {
    match directory.dentry.lookup(name) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) if directory.inode().ops().is_memory_directory() => Ok(None),
        Err(error) => Err(error),
    }
}

/// With O_CREAT: the file, made if it wasn't there.
fn find_or_create(dirfd: Fd, path: &[u8], follow: Follow, how: &How) -> Result<(Path, Origin), Errno> {
    if how.limits == Limits::default() {
        let found = resolve_parent(dirfd, path);
        let parent = found.as_ref().map_err(|error| *error)?;
        if parent.last == Last::Name && !parent.wants_directory {
            // What must not be there is looked for where it would be made.
            let is_new = how.has(OpenFlags::EXCL) && parent.directory.inode().has_all_entries();
            let found = if is_new && parent.name.len() <= namei::NAME_MAX {
                None
            } else {
                look(&parent.directory, parent.name)?
            };
            let (found, origin) = match found {
                Some(found) => (found, Origin::Existing),
                None => make(&parent.directory, parent.name, how.mode)?,
            };
            // What a link leads to may have to be made as well.
            if found.kind != FileKind::Symlink || follow == Follow::No {
                let mut place = parent.directory.clone();
                Names::new(path).descend(&mut place, found);
                return Ok((place, origin));
            }
        }
    }
    let names = Names::new(path);
    let mut walk = walk(&names, dirfd, path, follow, how.limits)?;
    loop {
        match walk.to_last()? {
            Last::Name => {}
            Last::DotDot => {
                walk.go_up()?;
                return Ok((walk.into_node(), Origin::Existing));
            }
            Last::Dot | Last::Nothing => return Ok((walk.into_node(), Origin::Existing)),
        }
        if walk.wants_directory() {
            return Err(Errno::EISDIR);
        }
        let (found, origin) = match look(walk.node(), walk.name())? {
            Some(found) => (found, Origin::Existing),
            None => make(walk.node(), walk.name(), how.mode)?,
        };
        if found.kind == FileKind::Symlink && walk.follows_last() {
            if walk.follow_link(&found)? == Followed::Arrived {
                return Ok((walk.into_node(), Origin::Existing));
            }
            continue;
        }
        walk.step(found)?;
        return Ok((walk.into_node(), origin));
    }
}

/// Makes a regular file that was not there a moment ago.
fn make(directory: &Path, name: &[u8], mode: u32) -> Result<(Arc<Dentry>, Origin), Errno> {
    let _guard = directory.inode().lock.lock();
    // Another thread may have been faster.
    if let Some(dentry) = directory.dentry.child(name) {
        return Ok((dentry, Origin::Existing));
    }
    directory.check_writable()?;
    let dentry = names::create_locked(directory, name, &Node::plain(FileKind::Regular, mode))?;
    Ok((dentry, Origin::Created))
}

/// O_TMPFILE: a file without a name in the directory's file system.
fn open_temporary(directory: Path, how: &How) -> Result<Arc<OpenFile>, SysError> {
    if !directory.inode().is_directory() {
        return Err(Errno::ENOTDIR.into());
    }
    directory.check_writable()?;
    perm::check(directory.inode(), Want::WRITE | Want::SEARCH)?;
    if !directory.inode().ops().is_memory_directory() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let inode = names::new_inode(directory.inode(), &Node::plain(FileKind::Regular, how.mode))?;
    inode.set_links(0);
    let name = format!("#{}", inode.number);
    let dentry = Dentry::transient(&directory.dentry, name.as_bytes(), inode);
    dentry.set_linkable(true);
    if how.has(OpenFlags::EXCL) {
        dentry.set_linkable(false);
    }
    finish(Path { mount: directory.mount, dentry }, how, Origin::Created)
}

/// The checks on the file itself, and the open file.
fn finish(place: Path, how: &How, origin: Origin) -> Result<Arc<OpenFile>, SysError> {
    let kind = place.dentry.kind;
    if origin == Origin::Existing {
        if how.has(OpenFlags::CREAT) {
            if how.has(OpenFlags::EXCL) {
                return Err(Errno::EEXIST.into());
            }
            if kind == FileKind::Directory {
                return Err(Errno::EISDIR.into());
            }
            check_sticky_create(&place)?;
        }
        if how.has(OpenFlags::DIRECTORY) && kind != FileKind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        check_access(&place, how)?;
    }
    open_place(place, how, origin)
}

/// `fs.protected_regular` and `fs.protected_fifos` are off by default; only the plain rules hold.
fn check_sticky_create(_: &Path) -> Result<(), Errno> {
    Ok(())
}

fn check_access(place: &Path, how: &How) -> Result<(), Errno> {
    let inode = place.inode();
    let want = how.wanted();
    match inode.kind {
        FileKind::Symlink => return Err(Errno::ELOOP),
        FileKind::Directory if want.contains(Want::WRITE) => return Err(Errno::EISDIR),
        FileKind::CharDevice | FileKind::BlockDevice if place.mount.flags() & flag::NODEV != 0 => {
            return Err(Errno::EACCES);
        }
        FileKind::Regular | FileKind::Directory if want.contains(Want::WRITE) => place.check_writable()?,
        _ => {}
    }
    perm::check(inode, want)?;
    if how.has(OpenFlags::NOATIME) && !perm::is_owner(inode) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn open_place(place: Path, how: &How, origin: Origin) -> Result<Arc<OpenFile>, SysError> {
    let inode = place.inode();
    // Files in memory have nothing to say of it.
    let is_in_memory = inode.file().is_some();
    if !is_in_memory && let Some(file) = inode.ops().open(&place, how.flags)? {
        notify::note(&file.path.dentry, event::OPEN);
        return Ok(file);
    }
    let access = Mode::from_flags(how.flags);
    Ok(match inode.kind {
        FileKind::Directory => {
            if how.has(OpenFlags::DIRECT) {
                return Err(Errno::EINVAL.into());
            }
            let mode = Mode::READ | Mode::SEEK | Mode::OFFSET;
            let file = Arc::new(OpenFile::new(place, how.flags, mode, DirectoryFile::new()));
            notify::note(&file.path.dentry, event::OPEN);
            file
        }
        FileKind::Regular => {
            if access.contains(Mode::WRITE) {
                inode.begin_write()?;
            }
            let memory = if is_in_memory { Mode::MEMORY } else { Mode::empty() };
            let mode = access | memory | Mode::SEEK | Mode::OFFSET;
            let file = Arc::new(OpenFile::new(place, how.flags, mode, InodeFile));
            notify::note(&file.path.dentry, event::OPEN);
            if how.has(OpenFlags::TRUNC) && origin == Origin::Existing {
                if file.inode().is_executing() {
                    return Err(Errno::ETXTBSY.into());
                }
                truncate(&file.path.dentry, 0)?;
            }
            file
        }
        _ => return Err(Errno::ENXIO.into()),
    })
}

/// Sets a regular file's size: truncate(2) after its checks.
pub fn truncate(dentry: &Dentry, size: u64) -> Result<(), Errno> {
    let inode = &dentry.inode;
    let _guard = inode.lock.lock();
    let old = inode.size();
    inode.ops().truncate(inode, size)?;
    if size < old {
        super::hooks::unmap_beyond(inode, size);
    }
    if inode.mode() & 0o6000 != 0 && !has_capability(cap::FSETID) {
        perm::drop_set_id_bits(inode);
    }
    inode.touch_modified();
    notify::note_resized(dentry);
    Ok(())
}
