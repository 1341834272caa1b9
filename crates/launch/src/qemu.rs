//! QEMU as a process of ours: it never outlives us, and inherits nothing but what it is given.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};

/// The QEMU program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// QEMU says this when KVM can't go on, stops the guest, and waits for ever.
pub(crate) const STUCK: &[u8] = b"KVM internal error";

/// What a QEMU used of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of all its threads, in user and kernel mode.
    pub cpu_ns: u64,
    pub peak_resident_bytes: u64,
}

/// A running QEMU. Killed on drop.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command that also gets these descriptors, under the numbers that they have here. It ends when the calling thread does.
    pub(crate) fn spawn(command: &mut Command, inherited: &[RawFd]) -> Result<Self> {
        let inherited = inherited.to_vec();
        let prepare = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // What the terminal, or whoever, sends to the group is the program's, by way of us: the machine would end itself.
            SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP])
                .thread_block()?;
            for &fd in &inherited {
                #[expect(unsafe_code, reason = "numbers of descriptors, across fork")]
                // SAFETY: the caller keeps them open until we are through here, in the copy of its process that we are.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        };
        #[expect(unsafe_code, reason = "code between fork and exec")]
        // SAFETY: a few system calls and no allocation, so it does no harm that other threads may have held locks at the fork. Without
        // it a descriptor would have to be inheritable for a moment in which another thread may start another program.
        unsafe {
            command.pre_exec(prepare);
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        child.map(Self).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!(
                "{name} isn't installed; on Debian: apt-get install --no-install-recommends qemu-system-x86"
            ),
            _ => anyhow::Error::new(error).context(name),
        })
    }

    /// A handle that can be waited for with others.
    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        #[expect(unsafe_code, reason = "a system call without a wrapper")]
        // SAFETY: takes two numbers; what it gives is a descriptor of our own, or -1.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, self.0.id(), 0);
            let fd = RawFd::try_from(fd).context("pidfd_open")?;
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("pidfd_open");
            }
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }

    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// What it has used, once it has ended; it can still be waited for.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        #[expect(unsafe_code, reason = "the raw system call has a result that its wrapper leaves out")]
        // SAFETY: both structures may be all zeros, and live across the call, which fills them.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let mut used: libc::rusage = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOWAIT;
            let id = self.0.id();
            if libc::syscall(libc::SYS_waitid, libc::P_PID, id, &raw mut info, flags, &raw mut used) < 0 {
                return Err(io::Error::last_os_error());
            }
            let time = |time: libc::timeval| {
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                seconds * 1_000_000_000 + u64::try_from(time.tv_usec).unwrap_or(0) * 1000
            };
            Ok(Usage {
                cpu_ns: time(used.ru_utime) + time(used.ru_stime),
                peak_resident_bytes: u64::try_from(used.ru_maxrss).unwrap_or(0) * 1024,
            })
        }
    }

    /// Its exit status, once it has ended.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills the process behind a pidfd, if it is still there.
pub(crate) fn kill(pidfd: &OwnedFd) {
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    // SAFETY: takes numbers and a null pointer.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<u8>(),
            0,
        )
    };
}

/// Reads from it fail instead of waiting.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}
