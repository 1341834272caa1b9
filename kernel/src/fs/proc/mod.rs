//! /proc (proc(5)): what there is to know about processes and the machine, as files.
//!
//! Nothing is kept: each lookup makes its entry anew, with a number that says what it is, and a file's text is written when it is read
//! from the start.

mod cpuinfo;
mod fd;
mod maps;
mod process;
mod sysctl;
mod system;
mod text;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::{Errno, OpenFlags};

use super::dentry::Dentry;
use super::file::OpenFile;
use super::hooks;
use super::inode::{Contents, Device, FileKind, Inode, InodeOps, LinkTarget, Listed, NewFile};
use super::mount::{FileSystem, PROC};
use super::path::Path;
use crate::syscall::SysError;
use crate::task::process::{all, find};
use crate::task::{Process, current};
pub use text::Text;
use text::TextFile;
pub(crate) use text::put;

/// A file's text.
type Generate = fn(&mut Text) -> Result<(), Errno>;
/// What a write to a file does.
type Store = fn(&[u8]) -> Result<(), Errno>;

/// An entry that doesn't belong to a process.
pub struct Entry {
    name: &'static str,
    mode: u32,
    what: What,
}

enum What {
    Text(Generate),
    /// Text that can be written too.
    Setting(Generate, Store),
    Directory(&'static [Entry]),
    Link(&'static str),
}

impl Entry {
    const fn text(name: &'static str, generate: Generate) -> Self {
        Self { name, mode: 0o444, what: What::Text(generate) }
    }

    const fn setting(name: &'static str, generate: Generate, store: Store) -> Self {
        Self { name, mode: 0o644, what: What::Setting(generate, store) }
    }

    const fn directory(name: &'static str, entries: &'static [Entry]) -> Self {
        Self { name, mode: 0o555, what: What::Directory(entries) }
    }

    const fn link(name: &'static str, target: &'static str) -> Self {
        Self { name, mode: 0o777, what: What::Link(target) }
    }
}

/// The root's entries apart from the processes.
static ROOT: &[Entry] = &[
    Entry::text("cmdline", system::command_line),
    Entry::text("cpuinfo", cpuinfo::write),
    Entry::text("devices", system::devices),
    Entry::text("filesystems", system::file_systems),
    Entry::text("interrupts", system::interrupts),
    Entry::text("loadavg", system::load_average),
    Entry::text("meminfo", system::memory),
    Entry::text("modules", system::nothing),
    Entry::link("mounts", "self/mounts"),
    Entry::link("net", "self/net"),
    Entry::text("partitions", system::partitions),
    Entry::text("stat", system::statistics),
    Entry::text("swaps", system::swaps),
    Entry::directory("sys", sysctl::ENTRIES),
    Entry::directory("sysvipc", system::SYSVIPC),
    Entry::text("uptime", system::uptime),
    Entry::text("version", system::version),
    Entry::text("vmstat", system::memory_statistics),
];

/// /proc/PID/net, which is the same for all.
static NET: &[Entry] = &[Entry::text("unix", crate::net::unix::write_table)];

/// What an inode of /proc stands for.
#[derive(Clone, Copy)]
enum Node {
    Root,
    Static(&'static Entry, u64),
    /// `self` and `thread-self`.
    Me,
    MyThread,
    /// A process's directory, by the number of any of its threads: the process and the thread.
    Process(u32, u32),
    /// A thread's below `task`.
    Thread(u32, u32),
    /// An entry of one, by its index in `process::ENTRIES`.
    File(u32, u32, usize),
    /// An entry of `fd` or `fdinfo`.
    Descriptor(u32, u32, fd::View, u32),
}

/// Numbers: processes have their number in the upper half.
fn number(node: &Node) -> u64 {
    const STATIC_BASE: u64 = 0xf000_0000;
    match node {
        Node::Root => 1,
        Node::Static(_, index) => STATIC_BASE + 16 + index,
        Node::Me => STATIC_BASE,
        Node::MyThread => STATIC_BASE + 1,
        Node::Process(_, tid) => u64::from(*tid) << 32 | 1,
        Node::Thread(_, tid) => u64::from(*tid) << 32,
        Node::File(_, tid, index) => u64::from(*tid) << 32 | (*index as u64 + 2),
        Node::Descriptor(_, tid, view, fd) => {
            u64::from(*tid) << 32 | 1 << 31 | (*view as u64) << 30 | u64::from(*fd)
        }
    }
}

fn kind_and_mode(node: &Node) -> (FileKind, u32) {
    match node {
        Node::Root | Node::Process(..) | Node::Thread(..) => (FileKind::Directory, 0o555),
        Node::Static(entry, _) => match entry.what {
            What::Directory(_) => (FileKind::Directory, entry.mode),
            What::Link(_) => (FileKind::Symlink, entry.mode),
            _ => (FileKind::Regular, entry.mode),
        },
        Node::Me | Node::MyThread => (FileKind::Symlink, 0o777),
        Node::File(.., index) => {
            process::ENTRIES.get(*index).map_or((FileKind::Regular, 0), process::Entry::kind_and_mode)
        }
        Node::Descriptor(pid, _, view, fd) => fd::kind_and_mode(*pid, *view, *fd),
    }
}

/// The number of the process whose directory an inode is.
pub fn process_of_directory(inode: &Inode) -> Option<u32> {
    let is_directory = core::ptr::eq(inode.fs.kind, &raw const PROC) && inode.number as u32 == 1;
    is_directory.then_some((inode.number >> 32) as u32).filter(|&pid| pid != 0)
}

/// The process of a number. ESRCH when it is gone.
fn process_of(pid: u32) -> Result<Arc<Process>, Errno> {
    find(pid).ok_or(Errno::ESRCH)
}

/// An inode of /proc.
struct ProcInode(Node);

fn make(fs: &Arc<FileSystem>, node: Node) -> Arc<Inode> {
    let (kind, mode) = kind_and_mode(&node);
    // A process's files belong to whom it belongs to.
    let owner = match node {
        Node::Process(pid, _) | Node::Thread(pid, _) | Node::File(pid, ..) | Node::Descriptor(pid, ..) => {
            find(pid)
        }
        _ => None,
    };
    // Of one that isn't dumpable, only its directories do.
    let is_open = |process: &Arc<Process>| mode == 0o555 || process.dumpable.load(Ordering::Relaxed) == 1;
    let (uid, gid) = owner.filter(is_open).map_or((0, 0), |process| {
        let cred = process.cred.lock();
        (cred.euid, cred.egid)
    });
    let new = NewFile { kind, mode, uid, gid, device: Device::default(), target: &[] };
    let inode = Inode::new(fs, number(&node), &new, Contents::other(ProcInode(node)));
    if kind == FileKind::Directory {
        inode.set_links(2);
    }
    Arc::new(inode)
}

/// Index base of a static directory's entries, so that numbers differ between directories.
fn index_of(entries: &'static [Entry], index: usize) -> u64 {
    (core::ptr::from_ref(entries).addr() as u64 & 0xff_ffff) * 64 + index as u64
}

fn parse_number(name: &[u8]) -> Option<u32> {
    // As on Linux, no leading zeros.
    if name.first() == Some(&b'0') && name.len() > 1 {
        return None;
    }
    core::str::from_utf8(name).ok()?.parse().ok().filter(|_| name.iter().all(u8::is_ascii_digit))
}

impl ProcInode {
    fn find(&self, name: &[u8]) -> Result<Node, Errno> {
        let in_static = |entries: &'static [Entry]| {
            let index = entries.iter().position(|entry| entry.name.as_bytes() == name)?;
            Some(Node::Static(entries.get(index)?, index_of(entries, index)))
        };
        match self.0 {
            Node::Root => {
                if let Some(node) = in_static(ROOT) {
                    return Ok(node);
                }
                match name {
                    b"self" => Ok(Node::Me),
                    b"thread-self" => Ok(Node::MyThread),
                    _ => {
                        let pid = parse_number(name).ok_or(Errno::ENOENT)?;
                        // Threads can be looked up, though they aren't listed.
                        let thread = crate::task::process::find_thread(pid);
                        let owner =
                            thread.map(|thread| thread.process.pid).or_else(|| find(pid).map(|p| p.pid));
                        Ok(Node::Process(owner.ok_or(Errno::ENOENT)?, pid))
                    }
                }
            }
            Node::Static(Entry { what: What::Directory(entries), .. }, _) => {
                in_static(entries).ok_or(Errno::ENOENT)
            }
            Node::Process(pid, tid) | Node::Thread(pid, tid) => {
                let is_process = matches!(self.0, Node::Process(..));
                let index = process::find_entry(name, is_process).ok_or(Errno::ENOENT)?;
                process_of(pid).map_err(|_| Errno::ENOENT)?;
                Ok(Node::File(pid, tid, index))
            }
            Node::File(pid, tid, index) => match process::ENTRIES.get(index).map(|entry| &entry.what) {
                Some(process::What::Descriptors(view)) => {
                    let fd = parse_number(name).ok_or(Errno::ENOENT)?;
                    fd::get(pid, fd).map_err(|_| Errno::ENOENT)?;
                    Ok(Node::Descriptor(pid, tid, *view, fd))
                }
                Some(process::What::Threads) => {
                    let tid = parse_number(name).ok_or(Errno::ENOENT)?;
                    let process = process_of(pid).map_err(|_| Errno::ENOENT)?;
                    let is_member = process.threads.lock().iter().any(|thread| thread.tid == tid);
                    if is_member { Ok(Node::Thread(pid, tid)) } else { Err(Errno::ENOENT) }
                }
                Some(process::What::Shared(entries)) => in_static(entries).ok_or(Errno::ENOENT),
                _ => Err(Errno::ENOENT),
            },
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// All names of a directory with what they stand for.
    /// The entries; of descriptors some from a number on.
    fn names(&self, from: usize) -> Result<Vec<(Vec<u8>, Node)>, Errno> {
        let of_static = |entries: &'static [Entry]| {
            entries.iter().enumerate().map(move |(index, entry)| {
                (entry.name.as_bytes().to_vec(), Node::Static(entry, index_of(entries, index)))
            })
        };
        Ok(match self.0 {
            Node::Root => {
                let own = [(b"self".to_vec(), Node::Me), (b"thread-self".to_vec(), Node::MyThread)];
                let processes =
                    all().map(|p| (format!("{}", p.pid).into_bytes(), Node::Process(p.pid, p.pid)));
                of_static(ROOT).chain(own).chain(processes).collect()
            }
            Node::Static(Entry { what: What::Directory(entries), .. }, _) => of_static(entries).collect(),
            Node::Process(pid, tid) | Node::Thread(pid, tid) => {
                process_of(pid).map_err(|_| Errno::ENOENT)?;
                let is_process = matches!(self.0, Node::Process(..));
                let entries = process::ENTRIES.iter().enumerate();
                let shown = entries.filter(|(_, entry)| is_process || !entry.only_process);
                shown
                    .map(|(index, entry)| (entry.name.as_bytes().to_vec(), Node::File(pid, tid, index)))
                    .collect()
            }
            Node::File(pid, tid, index) => match process::ENTRIES.get(index).map(|entry| &entry.what) {
                Some(process::What::Descriptors(view)) => {
                    let fds = fd::some(pid, from)?;
                    fds.into_iter()
                        .map(|fd| (format!("{fd}").into_bytes(), Node::Descriptor(pid, tid, *view, fd)))
                        .collect()
                }
                Some(process::What::Threads) => {
                    let process = process_of(pid)?;
                    let mut tids: Vec<u32> = process.threads.lock().iter().map(|thread| thread.tid).collect();
                    crate::sort::sort(&mut tids);
                    tids.into_iter()
                        .map(|tid| (format!("{tid}").into_bytes(), Node::Thread(pid, tid)))
                        .collect()
                }
                Some(process::What::Shared(entries)) => of_static(entries).collect(),
                _ => return Err(Errno::ENOTDIR),
            },
            _ => return Err(Errno::ENOTDIR),
        })
    }
}

impl InodeOps for ProcInode {
    fn lookup(&self, dir: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        let node = self.find(name)?;
        Ok(Dentry::transient(dir, name, make(&dir.inode.fs, node)))
    }

    fn lists_itself(&self) -> bool {
        true
    }

    fn list(&self, _: &Arc<Dentry>, from: u64, out: &mut Vec<Listed>) -> Result<(), Errno> {
        /// Positions of the entries begin behind `.` and `..`.
        const FIRST: u64 = 2;
        for (index, (name, node)) in self.names(from.saturating_sub(FIRST) as usize)?.into_iter().enumerate()
        {
            // What comes and goes meanwhile doesn't move the others: programs close descriptors as they read of them.
            let place = match (&self.0, &node) {
                (_, Node::Descriptor(.., fd)) => u64::from(*fd),
                (Node::Root, Node::Process(pid, _)) => ROOT.len() as u64 + u64::from(*pid) + 2,
                (_, Node::Thread(_, tid)) => u64::from(*tid),
                _ => index as u64,
            };
            if place + FIRST >= from {
                let (kind, _) = kind_and_mode(&node);
                out.push(Listed { name, inode: number(&node), kind, next: FIRST + place + 1 });
            }
        }
        Ok(())
    }

    fn read_link(&self, _: &Inode) -> Result<LinkTarget, Errno> {
        let text = |text: &[u8]| Ok(LinkTarget::Path(text.into()));
        match self.0 {
            Node::Me => text(format!("{}", current().process.pid).as_bytes()),
            Node::MyThread => text(format!("{}/task/{}", current().process.pid, current().tid).as_bytes()),
            Node::Static(Entry { what: What::Link(target), .. }, _) => text(target.as_bytes()),
            Node::File(pid, _, index) => match process::ENTRIES.get(index).map(|entry| &entry.what) {
                Some(process::What::Link(follow)) => {
                    let process = process_of(pid).map_err(|_| Errno::ENOENT)?;
                    hooks::may_look_into(&process)?;
                    follow(&process)
                }
                _ => Err(Errno::EINVAL),
            },
            Node::Descriptor(pid, _, fd::View::Links, fd) => {
                hooks::may_look_into(&*process_of(pid)?)?;
                Ok(LinkTarget::Jump(fd::get(pid, fd)?.path.clone()))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn truncate(&self, _: &Inode, _: u64) -> Result<(), Errno> {
        // Some truncate before they write, as if a value were a file's end.
        Ok(())
    }

    fn open(&self, path: &Path, flags: OpenFlags) -> Result<Option<Arc<OpenFile>>, SysError> {
        if let Node::File(pid, _, index) = self.0
            && process::ENTRIES.get(index).is_some_and(process::Entry::shows_memory)
        {
            hooks::may_look_into(&*process_of(pid)?)?;
        }
        Ok(match self.0 {
            Node::Static(Entry { what: What::Text(_) | What::Setting(..), .. }, _)
            | Node::File(..)
            | Node::Descriptor(_, _, fd::View::Infos, _)
                if path.dentry.kind == FileKind::Regular =>
            {
                Some(TextFile::open(self.0, path.clone(), flags))
            }
            _ => None,
        })
    }
}

impl Node {
    /// The file's text as it is now.
    fn write_text(&self, text: &mut Text) -> Result<(), Errno> {
        match *self {
            Self::Static(Entry { what: What::Text(generate) | What::Setting(generate, _), .. }, _) => {
                generate(text)
            }
            Self::File(pid, tid, index) => match process::ENTRIES.get(index).map(|entry| &entry.what) {
                Some(process::What::Text(generate)) => generate(&*process_of(pid)?, tid, text),
                Some(process::What::Setting(generate, _)) => generate(&*process_of(pid)?, tid, text),
                _ => Err(Errno::EINVAL),
            },
            Self::Descriptor(pid, _, _, fd) => fd::write_info(pid, fd, text),
            _ => Err(Errno::EINVAL),
        }
    }

    /// What a write of these bytes does. EIO for what can only be read.
    fn store(&self, bytes: &[u8]) -> Result<(), Errno> {
        match *self {
            Self::Static(Entry { what: What::Setting(_, store), .. }, _) => store(bytes),
            Self::File(pid, _, index) => match process::ENTRIES.get(index).map(|entry| &entry.what) {
                Some(process::What::Setting(_, store)) => store(&*process_of(pid)?, bytes),
                _ => Err(Errno::EIO),
            },
            _ => Err(Errno::EIO),
        }
    }
}

/// A new /proc.
pub fn new() -> (Arc<FileSystem>, Arc<Dentry>) {
    let fs = FileSystem::new(&PROC);
    let root = Dentry::root(make(&fs, Node::Root));
    (fs, root)
}
