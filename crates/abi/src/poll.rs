//! Waiting for files: poll, select, epoll, eventfd, inotify.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::{flags, values};

/// `struct epoll_event`, packed on x86_64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

flags! {
    /// `epoll_event.events`.
    pub struct EpollFlags: u32, "EPOLL", "0" {
        IN = 1,
        PRI = 2,
        OUT = 4,
        ERR = 8,
        HUP = 0x10,
        NVAL = 0x20,
        RDNORM = 0x40,
        RDBAND = 0x80,
        WRNORM = 0x100,
        WRBAND = 0x200,
        MSG = 0x400,
        RDHUP = 0x2000,
        URING_WAKE = 1 << 27,
        EXCLUSIVE = 1 << 28,
        WAKEUP = 1 << 29,
        ONESHOT = 1 << 30,
        ET = 1 << 31,
    }
}

flags! {
    /// Flags of epoll_create1(2).
    pub struct EpollCreateFlags: u32, "EPOLL_", "0" {
        CLOEXEC = 0o2000000,
    }
}

values! {
    /// Operations of epoll_ctl(2).
    pub struct EpollOp: i32, "EPOLL_CTL_" {
        ADD = 1,
        DEL = 2,
        MOD = 3,
    }
}

flags! {
    /// Flags of eventfd2(2).
    pub struct EventFdFlags: u32, "EFD_", "0" {
        SEMAPHORE = 1,
        NONBLOCK = 0o4000,
        CLOEXEC = 0o2000000,
    }
}

flags! {
    /// Flags of signalfd4(2).
    pub struct SignalFdFlags: u32, "SFD_", "0" {
        NONBLOCK = 0o4000,
        CLOEXEC = 0o2000000,
    }
}

/// Descriptors that an `fd_set` of the C library holds. The system call takes as many as its first argument says.
pub const FD_SETSIZE: usize = 1024;

/// `fd_set` of select(2) in its usual size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FdSet {
    pub bits: [u64; FD_SETSIZE / 64],
}

impl FdSet {
    /// Whether a descriptor is in the set.
    pub fn contains(&self, fd: usize) -> bool {
        self.bits.get(fd / 64).is_some_and(|word| word >> (fd % 64) & 1 != 0)
    }

    /// Puts a descriptor into the set; does nothing beyond its size.
    pub fn insert(&mut self, fd: usize) {
        if let Some(word) = self.bits.get_mut(fd / 64) {
            *word |= 1 << (fd % 64);
        }
    }
}

/// The sixth argument of pselect6(2): a signal mask and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigMaskArg {
    pub mask: u64,
    pub size: u64,
}

/// `struct inotify_event`, without the name that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InotifyEvent {
    pub wd: i32,
    pub mask: u32,
    pub cookie: u32,
    /// Length of the name that follows, with its NUL padding.
    pub len: u32,
}

flags! {
    /// Events and options of inotify(7).
    pub struct InotifyMask: u32, "IN_", "0" {
        ACCESS = 1,
        MODIFY = 2,
        ATTRIB = 4,
        CLOSE_WRITE = 8,
        CLOSE_NOWRITE = 0x10,
        OPEN = 0x20,
        MOVED_FROM = 0x40,
        MOVED_TO = 0x80,
        CREATE = 0x100,
        DELETE = 0x200,
        DELETE_SELF = 0x400,
        MOVE_SELF = 0x800,
        UNMOUNT = 0x2000,
        Q_OVERFLOW = 0x4000,
        IGNORED = 0x8000,
        ONLYDIR = 0x0100_0000,
        DONT_FOLLOW = 0x0200_0000,
        EXCL_UNLINK = 0x0400_0000,
        MASK_CREATE = 0x1000_0000,
        MASK_ADD = 0x2000_0000,
        ISDIR = 0x4000_0000,
        ONESHOT = 0x8000_0000,
    }
}

flags! {
    /// Flags of inotify_init1(2).
    pub struct InotifyInitFlags: u32, "IN_", "0" {
        NONBLOCK = 0o4000,
        CLOEXEC = 0o2000000,
    }
}
