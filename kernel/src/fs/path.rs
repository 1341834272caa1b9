//! Places in the tree of mounted file systems, and how path names lead to them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use namei::{Class, Follow, Limits, Target, Tree, Walk, WalkError};

use super::dentry::Dentry;
use super::inode::{FileKind, Inode, LinkTarget};
use super::mount::{self, Mount};
use super::perm::{self, Want};
use crate::mm::user::{read_cstr, read_cstr_into};
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
    /// in ` (deleted)` as in /proc.
    pub fn print(&self, root: &Self) -> Vec<u8> {
        if self.mount.is_internal {
            return self.dentry.name().bytes().to_vec();
        }
        // Names from the last to the first.
        let mut names = Vec::new();
        let mut at = self.clone();
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
            names.push(at.dentry.name());
            match at.dentry.parent() {
                Some(parent) => at.dentry = parent,
                None => break false,
            }
        };
        let mut text = Vec::new();
        if !reached {
            text.extend_from_slice(b"(unreachable)");
        }
        for name in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(name.bytes());
        }
        if names.is_empty() {
            text.push(b'/');
        }
        if self.dentry.is_removed() {
            text.extend_from_slice(b" (deleted)");
        }
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
pub struct Names;

static NAMES: Names = Names;

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

    #[inline]
    fn root(&self) -> Path {
        current().process.fs.lock().root.clone()
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
        perm::check_search(directory.inode())
    }

    #[inline]
    fn lookup(&self, directory: &Path, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
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
        node.parent_within(&self.root())
    }

    fn read_link(&self, link: &Arc<Dentry>) -> Result<Target<Path, Arc<[u8]>>, Errno> {
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
pub type PathWalk<'p> = Walk<'p, 'static, Names>;

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
pub fn walk(dirfd: Fd, path: &[u8], follow: Follow, limits: Limits) -> Result<PathWalk<'_>, Errno> {
    Walk::new(&NAMES, path, || start_at(dirfd), follow, limits)
}

/// Resolves a path.
#[inline]
pub fn resolve(dirfd: Fd, path: &[u8], follow: Follow) -> Result<Path, Errno> {
    namei::resolve(&NAMES, path, || start_at(dirfd), follow)
}

/// Resolves a path that may be empty, which names the descriptor itself (AT_EMPTY_PATH).
#[inline]
pub fn resolve_or_empty(dirfd: Fd, path: &[u8], follow: Follow) -> Result<Path, Errno> {
    if path.is_empty() { start_at(dirfd) } else { resolve(dirfd, path, follow) }
}

/// A path name from the program's memory.
pub struct UserPath {
    short: [u8; Self::SHORT],
    len: usize,
    long: Vec<u8>,
}

impl UserPath {
    const SHORT: usize = 64;

    /// EFAULT; ENAMETOOLONG; ENOMEM.
    #[inline]
    pub fn read(from: PathArg) -> Result<Self, Errno> {
        let from = from.0;
        let mut path = Self { short: [0; Self::SHORT], len: 0, long: Vec::new() };
        match read_cstr_into(from, &mut path.short) {
            Ok(len) => path.len = len,
            Err(Errno::ENAMETOOLONG) => path.long = read_cstr(from, PATH_MAX)?,
            Err(error) => return Err(error),
        }
        Ok(path)
    }

    /// No path at all.
    pub fn empty() -> Self {
        Self { short: [0; Self::SHORT], len: 0, long: Vec::new() }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { self.short.get(..self.len).unwrap_or_default() } else { &self.long }
    }
}

/// Whether the current process may create and remove entries in a directory. EROFS, EACCES.
pub fn check_directory_writable(directory: &Path) -> Result<(), Errno> {
    directory.check_writable()?;
    perm::check(directory.inode(), Want::WRITE | Want::SEARCH)
}
