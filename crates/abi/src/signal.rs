//! Signals: numbers, siginfo, actions, and the frame that a handler sees.

use core::fmt;
use core::num::NonZeroU8;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(NonZeroU8);

macro_rules! signals {
    ($($name:ident = $value:literal;)*) => {
        impl Signal {
            $( pub const $name: Self = Self(NonZeroU8::new($value).unwrap()); )*

            /// The symbolic name; `None` for real-time signals.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0.get() {
                    $( $value => Some(stringify!($name)), )*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1; SIGINT = 2; SIGQUIT = 3; SIGILL = 4; SIGTRAP = 5; SIGABRT = 6; SIGBUS = 7; SIGFPE = 8;
    SIGKILL = 9; SIGUSR1 = 10; SIGSEGV = 11; SIGUSR2 = 12; SIGPIPE = 13; SIGALRM = 14; SIGTERM = 15;
    SIGSTKFLT = 16; SIGCHLD = 17; SIGCONT = 18; SIGSTOP = 19; SIGTSTP = 20; SIGTTIN = 21; SIGTTOU = 22;
    SIGURG = 23; SIGXCPU = 24; SIGXFSZ = 25; SIGVTALRM = 26; SIGPROF = 27; SIGWINCH = 28; SIGIO = 29;
    SIGPWR = 30; SIGSYS = 31;
}

impl Signal {
    /// First real-time signal, as the kernel counts.
    pub const RT_MIN: u8 = 32;
    pub const MAX: u8 = 64;

    /// A number as a signal; `None` outside 1…64.
    #[must_use]
    #[inline(always)]
    pub const fn new(number: u32) -> Option<Self> {
        if number > Self::MAX as u32 {
            return None;
        }
        match NonZeroU8::new(number.to_le_bytes()[0]) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self.0.get()
    }

    #[must_use]
    #[inline(always)]
    pub const fn is_realtime(self) -> bool {
        self.0.get() >= Self::RT_MIN
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIGRT_{}", self.0.get() - Self::RT_MIN),
        }
    }
}

/// A set of signals: bit n-1 is signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    pub const EMPTY: Self = Self(0);
    pub const FULL: Self = Self(u64::MAX);
    /// SIGKILL and SIGSTOP: never blocked, caught or ignored.
    pub const UNBLOCKABLE: Self = Self::of(Signal::SIGKILL).with(Signal::SIGSTOP);
    /// Signals that an instruction raises. Linux delivers them first, so that the frame shows the instruction.
    pub const SYNCHRONOUS: Self = Self::of(Signal::SIGSEGV)
        .with(Signal::SIGBUS)
        .with(Signal::SIGILL)
        .with(Signal::SIGTRAP)
        .with(Signal::SIGFPE)
        .with(Signal::SIGSYS);
    /// Signals that stop a process by default.
    pub const STOPS: Self =
        Self::of(Signal::SIGSTOP).with(Signal::SIGTSTP).with(Signal::SIGTTIN).with(Signal::SIGTTOU);

    #[must_use]
    #[inline(always)]
    pub const fn of(signal: Signal) -> Self {
        // The number is 1 to 64; the mask lets the compiler see that the shift can't overflow.
        Self(1 << ((signal.0.get() - 1) & 63))
    }

    #[must_use]
    #[inline(always)]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    #[must_use]
    #[inline(always)]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::of(signal).0)
    }

    #[must_use]
    #[inline(always)]
    pub const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !Self::of(signal).0)
    }

    #[must_use]
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    #[inline(always)]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    #[inline(always)]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    #[inline(always)]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as a mask: SIGKILL and SIGSTOP can't be in one.
    #[must_use]
    #[inline(always)]
    pub const fn blockable(self) -> Self {
        self.difference(Self::UNBLOCKABLE)
    }

    /// The lowest number.
    #[must_use]
    #[inline(always)]
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Signal::new(self.0.trailing_zeros() + 1) }
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.first()?;
            rest = rest.without(signal);
            Some(signal)
        })
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<T: IntoIterator<Item = Signal>>(signals: T) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }
}

bitflags::bitflags! {
    /// sigaction(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SaFlags: u64 {
        const NOCLDSTOP = 1;
        const NOCLDWAIT = 2;
        const SIGINFO = 4;
        const UNSUPPORTED = 0x400;
        const EXPOSE_TAGBITS = 0x800;
        const RESTORER = 0x0400_0000;
        const ONSTACK = 0x0800_0000;
        const RESTART = 0x1000_0000;
        const NODEFER = 0x4000_0000;
        const RESETHAND = 0x8000_0000;
    }
}

/// The kernel's `struct sigaction` (rt_sigaction(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sigaction {
    /// Address, or 0 for the default, 1 to ignore.
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: SigSet,
}

/// `siginfo_t` (sigaction(2)): three numbers, then 112 bytes whose meaning depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigInfo {
    pub signo: i32,
    pub errno: i32,
    pub code: i32,
    pub pad: u32,
    pub fields: [u64; 14],
}

impl SigInfo {
    /// Sent by kill(2).
    pub const SI_USER: i32 = 0;
    /// Sent by the kernel.
    pub const SI_KERNEL: i32 = 0x80;
    pub const SI_QUEUE: i32 = -1;
    pub const SI_TIMER: i32 = -2;
    pub const SI_MESGQ: i32 = -3;
    pub const SI_TKILL: i32 = -6;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_TRAPPED: i32 = 4;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;

    #[must_use]
    pub fn new(signal: Signal, code: i32) -> Self {
        Self { signo: i32::from(signal.number()), code, ..Self::default() }
    }

    /// A fault at an address.
    #[must_use]
    pub fn fault(signal: Signal, code: i32, address: u64) -> Self {
        let mut info = Self::new(signal, code);
        info.fields[0] = address;
        info
    }

    /// From a process (kill, tkill).
    #[must_use]
    pub fn user(signal: Signal, code: i32, pid: u32, uid: u32) -> Self {
        let mut info = Self::new(signal, code);
        info.fields[0] = u64::from(pid) | u64::from(uid) << 32;
        info
    }

    /// From a process with a value (sigqueue).
    #[must_use]
    pub fn queued(signal: Signal, pid: u32, uid: u32, value: u64) -> Self {
        let mut info = Self::user(signal, Self::SI_QUEUE, pid, uid);
        info.fields[1] = value;
        info
    }

    /// From a POSIX timer.
    #[must_use]
    pub fn timer(signal: Signal, id: u32, overrun: u32, value: u64) -> Self {
        let mut info = Self::new(signal, Self::SI_TIMER);
        info.fields[0] = u64::from(id) | u64::from(overrun) << 32;
        info.fields[1] = value;
        info
    }

    /// A child's change of state; times in clock ticks.
    #[must_use]
    pub fn child(code: i32, pid: u32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        let mut info = Self::user(Signal::SIGCHLD, code, pid, uid);
        info.fields[1] = u64::from(status.cast_unsigned());
        info.fields[2] = utime;
        info.fields[3] = stime;
        info
    }

    /// The signal, if the number is one.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        u32::try_from(self.signo).ok().and_then(Signal::new)
    }
}

/// `stack_t` (sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackT {
    pub sp: u64,
    pub flags: i32,
    pub pad: u32,
    pub size: u64,
}

pub const SS_ONSTACK: i32 = 1;
pub const SS_DISABLE: i32 = 2;
pub const SS_AUTODISARM: i32 = i32::MIN;

/// The kernel's `struct sigcontext_64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigContext {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
    pub cs: u16,
    pub gs: u16,
    pub fs: u16,
    pub ss: u16,
    pub err: u64,
    pub trapno: u64,
    pub oldmask: u64,
    pub cr2: u64,
    /// Address of the saved FPU state.
    pub fpstate: u64,
    pub reserved: [u64; 8],
}

/// `struct ucontext` as the kernel writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UContext {
    pub flags: u64,
    pub link: u64,
    pub stack: StackT,
    pub mcontext: SigContext,
    pub sigmask: SigSet,
}

pub const UC_FP_XSTATE: u64 = 1;
pub const UC_SIGCONTEXT_SS: u64 = 2;
pub const UC_STRICT_RESTORE_SS: u64 = 4;

/// `struct _fpx_sw_bytes`, at byte 464 of the legacy FPU area in a signal frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FpSoftware {
    pub magic1: u32,
    /// Bytes of the whole area, the second magic number included.
    pub extended_size: u32,
    pub xfeatures: u64,
    /// Bytes of the XSAVE area.
    pub xstate_size: u32,
    pub padding: [u32; 7],
}

pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// Stands right after the XSAVE area.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
