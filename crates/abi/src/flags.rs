//! Flag words of the file calls.

use core::fmt;

bitflags::bitflags! {
    /// open(2), fcntl(2): access mode and flags (asm-generic/fcntl.h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct OpenFlags: u32 {
        const WRONLY = 0o1;
        const RDWR = 0o2;
        const CREAT = 0o100;
        const EXCL = 0o200;
        const NOCTTY = 0o400;
        const TRUNC = 0o1000;
        const APPEND = 0o2000;
        const NONBLOCK = 0o4000;
        const DSYNC = 0o1_0000;
        const ASYNC = 0o2_0000;
        const DIRECT = 0o4_0000;
        const LARGEFILE = 0o10_0000;
        const DIRECTORY = 0o20_0000;
        const NOFOLLOW = 0o40_0000;
        const NOATIME = 0o100_0000;
        const CLOEXEC = 0o200_0000;
        /// The bit that SYNC has beyond DSYNC.
        const SYNC_ONLY = 0o400_0000;
        const SYNC = 0o401_0000;
        const PATH = 0o1000_0000;
        /// The bit that TMPFILE has beyond DIRECTORY.
        const TMPFILE_ONLY = 0o2000_0000;
        const TMPFILE = 0o2020_0000;
    }

    /// The `*at` calls.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AtFlags: u32 {
        const SYMLINK_NOFOLLOW = 0x100;
        /// AT_REMOVEDIR for unlinkat, AT_EACCESS for faccessat2.
        const REMOVEDIR = 0x200;
        const SYMLINK_FOLLOW = 0x400;
        const NO_AUTOMOUNT = 0x800;
        const EMPTY_PATH = 0x1000;
        const STATX_FORCE_SYNC = 0x2000;
        const STATX_DONT_SYNC = 0x4000;
    }

    /// poll(2) events; epoll's low bits are the same.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollEvents: u16 {
        const IN = 0x1;
        const PRI = 0x2;
        const OUT = 0x4;
        const ERR = 0x8;
        const HUP = 0x10;
        const NVAL = 0x20;
        const RDNORM = 0x40;
        const RDBAND = 0x80;
        const WRNORM = 0x100;
        const WRBAND = 0x200;
        const MSG = 0x400;
        const RDHUP = 0x2000;
    }

    /// renameat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        const NOREPLACE = 1;
        const EXCHANGE = 2;
        const WHITEOUT = 4;
    }

    /// statx(2): which fields.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct StatxMask: u32 {
        const TYPE = 0x1;
        const MODE = 0x2;
        const NLINK = 0x4;
        const UID = 0x8;
        const GID = 0x10;
        const ATIME = 0x20;
        const MTIME = 0x40;
        const CTIME = 0x80;
        const INO = 0x100;
        const SIZE = 0x200;
        const BLOCKS = 0x400;
        const BASIC_STATS = 0x7ff;
        const BTIME = 0x800;
        const MNT_ID = 0x1000;
        const DIOALIGN = 0x2000;
        const MNT_ID_UNIQUE = 0x4000;
        const RESERVED = 0x8000_0000;
    }
}

impl OpenFlags {
    /// Bits of the access mode: 0 read, 1 write, 2 both.
    pub const ACCESS_MODE: u32 = 3;
}

impl fmt::Display for OpenFlags {
    /// As strace prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.bits() & Self::ACCESS_MODE {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "O_ACCMODE",
        })?;
        for (name, flag) in self.iter_names() {
            if flag.bits() & Self::ACCESS_MODE == 0 {
                write!(f, "|O_{name}")?;
            }
        }
        Ok(())
    }
}
