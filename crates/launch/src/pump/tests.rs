//! The event loop against guests that are threads here, and QEMUs that are small shell scripts.

use std::io::Write;

use super::*;

/// What a machine said.
#[derive(Default, Debug, PartialEq)]
struct Heard {
    output: Vec<(u16, u8, Vec<u8>)>,
    exits: Vec<(u16, u32)>,
    failures: Vec<(u16, u32, String)>,
    notices: String,
    counters: String,
    log: Vec<u8>,
    refuse_output: bool,
}

impl Host for Heard {
    fn output(&mut self, job: u16, stream: u8, bytes: &[u8]) -> io::Result<()> {
        if self.refuse_output {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.output.push((job, stream, bytes.to_vec()));
        Ok(())
    }
    fn exit(&mut self, job: u16, status: u32) {
        self.exits.push((job, status));
    }
    fn exec_failed(&mut self, job: u16, errno: u32, text: &str) {
        self.failures.push((job, errno, text.to_owned()));
    }
    fn notice(&mut self, text: &str) {
        self.notices.push_str(text);
    }
    fn counters(&mut self, text: &str) {
        self.counters.push_str(text);
    }
    fn log(&mut self, bytes: &[u8]) {
        self.log.extend_from_slice(bytes);
    }
}

fn frame(kind: Kind, stream: u8, job: u16, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    let mut frame = FrameHeader { kind, stream, job, len }.encode().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn read_frame(channel: &mut UnixStream) -> Option<(Kind, Vec<u8>)> {
    let mut header = [0; FRAME_HEADER_LEN];
    channel.read_exact(&mut header).ok()?;
    let header = FrameHeader::decode(&header).unwrap();
    let mut body = vec![0; usize::try_from(header.len).unwrap()];
    channel.read_exact(&mut body).ok()?;
    Some((header.kind, body))
}

fn shell(script: &str) -> Process {
    Process::spawn(Command::new("sh").args(["-c", script]), &[]).unwrap()
}

/// A fake machine: `script` stands for QEMU, and `guest` has the other ends of channel and serial line. The script ends by a signal from
/// the guest's thread, or by itself.
fn machine(
    script: &str,
    input: Input,
    limits: Limits,
    host: &mut Heard,
    guest: impl FnOnce(UnixStream, UnixStream, Sender) + Send + 'static,
) -> Result<End> {
    let (channel, theirs) = UnixStream::pair().unwrap();
    let (serial, their_serial) = UnixStream::pair().unwrap();
    converse(shell(script), channel, serial, input, limits, host, |sender| {
        std::thread::spawn(move || guest(theirs, their_serial, sender));
    })
}

/// A QEMU that ends as soon as the guest has said what it has to say.
fn talk(
    host: &mut Heard,
    guest: impl FnOnce(&mut UnixStream, &mut UnixStream) + Send + 'static,
) -> Result<End> {
    machine("exec sleep 60", Input::Empty, Limits::default(), host, |mut channel, mut serial, sender| {
        guest(&mut channel, &mut serial);
        drop((channel, serial));
        sender.0.kill();
    })
}

#[test]
fn everything_said_is_heard() {
    let mut host = Heard::default();
    let end = talk(&mut host, |channel, serial| {
        serial.write_all(b"info: booting\n").unwrap();
        let mut all = frame(Kind::Output, 1, 0, b"out");
        all.extend(frame(Kind::Output, 2, 0, b"err"));
        all.extend(frame(Kind::Exit, 0, 0, &(3u32 << 8).to_le_bytes()));
        all.extend(frame(Kind::ExecFailed, 0, 1, b"\x08\0\0\0not today"));
        all.extend(frame(Kind::Notice, 0, 1, b"out of memory\n"));
        all.extend(frame(Kind::Counters, 0, 1, b"calls 3\n"));
        all.extend(frame(Kind::AllDone, 0, 0, b""));
        // In pieces that cut headers and bodies.
        for piece in all.chunks(5) {
            channel.write_all(piece).unwrap();
        }
    });
    assert_eq!(end.unwrap(), End::Done);
    let expected = Heard {
        output: vec![(0, 1, b"out".to_vec()), (0, 2, b"err".to_vec())],
        exits: vec![(0, 0x300)],
        failures: vec![(1, 8, "not today".to_owned())],
        notices: "out of memory\n".to_owned(),
        counters: "calls 3\n".to_owned(),
        log: b"info: booting\n".to_vec(),
        refuse_output: false,
    };
    assert_eq!(host, expected);
}

#[test]
fn nothing_is_lost_when_the_machine_ends_at_once() {
    const FRAMES: usize = 40;
    let mut host = Heard::default();
    let end = talk(&mut host, |channel, _| {
        for _ in 0..FRAMES {
            channel.write_all(&frame(Kind::Output, 1, 0, &[b'x'; 4088])).unwrap();
        }
        channel.write_all(&frame(Kind::AllDone, 0, 0, b"")).unwrap();
    });
    assert_eq!(end.unwrap(), End::Done);
    assert_eq!(host.output.iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>(), FRAMES * 4088);
}

#[test]
fn half_a_frame_of_output_is_passed_on() {
    let mut host = Heard::default();
    let end = talk(&mut host, |channel, _| {
        let whole = frame(Kind::Output, 1, 0, b"half of this");
        channel.write_all(&whole[..whole.len() - 8]).unwrap();
    });
    assert!(matches!(end.unwrap(), End::Died { status: None, .. }));
    assert_eq!(host.output, [(0, 1, b"half".to_vec())]);
}

#[test]
fn nonsense_ends_the_machine() {
    for nonsense in [
        b"\xff\0\0\0\0\0\0\0".to_vec(),
        frame(Kind::Stdin, 0, 0, b"x"),
        [&frame(Kind::Output, 1, 0, b"")[..4], &u32::MAX.to_le_bytes()].concat(),
    ] {
        let mut host = Heard::default();
        let wait_for_end = |mut channel: UnixStream, nonsense: Vec<u8>| {
            channel.write_all(&nonsense).unwrap();
            let _ = channel.read_to_end(&mut Vec::new());
        };
        let end =
            machine("exec sleep 60", Input::Empty, Limits::default(), &mut host, move |channel, _, _| {
                wait_for_end(channel, nonsense);
            });
        assert!(end.unwrap_err().to_string().contains("the guest sent"), "{host:?}");
    }
}

#[test]
fn input_comes_on_credit_and_ends() {
    let text: Vec<u8> = (0u32..5000).flat_map(u32::to_le_bytes).collect();
    let expected = text.clone();
    let mut host = Heard::default();
    let input = Input::Reader(Box::new(io::Cursor::new(text)));
    let (result, received) = std::sync::mpsc::channel();
    let end = machine("exec sleep 60", input, Limits::default(), &mut host, move |mut channel, _, sender| {
        // Nothing comes before it is asked for.
        channel.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let early = channel.read(&mut [0]).map_err(|error| error.kind());
        channel.set_read_timeout(None).unwrap();
        let mut got = Vec::new();
        let mut granted = 0;
        let end = loop {
            if got.len() == granted {
                granted += 1000;
                channel.write_all(&frame(Kind::Credit, 0, 0, &1000u32.to_le_bytes())).unwrap();
            }
            match read_frame(&mut channel) {
                Some((Kind::Stdin, body)) => got.extend(body),
                other => break other,
            }
            assert!(got.len() <= granted);
        };
        result.send((early, got, end)).unwrap();
        sender.0.kill();
    });
    assert!(matches!(end.unwrap(), End::Died { .. }));
    let (early, got, end) = received.recv().unwrap();
    assert_eq!(early, Err(io::ErrorKind::WouldBlock));
    assert_eq!(got, expected);
    assert_eq!(end, Some((Kind::StdinEof, Vec::new())));
}

#[test]
fn signals_and_sizes_arrive() {
    let mut host = Heard::default();
    let (result, received) = std::sync::mpsc::channel();
    let end = machine(
        "exec sleep 60",
        Input::Empty,
        Limits::default(),
        &mut host,
        move |mut channel, _, sender| {
            sender.signal(2);
            sender.resize(50, 132);
            let frames: Vec<_> = (0..3).filter_map(|_| read_frame(&mut channel)).collect();
            result.send(frames).unwrap();
            sender.stop();
        },
    );
    assert_eq!(end.unwrap(), End::Stopped);
    let mut frames = received.recv().unwrap();
    frames.retain(|(kind, _)| *kind != Kind::StdinEof);
    assert_eq!(frames, [(Kind::Signal, vec![2, 0, 0, 0]), (Kind::Winsize, vec![50, 0, 132, 0])]);
}

#[test]
fn a_guest_that_never_reads_can_be_stopped() {
    let mut host = Heard::default();
    let end = machine(
        "exec sleep 60",
        Input::Empty,
        Limits::default(),
        &mut host,
        move |channel, serial, sender| {
            // Far more than the socket takes.
            for _ in 0..200_000 {
                sender.signal(2);
            }
            sender.stop();
            drop((channel, serial));
        },
    );
    assert_eq!(end.unwrap(), End::Stopped);
}

#[test]
fn limits() {
    let total = Limits { total: Some(Duration::from_millis(100)), per_job: None };
    let per_job = Limits { total: None, per_job: Some(Duration::from_millis(200)) };
    for limits in [total, per_job] {
        let mut host = Heard::default();
        let end = machine("exec sleep 60", Input::Empty, limits, &mut host, |mut channel, _, _| {
            channel.write_all(&frame(Kind::Output, 1, 0, b"before")).unwrap();
            let _ = channel.read_to_end(&mut Vec::new());
        });
        assert_eq!(end.unwrap(), End::TimedOut);
        assert_eq!(host.output.len(), 1);
    }
    // Each job has the whole of its time.
    let mut host = Heard::default();
    let start = Instant::now();
    let end = machine("exec sleep 60", Input::Empty, per_job, &mut host, |mut channel, _, sender| {
        for job in 0..4 {
            std::thread::sleep(Duration::from_millis(80));
            channel.write_all(&frame(Kind::Exit, 0, job, &[0; 4])).unwrap();
        }
        channel.write_all(&frame(Kind::AllDone, 0, 0, b"")).unwrap();
        sender.0.kill();
    });
    assert_eq!(end.unwrap(), End::Done);
    assert!(start.elapsed() > Duration::from_millis(300));
}

#[test]
fn how_qemu_ends() {
    let run = |script: &str| {
        let mut host = Heard::default();
        machine(script, Input::Empty, Limits::default(), &mut host, |_, mut serial, _| {
            let _ = serial.write_all(b"kernel panicked at x.rs\n");
            std::thread::sleep(Duration::from_secs(1));
        })
    };
    let died = |status, message: &str| End::Died { status, message: message.to_owned() };
    assert_eq!(run("echo 'bad option' >&2; exit 1").unwrap(), died(Some(1), "bad option"));
    assert_eq!(run("exit 0").unwrap(), died(Some(0), ""));
    assert_eq!(run("sleep 0.2; exit 127").unwrap(), End::Panic("kernel panicked at x.rs".to_owned()));
    let stuck = run("echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60").unwrap();
    assert_eq!(stuck, died(None, "KVM internal error. Suberror: 1"));
}

#[test]
fn output_that_nobody_takes_is_an_error() {
    let mut host = Heard { refuse_output: true, ..Heard::default() };
    let end = talk(&mut host, |channel, _| {
        channel.write_all(&frame(Kind::Output, 1, 0, b"x")).unwrap();
    });
    let error = end.unwrap_err();
    let cause = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(cause, Some(io::ErrorKind::BrokenPipe));
}

#[test]
fn a_missing_qemu_is_named_with_its_package() {
    let error = Process::spawn(&mut Command::new("qemu-that-is-not-there"), &[]).unwrap_err();
    assert!(error.to_string().contains("apt-get install"), "{error}");
}
