//! Places in the tree of mounted file systems, and how path names lead to them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

use abi::Errno;
use namei::{Class, Follow, Last, Limits, Target, Tree, Walk, WalkError};

use super::dentry::Dentry;
use super::inode::{FileKind, Inode, LinkTarget};
use super::mount::{self, Mount};
use super::path_cache::{self, Key};
use super::perm::{self, Want};
use crate::mm::user::{Few, read_cstr};
use crate::syscall::Fd;
use crate::syscall::args::Path as PathArg;
use crate::task::current;

/// Longest path in bytes, the NUL included.
pub const PATH_MAX: usize = 4096;

/// A directory entry, as seen through a mount.
#[derive(Clone)]
pub struct Path {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}

impl Path {
    #[inline]
    pub fn inode(&self) -> &Arc<Inode> {
        &self.dentry.inode
    }

    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether this is where a mount begins.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// The directory above, out of mounts, but not above `root`.
    pub fn parent_within(&self, root: &Self) -> Self {
        let mut at = self.clone();
        loop {
            if at.is_same(root) {
                return at;
            }
            if !at.is_mount_root() {
                let Some(parent) = at.dentry.parent() else { return at };
                let mut above = Self { mount: at.mount, dentry: parent };
                mount::cross_down(&mut above);
                return above;
            }
            match at.mount.covered() {
                Some(covered) => at = covered,
                None => return at,
            }
        }
    }

    /// EROFS on a read-only mount.
    #[inline]
    pub fn check_writable(&self) -> Result<(), Errno> {
        if self.mount.is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// The name of this place from `root`. What isn't below `root` begins with `(unreachable)` as in getcwd(2); what was removed ends
    /// in ` (deleted)` as in /proc. Of what is longer than `PATH_MAX` that many bytes, the last ones.
    pub fn print(&self, root: &Self) -> Vec<u8> {
        if self.mount.is_internal {
            return self.dentry.name().bytes().to_vec();
        }
        let mut text = alloc::vec![0; PATH_MAX];
        let mut start = PATH_MAX;
        let mut put_before = |part: &[u8]| {
            let (_, end) = part.split_at(part.len().saturating_sub(start));
            start -= end.len();
            if let Some(slot) = text.get_mut(start..start + end.len()) {
                slot.copy_from_slice(end);
            }
            start > 0
        };
        if self.dentry.is_removed() {
            put_before(b" (deleted)");
        }
        let mut at = self.clone();
        let mut is_root = true;
        let reached = loop {
            if at.is_same(root) {
                break true;
            }
            if at.is_mount_root() {
                match at.mount.covered() {
                    Some(covered) => at = covered,
                    None => break false,
                }
                continue;
            }
            let (name, parent) = at.dentry.place();
            is_root = false;
            if !put_before(name.bytes()) || !put_before(b"/") {
                break true;
            }
            match parent {
                Some(parent) => at.dentry = parent,
                None => break false,
            }
        };
        if is_root {
            put_before(b"/");
        }
        if !reached {
            put_before(b"(unreachable)");
        }
        text.drain(..start);
        text
    }
}

/// A process's root and working directory.
#[derive(Clone)]
pub struct FsContext {
    pub root: Path,
    pub cwd: Path,
}

/// The tree as the current process sees it.
pub struct Names {
    /// Whether the walk began at the root.
    is_absolute: bool,
    /// Whether the walk depended on more than names and where it began.
    is_special: Cell<bool>,
    /// Whether links were followed.
    over_links: Cell<bool>,
}

impl Names {
    pub const fn new(path: &[u8]) -> Self {
        Self {
            is_absolute: matches!(path.first(), Some(b'/')),
            is_special: Cell::new(false),
            over_links: Cell::new(false),
        }
    }
}

/// The current process's root.
#[inline]
fn process_root() -> Path {
    current().process.fs.lock().root.clone()
}

impl Tree for Names {
    type Node = Path;
    type Entry = Arc<Dentry>;
    type Body = Arc<[u8]>;
    type Error = Errno;

    fn error(error: WalkError) -> Errno {
        match error {
            WalkError::Empty => Errno::ENOENT,
            WalkError::NotDirectory => Errno::ENOTDIR,
            WalkError::Links => Errno::ELOOP,
            WalkError::OutOfBounds => Errno::EXDEV,
        }
    }

    fn root(&self) -> Path {
        if !self.is_absolute {
            self.is_special.set(true);
        }
        process_root()
    }

    #[inline]
    fn class(&self, node: &Path) -> Class {
        self.entry_class(&node.dentry)
    }

    #[inline]
    fn entry_class(&self, entry: &Arc<Dentry>) -> Class {
        match entry.kind {
            FileKind::Directory => Class::Directory,
            FileKind::Symlink => Class::Symlink,
            _ => Class::Other,
        }
    }

    #[inline]
    fn may_search(&self, directory: &Path) -> Result<(), Errno> {
        // Nearly every directory may be searched by everybody.
        if directory.inode().mode() & 0o111 == 0o111 {
            return Ok(());
        }
        self.is_special.set(true);
        perm::check(directory.inode(), Want::SEARCH)
    }

    #[inline]
    fn lookup(&self, directory: &Path, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        if !directory.inode().fs.is_kept_in_memory() {
            self.is_special.set(true);
        }
        directory.dentry.lookup(name)
    }

    #[inline]
    fn descend(&self, node: &mut Path, entry: Arc<Dentry>) {
        node.dentry = entry;
        if node.dentry.mounted() {
            mount::cross_down(node);
        }
    }

    fn parent(&self, node: &Path) -> Path {
        // How far up it goes depends on the root; and what it goes up from may be removed, which the cache wouldn't hear of.
        self.is_special.set(true);
        node.parent_within(&self.root())
    }

    fn read_link(&self, link: &Arc<Dentry>) -> Result<Target<Path, Arc<[u8]>>, Errno> {
        self.over_links.set(true);
        let inode = &link.inode;
        inode.touch_accessed();
        Ok(match inode.ops().read_link(inode)? {
            LinkTarget::Path(body) => Target::Path(body),
            LinkTarget::Jump(path) => Target::Node(path),
        })
    }

    fn same(&self, a: &Path, b: &Path) -> bool {
        a.is_same(b)
    }

    fn same_mount(&self, a: &Path, b: &Path) -> bool {
        Arc::ptr_eq(&a.mount, &b.mount)
    }
}

/// A resolution by the current process.
pub type PathWalk<'p, 't> = Walk<'p, 't, Names>;

/// The place that relative paths start from. EBADF.
#[inline]
pub fn start_at(dirfd: Fd) -> Result<Path, Errno> {
    let process = &current().process;
    if dirfd == Fd::CWD {
        return Ok(process.fs.lock().cwd.clone());
    }
    Ok(process.files().get_any(dirfd)?.path.clone())
}

/// Begins a resolution.
#[inline]
pub fn walk<'p, 't>(
    names: &'t Names,
    dirfd: Fd,
    path: &'p [u8],
    follow: Follow,
    limits: Limits,
) -> Result<PathWalk<'p, 't>, Errno> {
    Walk::new(names, path, || start_at(dirfd), follow, limits)
}

/// Resolves a path.
pub fn resolve(dirfd: Fd, path: &[u8], follow: Follow) -> Result<Path, Errno> {
    let Some(first) = path.first() else { return Err(Errno::ENOENT) };
    if path.len() > path_cache::LONGEST || (*first != b'/' && dirfd != Fd::CWD) {
        let start = if *first == b'/' { process_root() } else { start_at(dirfd)? };
        return namei::resolve(&Names::new(path), path, start, follow);
    }
    let start = {
        let context = current().process.fs.lock();
        path_cache::start_of(if *first == b'/' { &context.root } else { &context.cwd })
    };
    let key = Key::new(start, path);
    match key.find(follow) {
        Some(place) => Ok(place),
        None => resolve_and_keep(&key, path, follow),
    }
}

/// Resolves a path that is absolute or relative to the working directory, and keeps where it led.
#[inline(never)]
fn resolve_and_keep(key: &Key<'_>, path: &[u8], follow: Follow) -> Result<Path, Errno> {
    let names = Names::new(path);
    let start = if names.is_absolute { process_root() } else { start_at(Fd::CWD)? };
    let moves = path_cache::moves();
    let place = namei::resolve(&names, path, start, follow)?;
    if !names.is_special.get() && place.dentry.kind != FileKind::Symlink {
        key.keep(&place, names.over_links.get(), moves);
    }
    Ok(place)
}

/// The directory that a path's last component stands in, that component, and whether slashes follow it.
pub struct Parent<'p> {
    pub directory: Path,
    pub last: Last,
    pub name: &'p [u8],
    pub wants_directory: bool,
}

/// Resolves all but the last component.
pub fn resolve_parent(dirfd: Fd, path: &[u8]) -> Result<Parent<'_>, Errno> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let trimmed = path.get(..end).unwrap_or_default();
    let start = namemap::behind_last(trimmed, b'/');
    let (prefix, name) = trimmed.split_at_checked(start).unwrap_or_default();
    let directory = match prefix {
        [] if path.first() == Some(&b'/') => process_root(),
        [] => start_at(dirfd)?,
        // Without its last slash, so that a directory has one spelling.
        [b'/'] => process_root(),
        [rest @ .., _] => resolve(dirfd, rest, Follow::Yes)?,
    };
    if !directory.inode().is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let last = match name {
        [] => Last::Nothing,
        b"." => Last::Dot,
        b".." => Last::DotDot,
        _ => Last::Name,
    };
    if last != Last::Nothing {
        perm::check_search(directory.inode())?;
    }
    Ok(Parent { directory, last, name, wants_directory: end < path.len() })
}

/// Resolves a path that may be empty, which names the descriptor itself (AT_EMPTY_PATH).
#[inline]
pub fn resolve_or_empty(dirfd: Fd, path: &[u8], follow: Follow) -> Result<Path, Errno> {
    if path.is_empty() { start_at(dirfd) } else { resolve(dirfd, path, follow) }
}

/// Room for a path name from the program's memory: short ones need no allocation.
pub struct UserPath {
    short: Few<u8, { Self::SHORT }>,
    long: Option<Vec<u8>>,
}

impl UserPath {
    const SHORT: usize = 64;

    #[inline(always)]
    pub const fn new() -> Self {
        Self { short: Few::new(), long: None }
    }

    /// Reads a path. EFAULT; ENAMETOOLONG; ENOMEM.
    #[inline(never)]
    pub fn read(&mut self, from: PathArg) -> Result<&[u8], Errno> {
        self.read_inline(from)
    }

    /// As `read`, for the calls that are made most.
    #[inline(always)]
    pub fn read_inline(&mut self, from: PathArg) -> Result<&[u8], Errno> {
        match self.short.read_cstr(from.0) {
            Err(Errno::ENAMETOOLONG) => Ok(self.long.insert(read_cstr(from.0, PATH_MAX)?)),
            result => result,
        }
    }
}

/// Whether the current process may create and remove entries in a directory. EROFS, EACCES.
pub fn check_directory_writable(directory: &Path) -> Result<(), Errno> {
    directory.check_writable()?;
    perm::check(directory.inode(), Want::WRITE | Want::SEARCH)
}
