//! The guest's root directory, as the archive behind the configuration blob.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use cpio::{Metadata, Writer};
use wire::Config;

const TYPE_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

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

    /// Whether something stands at this path.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.nodes.contains_key(&key(path))
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

    /// Adds everything below a directory of the host, so that it becomes the guest's `/`.
    ///
    /// # Errors
    /// Something in it can't be read.
    pub fn add_tree(&mut self, directory: &Path) -> Result<()> {
        let mut pending = vec![PathBuf::new()];
        while let Some(inner) = pending.pop() {
            let host = directory.join(&inner);
            for entry in std::fs::read_dir(&host).with_context(|| host.display().to_string())? {
                let entry = entry?;
                let path = inner.join(entry.file_name());
                self.add_host_file(&path, &entry.path())?;
                if entry.file_type()?.is_dir() {
                    pending.push(path);
                }
            }
        }
        Ok(())
    }

    /// The initrd: the configuration, then the archive.
    ///
    /// # Errors
    /// A host file can't be read.
    pub fn initrd(&self, config: &Config) -> Result<Vec<u8>> {
        let mut writer = Writer::new();
        let mut written = HashMap::new();
        for (path, node) in &self.nodes {
            let bytes = match &node.contents {
                Contents::Bytes(bytes) => bytes.clone(),
                // The first of several links carries the contents.
                Contents::HostFile(_)
                    if node.metadata.ino != 0 && written.contains_key(&node.metadata.ino) =>
                {
                    Vec::new()
                }
                Contents::HostFile(host) => {
                    std::fs::read(host).with_context(|| host.display().to_string())?
                }
            };
            if node.metadata.mode & TYPE_MASK == REGULAR && node.metadata.ino != 0 {
                written.insert(node.metadata.ino, ());
            }
            writer.add(path, &node.metadata, &bytes);
        }
        let mut initrd = config.encode();
        initrd.extend_from_slice(&writer.finish());
        Ok(initrd)
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

    #[test]
    fn parents_come_first() {
        let mut root = Root::new();
        root.add_bytes(Path::new("/a/b/c"), 0o755, b"data".to_vec());
        let initrd = root.initrd(&Config::default()).unwrap();
        let blob = wire::Blob::parse(&initrd).unwrap();
        let names: Vec<_> = cpio::Reader::new(&initrd[blob.len..])
            .map(|entry| String::from_utf8_lossy(entry.unwrap().name).into_owned())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c"]);
    }

    #[test]
    fn hard_links_stay_one_file() {
        let directory = crate::TempDir::new().unwrap();
        std::fs::write(directory.path().join("one"), b"x").unwrap();
        std::fs::hard_link(directory.path().join("one"), directory.path().join("two")).unwrap();
        let mut root = Root::new();
        root.add_tree(directory.path()).unwrap();
        let initrd = root.initrd(&Config::default()).unwrap();
        let blob = wire::Blob::parse(&initrd).unwrap();
        let entries: Vec<_> = cpio::Reader::new(&initrd[blob.len..]).map(Result::unwrap).collect();
        assert_eq!(entries[0].ino, entries[1].ino);
        assert_eq!((entries[0].data.len(), entries[1].data.len()), (1, 0));
    }
}
