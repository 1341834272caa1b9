//! The state machine against the host's own terminals: the same settings, bytes and reads on a pseudo-terminal.
#![expect(unsafe_code, reason = "opens pseudo-terminals")]

use std::ffi::CStr;
use std::time::{Duration, Instant};

use ldisc::{Event, LineDiscipline, NCCS, Settings, iflag, lflag, oflag};
use proptest::prelude::*;

struct Pty {
    master: i32,
    slave: i32,
}

/// Linux's `struct termios` (not the C library's).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct KernelTermios {
    modes: [u32; 4],
    line: u8,
    cc: [u8; NCCS],
}

impl Pty {
    fn open() -> Option<Self> {
        // SAFETY: plain calls; the name is copied before the next call.
        unsafe {
            let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK);
            if master < 0 || libc::grantpt(master) != 0 || libc::unlockpt(master) != 0 {
                return None;
            }
            let name = CStr::from_ptr(libc::ptsname(master)).to_owned();
            let slave = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK);
            (slave >= 0).then_some(Self { master, slave })
        }
    }

    fn set(&self, settings: &Settings) {
        let mut termios = KernelTermios::default();
        // SAFETY: the structure has the layout that the call fills and reads.
        unsafe {
            assert_eq!(libc::ioctl(self.slave, libc::TCGETS, &raw mut termios), 0);
            termios.modes[0] = settings.iflag;
            termios.modes[1] = settings.oflag;
            termios.modes[3] = settings.lflag;
            termios.cc = settings.cc;
            assert_eq!(libc::ioctl(self.slave, libc::TCSETS, &raw const termios), 0);
        }
    }

    /// Reads what is there; `None` when there is nothing.
    fn read(fd: i32, max: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0u8; max];
        // SAFETY: the buffer is as long as said.
        let count = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        buffer.truncate(usize::try_from(count).ok()?);
        Some(buffer)
    }

    fn write(fd: i32, bytes: &[u8]) {
        // SAFETY: the buffer is as long as said.
        let count = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(usize::try_from(count), Ok(bytes.len()));
    }

    /// What came out of the terminal: at least so many bytes, unless they don't come at all.
    fn drain(&self, expected: usize) -> Vec<u8> {
        let mut all = Vec::new();
        self.settle(|| {
            while let Some(more) = Self::read(self.master, 4096).filter(|bytes| !bytes.is_empty()) {
                all.extend(more);
            }
            all.len() >= expected
        });
        all
    }

    /// The kernel processes input a little later than it is written, and says nothing when it has: looks until what is expected is there,
    /// and long enough to see more than that.
    fn settle(&self, mut is_there: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(3);
        std::thread::sleep(Duration::from_millis(2));
        while !is_there() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn available(&self) -> usize {
        let mut count = 0;
        // SAFETY: the call writes one int.
        unsafe { libc::ioctl(self.slave, libc::FIONREAD, &raw mut count) };
        usize::try_from(count).unwrap()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // SAFETY: both are ours.
        unsafe {
            libc::close(self.slave);
            libc::close(self.master);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Type(Vec<u8>),
    Write(Vec<u8>),
    Read(usize),
    Set(Settings),
}

fn subset(bits: &'static [u32]) -> impl Strategy<Value = u32> {
    prop::sample::subsequence(bits, 0..=bits.len()).prop_map(|chosen| chosen.iter().sum())
}

fn settings() -> impl Strategy<Value = Settings> {
    let input = subset(&[
        iflag::ISTRIP,
        iflag::INLCR,
        iflag::IGNCR,
        iflag::ICRNL,
        iflag::IUCLC,
        iflag::IUTF8,
        iflag::PARMRK,
    ]);
    let output = subset(&[
        oflag::OPOST,
        oflag::OLCUC,
        oflag::ONLCR,
        oflag::OCRNL,
        oflag::ONOCR,
        oflag::ONLRET,
        oflag::XTABS,
    ]);
    let local = subset(&[
        lflag::ISIG,
        lflag::ICANON,
        lflag::ECHO,
        lflag::ECHOE,
        lflag::ECHOK,
        lflag::ECHONL,
        lflag::NOFLSH,
        lflag::ECHOCTL,
        lflag::ECHOPRT,
        lflag::ECHOKE,
        lflag::IEXTEN,
    ]);
    (input, output, local, 0..6).prop_map(|(input, output, local, kind)| {
        // VEOL '.', VEOL2 ','.
        let mut cc = Settings::COOKED.cc;
        cc[11] = b'.';
        cc[16] = b',';
        match kind {
            0 | 1 => Settings::COOKED,
            2 => Settings { iflag: input, oflag: output, lflag: local & !lflag::ICANON, cc },
            _ => Settings { iflag: input, oflag: output | oflag::OPOST, lflag: local | lflag::ICANON, cc },
        }
    })
}

fn typed() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => prop::sample::select(&b"ab_ -Z"[..]),
        2 => prop::sample::select(&b"\n\r\t\x04.,"[..]),
        4 => prop::sample::select(&b"\x7f\x15\x17\x16\x12"[..]),
        1 => prop::sample::select(&b"\x03\x1c\x1a\x01\x00\xc3\xa9\xff"[..]),
    ];
    prop::collection::vec(byte, 1..24)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => typed().prop_map(Step::Type),
        2 => typed().prop_map(Step::Write),
        3 => (1usize..40).prop_map(Step::Read),
        1 => settings().prop_map(Step::Set),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn behaves_as_the_hosts_terminal(first in settings(), steps in prop::collection::vec(step(), 1..12)) {
        let Some(pty) = Pty::open() else { return Ok(()) };
        pty.set(&first);
        let mut line = LineDiscipline::new(first);
        for step in steps {
            let mut out = Vec::new();
            match &step {
                Step::Type(bytes) => {
                    for &byte in bytes {
                        if let Some(Event::Signal(_)) = line.receive(byte, &mut out) {
                            // A signal flushes what the terminal has not sent yet, which depends on timing; so does the host's echo.
                            prop_assume!(line.settings().lflag & lflag::NOFLSH != 0);
                        }
                    }
                    Pty::write(pty.master, bytes);
                }
                Step::Write(bytes) => {
                    line.write(bytes, &mut out);
                    Pty::write(pty.slave, bytes);
                }
                Step::Read(max) => {
                    let mut buffer = vec![0; *max];
                    let ours = line.read(&mut buffer).map(|count| buffer[..count].to_vec());
                    prop_assert_eq!(ours, Pty::read(pty.slave, *max), "{:?}", step);
                }
                Step::Set(settings) => {
                    line.set(*settings);
                    pty.set(settings);
                }
            }
            let theirs = pty.drain(out.len());
            prop_assert_eq!(
                String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&theirs).into_owned(),
                "{:?} with {:?}", step, line.settings()
            );
            pty.settle(|| pty.available() == line.available());
            prop_assert_eq!(line.available(), pty.available(), "{:?} with {:?}", step, line);
        }
    }
}

#[test]
fn a_line_without_an_end_keeps_room_for_one() {
    let mut line = LineDiscipline::default();
    let mut echo = Vec::new();
    for _ in 0..5000 {
        assert!(line.has_room());
        line.receive(b'a', &mut echo);
    }
    line.receive(b'\n', &mut echo);
    assert!(!line.has_room());
    let mut buffer = [0; 8192];
    assert_eq!(line.read(&mut buffer), Some(4096));
    assert_eq!((buffer[4094], buffer[4095]), (b'a', b'\n'));
    assert!(line.has_room() && !line.can_read());
}
