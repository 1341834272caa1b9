//! Files without a place in the tree: pipes, event counters, epoll instances.

use alloc::format;
use alloc::sync::Arc;

use abi::OpenFlags;
use spin::Once;

use super::dentry::Dentry;
use super::file::{FileOps, Mode, OpenFile};
use super::inode::{Contents, Device, FileKind, Inode, InodeOps, NewFile};
use super::mount::{ANON_INODEFS, FileSystem, FileSystemType, Mount};
use super::path::Path;
use crate::task::current;

/// An inode that nothing can be done with.
struct Plain;

impl InodeOps for Plain {}

/// What a new internal inode is: owned by the process, for its owner alone.
pub fn attributes(kind: FileKind, mode: u32) -> NewFile<'static> {
    let cred = current().process.cred.lock();
    NewFile { kind, mode, uid: cred.fsuid, gid: cred.fsgid, device: Device::default(), target: &[] }
}

/// The mount of an internal file system, made when first asked for.
pub fn internal_mount(slot: &'static Once<Arc<Mount>>, kind: &'static FileSystemType) -> &'static Arc<Mount> {
    slot.call_once(|| {
        let fs = FileSystem::new(kind);
        let number = fs.next_inode();
        let root = Inode::new(&fs, number, &attributes(FileKind::Directory, 0o700), Contents::other(Plain));
        Mount::internal(&fs, Arc::new(root))
    })
}

/// A file of the kind that Linux calls `anon_inode:[name]`.
pub fn open<T: FileOps>(name: &str, flags: OpenFlags, mode: Mode, ops: T) -> Arc<OpenFile> {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    static INODE: Once<Arc<Inode>> = Once::new();
    let mount = internal_mount(&MOUNT, &ANON_INODEFS);
    let inode = INODE.call_once(|| {
        let number = mount.fs.next_inode();
        let new = NewFile { uid: 0, gid: 0, ..attributes(FileKind::Anonymous, 0o600) };
        Arc::new(Inode::new(&mount.fs, number, &new, Contents::other(Plain)))
    });
    let dentry = Dentry::detached(format!("anon_inode:{name}").as_bytes(), inode.clone());
    Arc::new(OpenFile::new(Path { mount: mount.clone(), dentry }, flags, mode, ops))
}
