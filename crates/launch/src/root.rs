//! The guest's root directory, as the archive behind the configuration blob.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cpio::{Metadata, Writer};
use nix::sys::memfd::{MFdFlags, memfd_create};
use wire::Config;

const TYPE_MASK: u32 = 0o170_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// Symbolic links that a path may go through, as in Linux.
const MAX_LINKS: u32 = 40;

#[derive(Clone, Debug)]
struct Node {
    metadata: Metadata,
    contents: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    Bytes(Vec<u8>),
    HostFile(PathBuf),
}

/// Files for the guest, by their paths without the leading slash. Parents come into being with their children.
#[derive(Clone, Debug, Default)]
pub struct Root {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Files of the host that have several links: device and inode to the number they get here.
    links: HashMap<(u64, u64), u32>,
}

/// A path inside the guest: absolute, without `.` and `..`.
#[must_use]
pub fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

fn key(path: &Path) -> Vec<u8> {
    let normal = normalise(path);
    normal.as_os_str().as_bytes().get(1..).unwrap_or_default().to_vec()
}

/// The libraries of a dynamic program of the host and what loads them, by their paths (ldd(1)).
///
/// # Errors
/// There is no ldd.
pub fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

impl Root {
    #[must_use]
    pub fn new() -> Self {
        crate::tsc::begin();
        Self::default()
    }

    fn insert(&mut self, path: &Path, node: Node) {
        let mut parent = normalise(path);
        while parent.pop() && parent != Path::new("/") {
            self.nodes.entry(key(&parent)).or_insert_with(|| Node {
                metadata: Metadata { mode: DIRECTORY | 0o755, ..Metadata::default() },
                contents: Contents::Bytes(Vec::new()),
            });
        }
        self.nodes.insert(key(path), node);
    }

    /// Whether something stands at this path, symbolic links not followed.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.nodes.contains_key(&key(path))
    }

    /// Where a path leads in the guest, symbolic links followed. `None` if that is nowhere.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut links = 0;
        let mut done = PathBuf::from("/");
        let mut pending: Vec<PathBuf> = vec![path.to_owned()];
        while let Some(path) = pending.pop() {
            let mut components = path.components();
            match components.next() {
                None => {}
                Some(Component::RootDir) => {
                    done = PathBuf::from("/");
                    pending.push(components.as_path().to_owned());
                }
                Some(Component::ParentDir) => {
                    done.pop();
                    pending.push(components.as_path().to_owned());
                }
                Some(Component::CurDir | Component::Prefix(_)) => {
                    pending.push(components.as_path().to_owned());
                }
                Some(Component::Normal(name)) => {
                    pending.push(components.as_path().to_owned());
                    done.push(name);
                    let node = self.nodes.get(&key(&done))?;
                    if node.metadata.mode & TYPE_MASK == SYMLINK {
                        links += 1;
                        if links > MAX_LINKS {
                            return None;
                        }
                        let Contents::Bytes(target) = &node.contents else { return None };
                        done.pop();
                        pending.push(PathBuf::from(OsStr::from_bytes(target)));
                    }
                }
            }
        }
        Some(done)
    }

    /// Whether a path leads to a directory.
    #[must_use]
    pub fn is_directory(&self, path: &Path) -> bool {
        self.resolve(path).is_some_and(|path| {
            path == Path::new("/")
                || self.nodes.get(&key(&path)).is_some_and(|node| node.metadata.mode & TYPE_MASK == DIRECTORY)
        })
    }

    /// Adds an empty directory with these permission bits.
    pub fn add_directory(&mut self, path: &Path, permissions: u32) {
        let metadata = Metadata { mode: DIRECTORY | permissions, ..Metadata::default() };
        self.insert(path, Node { metadata, contents: Contents::Bytes(Vec::new()) });
    }

    /// Adds a regular file with these permission bits.
    pub fn add_bytes(&mut self, path: &Path, permissions: u32, bytes: Vec<u8>) {
        let metadata = Metadata { mode: REGULAR | permissions, ..Metadata::default() };
        self.insert(path, Node { metadata, contents: Contents::Bytes(bytes) });
    }

    /// Adds a character device with these permission bits.
    pub fn add_character_device(&mut self, path: &Path, permissions: u32, rdev: (u32, u32)) {
        let metadata = Metadata { mode: CHARACTER_DEVICE | permissions, rdev, ..Metadata::default() };
        self.insert(path, Node { metadata, contents: Contents::Bytes(Vec::new()) });
    }

    /// Adds a file of the host, whatever its type, at a path of the guest.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn add_host_file(&mut self, path: &Path, host: &Path) -> Result<()> {
        let found = host.symlink_metadata().with_context(|| host.display().to_string())?;
        let kind = found.file_type();
        let contents = if kind.is_symlink() {
            Contents::Bytes(std::fs::read_link(host)?.into_os_string().as_bytes().to_vec())
        } else if kind.is_file() {
            Contents::HostFile(host.to_owned())
        } else {
            Contents::Bytes(Vec::new())
        };
        let mut metadata = Metadata {
            mode: found.mode(),
            uid: found.uid(),
            gid: found.gid(),
            mtime: u32::try_from(found.mtime()).unwrap_or(0),
            ..Metadata::default()
        };
        if kind.is_file() && found.nlink() > 1 {
            let next = 1_000_000 + u32::try_from(self.links.len())?;
            metadata.ino = *self.links.entry((found.dev(), found.ino())).or_insert(next);
            metadata.nlink = u32::try_from(found.nlink())?;
        }
        if kind.is_char_device() || kind.is_block_device() {
            metadata.rdev = (libc::major(found.rdev()), libc::minor(found.rdev()));
        }
        self.insert(path, Node { metadata, contents });
        Ok(())
    }

    /// Adds everything below a directory of the host, so that it becomes the guest's `/`. What is mounted below it becomes empty
    /// directories.
    ///
    /// # Errors
    /// Something in it can't be read.
    pub fn add_tree(&mut self, directory: &Path) -> Result<()> {
        let context = |path: &Path| path.display().to_string();
        let device = directory.metadata().with_context(|| context(directory))?.dev();
        let mut pending = vec![PathBuf::new()];
        while let Some(inner) = pending.pop() {
            let host = directory.join(&inner);
            for entry in std::fs::read_dir(&host).with_context(|| context(&host))? {
                let entry = entry.with_context(|| context(&host))?;
                let path = inner.join(entry.file_name());
                self.add_host_file(&path, &entry.path())?;
                let metadata = entry.metadata().with_context(|| context(&entry.path()))?;
                if metadata.is_dir() && metadata.dev() == device {
                    pending.push(path);
                }
            }
        }
        Ok(())
    }

    /// The initrd: the configuration, then the archive.
    ///
    /// # Errors
    /// A host file can't be read, or is too large for an archive.
    pub fn initrd(&self, config: &Config) -> Result<Initrd> {
        self.archive_behind(&config.encode())
    }

    /// The archive alone, as a Linux kernel takes it.
    ///
    /// # Errors
    /// A host file can't be read, or is too large for an archive.
    pub fn archive(&self) -> Result<Initrd> {
        self.archive_behind(&[])
    }

    fn archive_behind(&self, blob: &[u8]) -> Result<Initrd> {
        let mut file = std::fs::File::from(memfd_create("initrd", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(blob)?;
        let mut len = blob.len();
        let mut writer = Writer::new();
        let mut written = HashSet::new();
        for (path, node) in &self.nodes {
            let name = || Path::new(OsStr::from_bytes(path)).display().to_string();
            let metadata = &node.metadata;
            // The first of several links carries the contents.
            let repeated = metadata.ino != 0 && !written.insert(metadata.ino);
            let read;
            let bytes = match &node.contents {
                Contents::Bytes(bytes) => &bytes[..],
                Contents::HostFile(_) if repeated => &[],
                Contents::HostFile(host) => {
                    read = std::fs::read(host).with_context(|| host.display().to_string())?;
                    &read[..]
                }
            };
            writer.add(path, metadata, bytes).with_context(name)?;
            let piece = writer.take();
            len += piece.len();
            file.write_all(&piece).context("writing the initrd")?;
        }
        let last = writer.finish();
        len += last.len();
        file.write_all(&last).context("writing the initrd")?;
        Ok(Initrd { file: file.into(), len, files: self.nodes.len() })
    }
}

/// A finished initrd, in memory. Any number of machines can start from it.
#[derive(Debug)]
pub struct Initrd {
    pub(crate) file: OwnedFd,
    len: usize,
    files: usize,
}

/// Memory that a machine needs beside its initrd: the kernel, its tables, and a program's first pages.
const BESIDE_INITRD: u64 = 3 << 19;
/// What the kernel remembers of each file, about: its name and its inode.
const BESIDE_FILE: u64 = 768;

impl Initrd {
    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: there is always a configuration.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Checks that it leaves a machine of so much memory room to run.
    ///
    /// # Errors
    /// It doesn't.
    pub fn check_memory(&self, memory_bytes: u64) -> Result<()> {
        const MIB: u64 = 1 << 20;
        let needed = self.len as u64 + BESIDE_INITRD + self.files as u64 * BESIDE_FILE;
        let files = (self.len as u64).div_ceil(MIB);
        ensure!(
            needed <= memory_bytes,
            "not enough memory: the guest's files take {files} MiB of the machine's {} MiB; try --memory {}M",
            memory_bytes / MIB,
            (needed * 2).div_ceil(MIB).next_power_of_two(),
        );
        Ok(())
    }

    /// Writes a copy to a file.
    ///
    /// # Errors
    /// That fails.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::copy(self.path_here(), path).map(drop).with_context(|| path.display().to_string())
    }

    /// The path under which this process, or one that inherits the file, can open it.
    pub(crate) fn path_here(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(normalise(Path::new("a/b")), Path::new("/a/b"));
        assert_eq!(normalise(Path::new("../x/./y/../z")), Path::new("/x/z"));
        assert_eq!(normalise(Path::new("/usr/bin/true")), Path::new("/usr/bin/true"));
    }

    fn bytes(root: &Root) -> Vec<u8> {
        std::fs::read(root.initrd(&Config::default()).unwrap().path_here()).unwrap()
    }

    #[test]
    fn symbolic_links_lead_somewhere() {
        let directory = crate::temp::TempDir::new().unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, directory.path().join(name)).unwrap();
        };
        std::fs::create_dir_all(directory.path().join("usr/bin")).unwrap();
        std::fs::write(directory.path().join("usr/bin/sh"), b"").unwrap();
        link("usr/bin", "bin");
        link("/bin/sh", "usr/shell");
        link("loop", "loop");
        link("../../../usr/../bin", "usr/up");
        let mut root = Root::new();
        root.add_tree(directory.path()).unwrap();
        let resolve = |path: &str| root.resolve(Path::new(path));
        for path in ["/usr/bin/sh", "bin/sh", "/usr/shell", "/usr/up/sh", "/bin/../bin/./sh"] {
            assert_eq!(resolve(path), Some("/usr/bin/sh".into()), "{path}");
        }
        for path in ["/loop", "/nowhere", "/usr/nowhere/x"] {
            assert_eq!(resolve(path), None, "{path}");
        }
        assert!(root.is_directory(Path::new("/bin")) && root.is_directory(Path::new("/")));
        assert!(!root.is_directory(Path::new("/bin/sh")) && !root.is_directory(Path::new("/nowhere")));
    }

    #[test]
    fn too_little_memory() {
        let mut root = Root::new();
        root.add_bytes(Path::new("/big"), 0o644, vec![0; 6 << 20]);
        let initrd = root.initrd(&Config::default()).unwrap();
        assert!(initrd.check_memory(8 << 20).is_ok());
        let error = initrd.check_memory(4 << 20).unwrap_err().to_string();
        assert!(error.contains("try --memory 16M"), "{error}");
    }

    #[test]
    fn parents_come_first() {
        let mut root = Root::new();
        root.add_bytes(Path::new("/a/b/c"), 0o755, b"data".to_vec());
        let initrd = bytes(&root);
        let blob = wire::Blob::parse(&initrd).unwrap();
        let names: Vec<_> = cpio::Reader::new(&initrd[blob.len..])
            .map(|entry| String::from_utf8_lossy(entry.unwrap().name).into_owned())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c"]);
    }

    #[test]
    fn hard_links_stay_one_file() {
        let directory = crate::temp::TempDir::new().unwrap();
        std::fs::write(directory.path().join("one"), b"x").unwrap();
        std::fs::hard_link(directory.path().join("one"), directory.path().join("two")).unwrap();
        let mut root = Root::new();
        root.add_tree(directory.path()).unwrap();
        let initrd = bytes(&root);
        let blob = wire::Blob::parse(&initrd).unwrap();
        let entries: Vec<_> = cpio::Reader::new(&initrd[blob.len..]).map(Result::unwrap).collect();
        assert_eq!(entries[0].ino, entries[1].ino);
        assert_eq!((entries[0].data.len(), entries[1].data.len()), (1, 0));
    }
}
