//! Fills the root from the initrd's cpio archive. Contents that lie on page boundaries are used where they are.

use alloc::sync::Arc;

use abi::Errno;

use super::dentry::Dentry;
use super::inode::{Device, FileKind, Inode, NewFile, Timestamp};
use super::names;
use super::tmpfs;
use crate::arch::x86_64::paging;
use crate::mm::{PAGE_SIZE, Source, frame};
use crate::sorted::SortedMap;

/// Unpacks an archive that lies in the direct map. An entry that can't be made sense of ends it. ENOMEM when only the kernel's reserve is left.
pub fn unpack(archive: &'static [u8], root: &Arc<Dentry>) -> Result<(), Errno> {
    // Files with several names, by inode number and device, until their contents come with the last name.
    let mut shared: SortedMap<(u32, (u32, u32)), Arc<Inode>> = SortedMap::new();
    let mut reader = cpio::Reader::new(archive);
    while let Some(entry) = reader.next() {
        let Ok(entry) = entry else {
            log::error!("the initrd's archive is damaged");
            break;
        };
        if frame::is_short() && frame::is_exhausted() {
            return Err(Errno::ENOMEM);
        }
        let data = reader.bytes(entry.data);
        let Some(kind) = FileKind::from_mode(entry.mode) else { continue };
        let path = entry.name.strip_prefix(b"./").unwrap_or(entry.name);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let new = NewFile {
            kind,
            mode: entry.mode & 0o7777,
            uid: entry.uid,
            gid: entry.gid,
            device: Device::new(entry.rdev.0, entry.rdev.1),
            target: if kind == FileKind::Symlink { data } else { &[] },
        };
        let inode = if path.is_empty() || path == b"." {
            root.inode.set_mode(new.mode);
            root.inode.set_owner(new.uid, new.gid);
            root.inode.clone()
        } else {
            let (directory, name) = parent(root, path)?;
            match directory.child(name) {
                Some(there) if there.kind == kind && kind == FileKind::Directory => {
                    there.inode.set_mode(new.mode);
                    there.inode.set_owner(new.uid, new.gid);
                    there.inode.clone()
                }
                Some(_) => continue,
                None => {
                    let key = (entry.ino, entry.dev);
                    let known =
                        (entry.nlink > 1 && kind != FileKind::Directory).then(|| shared.get(&key)).flatten();
                    let inode = match known {
                        Some(inode) => {
                            inode.add_links(1);
                            inode.clone()
                        }
                        None => tmpfs::make(&root.inode.fs, &new)?,
                    };
                    if entry.nlink > 1 && kind == FileKind::Regular {
                        shared.insert(key, inode.clone());
                    }
                    names::enter(&directory, name, inode.clone())?;
                    inode
                }
            }
        };
        if kind == FileKind::Regular && !data.is_empty() {
            fill(&inode, data)?;
        }
        let modified = Timestamp { seconds: entry.mtime.into(), nanos: 0 };
        inode.change_times(|times| times.modified = modified);
    }
    Ok(())
}

/// The directory that a path's last component belongs in, made as far as it is missing.
fn parent<'p>(root: &Arc<Dentry>, path: &'p [u8]) -> Result<(Arc<Dentry>, &'p [u8]), Errno> {
    let mut directory = root.clone();
    let mut rest = path;
    while let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
        let name = rest.get(..slash).unwrap_or_default();
        rest = rest.get(slash + 1..).unwrap_or_default();
        if name.is_empty() || name == b"." {
            continue;
        }
        directory = match directory.child(name) {
            Some(child) if child.is_directory() => child,
            Some(_) => return Err(Errno::ENOTDIR),
            None => {
                let new = NewFile {
                    kind: FileKind::Directory,
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                    device: Device::default(),
                    target: &[],
                };
                names::enter(&directory, name, tmpfs::make(&root.inode.fs, &new)?)?
            }
        };
    }
    Ok((directory, rest))
}

fn fill(inode: &Inode, data: &'static [u8]) -> Result<(), Errno> {
    let file = inode.file().ok_or(Errno::EINVAL)?;
    let address = data.as_ptr().addr();
    if address.is_multiple_of(PAGE_SIZE) {
        file.cache.set_boot_extent(inode, (address - paging::DIRECT_MAP) as u64, data.len() as u64);
    } else {
        file.cache.write(inode, 0, data.len(), &mut Source::kernel(data))?;
    }
    inode.set_size(data.len() as u64);
    Ok(())
}
