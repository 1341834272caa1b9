//! Changes to the tree of names: new entries, links, removal, renaming.

use alloc::sync::Arc;

use abi::Errno;
use caps::cap;
use namei::{Follow, Last};

use super::dentry::Dentry;
use super::inode::{Device, FileKind, Inode, NewFile};
use super::lock::SleepLock;
use super::notify::{self, event};
use super::path::{Path, check_directory_writable, resolve, resolve_parent};
use super::perm::{self, Want};
use super::tmpfs::ENTRY_SIZE;
use crate::syscall::Fd;
use crate::task::current;

/// Renames between directories take turns, so that the tree can't be tied into a knot.
static RENAME: SleepLock = SleepLock::new();

/// The process's umask.
pub fn umask() -> u32 {
    current().process.umask.load(core::sync::atomic::Ordering::Relaxed)
}

/// What an entry is to become.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub kind: FileKind,
    /// As passed by the program; the umask is applied here.
    pub mode: u32,
    pub device: Device,
    pub target: &'a [u8],
}

impl Node<'_> {
    pub const fn plain(kind: FileKind, mode: u32) -> Self {
        Self { kind, mode, device: Device::new(0, 0), target: &[] }
    }
}

/// Makes an inode for a new entry of a directory, owned by the current process.
pub fn new_inode(directory: &Inode, node: &Node<'_>) -> Result<Arc<Inode>, Errno> {
    let (uid, gid) = perm::owner_of_new(directory);
    let inherits = directory.mode() & 0o2000 != 0;
    let mut mode = match node.kind {
        FileKind::Symlink => 0o777,
        FileKind::Directory => node.mode & 0o1777 & !umask(),
        _ => node.mode & 0o7777 & !umask(),
    };
    if inherits {
        match node.kind {
            FileKind::Directory => mode |= 0o2000,
            // Even if the umask takes the group's right to execute.
            _ if node.mode & 0o2010 == 0o2010 && !perm::is_in_group(gid, cap::FSETID) => mode &= !0o2000,
            _ => {}
        }
    }
    let new = NewFile { kind: node.kind, mode, uid, gid, device: node.device, target: node.target };
    directory.ops().create(directory, &new)
}

/// Enters a new name, the directory's lock being held.
pub fn enter(directory: &Arc<Dentry>, name: &[u8], inode: Arc<Inode>) -> Result<Arc<Dentry>, Errno> {
    let is_directory = inode.is_directory();
    let dentry = directory.insert(name, inode)?;
    let parent = &directory.inode;
    if is_directory {
        parent.add_links(1);
    }
    parent.set_size(parent.size() + ENTRY_SIZE);
    parent.touch_modified();
    notify::note_entry(parent, name, is_directory, event::CREATE);
    Ok(dentry)
}

/// Makes an entry that isn't there, the directory's lock being held. The caller has looked.
pub fn create_locked(directory: &Path, name: &[u8], node: &Node<'_>) -> Result<Arc<Dentry>, Errno> {
    if directory.dentry.is_removed() {
        return Err(Errno::ENOENT);
    }
    perm::check(directory.inode(), Want::WRITE | Want::SEARCH)?;
    let inode = new_inode(directory.inode(), node)?;
    enter(&directory.dentry, name, inode)
}

/// What stands under a name, if anything.
fn look(directory: &Path, name: &[u8]) -> Result<Option<Arc<Dentry>>, Errno> {
    match directory.dentry.lookup(name) {
        Ok(dentry) => Ok(Some(dentry)),
        Err(Errno::ENOENT) if directory.inode().ops().is_memory_directory() => Ok(None),
        Err(error) => Err(error),
    }
}

/// mkdir(2), mknod(2), symlink(2), bind(2): makes a new entry. EEXIST, ENOENT, EACCES, EROFS, ENOSPC…
pub fn create(dirfd: Fd, path: &[u8], node: &Node<'_>) -> Result<Path, Errno> {
    let parent = resolve_parent(dirfd, path)?;
    if parent.last != Last::Name {
        return Err(Errno::EEXIST);
    }
    let directory = &parent.directory;
    let _guard = directory.inode().lock.lock();
    if look(directory, parent.name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    if parent.wants_directory && node.kind != FileKind::Directory {
        return Err(Errno::ENOENT);
    }
    directory.check_writable()?;
    let dentry = create_locked(directory, parent.name, node)?;
    Ok(Path { mount: directory.mount.clone(), dentry })
}

/// Whether an entry may be removed, as a directory or not. EACCES, EPERM, EISDIR, ENOTDIR, EBUSY.
fn may_delete(directory: &Path, victim: &Arc<Dentry>, as_directory: bool) -> Result<(), Errno> {
    perm::check(directory.inode(), Want::WRITE | Want::SEARCH)?;
    perm::check_sticky(directory.inode(), &victim.inode)?;
    if as_directory && !victim.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    if !as_directory && victim.is_directory() {
        return Err(Errno::EISDIR);
    }
    if !directory.inode().ops().is_memory_directory() {
        return Err(Errno::EPERM);
    }
    if directory.dentry.is_removed() { Err(Errno::ENOENT) } else { Ok(()) }
}

/// Bookkeeping for an entry that went away.
fn left(directory: &Inode, victim: &Inode) {
    directory.set_size(directory.size().saturating_sub(ENTRY_SIZE));
    if victim.is_directory() {
        directory.add_links(-1);
        victim.set_links(0);
    } else {
        victim.add_links(-1);
    }
    directory.touch_modified();
    victim.touch_changed();
}

/// An entry has been removed: a file hears of it, and its directory after itself, which is gone unless somebody has it open.
#[cold]
fn tell_removed(directory: &Inode, victim: Arc<Dentry>) {
    let (name, is_directory) = (victim.name(), victim.is_directory());
    if !is_directory {
        notify::note_itself(&victim.inode, event::ATTRIB);
    }
    drop(victim);
    notify::note_entry(directory, name.bytes(), is_directory, event::DELETE);
}

/// unlink(2).
pub fn unlink(dirfd: Fd, path: &[u8]) -> Result<(), Errno> {
    let found = resolve_parent(dirfd, path);
    let parent = found.as_ref().map_err(|error| *error)?;
    if parent.last != Last::Name {
        return Err(Errno::EISDIR);
    }
    let directory = &parent.directory;
    directory.check_writable()?;
    let _guard = directory.inode().lock.lock();
    let victim = directory.dentry.lookup(parent.name)?;
    if parent.wants_directory {
        return Err(if victim.is_directory() { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    may_delete(directory, &victim, false)?;
    if victim.mounted() {
        return Err(Errno::EBUSY);
    }
    directory.dentry.remove(parent.name, &victim)?;
    left(directory.inode(), &victim.inode);
    if notify::is_active() {
        tell_removed(directory.inode(), victim);
    }
    Ok(())
}

/// Removes a file's name from a directory of an internal mount. ENOENT, EACCES, EPERM.
pub fn unlink_in(directory: &Path, name: &[u8]) -> Result<(), Errno> {
    let _guard = directory.inode().lock.lock();
    let victim = directory.dentry.lookup(name)?;
    may_delete(directory, &victim, false)?;
    directory.dentry.remove(name, &victim)?;
    left(directory.inode(), &victim.inode);
    if notify::is_active() {
        tell_removed(directory.inode(), victim);
    }
    Ok(())
}

/// rmdir(2).
pub fn rmdir(dirfd: Fd, path: &[u8]) -> Result<(), Errno> {
    let parent = resolve_parent(dirfd, path)?;
    match parent.last {
        Last::Name => {}
        Last::Dot => return Err(Errno::EINVAL),
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::Nothing => return Err(Errno::EBUSY),
    }
    let directory = &parent.directory;
    directory.check_writable()?;
    let _guard = directory.inode().lock.lock();
    let victim = directory.dentry.lookup(parent.name)?;
    may_delete(directory, &victim, true)?;
    if victim.mounted() {
        return Err(Errno::EBUSY);
    }
    {
        let _victim_guard = victim.inode.lock.lock();
        victim.inode.ops().populate(&victim)?;
        if !victim.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        directory.dentry.remove(parent.name, &victim)?;
        left(directory.inode(), &victim.inode);
    }
    if notify::is_active() {
        tell_removed(directory.inode(), victim);
    }
    Ok(())
}

/// link(2): gives `old` another name.
pub fn link(old: &Path, dirfd: Fd, path: &[u8]) -> Result<(), Errno> {
    let parent = resolve_parent(dirfd, path)?;
    if parent.last != Last::Name {
        return Err(Errno::EEXIST);
    }
    let directory = &parent.directory;
    let _guard = directory.inode().lock.lock();
    if look(directory, parent.name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    if parent.wants_directory {
        return Err(Errno::ENOENT);
    }
    directory.check_writable()?;
    if !Arc::ptr_eq(&old.mount, &directory.mount) {
        return Err(Errno::EXDEV);
    }
    perm::check(directory.inode(), Want::WRITE | Want::SEARCH)?;
    let inode = old.inode();
    if inode.is_directory() || !directory.inode().ops().is_memory_directory() {
        return Err(Errno::EPERM);
    }
    if inode.links() == 0 && !old.dentry.is_linkable() {
        return Err(Errno::ENOENT);
    }
    inode.add_links(1);
    inode.touch_changed();
    notify::note_itself(inode, event::ATTRIB);
    match enter(&directory.dentry, parent.name, inode.clone()) {
        Ok(_) => {
            old.dentry.set_linkable(false);
            Ok(())
        }
        Err(error) => {
            inode.add_links(-1);
            Err(error)
        }
    }
}

/// What renameat2(2) does about a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
}

/// rename(2), renameat2(2).
pub fn rename(from: (Fd, &[u8]), to: (Fd, &[u8]), mode: RenameMode) -> Result<(), Errno> {
    let old_parent = resolve_parent(from.0, from.1)?;
    let new_parent = resolve_parent(to.0, to.1)?;
    let (old_dir, new_dir) = (&old_parent.directory, &new_parent.directory);
    if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::EXDEV);
    }
    if old_parent.last != Last::Name {
        return Err(Errno::EBUSY);
    }
    if new_parent.last != Last::Name {
        return Err(if mode == RenameMode::NoReplace { Errno::EEXIST } else { Errno::EBUSY });
    }
    old_dir.check_writable()?;
    let is_same_dir = Arc::ptr_eq(&old_dir.dentry, &new_dir.dentry);
    let _rename_guard = (!is_same_dir).then(|| RENAME.lock());
    let _first_guard;
    let _second_guard;
    if is_same_dir {
        _first_guard = old_dir.inode().lock.lock();
        _second_guard = None;
    } else {
        // From above, as rmdir does; where neither is above the other nobody else takes both, since who does holds RENAME.
        let (a, b) = (old_dir.inode(), new_dir.inode());
        let (a, b) = if new_dir.dentry.is_above(&old_dir.dentry) { (b, a) } else { (a, b) };
        _first_guard = a.lock.lock();
        _second_guard = Some(b.lock.lock());
    }
    let old = old_dir.dentry.lookup(old_parent.name)?;
    let new = look(new_dir, new_parent.name)?;
    match (mode, &new) {
        (RenameMode::NoReplace, Some(_)) => return Err(Errno::EEXIST),
        (RenameMode::Exchange, None) => return Err(Errno::ENOENT),
        (RenameMode::Exchange, Some(new)) if !new.is_directory() && new_parent.wants_directory => {
            return Err(Errno::ENOTDIR);
        }
        _ => {}
    }
    if !old.is_directory()
        && (old_parent.wants_directory || (mode != RenameMode::Exchange && new_parent.wants_directory))
    {
        return Err(Errno::ENOTDIR);
    }
    if old.is_directory() && !is_same_dir && old.is_above(&new_dir.dentry) {
        return Err(Errno::EINVAL);
    }
    if let Some(new) = &new
        && new.is_directory()
        && !is_same_dir
        && new.is_above(&old_dir.dentry)
    {
        return Err(if mode == RenameMode::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    if let Some(new) = &new
        && Arc::ptr_eq(&new.inode, &old.inode)
    {
        return Ok(());
    }
    may_delete(old_dir, &old, old.is_directory())?;
    match &new {
        Some(new) if mode == RenameMode::Exchange => may_delete(new_dir, new, new.is_directory())?,
        Some(new) => may_delete(new_dir, new, old.is_directory())?,
        None if new_dir.dentry.is_removed() => return Err(Errno::ENOENT),
        None => check_directory_writable(new_dir)?,
    }
    // A directory's `..` changes with its parent.
    if !is_same_dir && old.is_directory() {
        perm::check(&old.inode, Want::WRITE)?;
    }
    if old.mounted() || new.as_ref().is_some_and(|new| new.mounted()) {
        return Err(Errno::EBUSY);
    }
    if !new_dir.inode().ops().is_memory_directory() {
        return Err(Errno::EPERM);
    }
    match (&new, mode) {
        (Some(new), RenameMode::Exchange) => {
            if !is_same_dir && new.is_directory() {
                perm::check(&new.inode, Want::WRITE)?;
            }
            old_dir.dentry.exchange(&old, &new_dir.dentry, new)?;
            let change = i32::from(old.is_directory()) - i32::from(new.is_directory());
            old_dir.inode().add_links(-change);
            new_dir.inode().add_links(change);
            new.inode.touch_changed();
        }
        _ => {
            let replaced = new.as_ref().filter(|new| new.is_directory());
            // Nothing is made in it from here on.
            let _replaced_guard = replaced.map(|new| new.inode.lock.lock());
            if replaced.is_some_and(|new| !new.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
            old_dir.dentry.rename(&old, &new_dir.dentry, new_parent.name, new.as_ref())?;
            if let Some(new) = &new {
                left(new_dir.inode(), &new.inode);
            }
            let (from, to) = (old_dir.inode(), new_dir.inode());
            from.set_size(from.size().saturating_sub(ENTRY_SIZE));
            to.set_size(to.size() + ENTRY_SIZE);
            if old.is_directory() {
                from.add_links(-1);
                to.add_links(1);
            }
        }
    }
    old_dir.inode().touch_modified();
    new_dir.inode().touch_modified();
    old.inode.touch_changed();
    let from = (&**old_dir.inode(), old_parent.name);
    let to = (&**new_dir.inode(), new_parent.name);
    match &new {
        Some(new) if mode == RenameMode::Exchange => {
            notify::note_rename(from, to, &old.inode, None);
            notify::note_rename(to, from, &new.inode, None);
        }
        _ => notify::note_rename(from, to, &old.inode, new.as_ref().map(|new| &*new.inode)),
    }
    Ok(())
}

/// The place that a path leads to, which is to be a directory, for mounts and chroot. ENOTDIR.
pub fn resolve_directory(dirfd: Fd, path: &[u8]) -> Result<Path, Errno> {
    let place = resolve(dirfd, path, Follow::Yes)?;
    if place.inode().is_directory() { Ok(place) } else { Err(Errno::ENOTDIR) }
}
