//! The program's streams: frames to and from the launcher over one virtio-serial port (docs/ARCHITECTURE.md, "Streams").
//!
//! Standard output and error keep their order towards each other, and a job's exit status follows its last byte. Input comes on credit, so
//! that signals and window sizes never wait behind bytes that nobody reads. Without such a port (another VMM) output goes to the serial line.
#![expect(unsafe_code, reason = "fills pages that a device reads")]

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};

use abi::{Errno, Signal, Winsize};
use wire::{FRAME_HEADER_LEN, FrameHeader, Kind};

use crate::drivers::virtio::console::{Port, TxBuffer};
use crate::mm::{PAGE_SIZE, Sink, Source};
use crate::sync::SpinLock;
use crate::syscall::SysError;
use crate::task::WaitQueue;

/// Bytes of input that may be under way or waiting here.
const INPUT_WINDOW: usize = 64 << 10;
/// Credit is given back in pieces of at least this size.
const CREDIT_STEP: usize = 16 << 10;
const MAX_DATA: usize = PAGE_SIZE - FRAME_HEADER_LEN;
/// Polls of a port that doesn't take the last frames, before the machine ends all the same.
const FLUSH_PATIENCE: u64 = 20_000_000_000;

enum Device {
    Unopened,
    Port(Box<Port>),
    Serial,
}

struct Input {
    bytes: VecDeque<u8>,
    ended: bool,
    /// Whether the launcher has been told that input is wanted.
    wanted: bool,
    /// Taken by readers and not yet given back as credit.
    owed: usize,
    /// A frame that hasn't arrived whole: its header, and how much of header and body is there.
    header: [u8; FRAME_HEADER_LEN],
    header_len: usize,
    body_left: usize,
    body: [u8; 8],
    body_len: usize,
}

static DEVICE: SpinLock<Device> = SpinLock::new(Device::Unopened);
static INPUT: SpinLock<Input> = SpinLock::new(Input {
    bytes: VecDeque::new(),
    ended: false,
    wanted: false,
    owed: 0,
    header: [0; FRAME_HEADER_LEN],
    header_len: 0,
    body_left: 0,
    body: [0; 8],
    body_len: 0,
});
static INPUT_QUEUE: WaitQueue = WaitQueue::new();
static OUTPUT_QUEUE: WaitQueue = WaitQueue::new();
static WAITING_FOR_BUFFER: AtomicBool = AtomicBool::new(false);
static JOB: AtomicU16 = AtomicU16::new(0);
/// Rows in the high half, columns in the low one.
static WINDOW: AtomicU32 = AtomicU32::new(24 << 16 | 80);

/// Does something with the port, opened at its first use. `None` if there is none.
fn with_port<T>(act: impl FnOnce(&mut Port) -> T) -> Option<T> {
    let mut device = DEVICE.lock();
    if let Device::Unopened = &*device {
        *device = match Port::open(interrupt) {
            Some(port) => Device::Port(Box::new(port)),
            None => Device::Serial,
        };
    }
    match &mut *device {
        Device::Port(port) => Some(act(port)),
        _ => None,
    }
}

/// A running program without any output may still be sent signals: opens the port.
pub fn open() {
    let _ = with_port(|_| ());
}

/// From now on output belongs to this job.
pub fn begin_job(job: u16) {
    JOB.store(job, Ordering::Relaxed);
    let mut input = INPUT.lock();
    input.bytes.clear();
    input.ended = false;
}

/// A free buffer, waiting for the host to take one if need be.
fn buffer() -> Result<Option<TxBuffer>, SysError> {
    let taken = |port: &mut Port| {
        let buffer = port.take_buffer();
        if buffer.is_none() {
            port.announce();
        }
        buffer.or_else(|| port.take_buffer())
    };
    match with_port(taken) {
        None => return Ok(None),
        Some(Some(buffer)) => return Ok(Some(buffer)),
        Some(None) => {}
    }
    let buffer = OUTPUT_QUEUE.wait(None, || {
        WAITING_FOR_BUFFER.store(true, Ordering::Release);
        with_port(|port| if port.await_buffer() { port.take_buffer() } else { None }).flatten()
    })?;
    Ok(Some(buffer))
}

fn put_header(buffer: &TxBuffer, kind: Kind, stream: u8, len: usize) {
    let header = FrameHeader { kind, stream, job: JOB.load(Ordering::Relaxed), len: len as u32 };
    let bytes = header.encode();
    // SAFETY: the page is ours until it is sent.
    unsafe {
        core::ptr::with_exposed_provenance_mut::<[u8; FRAME_HEADER_LEN]>(buffer.address()).write(bytes);
    }
}

/// Writes to standard output (1) or error (2). Returns how much; less than asked for only after a fault or a signal.
pub fn write(stream: u8, src: &mut Source<'_>) -> Result<usize, SysError> {
    let mut done = 0;
    while src.remaining() > 0 {
        let buffer = match buffer() {
            Ok(Some(buffer)) => buffer,
            Ok(None) => return write_serial(src),
            Err(error) => {
                let _ = with_port(Port::announce);
                return if done > 0 { Ok(done) } else { Err(error) };
            }
        };
        let data = core::ptr::with_exposed_provenance_mut::<u8>(buffer.address() + FRAME_HEADER_LEN);
        // SAFETY: the page is ours until it is sent, and MAX_DATA fits behind the header.
        let copied = unsafe { src.read_raw(data, MAX_DATA) };
        let len = match copied {
            Ok(len) if len > 0 => len,
            other => {
                let _ = with_port(|port| {
                    port.give_back(buffer);
                    port.announce();
                });
                return match other {
                    Err(errno) if done == 0 => Err(errno.into()),
                    _ => Ok(done),
                };
            }
        };
        put_header(&buffer, Kind::Output, stream, len);
        let _ = with_port(|port| port.send(buffer, FRAME_HEADER_LEN + len));
        done += len;
    }
    let _ = with_port(Port::announce);
    Ok(done)
}

fn write_serial(src: &mut Source<'_>) -> Result<usize, SysError> {
    let mut done = 0;
    let mut chunk = [0u8; 256];
    while src.remaining() > 0 {
        match src.read(&mut chunk) {
            Ok(len) => {
                crate::debug::print_output(chunk.get(..len).unwrap_or_default());
                done += len;
            }
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Sends a small frame of the kernel's own. Polls for a buffer: such frames can't wait for a scheduler.
fn send(kind: Kind, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum::<usize>().min(MAX_DATA);
    let start = crate::arch::x86_64::tsc::read();
    loop {
        let sent = with_port(|port| {
            let Some(buffer) = port.take_buffer() else {
                port.announce();
                return false;
            };
            put_header(&buffer, kind, 0, len);
            let mut at = buffer.address() + FRAME_HEADER_LEN;
            let end = at + len;
            for part in parts {
                let piece = part.len().min(end - at);
                // SAFETY: inside the buffer's page, behind the header.
                unsafe {
                    core::ptr::copy_nonoverlapping(
                        part.as_ptr(),
                        core::ptr::with_exposed_provenance_mut(at),
                        piece,
                    );
                }
                at += piece;
            }
            port.send(buffer, FRAME_HEADER_LEN + len);
            port.announce();
            true
        });
        match sent {
            Some(false) if crate::arch::x86_64::tsc::read().wrapping_sub(start) < FLUSH_PATIENCE => {
                core::hint::spin_loop();
            }
            _ => return,
        }
    }
}

/// A line for the user's standard error.
pub fn notice(text: &str) {
    log::warn!("{text}");
    send(Kind::Notice, &[text.as_bytes(), b"\n"]);
}

/// A job's first process ended with this raw wait status.
pub fn exit(job: u16, status: u32) {
    JOB.store(job, Ordering::Relaxed);
    send(Kind::Exit, &[&status.to_le_bytes()]);
}

/// A job could not be started.
pub fn exec_failed(job: u16, errno: Errno, text: &str) {
    JOB.store(job, Ordering::Relaxed);
    log::error!("{text}");
    send(Kind::ExecFailed, &[&u32::from(errno.raw()).to_le_bytes(), text.as_bytes()]);
}

/// Nothing more will come: waits until the host has taken everything.
pub fn all_done() {
    send(Kind::AllDone, &[]);
    let start = crate::arch::x86_64::tsc::read();
    while with_port(Port::is_flushed) == Some(false) {
        if crate::arch::x86_64::tsc::read().wrapping_sub(start) > FLUSH_PATIENCE {
            log::error!("the host took no output");
            return;
        }
        core::hint::spin_loop();
    }
}

// ---- input --------------------------------------------------------------------------------------------------------------

/// Takes what has arrived. Called by interrupts, and before anybody looks at the input.
pub fn poll_input() {
    let mut events = Events::default();
    {
        let mut device = DEVICE.lock();
        let Device::Port(port) = &mut *device else { return };
        let mut input = INPUT.lock();
        port.receive(|bytes| input.take(bytes, &mut events));
    }
    if events.input {
        INPUT_QUEUE.wake_all();
        crate::fs::stdio::input_arrived();
    }
    if events.resized {
        crate::task::signal::send_to_foreground(Signal::SIGWINCH);
    }
    for number in 1..64 {
        if events.signals & 1 << number != 0
            && let Some(signal) = Signal::new(number)
        {
            crate::task::signal::send_to_foreground(signal);
        }
    }
}

fn interrupt() {
    {
        let device = DEVICE.lock();
        if let Device::Port(port) = &*device {
            port.acknowledge_interrupt();
        }
    }
    poll_input();
    if WAITING_FOR_BUFFER.swap(false, Ordering::AcqRel) {
        OUTPUT_QUEUE.wake_all();
    }
}

/// What a batch of frames amounted to.
#[derive(Default)]
struct Events {
    input: bool,
    resized: bool,
    signals: u64,
}

impl Input {
    /// Takes bytes of the stream of frames, wherever they are cut.
    fn take(&mut self, mut bytes: &[u8], events: &mut Events) {
        while !bytes.is_empty() {
            if self.header_len < FRAME_HEADER_LEN {
                let (piece, rest) = bytes.split_at(bytes.len().min(FRAME_HEADER_LEN - self.header_len));
                if let Some(slot) = self.header.get_mut(self.header_len..self.header_len + piece.len()) {
                    slot.copy_from_slice(piece);
                }
                self.header_len += piece.len();
                bytes = rest;
                if self.header_len == FRAME_HEADER_LEN {
                    self.body_len = 0;
                    self.body_left =
                        FrameHeader::decode(&self.header).map_or(0, |header| header.len as usize);
                    if self.body_left == 0 {
                        self.finish(events);
                    }
                }
                continue;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(self.body_left));
            let kind = FrameHeader::decode(&self.header).map(|header| header.kind);
            if let Ok(Kind::Stdin) = kind {
                self.bytes.extend(piece);
                events.input = true;
            } else {
                for &byte in piece {
                    if let Some(slot) = self.body.get_mut(self.body_len) {
                        *slot = byte;
                        self.body_len += 1;
                    }
                }
            }
            self.body_left -= piece.len();
            bytes = rest;
            if self.body_left == 0 {
                self.finish(events);
            }
        }
    }

    /// A frame is complete.
    fn finish(&mut self, events: &mut Events) {
        self.header_len = 0;
        let Ok(header) = FrameHeader::decode(&self.header) else { return };
        let [a, b, c, d, ..] = self.body;
        match header.kind {
            Kind::StdinEof => {
                self.ended = true;
                events.input = true;
            }
            Kind::Signal => {
                let number = u32::from_le_bytes([a, b, c, d]);
                if number < 64 {
                    events.signals |= 1 << number;
                }
            }
            Kind::Winsize => {
                let (rows, cols) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                WINDOW.store(u32::from(rows) << 16 | u32::from(cols), Ordering::Relaxed);
                events.resized = true;
            }
            _ => {}
        }
    }
}

/// Tells the launcher that somebody wants input. Once per machine.
fn want_input() {
    let first = {
        let mut input = INPUT.lock();
        !core::mem::replace(&mut input.wanted, true)
    };
    if first {
        send(Kind::Credit, &[&(INPUT_WINDOW as u32).to_le_bytes()]);
    }
    poll_input();
}

/// Reads what input there is: `Ok(None)` if none has come, 0 at its end.
pub fn read_input(dst: &mut Sink<'_>) -> Result<Option<usize>, Errno> {
    want_input();
    let mut chunk = [0u8; 512];
    let mut done = 0;
    loop {
        let len = {
            let input = INPUT.lock();
            if done == 0 && input.bytes.is_empty() && dst.remaining() > 0 {
                return Ok(input.ended.then_some(0));
            }
            let len = input.bytes.len().min(chunk.len()).min(dst.remaining());
            for (to, from) in chunk.iter_mut().zip(input.bytes.iter().take(len)) {
                *to = *from;
            }
            len
        };
        if len == 0 {
            break;
        }
        match dst.write(chunk.get(..len).unwrap_or_default()) {
            Ok(copied) => {
                consume(copied);
                done += copied;
                if copied < len {
                    break;
                }
            }
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(Some(done))
}

/// Takes bytes off the queue, for a reader or the line discipline, and gives credit back.
fn consume(count: usize) {
    let credit = {
        let mut input = INPUT.lock();
        let count = count.min(input.bytes.len());
        input.bytes.drain(..count);
        input.owed += count;
        if input.owed >= CREDIT_STEP { core::mem::take(&mut input.owed) } else { 0 }
    };
    if credit > 0 {
        send(Kind::Credit, &[&(credit as u32).to_le_bytes()]);
    }
}

/// Bytes that wait, and whether the input has ended behind them.
pub fn input_state() -> (usize, bool) {
    want_input();
    let input = INPUT.lock();
    (input.bytes.len(), input.ended)
}

/// The terminal window on the launcher's side.
pub fn winsize() -> Winsize {
    let window = WINDOW.load(Ordering::Relaxed);
    Winsize { rows: (window >> 16) as u16, cols: window as u16, xpixel: 0, ypixel: 0 }
}

/// The size that the launcher gave at the start, or that TIOCSWINSZ sets.
pub fn set_winsize(rows: u16, cols: u16) {
    WINDOW.store(u32::from(rows) << 16 | u32::from(cols), Ordering::Relaxed);
}
