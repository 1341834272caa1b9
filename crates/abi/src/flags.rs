//! Flag words of opening, looking at and waiting for files.

use crate::macros::flags;

flags! {
    /// Flags of open(2) and of open file descriptions. The access mode is the field [`OpenFlags::ACCMODE`].
    pub struct OpenFlags: u32, "O_", "O_RDONLY" in 3 {
        /// Opens for ioctl only (open(2), BUGS).
        ACCMODE = 3,
        WRONLY = 1,
        RDWR = 2,
        CREAT = 0o100,
        EXCL = 0o200,
        NOCTTY = 0o400,
        TRUNC = 0o1000,
        APPEND = 0o2000,
        NONBLOCK = 0o4000,
        SYNC = 0o4010000,
        DSYNC = 0o10000,
        ASYNC = 0o20000,
        DIRECT = 0o40000,
        LARGEFILE = 0o100000,
        TMPFILE = 0o20200000,
        DIRECTORY = 0o200000,
        NOFOLLOW = 0o400000,
        NOATIME = 0o1000000,
        CLOEXEC = 0o2000000,
        PATH = 0o10000000,
    }
}

impl OpenFlags {
    /// No bit: the access mode of a file opened for reading.
    pub const RDONLY: Self = Self::empty();
    /// Bits of the access mode: 0 read, 1 write, 2 both.
    pub const ACCESS_MODE: u32 = 3;
    /// The bit that SYNC has beyond DSYNC.
    pub const SYNC_ONLY: Self = Self::from_bits_retain(0o400_0000);
    /// The bit that TMPFILE has beyond DIRECTORY.
    pub const TMPFILE_ONLY: Self = Self::from_bits_retain(0o2000_0000);

    /// The access mode lets it be read.
    #[inline]
    pub const fn is_readable(self) -> bool {
        matches!(self.bits() & Self::ACCESS_MODE, 0 | 2)
    }

    /// The access mode lets it be written.
    #[inline]
    pub const fn is_writable(self) -> bool {
        matches!(self.bits() & Self::ACCESS_MODE, 1 | 2)
    }
}

flags! {
    /// Flags of the `…at` calls.
    pub struct AtFlags: u32, "AT_", "0" {
        SYMLINK_NOFOLLOW = 0x100,
        /// For unlinkat(2). The same bit is [`AtFlags::EACCESS`] for faccessat2(2).
        REMOVEDIR = 0x200,
        SYMLINK_FOLLOW = 0x400,
        NO_AUTOMOUNT = 0x800,
        EMPTY_PATH = 0x1000,
        STATX_FORCE_SYNC = 0x2000,
        STATX_DONT_SYNC = 0x4000,
        RECURSIVE = 0x8000,
    }
}

impl AtFlags {
    /// For faccessat2(2): check with the effective ids.
    pub const EACCESS: Self = Self::REMOVEDIR;
}

/// The directory descriptor that stands for the working directory.
pub const AT_FDCWD: i32 = -100;

flags! {
    /// Flags of renameat2(2).
    pub struct RenameFlags: u32, "RENAME_", "0" {
        NOREPLACE = 1,
        EXCHANGE = 2,
        WHITEOUT = 4,
    }
}

flags! {
    /// Fields of [`Statx`].
    pub struct StatxMask: u32, "STATX_", "0" {
        BASIC_STATS = 0x7ff,
        TYPE = 1,
        MODE = 2,
        NLINK = 4,
        UID = 8,
        GID = 0x10,
        ATIME = 0x20,
        MTIME = 0x40,
        CTIME = 0x80,
        INO = 0x100,
        SIZE = 0x200,
        BLOCKS = 0x400,
        BTIME = 0x800,
        MNT_ID = 0x1000,
        DIOALIGN = 0x2000,
        MNT_ID_UNIQUE = 0x4000,
        SUBVOL = 0x8000,
        WRITE_ATOMIC = 0x1_0000,
        DIO_READ_ALIGN = 0x2_0000,
        RESERVED ("STATX__RESERVED") = 0x8000_0000,
    }
}

flags! {
    /// `statx.attributes`.
    pub struct StatxAttributes: u64, "STATX_ATTR_", "0" {
        COMPRESSED = 4,
        IMMUTABLE = 0x10,
        APPEND = 0x20,
        NODUMP = 0x40,
        ENCRYPTED = 0x800,
        AUTOMOUNT = 0x1000,
        MOUNT_ROOT = 0x2000,
        VERITY = 0x10_0000,
        DAX = 0x20_0000,
    }
}

flags! {
    /// Events of poll(2); the low half of [`EpollFlags`] is the same.
    pub struct PollEvents: u16, "POLL", "0" {
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
        REMOVE = 0x1000,
        RDHUP = 0x2000,
    }
}
