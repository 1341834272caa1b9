//! The root directory that native runs and the guest share.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use launch::Root;

use crate::directory_of;
use crate::programs::Program;

/// Programs of the host that cases use, and where they stand.
const HOST_PROGRAMS: [(&str, &str); 2] = [("/bin/busybox", "bin/busybox"), ("/bin/bash-static", "bin/bash")];
/// Dynamic programs of the host, for the scripts of `tests/programs`: with their libraries they stand where they do here.
const DYNAMIC_PROGRAMS: [&str; 5] =
    ["/usr/bin/make", "/usr/bin/tcc", "/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/bin/stress-ng"];
/// What they need besides: what tcc compiles and links against.
const HOST_DIRECTORIES: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu/tcc", "/usr/include/x86_64-linux-musl", "/usr/lib/x86_64-linux-musl"];
/// Names under which busybox stands in `/bin`, for scripts that another shell runs.
const APPLETS: [&str; 13] =
    ["sh", "cat", "cp", "grep", "ls", "rm", "sed", "seq", "sleep", "sort", "tee", "true", "wc"];
/// Device nodes for the native runs; the guest brings its own.
const DEVICES: [(&str, u32, u32); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("ptmx", 5, 2),
];

/// A line of text, packed: what unpacks need not be able to pack.
const PACKED: [(&str, &[u8]); 4] = [
    ("text.xz", b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x12hello from a shell\n\x00\x00\x1a\x86;\xd8\xa63\xe3\x8b\x00\x01+\x13\x9c\x09H\xd2\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ"),
    ("text.lzma", b"]\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff\x004\x19I\xee\x8d\xe9\x12\xe6\x14\x0e\xbf\xb9\x1f[\xfc\x0d\xdfh\xf0\xb2;\xff\xfeU\x98\x00"),
    ("text.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcbH\xcd\xc9\xc9WH+\xca\xcfUHT(\xce\x00\xf2\xb8\x008/[\x88\x13\x00\x00\x00"),
    ("text.bz2", b"BZh91AY&SYki\xdf\x84\x00\x00\x04\xd1\x80\x00\x10@\x00#F\x98\x00 \x001\x00\xd3M\x04OP\xd3\xf4\xa7\xa7\x87v\xe9@t\x85!\x82\xeeH\xa7\n\x12\x0dm;\xf0\x80"),
];

/// A temporary directory with everything in it.
pub(crate) struct Tree {
    directory: launch::TempDir,
}

impl Tree {
    pub(crate) fn build(project: &Path, programs: &[Program], case_count: usize) -> Result<Self> {
        let tree = Self { directory: launch::TempDir::new()? };
        // The guest's root is a tmpfs, and file systems differ in what they allow.
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"])
            .arg(tree.path())
            .status()?;
        if !mounted.success() {
            bail!("mounting a tmpfs for the native runs: the guest tests need root");
        }
        for directory in ["bin", "dev/pts", "dev/shm", "etc", "proc", "tmp", "t/bin", "t/data"] {
            std::fs::create_dir_all(tree.path().join(directory))?;
        }
        for (from, to) in HOST_PROGRAMS {
            std::fs::copy(from, tree.path().join(to)).with_context(|| from.to_owned())?;
        }
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", tree.path().join("bin").join(applet))?;
        }
        std::os::unix::fs::symlink("/proc/self/fd", tree.path().join("dev/fd"))?;
        for program in programs {
            std::fs::copy(&program.path, tree.path().join("t/bin").join(&program.name))?;
        }
        copy(&[project.join("tests/programs")], &tree.path().join("t"), &["-R"])?;
        let mut files: Vec<PathBuf> = HOST_DIRECTORIES.iter().map(PathBuf::from).collect();
        for program in DYNAMIC_PROGRAMS {
            files.push(program.into());
            files.extend(launch::libraries_of(Path::new(program))?);
        }
        files.sort();
        files.dedup();
        copy(&files, tree.path(), &["-RL", "--parents"])?;
        std::fs::write(
            tree.path().join("etc/passwd"),
            "root:x:0:0:root:/:/bin/sh\nwhelk:x:1000:1000::/:/bin/sh\n",
        )?;
        std::fs::write(tree.path().join("etc/group"), "root:x:0:\nwhelk:x:1000:\n")?;
        let words: String = (0..2000).map(|n| format!("line {n} {}\n", n * 7919 % 1000)).collect();
        std::fs::write(tree.path().join("t/data/lines"), words)?;
        std::fs::write(
            tree.path().join("t/data/csv"),
            "name,size,kind\nwhelk,3,snail\ncrab,10,crab\nshell,0,thing\n",
        )?;
        for (name, bytes) in PACKED {
            std::fs::write(tree.path().join("t/data").join(name), bytes)?;
        }
        for (name, major, minor) in DEVICES {
            let status = Command::new("mknod")
                .arg("-m666")
                .arg(tree.path().join("dev").join(name))
                .args(["c", &major.to_string(), &minor.to_string()])
                .status()?;
            if !status.success() {
                bail!("mknod {name}: the guest tests need root");
            }
        }
        let mounted =
            Command::new("mount").args(["-t", "proc", "proc"]).arg(tree.path().join("proc")).status()?;
        if !mounted.success() {
            bail!("mounting /proc for the native runs: the guest tests need root");
        }
        let mounted = Command::new("mount")
            .args(["-t", "devpts", "-o", "gid=5,mode=620,newinstance", "devpts"])
            .arg(tree.path().join("dev/pts"))
            .status()?;
        if !mounted.success() {
            bail!("mounting /dev/pts for the native runs: the guest tests need root");
        }
        for index in 0..case_count {
            tree.reset(index)?;
        }
        Ok(tree)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn case_directory(&self, index: usize) -> PathBuf {
        self.path().join(directory_of(index).trim_start_matches('/'))
    }

    /// Gives a case's directory back as it was, empty.
    pub(crate) fn reset(&self, index: usize) -> Result<()> {
        let directory = self.case_directory(index);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir(&directory)?;
        Ok(())
    }

    /// The same tree for the guest, which has its own /dev and /proc.
    pub(crate) fn root(&self) -> Result<Root> {
        let mut root = Root::new();
        for directory in ["bin", "etc", "lib", "lib64", "t", "usr"] {
            let base = Path::new("/").join(directory);
            root.add_directory(&base, 0o755);
            let mut pending = vec![PathBuf::from(directory)];
            while let Some(inner) = pending.pop() {
                for entry in std::fs::read_dir(self.path().join(&inner))? {
                    let entry = entry?;
                    let path = inner.join(entry.file_name());
                    root.add_host_file(&path, &entry.path())?;
                    if entry.file_type()?.is_dir() {
                        pending.push(path);
                    }
                }
            }
        }
        root.add_directory(Path::new("/tmp"), 0o1777);
        Ok(root)
    }
}

fn copy(from: &[PathBuf], to: &Path, flags: &[&str]) -> Result<()> {
    let status = Command::new("cp").args(flags).args(from).arg(to).status()?;
    if !status.success() {
        bail!("copying programs into {}", to.display());
    }
    Ok(())
}

impl Drop for Tree {
    fn drop(&mut self) {
        for mounted in [self.path().join("dev/pts"), self.path().join("proc"), self.path().to_owned()] {
            let _ = Command::new("umount").arg("-l").arg(mounted).status();
        }
    }
}
