//! /dev: a file system in memory whose standard entries appear when they are first looked for.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;

use super::dentry::Dentry;
use super::device;
use super::inode::{Contents, Device, FileKind, Inode, InodeOps, NewFile};
use super::lock::SleepLock;
use super::mount::{self, DEVTMPFS, FileSystem, FileSystemType, Mount};
use super::path::Path;
use super::tmpfs::{self, ENTRY_SIZE};

enum What {
    Device(Device, u32),
    Link(&'static str),
    Directory(u32),
}

/// The entries that there are from the start.
static ENTRIES: [(&str, What); 16] = [
    ("null", What::Device(device::NULL, 0o666)),
    ("zero", What::Device(device::ZERO, 0o666)),
    ("full", What::Device(device::FULL, 0o666)),
    ("random", What::Device(device::RANDOM, 0o666)),
    ("urandom", What::Device(device::URANDOM, 0o666)),
    ("tty", What::Device(device::TTY, 0o666)),
    ("console", What::Device(device::CONSOLE, 0o600)),
    ("stdin", What::Link("/proc/self/fd/0")),
    ("stdout", What::Link("/proc/self/fd/1")),
    ("stderr", What::Link("/proc/self/fd/2")),
    ("fd", What::Link("/proc/self/fd")),
    ("core", What::Link("/proc/kcore")),
    ("shm", What::Directory(0o1777)),
    ("mqueue", What::Directory(0o1777)),
    ("pts", What::Directory(0o755)),
    ("ptmx", What::Device(device::PTMX, 0o666)),
];

/// The directory itself.
#[derive(Default)]
struct DevRoot {
    /// A bit for each of `ENTRIES` that has been made; one that was removed since doesn't come back.
    made: AtomicU32,
    /// They are made one at a time.
    making: SleepLock,
}

impl DevRoot {
    fn make(&self, dir: &Arc<Dentry>, index: usize) -> Result<Option<Arc<Dentry>>, Errno> {
        let Some((name, what)) = ENTRIES.get(index) else { return Ok(None) };
        let _guard = self.making.lock();
        if self.made.load(Ordering::Relaxed) & 1 << index != 0 {
            return Ok(None);
        }
        let mut new = NewFile {
            kind: FileKind::CharDevice,
            mode: 0o777,
            uid: 0,
            gid: 0,
            device: Device::default(),
            target: &[],
        };
        match what {
            What::Device(number, mode) => {
                new.device = *number;
                new.mode = *mode;
            }
            What::Link(target) => {
                new.kind = FileKind::Symlink;
                new.target = target.as_bytes();
            }
            What::Directory(mode) => {
                new.kind = FileKind::Directory;
                new.mode = *mode;
            }
        }
        let made = dir.insert(name.as_bytes(), tmpfs::make(&dir.inode.fs, &new)?)?;
        self.made.fetch_or(1 << index, Ordering::Relaxed);
        dir.inode.add_links(i32::from(made.is_directory()));
        dir.inode.set_size(dir.inode.size() + ENTRY_SIZE);
        match *name {
            "shm" => mount_on(dir, &made, &mount::TMPFS, 0o1777)?,
            "pts" => mount_on(dir, &made, &mount::DEVPTS, 0o755)?,
            _ => {}
        }
        Ok(Some(made))
    }
}

/// Mounts a file system of its own over a directory of the first /dev.
#[cold]
#[inline(never)]
fn mount_on(
    dev: &Arc<Dentry>,
    directory: &Arc<Dentry>,
    kind: &'static FileSystemType,
    mode: u32,
) -> Result<(), Errno> {
    if let Some(first) = mount::first_dev()
        && Arc::ptr_eq(&first.root, dev)
    {
        let fs = tmpfs::new(kind);
        let root = tmpfs::new_root(&fs, mode)?;
        let own = if fs.kind.name == "tmpfs" { mount::flag::NODEV } else { mount::flag::NOEXEC };
        let flags = mount::flag::NOSUID | mount::flag::RELATIME | own;
        let at = Path { mount: first, dentry: directory.clone() };
        mount::attach(&Mount::new(&fs, root, kind.name.as_bytes(), flags), at);
    }
    Ok(())
}

impl InodeOps for DevRoot {
    fn is_memory_directory(&self) -> bool {
        true
    }

    fn lookup(&self, dir: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        let index = ENTRIES.iter().position(|entry| entry.0.as_bytes() == name).ok_or(Errno::ENOENT)?;
        match self.make(dir, index)? {
            Some(dentry) => Ok(dentry),
            // Another thread made it a moment ago, or it was removed.
            None => dir.child(name).ok_or(Errno::ENOENT),
        }
    }

    fn create(&self, dir: &Inode, new: &NewFile<'_>) -> Result<Arc<Inode>, Errno> {
        tmpfs::make(&dir.fs, new)
    }

    fn populate(&self, dir: &Arc<Dentry>) -> Result<(), Errno> {
        for index in 0..ENTRIES.len() {
            self.make(dir, index)?;
        }
        Ok(())
    }

    fn has_attributes(&self) -> bool {
        true
    }
}

/// A new /dev.
pub fn new() -> (Arc<FileSystem>, Arc<Dentry>) {
    let fs = tmpfs::new(&DEVTMPFS);
    let new = NewFile {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        device: Device::default(),
        target: &[],
    };
    let inode = Inode::new(&fs, fs.next_inode(), &new, Contents::other(DevRoot::default()));
    inode.set_links(2);
    inode.set_size(2 * ENTRY_SIZE);
    let root = Dentry::root(Arc::new(inode));
    (fs, root)
}
