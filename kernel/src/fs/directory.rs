//! Open directories.

use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;

use super::dentry::FIRST_COOKIE;
use super::file::{EntrySink, FileOps, OpenFile, Whence};
use super::inode::FileKind;
use crate::mm::{Sink, Source};
use crate::syscall::SysResult;

/// An open directory. Position 0 is before `.`, 1 before `..`; from there on it is an entry's cookie.
pub struct DirectoryFile {
    /// Where the entries end that there were when it was read from the start: one that is renamed while it is read gets a cookie behind
    /// all others, and reading would never end.
    end: AtomicU64,
}

impl DirectoryFile {
    pub const fn new() -> Self {
        Self { end: AtomicU64::new(u64::MAX) }
    }
}

impl FileOps for DirectoryFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, _: &mut u64, _: &mut Sink<'_>) -> SysResult {
        Err(Errno::EISDIR.into())
    }

    fn write(&self, _: &OpenFile, _: &mut u64, _: &mut Source<'_>) -> SysResult {
        Err(Errno::EBADF.into())
    }

    fn seek(&self, file: &OpenFile, offset: i64, whence: Whence) -> Result<u64, Errno> {
        match whence {
            Whence::Start | Whence::Current => file.seek_plainly(offset, whence),
            // The ends of directories that are made up as they are read are at zero.
            Whence::End if file.inode().ops().lists_itself() => file.seek_plainly(offset, whence),
            _ => Err(Errno::EINVAL),
        }
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn read_directory(&self, file: &OpenFile, at: &mut u64, out: &mut dyn EntrySink) -> Result<(), Errno> {
        let dentry = &file.path.dentry;
        let inode = &dentry.inode;
        if dentry.is_removed() {
            return Err(Errno::ENOENT);
        }
        let directory = FileKind::Directory;
        if *at == 0 {
            if !out.entry(b".", inode.number, directory, 1) {
                return Ok(());
            }
            *at = 1;
        }
        if *at == 1 {
            let parent = dentry.parent().map_or(inode.number, |parent| parent.inode.number);
            if !out.entry(b"..", parent, directory, 2) {
                return Ok(());
            }
            *at = 2;
        }
        inode.touch_accessed();
        if inode.ops().lists_itself() {
            let mut entries = Vec::new();
            inode.ops().list(dentry, *at, &mut entries)?;
            for entry in entries {
                if !out.entry(&entry.name, entry.inode, entry.kind, entry.next) {
                    break;
                }
                *at = entry.next;
            }
            return Ok(());
        }
        inode.ops().populate(dentry)?;
        let mut next = *at;
        // A rename is seen as a whole.
        let _guard = inode.lock.lock();
        if next < FIRST_COOKIE {
            self.end.store(dentry.next_cookie(), Ordering::Relaxed);
        }
        let end = self.end.load(Ordering::Relaxed);
        dentry.visit(next.max(FIRST_COOKIE), |cookie, name, entry| {
            let has_room = cookie < end && out.entry(name, entry.inode.number, entry.kind, cookie + 1);
            if has_room {
                next = cookie + 1;
            }
            has_room
        })?;
        *at = next;
        Ok(())
    }

    fn sync(&self, _: &OpenFile) -> SysResult {
        Ok(0)
    }
}
