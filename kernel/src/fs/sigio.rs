//! Signals about input and output (fcntl(2), "Managing signals"): who gets them, and the watch that sends them while O_ASYNC is on.
//!
//! The watch is an entry in the file's poll heads, as an epoll instance would have: files without one pay nothing. A writer of a pipe hears when
//! a full pipe has room again, where Linux tells it of every read; room in a socket's buffer is not told of.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::{Errno, OpenFlags, Signal};
use sigstate::Info;

use super::epoll::Item;
use super::file::{Mode, OpenFile};
use super::inode::FileKind;
use super::poll::{Events, Poller};
use crate::sync::SpinLock;
use crate::task::{current, process, signal};

/// `F_OWNER_*`
pub mod owner_kind {
    pub const THREAD: u32 = 0;
    pub const PROCESS: u32 = 1;
    pub const GROUP: u32 = 2;
}

/// F_SETOWN and F_SETSIG.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalOwner {
    /// As F_GETOWN: a process, or a group if negative; 0 for nobody.
    pub id: i32,
    /// One of [`owner_kind`].
    pub kind: u32,
    /// 0 for SIGIO without any information.
    pub signal: u32,
    /// Real and effective user of whoever set the owner.
    uid: u32,
    euid: u32,
}

/// What an open file has of this, once somebody asked for it.
pub struct Signals {
    owner: SpinLock<SignalOwner>,
    watch: SpinLock<Option<Arc<Item>>>,
    is_on: AtomicBool,
    kind: FileKind,
    mode: Mode,
}

/// Reasons, as `si_code` has them, and what poll(2) would report.
const POLL_IN: (i32, u64) = (1, 0x41);
const POLL_OUT: (i32, u64) = (2, 0x304);
const POLL_HUP: (i32, u64) = (6, 0x18);

impl Signals {
    pub fn new(file: &OpenFile) -> Arc<Self> {
        Arc::new(Self {
            owner: SpinLock::default(),
            watch: SpinLock::new(None),
            is_on: AtomicBool::new(false),
            kind: file.inode().kind,
            mode: file.mode,
        })
    }

    pub fn owner(&self) -> SignalOwner {
        *self.owner.lock()
    }

    /// F_SETOWN and F_SETOWN_EX, by the running process. ESRCH if there is nobody of that number.
    pub fn set_owner(&self, id: i32, kind: u32) -> Result<(), Errno> {
        let number = id.unsigned_abs();
        let is_group = |group: u32| process::all().any(|p| p.group.load(Ordering::Relaxed) == group);
        if id != 0
            && process::find(number).is_none()
            && process::find_thread(number).is_none()
            && !is_group(number)
        {
            return Err(Errno::ESRCH);
        }
        let cred = current().process.cred.lock();
        let mut owner = self.owner.lock();
        *owner = SignalOwner { id, kind, uid: cred.uid, euid: cred.euid, ..*owner };
        Ok(())
    }

    /// F_SETSIG.
    pub fn set_signal(&self, signal: u32) {
        self.owner.lock().signal = signal;
    }

    /// Something happened to the file that `fd` was the descriptor of. All events together: an end came or went.
    pub fn happened(&self, fd: i32, events: Events) {
        if !self.is_on.load(Ordering::Acquire) {
            return;
        }
        let is_socket = self.kind == FileKind::Socket;
        let why = match events {
            _ if events == Events::all() && is_socket => POLL_HUP,
            _ if events == Events::all() && !self.mode.contains(Mode::READ) => POLL_OUT,
            _ if events.intersects(Events::IN) => POLL_IN,
            _ if is_socket => return,
            _ => POLL_OUT,
        };
        let owner = self.owner();
        let sigio = Info::kernel(Signal::SIGIO);
        match Signal::new(owner.signal) {
            None => owner.send(sigio),
            Some(signal) => owner.send(Info::poll(signal, why.0, why.1, fd)),
        }
    }
}

impl SignalOwner {
    /// To everybody who is meant, as far as whoever set the owner may signal them. Who has no room for it gets SIGIO instead.
    fn send(&self, info: Info) {
        let number = self.id.unsigned_abs();
        let may = |process: &process::Process| {
            let cred = process.cred.lock();
            let theirs = [cred.uid, cred.suid];
            self.euid == 0 || theirs.contains(&self.uid) || theirs.contains(&self.euid)
        };
        if number == 0 {
            return;
        }
        if self.kind == owner_kind::THREAD {
            if let Some(thread) = process::find_thread(number).filter(|thread| may(&thread.process))
                && signal::send_to_thread(&thread, info).is_err()
            {
                let _ = signal::send_to_thread(&thread, Info::kernel(Signal::SIGIO));
            }
            return;
        }
        let is_meant = |process: &process::Process| match self.kind {
            owner_kind::GROUP => process.group.load(Ordering::Relaxed) == number,
            _ => process.pid == number,
        };
        for process in process::all().filter(|process| is_meant(process) && may(process)) {
            if signal::send_to_process(&process, info).is_err() {
                let _ = signal::send_to_process(&process, Info::kernel(Signal::SIGIO));
            }
        }
    }
}

/// F_SETFL and FIOASYNC: turns O_ASYNC on or off, where the kind of file knows it. Whether it does.
pub fn switch(fd: i32, file: &Arc<OpenFile>, on: bool) -> Result<bool, Errno> {
    if !file.ops.can_signal() {
        return Ok(false);
    }
    let is_on = file.flags().contains(OpenFlags::ASYNC);
    if on == is_on {
        return Ok(true);
    }
    let signals = file.signals();
    if on && file.inode().kind == FileKind::CharDevice && signals.owner().id == 0 {
        // A terminal's owner is its foreground group, unless somebody else was named.
        let group = super::tty::console().foreground();
        let id =
            if group != 0 { group.cast_signed().wrapping_neg() } else { current().process.pid.cast_signed() };
        signals.set_owner(id, if group != 0 { owner_kind::GROUP } else { owner_kind::PROCESS })?;
    }
    signals.is_on.store(on, Ordering::Release);
    file.set_async(on);
    let watch = on.then(|| Item::of_signals(fd, file, Arc::downgrade(&signals)));
    let old = core::mem::replace(&mut *signals.watch.lock(), watch.clone());
    drop(old);
    if let Some(watch) = watch {
        file.ops.poll(file, Poller::Watch(&watch));
    }
    Ok(true)
}
