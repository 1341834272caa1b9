//! Error numbers (errno(3); asm-generic/errno.h).

use core::fmt;

/// An error number, as a positive value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

macro_rules! errnos {
    ($($(#[doc = $doc:literal])? $name:ident = $value:literal;)*) => {
        impl Errno {
            $( $(#[doc = $doc])? pub const $name: Self = Self($value); )*

            /// The symbolic name, `None` for numbers that Linux doesn't give out.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $value => Some(stringify!($name)), )*
                    _ => None,
                }
            }
        }
    };
}

impl Errno {
    /// The same as `EAGAIN`.
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// The same as `EOPNOTSUPP`.
    pub const ENOTSUP: Self = Self::EOPNOTSUPP;

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

errnos! {
    #[doc = "Operation not permitted"]
    EPERM = 1;
    #[doc = "No such file or directory"]
    ENOENT = 2;
    #[doc = "No such process"]
    ESRCH = 3;
    #[doc = "Interrupted system call"]
    EINTR = 4;
    #[doc = "I/O error"]
    EIO = 5;
    #[doc = "No such device or address"]
    ENXIO = 6;
    #[doc = "Argument list too long"]
    E2BIG = 7;
    #[doc = "Exec format error"]
    ENOEXEC = 8;
    #[doc = "Bad file number"]
    EBADF = 9;
    #[doc = "No child processes"]
    ECHILD = 10;
    #[doc = "Try again"]
    EAGAIN = 11;
    #[doc = "Out of memory"]
    ENOMEM = 12;
    #[doc = "Permission denied"]
    EACCES = 13;
    #[doc = "Bad address"]
    EFAULT = 14;
    #[doc = "Block device required"]
    ENOTBLK = 15;
    #[doc = "Device or resource busy"]
    EBUSY = 16;
    #[doc = "File exists"]
    EEXIST = 17;
    #[doc = "Cross-device link"]
    EXDEV = 18;
    #[doc = "No such device"]
    ENODEV = 19;
    #[doc = "Not a directory"]
    ENOTDIR = 20;
    #[doc = "Is a directory"]
    EISDIR = 21;
    #[doc = "Invalid argument"]
    EINVAL = 22;
    #[doc = "File table overflow"]
    ENFILE = 23;
    #[doc = "Too many open files"]
    EMFILE = 24;
    #[doc = "Not a typewriter"]
    ENOTTY = 25;
    #[doc = "Text file busy"]
    ETXTBSY = 26;
    #[doc = "File too large"]
    EFBIG = 27;
    #[doc = "No space left on device"]
    ENOSPC = 28;
    #[doc = "Illegal seek"]
    ESPIPE = 29;
    #[doc = "Read-only file system"]
    EROFS = 30;
    #[doc = "Too many links"]
    EMLINK = 31;
    #[doc = "Broken pipe"]
    EPIPE = 32;
    #[doc = "Math argument out of domain of func"]
    EDOM = 33;
    #[doc = "Math result not representable"]
    ERANGE = 34;
    #[doc = "Resource deadlock would occur"]
    EDEADLK = 35;
    #[doc = "File name too long"]
    ENAMETOOLONG = 36;
    #[doc = "No record locks available"]
    ENOLCK = 37;
    #[doc = "Invalid system call number"]
    ENOSYS = 38;
    #[doc = "Directory not empty"]
    ENOTEMPTY = 39;
    #[doc = "Too many symbolic links encountered"]
    ELOOP = 40;
    #[doc = "No message of desired type"]
    ENOMSG = 42;
    #[doc = "Identifier removed"]
    EIDRM = 43;
    #[doc = "Channel number out of range"]
    ECHRNG = 44;
    #[doc = "Level 2 not synchronized"]
    EL2NSYNC = 45;
    #[doc = "Level 3 halted"]
    EL3HLT = 46;
    #[doc = "Level 3 reset"]
    EL3RST = 47;
    #[doc = "Link number out of range"]
    ELNRNG = 48;
    #[doc = "Protocol driver not attached"]
    EUNATCH = 49;
    #[doc = "No CSI structure available"]
    ENOCSI = 50;
    #[doc = "Level 2 halted"]
    EL2HLT = 51;
    #[doc = "Invalid exchange"]
    EBADE = 52;
    #[doc = "Invalid request descriptor"]
    EBADR = 53;
    #[doc = "Exchange full"]
    EXFULL = 54;
    #[doc = "No anode"]
    ENOANO = 55;
    #[doc = "Invalid request code"]
    EBADRQC = 56;
    #[doc = "Invalid slot"]
    EBADSLT = 57;
    #[doc = "Bad font file format"]
    EBFONT = 59;
    #[doc = "Device not a stream"]
    ENOSTR = 60;
    #[doc = "No data available"]
    ENODATA = 61;
    #[doc = "Timer expired"]
    ETIME = 62;
    #[doc = "Out of streams resources"]
    ENOSR = 63;
    #[doc = "Machine is not on the network"]
    ENONET = 64;
    #[doc = "Package not installed"]
    ENOPKG = 65;
    #[doc = "Object is remote"]
    EREMOTE = 66;
    #[doc = "Link has been severed"]
    ENOLINK = 67;
    #[doc = "Advertise error"]
    EADV = 68;
    #[doc = "Srmount error"]
    ESRMNT = 69;
    #[doc = "Communication error on send"]
    ECOMM = 70;
    #[doc = "Protocol error"]
    EPROTO = 71;
    #[doc = "Multihop attempted"]
    EMULTIHOP = 72;
    #[doc = "RFS specific error"]
    EDOTDOT = 73;
    #[doc = "Not a data message"]
    EBADMSG = 74;
    #[doc = "Value too large for defined data type"]
    EOVERFLOW = 75;
    #[doc = "Name not unique on network"]
    ENOTUNIQ = 76;
    #[doc = "File descriptor in bad state"]
    EBADFD = 77;
    #[doc = "Remote address changed"]
    EREMCHG = 78;
    #[doc = "Can not access a needed shared library"]
    ELIBACC = 79;
    #[doc = "Accessing a corrupted shared library"]
    ELIBBAD = 80;
    #[doc = ".lib section in a.out corrupted"]
    ELIBSCN = 81;
    #[doc = "Attempting to link in too many shared libraries"]
    ELIBMAX = 82;
    #[doc = "Cannot exec a shared library directly"]
    ELIBEXEC = 83;
    #[doc = "Illegal byte sequence"]
    EILSEQ = 84;
    #[doc = "Interrupted system call should be restarted"]
    ERESTART = 85;
    #[doc = "Streams pipe error"]
    ESTRPIPE = 86;
    #[doc = "Too many users"]
    EUSERS = 87;
    #[doc = "Socket operation on non-socket"]
    ENOTSOCK = 88;
    #[doc = "Destination address required"]
    EDESTADDRREQ = 89;
    #[doc = "Message too long"]
    EMSGSIZE = 90;
    #[doc = "Protocol wrong type for socket"]
    EPROTOTYPE = 91;
    #[doc = "Protocol not available"]
    ENOPROTOOPT = 92;
    #[doc = "Protocol not supported"]
    EPROTONOSUPPORT = 93;
    #[doc = "Socket type not supported"]
    ESOCKTNOSUPPORT = 94;
    #[doc = "Operation not supported on transport endpoint"]
    EOPNOTSUPP = 95;
    #[doc = "Protocol family not supported"]
    EPFNOSUPPORT = 96;
    #[doc = "Address family not supported by protocol"]
    EAFNOSUPPORT = 97;
    #[doc = "Address already in use"]
    EADDRINUSE = 98;
    #[doc = "Cannot assign requested address"]
    EADDRNOTAVAIL = 99;
    #[doc = "Network is down"]
    ENETDOWN = 100;
    #[doc = "Network is unreachable"]
    ENETUNREACH = 101;
    #[doc = "Network dropped connection because of reset"]
    ENETRESET = 102;
    #[doc = "Software caused connection abort"]
    ECONNABORTED = 103;
    #[doc = "Connection reset by peer"]
    ECONNRESET = 104;
    #[doc = "No buffer space available"]
    ENOBUFS = 105;
    #[doc = "Transport endpoint is already connected"]
    EISCONN = 106;
    #[doc = "Transport endpoint is not connected"]
    ENOTCONN = 107;
    #[doc = "Cannot send after transport endpoint shutdown"]
    ESHUTDOWN = 108;
    #[doc = "Too many references: cannot splice"]
    ETOOMANYREFS = 109;
    #[doc = "Connection timed out"]
    ETIMEDOUT = 110;
    #[doc = "Connection refused"]
    ECONNREFUSED = 111;
    #[doc = "Host is down"]
    EHOSTDOWN = 112;
    #[doc = "No route to host"]
    EHOSTUNREACH = 113;
    #[doc = "Operation already in progress"]
    EALREADY = 114;
    #[doc = "Operation now in progress"]
    EINPROGRESS = 115;
    #[doc = "Stale file handle"]
    ESTALE = 116;
    #[doc = "Structure needs cleaning"]
    EUCLEAN = 117;
    #[doc = "Not a XENIX named type file"]
    ENOTNAM = 118;
    #[doc = "No XENIX semaphores available"]
    ENAVAIL = 119;
    #[doc = "Is a named type file"]
    EISNAM = 120;
    #[doc = "Remote I/O error"]
    EREMOTEIO = 121;
    #[doc = "Quota exceeded"]
    EDQUOT = 122;
    #[doc = "No medium found"]
    ENOMEDIUM = 123;
    #[doc = "Wrong medium type"]
    EMEDIUMTYPE = 124;
    #[doc = "Operation Canceled"]
    ECANCELED = 125;
    #[doc = "Required key not available"]
    ENOKEY = 126;
    #[doc = "Key has expired"]
    EKEYEXPIRED = 127;
    #[doc = "Key has been revoked"]
    EKEYREVOKED = 128;
    #[doc = "Key was rejected by service"]
    EKEYREJECTED = 129;
    #[doc = "Owner died"]
    EOWNERDEAD = 130;
    #[doc = "State not recoverable"]
    ENOTRECOVERABLE = 131;
    #[doc = "Operation not possible due to RF-kill"]
    ERFKILL = 132;
    #[doc = "Memory page has hardware error"]
    EHWPOISON = 133;
}
