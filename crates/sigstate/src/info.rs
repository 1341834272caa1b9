//! What comes with a signal: `siginfo_t` without its unused tail.

use abi::{SigInfo, SigSet, Signal};

/// The 48 bytes of a `siginfo_t` that mean something; the other 80 are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub signal: Signal,
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    /// The union that follows `si_code`, from byte 16 on.
    pub fields: [u64; 4],
}

/// Says that a file's state is what a signal with codes of its own is about.
const SI_SIGIO: i32 = -5;
/// The highest of the codes about files, POLL_HUP.
const POLL_CODES: i32 = 6;

/// The meanings of the union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Kill,
    Queue,
    Timer,
    Child,
    Fault,
    Poll,
    Call,
}

impl crate::Queued for Info {
    #[inline(always)]
    fn signal(&self) -> Signal {
        self.signal
    }

    fn is_queued(&self) -> bool {
        self.signal.is_realtime() || self.code == SigInfo::SI_TIMER
    }

    fn is_of_same_timer(&self, other: &Self) -> bool {
        self.code == SigInfo::SI_TIMER
            && (self.signal, self.code, self.timer_id()) == (other.signal, other.code, other.timer_id())
    }
}

/// Two 32-bit fields of the union.
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl Info {
    /// From the kernel, with nothing to say about it (SI_KERNEL).
    pub const fn kernel(signal: Signal) -> Self {
        Self { signal, errno: 0, code: SigInfo::SI_KERNEL, fields: [0; 4] }
    }

    /// From a process: kill(2) with SI_USER, tgkill(2) with SI_TKILL.
    #[inline]
    pub const fn user(signal: Signal, code: i32, pid: u32, uid: u32) -> Self {
        Self { signal, errno: 0, code, fields: [pair(pid, uid), 0, 0, 0] }
    }

    /// A signal whose information got lost, as Linux reports it.
    pub const fn unknown(signal: Signal) -> Self {
        Self::user(signal, SigInfo::SI_USER, 0, 0)
    }

    /// From an instruction at, or on, an address.
    pub const fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self { signal, errno: 0, code, fields: [address, 0, 0, 0] }
    }

    /// From a POSIX timer (SI_TIMER).
    pub const fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> Self {
        let fields = [pair(id.cast_unsigned(), overrun.cast_unsigned()), value, 0, 0];
        Self { signal, errno: 0, code: SigInfo::SI_TIMER, fields }
    }

    /// About a child. `status` is its exit code or the signal; the times are in clock ticks.
    pub const fn child(
        signal: Signal,
        code: i32,
        pid: u32,
        uid: u32,
        status: i32,
        utime: u64,
        stime: u64,
    ) -> Self {
        let fields = [pair(pid, uid), status.cast_unsigned() as u64, utime, stime];
        Self { signal, errno: 0, code, fields }
    }

    /// About a file: `code` is the reason (POLL_IN and so on), `band` what poll(2) would say.
    pub const fn poll(signal: Signal, code: i32, band: u64, fd: i32) -> Self {
        // Some signals have codes of their own that these would be taken for.
        let code = if SigSet::SYNCHRONOUS.with(Signal::SIGCHLD).contains(signal) { SI_SIGIO } else { code };
        Self { signal, errno: 0, code, fields: [band, fd.cast_unsigned() as u64, 0, 0] }
    }

    /// The identifier in a POSIX timer's information.
    pub const fn timer_id(&self) -> i32 {
        ((self.fields[0] & 0xffff_ffff) as u32).cast_signed()
    }

    /// Sets the overrun count of a POSIX timer's information.
    pub const fn set_overrun(&mut self, overrun: i32) {
        self.fields[0] = self.fields[0] & 0xffff_ffff | (overrun.cast_unsigned() as u64) << 32;
    }

    /// As six little-endian words of a `siginfo_t`.
    #[inline]
    pub const fn to_words(&self) -> [u64; 6] {
        let [a, b, c, d] = self.fields;
        let first = pair(self.signal.number() as u32, self.errno.cast_unsigned());
        [first, self.code.cast_unsigned() as u64, a, b, c, d]
    }

    /// From the first six words of a `siginfo_t`, for a signal that the caller names.
    pub const fn from_words(signal: Signal, words: &[u64; 6]) -> Self {
        let [first, second, a, b, c, d] = *words;
        let errno = ((first >> 32) as u32).cast_signed();
        Self { signal, errno, code: ((second & 0xffff_ffff) as u32).cast_signed(), fields: [a, b, c, d] }
    }

    /// As a whole `siginfo_t`.
    pub fn to_abi(&self) -> SigInfo {
        let mut info = SigInfo::new(self.signal, self.code);
        info.errno = self.errno;
        if let Some((used, _)) = info.fields.split_first_chunk_mut() {
            *used = self.fields;
        }
        info
    }

    /// As sixteen little-endian words of a `struct signalfd_siginfo` (signalfd(2)).
    pub fn to_signalfd(&self) -> [u64; 16] {
        let [a, b, c, d] = self.fields;
        let (low, high) = (a & 0xffff_ffff, a >> 32);
        let mut out = [0; 16];
        out[0] = pair(u32::from(self.signal.number()), self.errno.cast_unsigned());
        out[1] = u64::from(self.code.cast_unsigned());
        match self.layout() {
            Layout::Kill => {
                out[1] |= low << 32;
                out[2] = high;
            }
            Layout::Queue => {
                out[1] |= low << 32;
                out[2] = high;
                out[5] = b << 32;
                out[6] = b;
            }
            Layout::Timer => {
                out[3] = low;
                out[4] = high;
                out[5] = b << 32;
                out[6] = b;
            }
            Layout::Child => {
                out[1] |= low << 32;
                out[2] = high;
                out[5] = b & 0xffff_ffff;
                out[7] = c;
                out[8] = d;
            }
            Layout::Fault => out[9] = a,
            Layout::Poll => {
                out[2] = (b & 0xffff_ffff) << 32;
                out[3] = low << 32;
            }
            Layout::Call => {
                out[10] = (b & 0xffff_ffff) << 32;
                out[11] = a;
                out[12] = b >> 32;
            }
        }
        out
    }

    /// What the union holds, by signal and code.
    const fn layout(&self) -> Layout {
        match (self.signal, self.code) {
            (_, SigInfo::SI_USER | SigInfo::SI_KERNEL) => Layout::Kill,
            (_, SigInfo::SI_TIMER) => Layout::Timer,
            (_, SI_SIGIO) => Layout::Poll,
            (_, ..0) => Layout::Queue,
            (Signal::SIGCHLD, _) => Layout::Child,
            (Signal::SIGIO, _) => Layout::Poll,
            (Signal::SIGSYS, _) => Layout::Call,
            (Signal::SIGILL | Signal::SIGFPE | Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGTRAP, _) => {
                Layout::Fault
            }
            (_, 1..=POLL_CODES) => Layout::Poll,
            _ => Layout::Kill,
        }
    }

    /// Whether a program may claim this code: those that the kernel uses it may not.
    pub const fn is_forgeable(&self) -> bool {
        self.code < 0 && self.code != SigInfo::SI_TKILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_lie_where_the_abi_has_them() {
        let info = Info::child(Signal::SIGCHLD, SigInfo::CLD_EXITED, 7, 8, -2, 9, 10);
        let words = info.to_words();
        assert_eq!(words[0], 17);
        assert_eq!(words[1], 1);
        assert_eq!(words[2], 7 | 8 << 32);
        assert_eq!(words[3], 0xffff_fffe);
        assert_eq!((words[4], words[5]), (9, 10));
        assert_eq!(Info::kernel(Signal::SIGSEGV).to_words()[1], 0x80);
        assert_eq!(Info::user(Signal::SIGINT, SigInfo::SI_TKILL, 1, 2).to_words()[1], 0xffff_fffa);
    }

    #[test]
    fn signalfd_has_the_fields_of_the_kind() {
        let out = Info::child(Signal::SIGCHLD, SigInfo::CLD_EXITED, 7, 8, 9, 10, 11).to_signalfd();
        assert_eq!((out[1] >> 32, out[2], out[5], out[7], out[8]), (7, 8, 9, 10, 11));
        let out = Info::timer(Signal::SIGALRM, 3, 4, 5).to_signalfd();
        assert_eq!((out[0], out[3], out[4], out[6]), (14, 3, 4, 5));
        let out = Info::user(Signal::SIGINT, SigInfo::SI_USER, 1, 2).to_signalfd();
        assert_eq!((out[1], out[2]), (1 << 32, 2));
        let out = Info::poll(Signal::new(40).unwrap(), 1, 0x41, 9).to_signalfd();
        assert_eq!((out[1], out[2], out[3]), (1, 9 << 32, 0x41 << 32));
        assert_eq!(Info::poll(Signal::SIGCHLD, 1, 0x41, 9).code, -5);
        let out = Info::fault(Signal::SIGSEGV, 1, 0x1234).to_signalfd();
        assert_eq!((out[1], out[9]), (1, 0x1234));
    }

    proptest! {
        #[test]
        fn words_round_trip(number in 1u32..=64, words: [u64; 6]) {
            let signal = Signal::new(number).unwrap();
            let info = Info::from_words(signal, &words);
            prop_assert_eq!(Info::from_words(signal, &info.to_words()), info);
            let abi = info.to_abi();
            prop_assert_eq!(zerocopy::IntoBytes::as_bytes(&abi)[..48].to_vec(), zerocopy::IntoBytes::as_bytes(&info.to_words()).to_vec());
            let mut late = info;
            late.set_overrun(-3);
            prop_assert_eq!(late.timer_id(), info.timer_id());
        }
    }
}
