//! Message queues: what a queue holds and hands out is the `ipc` crate's; here are identifiers, permissions, sleepers.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::ipc::{MsgDs, MsgInfo};
use caps::cap;
use ipc::msg::{Message, Queue, Select};

use super::sem::Info;
use super::{
    Object, Perm, READ, Registry, Stat, WRITE, flag, limit, limit_of, now, octal, perm_of, write_row,
};
use crate::fs;
use crate::sync::SpinLock;
use crate::syscall::{Restart, SysError};
use crate::task::process::has_capability;
use crate::task::{WaitError, WaitQueue, current};

struct State {
    perm: Perm,
    queue: Queue,
    /// Most bytes, and most messages.
    limit: u64,
    last_sender: u32,
    last_receiver: u32,
    sent: i64,
    received: i64,
    changed: i64,
}

/// A queue.
pub struct Messages {
    state: SpinLock<State>,
    senders: WaitQueue,
    receivers: WaitQueue,
}

impl Object for Messages {
    fn with_perm(&self, act: &mut dyn FnMut(&mut Perm)) {
        act(&mut self.state.lock().perm);
    }
}

static QUEUES: Registry = Registry::new();
/// Messages and their bytes in all queues.
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// So many messages, with so many bytes, more or less.
fn account(count: isize, bytes: isize) {
    // The sums wrap, as two's complement does.
    COUNT.fetch_add(count as u64, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

impl Drop for Messages {
    fn drop(&mut self) {
        let queue = &self.state.get_mut().queue;
        account(-(queue.len() as isize), -(queue.bytes() as isize));
    }
}

fn find(id: i32) -> Result<Arc<Messages>, Errno> {
    QUEUES.find(id)
}

/// msgget(2).
pub fn get(key: i32, flags: u32) -> Result<i32, Errno> {
    let mut make = |perm| {
        let state = State {
            perm,
            queue: Queue::new(),
            limit: limit_of(&limit::MSGMNB),
            last_sender: 0,
            last_receiver: 0,
            sent: 0,
            received: 0,
            changed: now(),
        };
        let messages: Arc<dyn Object> = Arc::new(Messages {
            state: SpinLock::new(state),
            senders: WaitQueue::new(),
            receivers: WaitQueue::new(),
        });
        Ok(messages)
    };
    QUEUES.get(key, flags, limit_of(&limit::MSGMNI), &|_| Ok(()), &mut make)
}

/// Longest message.
pub fn max_len() -> u64 {
    limit_of(&limit::MSGMAX)
}

/// An interrupted call is never restarted when a handler runs.
fn interrupted(_: WaitError) -> SysError {
    SysError::restart(Restart::NoHandler)
}

/// msgsnd(2), its arguments read. EINVAL, EIDRM, EACCES, EAGAIN, ENOMEM, interrupted.
pub fn send(id: i32, message: Message, flags: u32) -> Result<(), SysError> {
    let messages = find(id)?;
    let mut message = Some(message);
    let mut attempt = || {
        let mut state = messages.state.lock();
        if let Err(error) = state.perm.check(WRITE) {
            return Some(Err(error));
        }
        if state.perm.is_removed {
            return Some(Err(Errno::EIDRM));
        }
        let len = message.as_ref().map_or(0, |message| message.data.len());
        if !state.queue.fits(len, state.limit) {
            return (flags & flag::NOWAIT != 0).then_some(Err(Errno::EAGAIN));
        }
        if state.queue.push(message.take()?).is_err() {
            return Some(Err(Errno::ENOMEM));
        }
        account(1, len as isize);
        state.last_sender = current().process.pid;
        state.sent = now();
        Some(Ok(()))
    };
    let result = match attempt() {
        Some(result) => result,
        None => messages.senders.wait(None, attempt).map_err(interrupted)?,
    };
    result?;
    messages.receivers.wake_all();
    Ok(())
}

const NOERROR: u32 = 0o1_0000;
const EXCEPT: u32 = 0o2_0000;
const COPY: u32 = 0o4_0000;

/// msgrcv(2): the message, of which the caller gets at most `room` bytes. EINVAL, EIDRM, EACCES, E2BIG, ENOMSG, interrupted.
pub fn receive(id: i32, room: usize, kind: i64, flags: u32) -> Result<Message, SysError> {
    if id < 0 || isize::try_from(room).is_err() {
        return Err(Errno::EINVAL.into());
    }
    let is_copy = flags & COPY != 0;
    if is_copy && (flags & EXCEPT != 0 || flags & flag::NOWAIT == 0) {
        return Err(Errno::EINVAL.into());
    }
    let select = if is_copy { Select::Position(kind) } else { Select::new(kind, flags & EXCEPT != 0) };
    let messages = find(id)?;
    let attempt = || {
        let mut state = messages.state.lock();
        if let Err(error) = state.perm.check(READ) {
            return Some(Err(error));
        }
        if state.perm.is_removed {
            return Some(Err(Errno::EIDRM));
        }
        let Some(at) = state.queue.find(select) else {
            return (flags & flag::NOWAIT != 0).then_some(Err(Errno::ENOMSG));
        };
        let len = state.queue.get(at).map_or(0, |message| message.data.len());
        if len > room && flags & NOERROR == 0 {
            return Some(Err(Errno::E2BIG));
        }
        if is_copy {
            // Copies are not cut off.
            if len > room {
                return Some(Err(Errno::EINVAL));
            }
            let copy = state.queue.get(at)?.try_clone();
            return Some(copy.map_err(|_| Errno::ENOMEM));
        }
        state.last_receiver = current().process.pid;
        state.received = now();
        state.queue.remove(at).map(Ok)
    };
    let message = match attempt() {
        Some(result) => result,
        None => messages.receivers.wait(None, attempt).map_err(interrupted)?,
    }?;
    if !is_copy {
        account(-1, -(message.data.len() as isize));
        messages.senders.wake_all();
    }
    Ok(message)
}

/// IPC_RMID: all who wait are told.
pub fn remove(id: i32) -> Result<(), Errno> {
    let messages = find(id)?;
    perm_of(&*messages).check_owner()?;
    QUEUES.remove(&*messages);
    messages.senders.wake_all();
    messages.receivers.wake_all();
    Ok(())
}

/// IPC_SET. EPERM also for more bytes than msgmnb, from all but root.
pub fn set(id: i32, new: &MsgDs) -> Result<(), Errno> {
    let messages = find(id)?;
    {
        let mut state = messages.state.lock();
        state.perm.check_owner()?;
        let is_root = has_capability(cap::SYS_RESOURCE);
        if new.qbytes > limit_of(&limit::MSGMNB) && !is_root {
            return Err(Errno::EPERM);
        }
        state.perm.set(&new.perm)?;
        state.limit = new.qbytes;
        state.changed = now();
    }
    // Others may have got permission, or room.
    messages.senders.wake_all();
    messages.receivers.wake_all();
    Ok(())
}

/// IPC_STAT and its relatives. The number is what the call returns.
pub fn stat(id: i32, how: Stat) -> Result<(MsgDs, i32), Errno> {
    let (number, messages): (_, Arc<Messages>) = QUEUES.find_as(id, how)?;
    let state = messages.state.lock();
    if how != Stat::Anyhow {
        state.perm.check(READ)?;
    }
    let ds = MsgDs {
        perm: state.perm.to_abi(),
        stime: state.sent,
        rtime: state.received,
        ctime: state.changed,
        cbytes: state.queue.bytes() as u64,
        qnum: state.queue.len() as u64,
        qbytes: state.limit,
        lspid: state.last_sender.cast_signed(),
        lrpid: state.last_receiver.cast_signed(),
        ..MsgDs::default()
    };
    Ok((ds, number))
}

/// IPC_INFO and MSG_INFO, and the highest index.
pub fn info(what: Info) -> (MsgInfo, usize) {
    let [max, bytes, queues] =
        [&limit::MSGMAX, &limit::MSGMNB, &limit::MSGMNI].map(|limit| limit_of(limit) as i32);
    let (used, highest) = QUEUES.usage();
    let (msgpool, msgmap, msgtql) = match what {
        Info::Limits => (queues.saturating_mul(bytes / 1024), bytes, bytes),
        Info::Usage => {
            (used as i32, COUNT.load(Ordering::Relaxed) as i32, BYTES.load(Ordering::Relaxed) as i32)
        }
    };
    let info = MsgInfo {
        msgpool,
        msgmap,
        msgmax: max,
        msgmnb: bytes,
        msgmni: queues,
        msgssz: 16,
        msgtql,
        msgseg: u16::MAX,
        pad: 0,
    };
    (info, highest)
}

/// /proc/sysvipc/msg
pub fn write_table(text: &mut fs::proc::Text) {
    text.bytes(
        b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
    );
    QUEUES.for_all(|messages: &Messages| {
        let state = messages.state.lock();
        let perm = &state.perm;
        let row = [
            (perm.key.into(), 10),
            (perm.id.into(), 10),
            (octal(perm.mode), 5),
            (state.queue.bytes() as i64, 11),
            (state.queue.len() as i64, 10),
            (state.last_sender.into(), 5),
            (state.last_receiver.into(), 5),
            (perm.uid.into(), 5),
            (perm.gid.into(), 5),
            (perm.cuid.into(), 5),
            (perm.cgid.into(), 5),
            (state.sent, 10),
            (state.received, 10),
            (state.changed, 10),
        ];
        write_row(text, &row);
    });
}
