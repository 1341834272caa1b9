//! The tree of names. A directory's entries hang in its dentry; for file systems in memory that is all there is of them.
//!
//! Lock order: a directory's `children` → an entry's `link`. Two directories' `children` are never held together.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;
use namemap::{Key, NameMap};

use super::inode::{FileKind, Inode};
use super::path_cache;
use crate::sync::SpinLock;

/// A name; most are short.
#[derive(Clone)]
pub enum Name {
    Short(u8, [u8; Self::SHORT]),
    Long(Box<[u8]>),
}

impl Name {
    const SHORT: usize = 30;

    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        let mut short = [0; Self::SHORT];
        match short.get_mut(..bytes.len()) {
            Some(slot) => {
                slot.copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            None => Self::Long(bytes.into()),
        }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

/// Where an entry stands.
struct Link {
    name: Name,
    /// None for roots and for what never had a place.
    parent: Option<Arc<Dentry>>,
    state: Attached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    Yes,
    Removed,
    /// Never had a place, and may get one by linkat(2): O_TMPFILE.
    Linkable,
}

/// The first cookie that an entry can have: 0 is the start, 1 and 2 are `.` and `..`.
pub const FIRST_COOKIE: u64 = 3;

/// A name with its inode and place.
pub struct Dentry {
    pub kind: FileKind,
    /// How many mounts stand on this directory.
    mounts: AtomicU32,
    /// The slot of the path cache that leads here, plus one.
    path_slot: AtomicU32,
    pub inode: Arc<Inode>,
    link: SpinLock<Link>,
    children: SpinLock<NameMap<Arc<Dentry>>>,
}

/// An entry has left its place for another: paths to it, and through it, lead elsewhere.
fn moved(entry: &Arc<Dentry>) {
    if matches!(entry.kind, FileKind::Directory | FileKind::Symlink) {
        path_cache::forget_all();
    } else {
        path_cache::moved(entry);
    }
}

/// An entry has left its place for good.
fn gone(entry: &Arc<Dentry>) {
    entry.link.lock().state = Attached::Removed;
    if entry.kind == FileKind::Symlink {
        path_cache::forget_all();
    } else {
        path_cache::forget(entry);
    }
}

impl Drop for Dentry {
    /// Directories that only their last entry kept go one by one: the way up may be longer than the stack is.
    #[inline]
    fn drop(&mut self) {
        let parent = &mut self.link.get_mut().parent;
        // Nearly always others have it too.
        if parent.as_ref().is_some_and(|parent| Arc::strong_count(parent) == 1) {
            let_go_upwards(parent.take());
        }
    }
}

#[cold]
#[inline(never)]
fn let_go_upwards(mut above: Option<Arc<Dentry>>) {
    while let Some(mut dentry) = above {
        above = Arc::get_mut(&mut dentry).and_then(|dentry| dentry.link.get_mut().parent.take());
    }
}

impl Dentry {
    fn build(name: &[u8], parent: Option<Arc<Self>>, inode: Arc<Inode>) -> Arc<Self> {
        Arc::new(Self {
            kind: inode.kind,
            mounts: AtomicU32::new(0),
            path_slot: AtomicU32::new(0),
            inode,
            link: SpinLock::new(Link { name: Name::new(name), parent, state: Attached::Yes }),
            children: SpinLock::new(NameMap::new(FIRST_COOKIE)),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<Inode>) -> Arc<Self> {
        Self::build(b"/", None, inode)
    }

    /// An entry without a directory: `name` is what /proc shows (`pipe:[7]`).
    pub fn detached(name: &[u8], inode: Arc<Inode>) -> Arc<Self> {
        Self::build(name, None, inode)
    }

    /// An entry that knows its directory but isn't kept by it: what /proc makes for each lookup.
    pub fn transient(parent: &Arc<Self>, name: &[u8], inode: Arc<Inode>) -> Arc<Self> {
        Self::build(name, Some(parent.clone()), inode)
    }

    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// The directory that this stands in; none for a root.
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.link.lock().parent.clone()
    }

    pub fn name(&self) -> Name {
        self.link.lock().name.clone()
    }

    /// Its name, and the directory that it has this name in.
    pub fn place(&self) -> (Name, Option<Arc<Self>>) {
        let link = self.link.lock();
        (link.name.clone(), link.parent.clone())
    }

    /// Whether the entry was unlinked.
    pub fn is_removed(&self) -> bool {
        self.link.lock().state != Attached::Yes
    }

    /// Whether a file without links may be given one.
    pub fn is_linkable(&self) -> bool {
        self.link.lock().state == Attached::Linkable
    }

    /// For files made by O_TMPFILE, until they have a name or if they must never get one.
    pub fn set_linkable(&self, linkable: bool) {
        let mut link = self.link.lock();
        if linkable {
            link.state = Attached::Linkable;
        } else if link.state == Attached::Linkable {
            link.state = Attached::Removed;
        }
    }

    #[inline]
    pub fn path_slot(&self) -> u32 {
        self.path_slot.load(Ordering::Acquire)
    }

    pub fn set_path_slot(&self, slot: u32) {
        self.path_slot.store(slot, Ordering::Release);
    }

    pub fn mounted(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    pub fn note_mount(&self, change: i32) {
        self.mounts.fetch_add(change.cast_unsigned(), Ordering::AcqRel);
    }

    /// Whether `self` is `other` or stands above it.
    pub fn is_above(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = other.clone();
        loop {
            if Arc::ptr_eq(self, &at) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    fn is_called(&self, name: &[u8]) -> bool {
        self.link.lock().name.bytes() == name
    }

    /// The entry of that name if it is in the tree.
    #[inline(always)]
    pub fn child(&self, name: &[u8]) -> Option<Arc<Self>> {
        let key = Key::new(name);
        self.children.lock().get(&key, |child| child.is_called(name)).cloned()
    }

    /// The entry of that name. ENOENT; ENAMETOOLONG.
    #[inline(always)]
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>, Errno> {
        match self.child(name) {
            Some(child) => Ok(child),
            None if name.len() > namei::NAME_MAX => Err(Errno::ENAMETOOLONG),
            None => self.inode.ops().lookup(self, name),
        }
    }

    /// Enters a new name, which the caller has found free, holding the directory's lock. ENOENT when the directory itself has been removed; ENOMEM.
    pub fn insert(self: &Arc<Self>, name: &[u8], inode: Arc<Inode>) -> Result<Arc<Self>, Errno> {
        if self.is_removed() {
            return Err(Errno::ENOENT);
        }
        let dentry = Self::build(name, Some(self.clone()), inode);
        self.attach(name, &dentry)?;
        Ok(dentry)
    }

    fn attach(&self, name: &[u8], dentry: &Arc<Self>) -> Result<(), Errno> {
        self.children.lock().insert(Key::new(name), dentry.clone()).map_err(|_| Errno::ENOMEM)
    }

    fn detach(&self, name: &[u8], expected: &Arc<Self>) -> Option<Arc<Self>> {
        self.children.lock().remove(&Key::new(name), |child| Arc::ptr_eq(child, expected))
    }

    /// Takes the entry of that name out of the tree. It keeps its name and parent for those who have it open. ENOENT if it is gone already.
    pub fn remove(&self, name: &[u8], entry: &Arc<Self>) -> Result<(), Errno> {
        let slot = self.detach(name, entry).ok_or(Errno::ENOENT)?;
        gone(entry);
        drop(slot);
        Ok(())
    }

    /// Makes a name lead to an entry, in place of what it leads to now: whoever looks meanwhile finds one of the two. ENOENT, ENOMEM.
    fn put(
        self: &Arc<Self>,
        name: &[u8],
        replaced: Option<&Arc<Self>>,
        entry: &Arc<Self>,
    ) -> Result<(), Errno> {
        let (key, new) = (Key::new(name), entry.clone());
        let mut children = self.children.lock();
        match replaced {
            Some(replaced) => {
                children.replace(&key, new, |child| Arc::ptr_eq(child, replaced)).ok_or(Errno::ENOENT)?;
            }
            None => children.insert(key, new).map_err(|_| Errno::ENOMEM)?,
        }
        // Long names are compared with what stands here.
        let mut link = entry.link.lock();
        link.name = Name::new(name);
        link.parent = Some(self.clone());
        Ok(())
    }

    /// Gives an entry of this directory another name, or another directory, replacing what stands there. The caller holds both
    /// directories' locks.
    pub fn rename(
        &self,
        entry: &Arc<Self>,
        to: &Arc<Self>,
        name: &[u8],
        replaced: Option<&Arc<Self>>,
    ) -> Result<(), Errno> {
        let old = entry.name();
        // First the new place, for which there may be no memory.
        to.put(name, replaced, entry)?;
        if let Some(replaced) = replaced {
            gone(replaced);
        }
        let slot = self.detach(old.bytes(), entry);
        moved(entry);
        drop(slot);
        Ok(())
    }

    /// Makes two entries change places (RENAME_EXCHANGE). The caller holds both directories' locks.
    pub fn exchange(
        self: &Arc<Self>,
        entry: &Arc<Self>,
        other_dir: &Arc<Self>,
        other: &Arc<Self>,
    ) -> Result<(), Errno> {
        let (name, other_name) = (entry.name(), other.name());
        other_dir.put(other_name.bytes(), Some(other), entry)?;
        self.put(name.bytes(), Some(entry), other)?;
        moved(entry);
        moved(other);
        Ok(())
    }

    /// Whether a directory has no entries.
    pub fn is_empty(&self) -> bool {
        self.children.lock().is_empty()
    }

    /// The cookie that its next entry gets.
    pub fn next_cookie(&self) -> u64 {
        self.children.lock().next_cookie()
    }

    /// Calls `visit` for the entries from a cookie on, in order, until it returns false. It is called under the directory's lock. ENOMEM.
    pub fn visit(&self, from: u64, mut visit: impl FnMut(u64, &[u8], &Self) -> bool) -> Result<(), Errno> {
        let children = self.children.lock();
        let visited = children.visit_in_order(from, |cookie, entry| {
            let link = entry.link.lock();
            visit(cookie, link.name.bytes(), entry)
        });
        visited.map_err(|_| Errno::ENOMEM)
    }

    /// Cuts all entries off, level by level: the end of a file system in memory, whose entries own each other.
    pub fn dismantle(self: &Arc<Self>) {
        let mut open = alloc::vec![self.clone()];
        while let Some(directory) = open.pop() {
            let entries = directory.children.lock().drain();
            open.extend(entries.filter(|entry| entry.is_directory()));
        }
    }
}
