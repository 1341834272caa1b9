//! POSIX message queues (mq_overview(7)): files of a file system of their own, which `mount -t mqueue` shows.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use abi::ipc::MqAttr;
use abi::{Errno, OpenFlags, SigInfo, Signal};
use caps::cap;
use ipc::mq::Queue;
use sigstate::Info;
use spin::Once;

use super::anon;
use super::dentry::Dentry;
use super::file::{FileOps, Mode, OpenFile};
use super::inode::{Contents, FileKind, Inode, InodeOps, NewFile};
use super::mount::{FileSystem, MQUEUE, Mount};
use super::names::{self, Node};
use super::path::Path;
use super::perm::{self, Want};
use super::poll::{Events, PollHead, Poller};
use crate::mm::Sink;
use crate::sync::SpinLock;
use crate::syscall::SysResult;
use crate::task::process::has_capability;
use crate::task::process::rlimit;
use crate::task::{current, process, signal};

/// The limits of /proc/sys/fs/mqueue.
pub mod limit {
    use super::AtomicU64;
    pub static MSG_DEFAULT: AtomicU64 = AtomicU64::new(10);
    pub static MSG_MAX: AtomicU64 = AtomicU64::new(10);
    pub static MSGSIZE_DEFAULT: AtomicU64 = AtomicU64::new(8192);
    pub static MSGSIZE_MAX: AtomicU64 = AtomicU64::new(8192);
    pub static QUEUES_MAX: AtomicU64 = AtomicU64::new(256);
}

/// What root may have at most.
const HARD_MSGMAX: u64 = 65_536;
const HARD_MSGSIZEMAX: u64 = 16 << 20;
/// What a message costs besides its text, as RLIMIT_MSGQUEUE counts it: `struct msg_msg` and a node of Linux's tree.
const OVERHEAD: u64 = 96;

/// Queues, and the bytes that they may come to hold.
static QUEUES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Registered notifications: closing a descriptor asks only if there are any.
static NOTIFICATIONS: AtomicUsize = AtomicUsize::new(0);

/// Whom to tell of a message in an empty queue (mq_notify(3)).
#[derive(Clone, Copy, Debug)]
pub struct Notify {
    pub process: u32,
    /// `None`: nobody is told, but nobody else can register either (SIGEV_NONE).
    pub signal: Option<Signal>,
    pub value: u64,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Receivers that wait: who sends to them tells nobody else.
    waiting: usize,
    notify: Option<Notify>,
}

/// A queue.
pub struct MessageQueue {
    /// Most messages, and their longest.
    max_messages: u64,
    max_len: u64,
    state: SpinLock<State>,
    readable: PollHead,
    writable: PollHead,
}

impl MessageQueue {
    fn cost(&self) -> u64 {
        self.max_messages.saturating_mul(self.max_len.saturating_add(OVERHEAD))
    }

    /// Takes the registration away, if it is the process's.
    fn unregister(&self, pid: u32) {
        let mut state = self.state.lock();
        if state.notify.is_some_and(|notify| notify.process == pid) {
            state.notify = None;
            NOTIFICATIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// mq_notify(3). EBUSY.
    pub fn register(&self, notify: Option<Notify>) -> Result<(), Errno> {
        let Some(notify) = notify else {
            self.unregister(current().process.pid);
            return Ok(());
        };
        let mut state = self.state.lock();
        if state.notify.is_some() {
            return Err(Errno::EBUSY);
        }
        state.notify = Some(notify);
        NOTIFICATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub fn attributes(&self) -> MqAttr {
        MqAttr {
            maxmsg: self.max_messages as i64,
            msgsize: self.max_len as i64,
            curmsgs: self.state.lock().queue.len() as i64,
            ..MqAttr::default()
        }
    }

    /// Longest message.
    pub fn max_len(&self) -> u64 {
        self.max_len
    }

    /// mq_send(3), its arguments checked. EAGAIN, ETIMEDOUT, ENOMEM, interrupted.
    pub fn send(&self, file: &OpenFile, priority: u32, message: Vec<u8>, deadline: Option<u64>) -> SysResult {
        let mut message = Some(message);
        let mut attempt = || {
            let mut state = self.state.lock();
            if state.queue.len() as u64 >= self.max_messages {
                return None;
            }
            let is_first = state.queue.is_empty() && state.waiting == 0;
            let pushed = state.queue.push(priority, message.take()?);
            let told = state.notify.take_if(|_| is_first && pushed.is_ok());
            Some(pushed.map(|()| told))
        };
        let told = match attempt() {
            Some(result) => result,
            None if file.is_nonblocking() => return Err(Errno::EAGAIN.into()),
            None => self.writable.wait(deadline, attempt)?,
        }
        .map_err(|_| Errno::ENOMEM)?;
        self.readable.notify();
        if let Some(notify) = told {
            NOTIFICATIONS.fetch_sub(1, Ordering::Relaxed);
            tell(notify);
        }
        Ok(0)
    }

    /// mq_receive(3): the message and its priority. EAGAIN, ETIMEDOUT, interrupted.
    pub fn receive(
        &self,
        file: &OpenFile,
        deadline: Option<u64>,
    ) -> Result<(u32, Vec<u8>), crate::syscall::SysError> {
        let first = {
            let mut state = self.state.lock();
            let first = state.queue.pop();
            if first.is_none() {
                if file.is_nonblocking() {
                    return Err(Errno::EAGAIN.into());
                }
                state.waiting += 1;
            }
            first
        };
        let message = match first {
            Some(message) => message,
            None => {
                let result = self.readable.wait(deadline, || self.state.lock().queue.pop());
                self.state.lock().waiting -= 1;
                result?
            }
        };
        self.writable.notify();
        Ok(message)
    }
}

/// Tells a process of a message that came.
fn tell(notify: Notify) {
    let (Some(signal), Some(target)) = (notify.signal, process::find(notify.process)) else { return };
    let me = &current().process;
    let uid = me.cred.lock().uid;
    let mut info = Info::user(signal, SigInfo::SI_MESGQ, me.pid, uid);
    info.fields[1] = notify.value;
    // A full queue of signals loses it, as on Linux.
    let _ = signal::send_to_process(&target, info);
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        QUEUES.fetch_sub(1, Ordering::Relaxed);
        BYTES.fetch_sub(self.cost(), Ordering::Relaxed);
        if self.state.get_mut().notify.is_some() {
            NOTIFICATIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A process closed a descriptor: a queue's registration goes with any of them.
#[inline(always)]
pub fn note_closed(file: &OpenFile) {
    if NOTIFICATIONS.load(Ordering::Relaxed) > 0
        && let Some(queue) = of(file)
    {
        queue.unregister(current().process.pid);
    }
}

/// The queue of an open file.
pub fn of(file: &OpenFile) -> Option<&Arc<MessageQueue>> {
    file.ops.as_any().downcast_ref::<QueueFile>().map(|file| &file.0)
}

struct QueueFile(Arc<MessageQueue>);

impl FileOps for QueueFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let (bytes, notify) = {
            let state = self.0.state.lock();
            (state.queue.bytes(), state.notify)
        };
        let (kind, number, pid) = match notify {
            None => (0, 0, 0),
            Some(Notify { signal: None, process, .. }) => (1, 0, process),
            Some(Notify { signal: Some(signal), process, .. }) => (0, signal.number(), process),
        };
        let text =
            alloc::format!("QSIZE:{bytes:<10} NOTIFY:{kind:<5} SIGNO:{number:<5} NOTIFY_PID:{pid:<6}\n");
        let rest = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
        if rest.is_empty() {
            return Ok(0);
        }
        let done = dst.write(rest)?;
        *at += done as u64;
        Ok(done)
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.0.readable.add(poller);
        self.0.writable.add(poller);
        let count = self.0.state.lock().queue.len() as u64;
        let mut events = Events::empty();
        events.set(Events::READABLE, count > 0);
        events.set(Events::WRITABLE, count < self.0.max_messages);
        events
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn can_splice(&self) -> bool {
        false
    }
}

struct QueueInode(Arc<MessageQueue>);

impl InodeOps for QueueInode {
    fn open(&self, path: &Path, flags: OpenFlags) -> Result<Option<Arc<OpenFile>>, crate::syscall::SysError> {
        let mode = Mode::from_flags(flags);
        if mode.contains(Mode::WRITE) {
            path.inode().begin_write()?;
        }
        let file = QueueFile(self.0.clone());
        Ok(Some(Arc::new(OpenFile::new(path.clone(), flags, mode | Mode::SEEK | Mode::OFFSET, file))))
    }
}

struct Root;

impl InodeOps for Root {
    fn is_memory_directory(&self) -> bool {
        true
    }

    fn create(&self, dir: &Inode, new: &NewFile<'_>) -> Result<Arc<Inode>, Errno> {
        if new.kind != FileKind::Regular {
            return Err(Errno::EPERM);
        }
        make(
            &dir.fs,
            new,
            limit::MSG_DEFAULT.load(Ordering::Relaxed),
            limit::MSGSIZE_DEFAULT.load(Ordering::Relaxed),
        )
    }
}

/// A new queue. EINVAL for attributes beyond what the caller may have, ENOSPC, EMFILE beyond RLIMIT_MSGQUEUE.
fn make(fs: &Arc<FileSystem>, new: &NewFile<'_>, messages: u64, len: u64) -> Result<Arc<Inode>, Errno> {
    /// Size of a queue's file (FILENT_SIZE).
    const SIZE: u64 = 80;
    let is_root = has_capability(cap::SYS_RESOURCE);
    let most = |soft: &AtomicU64, hard| if is_root { hard } else { soft.load(Ordering::Relaxed) };
    if QUEUES.load(Ordering::Relaxed) >= most(&limit::QUEUES_MAX, u64::MAX) {
        return Err(Errno::ENOSPC);
    }
    if messages > most(&limit::MSG_MAX, HARD_MSGMAX) || len > most(&limit::MSGSIZE_MAX, HARD_MSGSIZEMAX) {
        return Err(Errno::EINVAL);
    }
    QUEUES.fetch_add(1, Ordering::Relaxed);
    let queue = MessageQueue {
        max_messages: messages,
        max_len: len,
        state: SpinLock::default(),
        readable: PollHead::new(),
        writable: PollHead::new(),
    };
    let all = BYTES.fetch_add(queue.cost(), Ordering::Relaxed).saturating_add(queue.cost());
    if all > current().process.limit(rlimit::MSGQUEUE) {
        return Err(Errno::EMFILE);
    }
    let inode = Inode::new(fs, fs.next_inode(), new, Contents::other(QueueInode(Arc::new(queue))));
    inode.set_size(SIZE);
    Ok(Arc::new(inode))
}

/// Where all queues are.
pub fn root() -> Path {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    let mount = MOUNT.call_once(|| {
        let fs = FileSystem::new(&MQUEUE);
        let new = NewFile { uid: 0, gid: 0, ..anon::attributes(FileKind::Directory, 0o1777) };
        let inode = Inode::new(&fs, fs.next_inode(), &new, Contents::other(Root));
        inode.set_links(2);
        Mount::internal(&fs, Arc::new(inode))
    });
    mount.root_path()
}

fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        _ if name.contains(&b'/') => Err(Errno::EACCES),
        _ if name.len() > namei::NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// mq_open(3): `attributes` for a new queue, if they aren't the usual ones. EACCES, EEXIST, EINVAL, ENOENT, ENOSPC, EMFILE.
pub fn open(
    name: &[u8],
    flags: OpenFlags,
    mode: u32,
    attributes: Option<MqAttr>,
) -> Result<Arc<OpenFile>, crate::syscall::SysError> {
    check_name(name)?;
    let root = root();
    let directory = root.inode();
    let access = Mode::from_flags(flags);
    let dentry = {
        let _guard = directory.lock.lock();
        match root.dentry.child(name) {
            Some(_) if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) => return Err(Errno::EEXIST.into()),
            Some(_) if access.is_empty() => return Err(Errno::EINVAL.into()),
            Some(dentry) => {
                let mut want = Want::empty();
                want.set(Want::READ, access.contains(Mode::READ));
                want.set(Want::WRITE, access.contains(Mode::WRITE));
                perm::check(&dentry.inode, want)?;
                dentry
            }
            None if !flags.contains(OpenFlags::CREAT) => return Err(Errno::ENOENT.into()),
            None => create(&root, name, mode, attributes)?,
        }
    };
    let path = Path { mount: root.mount.clone(), dentry };
    let file = path.inode().ops().open(&path, flags)?;
    Ok(file.ok_or(Errno::EINVAL)?)
}

/// A new entry, the directory's lock being held.
fn create(root: &Path, name: &[u8], mode: u32, attributes: Option<MqAttr>) -> Result<Arc<Dentry>, Errno> {
    let Some(attributes) = attributes else {
        return names::create_locked(root, name, &Node::plain(FileKind::Regular, mode));
    };
    let positive = |value: i64| u64::try_from(value).ok().filter(|&value| value > 0).ok_or(Errno::EINVAL);
    let (messages, len) = (positive(attributes.maxmsg)?, positive(attributes.msgsize)?);
    let directory = root.inode();
    perm::check(directory, Want::WRITE | Want::SEARCH)?;
    let (uid, gid) = perm::owner_of_new(directory);
    let new = NewFile { uid, gid, ..anon::attributes(FileKind::Regular, mode & 0o7777 & !names::umask()) };
    names::enter(&root.dentry, name, make(&directory.fs, &new, messages, len)?)
}

/// mq_unlink(3). ENOENT, EACCES, EPERM.
pub fn unlink(name: &[u8]) -> Result<(), Errno> {
    check_name(name)?;
    names::unlink_in(&root(), name)
}
