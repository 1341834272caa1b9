//! What control messages send: files (SCM_RIGHTS) and credentials (SCM_CREDENTIALS).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use caps::cap;
use sockmsg::control::{MAX_RIGHTS, Messages, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};

use super::cycles;
use crate::fs::{self, OpenFile};
use crate::net::Credentials;
use crate::sync::SpinLock;
use crate::syscall::Fd;
use crate::task::process::{self, rlimit};
use crate::task::{Cred, current};

/// Files on their way, by the user who sent them.
static IN_FLIGHT: SpinLock<Vec<(u32, usize)>> = SpinLock::new(Vec::new());

/// Files on their way.
pub struct Rights {
    files: Vec<Arc<OpenFile>>,
    uid: u32,
}

impl Rights {
    /// ETOOMANYREFS if the user has more on their way than RLIMIT_NOFILE, unless privileged.
    fn new(files: Vec<Arc<OpenFile>>) -> Result<Box<Self>, Errno> {
        let process = &current().process;
        let (uid, is_privileged) = {
            let cred = process.cred.lock();
            (cred.uid, cred.has(cap::SYS_RESOURCE) || cred.has(cap::SYS_ADMIN))
        };
        let limit = usize::try_from(process.limit(rlimit::NOFILE)).unwrap_or(usize::MAX);
        cycles::departed(&files)?;
        let mut users = IN_FLIGHT.lock();
        match users.iter_mut().find(|user| user.0 == uid) {
            Some(user) if user.1 > limit && !is_privileged => {
                drop(users);
                cycles::arrived(&files);
                return Err(Errno::ETOOMANYREFS);
            }
            Some(user) => user.1 += files.len(),
            None => users.push((uid, files.len())),
        }
        Ok(Box::new(Self { files, uid }))
    }

    /// The files themselves.
    pub fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }

    /// References to the files, which stay (MSG_PEEK).
    pub fn share(&self) -> Vec<Arc<OpenFile>> {
        self.files.clone()
    }

    /// The files have arrived.
    pub fn take(mut self) -> Vec<Arc<OpenFile>> {
        self.arrive()
    }

    /// They are on their way no more.
    fn arrive(&mut self) -> Vec<Arc<OpenFile>> {
        let files = core::mem::take(&mut self.files);
        cycles::arrived(&files);
        let mut users = IN_FLIGHT.lock();
        if let Some(at) = users.iter().position(|user| user.0 == self.uid)
            && let Some(user) = users.get_mut(at)
        {
            user.1 = user.1.saturating_sub(files.len());
            if user.1 == 0 {
                users.swap_remove(at);
            }
        }
        files
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            bury(self.arrive());
        }
    }
}

struct Graves {
    files: Vec<Arc<OpenFile>>,
    is_digging: bool,
}

static GRAVES: SpinLock<Graves> = SpinLock::new(Graves { files: Vec::new(), is_digging: false });

/// Whether files are being let go of. Whoever does that looks for cycles at the end, not after each.
pub fn is_burying() -> bool {
    GRAVES.lock().is_digging
}

/// Lets go of files that nobody received. One that is a socket may hold messages with files in turn: they are dropped one after the other,
/// not one inside the other, which would need a stack as deep as the chain.
fn bury(files: Vec<Arc<OpenFile>>) {
    {
        let mut graves = GRAVES.lock();
        graves.files.extend(files);
        if graves.is_digging {
            return;
        }
        graves.is_digging = true;
    }
    loop {
        let file = {
            let mut graves = GRAVES.lock();
            let file = graves.files.pop();
            graves.is_digging = file.is_some();
            file
        };
        let Some(file) = file else { break };
        drop(file);
    }
    cycles::collect();
}

/// What a program's control messages say.
#[derive(Default)]
pub struct Passed {
    pub credentials: Option<Credentials>,
    pub rights: Option<Box<Rights>>,
    files: Vec<Arc<OpenFile>>,
}

fn word(data: &[u8], index: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(index * 4..)?.first_chunk()?))
}

/// Whether the process may call itself that. EPERM, EINVAL.
fn check(claim: &Credentials, cred: &Cred, pid: u32) -> Result<(), Errno> {
    if claim.uid == u32::MAX || claim.gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    let may = (claim.pid == pid || cred.has(cap::SYS_ADMIN))
        && ([cred.uid, cred.euid, cred.suid].contains(&claim.uid) || cred.has(cap::SETUID))
        && ([cred.gid, cred.egid, cred.sgid].contains(&claim.gid) || cred.has(cap::SETGID));
    if may { Ok(()) } else { Err(Errno::EPERM) }
}

impl Passed {
    /// Reads control messages. EINVAL, EBADF, EPERM, ESRCH.
    pub fn read(control: &[u8]) -> Result<Self, Errno> {
        let mut passed = Self::default();
        for message in Messages::new(control) {
            let message = message.map_err(|_| Errno::EINVAL)?;
            match (message.level, message.kind) {
                (SOL_SOCKET, SCM_RIGHTS) => passed.add_rights(message.data)?,
                (SOL_SOCKET, SCM_CREDENTIALS) => passed.credentials = Some(credentials(message.data)?),
                (SOL_SOCKET, _) => return Err(Errno::EINVAL),
                _ => {}
            }
        }
        Ok(passed)
    }

    fn add_rights(&mut self, data: &[u8]) -> Result<(), Errno> {
        let count = data.len() / 4;
        if count > MAX_RIGHTS || self.files.len() + count > MAX_RIGHTS {
            return Err(Errno::EINVAL);
        }
        self.files.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
        let table = fs::files();
        for fd in (0..count).filter_map(|index| word(data, index)) {
            self.files.push(table.get_any(Fd(fd.cast_signed()))?);
        }
        Ok(())
    }

    /// The files go on their way. ETOOMANYREFS.
    pub fn depart(&mut self) -> Result<(), Errno> {
        if !self.files.is_empty() {
            self.rights = Some(Rights::new(core::mem::take(&mut self.files))?);
        }
        Ok(())
    }
}

fn credentials(data: &[u8]) -> Result<Credentials, Errno> {
    let [Some(pid), Some(uid), Some(gid), None] = [0, 1, 2, 3].map(|index| word(data, index)) else {
        return Err(Errno::EINVAL);
    };
    if data.len() != 12 {
        return Err(Errno::EINVAL);
    }
    let claim = Credentials { pid, uid, gid };
    let own = &current().process;
    check(&claim, &own.cred.lock(), own.pid)?;
    if pid != own.pid && process::find(pid).is_none() {
        return Err(Errno::ESRCH);
    }
    Ok(claim)
}

/// The sender's credentials if somebody asks for them: by its real IDs.
pub fn own() -> Credentials {
    let process = &current().process;
    let cred = process.cred.lock();
    Credentials { pid: process.pid, uid: cred.uid, gid: cred.gid }
}
