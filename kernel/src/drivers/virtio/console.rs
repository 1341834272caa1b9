//! virtio-serial (virtio 1.2, 5.3) with several ports, of which the launcher's is number 1.
#![expect(unsafe_code, reason = "buffers are memory that a device reads and writes")]

use super::queue::{Direction, Queue};
use super::transport::{DeviceKind, Transport, find};
use crate::arch::x86_64::tsc;
use crate::mm::{PAGE_SIZE, frame};

const FEATURE_MULTIPORT: u64 = 1 << 1;
/// Queues: 2 and 3 are the control queues, 4 and 5 port 1's.
const CONTROL_RX: u16 = 2;
const CONTROL_TX: u16 = 3;
const RX: u16 = 4;
const TX: u16 = 5;
const PORT: u32 = 1;

/// Control events (5.3.6.2).
const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;

/// Buffers in each direction, a page each. They come into being when they are used.
pub const BUFFERS: u16 = 16;
const CONTROL_BUFFERS: u16 = 8;
const CONTROL_SIZE: usize = 64;
/// TSC ticks to wait for an answer: far beyond what any device takes, and no hang.
const PATIENCE: u64 = 2_000_000_000;

/// The port: 16 buffers to send from, 16 to receive into.
pub struct Port {
    transport: Transport,
    rx: Queue,
    tx: Queue,
    control_rx: Queue,
    control_tx: Queue,
    control_page: usize,
    tx_pages: [usize; BUFFERS as usize],
    rx_pages: [usize; BUFFERS as usize],
    tx_free: u16,
    unannounced: bool,
}

/// A buffer to fill and send.
#[derive(Debug)]
pub struct TxBuffer {
    index: u16,
    page: usize,
}

impl TxBuffer {
    /// Address of its page in the kernel.
    pub fn address(&self) -> usize {
        self.page
    }
}

impl Port {
    /// Finds the device and opens the port. `None` if there is no such device.
    pub fn open(handler: fn()) -> Option<Self> {
        let transport = find(DeviceKind::Console)?;
        if transport.negotiate(FEATURE_MULTIPORT) & FEATURE_MULTIPORT == 0 {
            return None;
        }
        if let Some(vector) = crate::drivers::allocate_vector(handler) {
            transport.route_interrupts(vector);
        }
        let mut port = Self {
            transport,
            control_rx: transport.add_queue(CONTROL_RX)?,
            control_tx: transport.add_queue(CONTROL_TX)?,
            rx: transport.add_queue(RX)?,
            tx: transport.add_queue(TX)?,
            control_page: frame::alloc_block(0)?,
            tx_pages: [0; BUFFERS as usize],
            rx_pages: [0; BUFFERS as usize],
            tx_free: u16::MAX,
            unannounced: false,
        };
        port.tx.set_interrupts(false);
        port.control_tx.set_interrupts(false);
        transport.start();
        for index in 0..CONTROL_BUFFERS {
            let address = port.control_page + usize::from(index) * CONTROL_SIZE;
            port.control_rx.describe(index, address, CONTROL_SIZE as u32, Direction::FromDevice);
            port.control_rx.offer(index);
        }
        transport.notify(CONTROL_RX);
        port.control(u32::MAX, DEVICE_READY, 1);
        port.await_port()?;
        port.control(PORT, PORT_READY, 1);
        port.control(PORT, PORT_OPEN, 1);
        for index in 0..2 {
            port.offer_rx(index)?;
        }
        transport.notify(RX);
        Some(port)
    }

    /// Sends a control message and waits until the device has read it.
    fn control(&mut self, port: u32, event: u16, value: u16) {
        let message = self.control_page + usize::from(CONTROL_BUFFERS) * CONTROL_SIZE;
        let mut bytes = [0u8; 8];
        bytes[..4].copy_from_slice(&port.to_le_bytes());
        bytes[4..6].copy_from_slice(&event.to_le_bytes());
        bytes[6..].copy_from_slice(&value.to_le_bytes());
        // SAFETY: inside the control page, behind the receive buffers; the device has read the last message.
        unsafe { core::ptr::with_exposed_provenance_mut::<[u8; 8]>(message).write_volatile(bytes) };
        self.control_tx.describe(0, message, 8, Direction::ToDevice);
        self.control_tx.offer(0);
        self.transport.notify(CONTROL_TX);
        wait_until(|| self.control_tx.take_used());
    }

    /// Waits until the device has named port 1.
    fn await_port(&mut self) -> Option<()> {
        loop {
            let (index, _) = wait_until(|| self.control_rx.take_used())?;
            let at = self.control_page + usize::from(index % CONTROL_BUFFERS) * CONTROL_SIZE;
            // SAFETY: a receive buffer that the device has given back.
            let message = unsafe { core::ptr::with_exposed_provenance::<[u8; 8]>(at).read_volatile() };
            self.control_rx.offer(index % CONTROL_BUFFERS);
            let id = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
            let event = u16::from_le_bytes([message[4], message[5]]);
            if id == PORT && event == PORT_ADD {
                return Some(());
            }
        }
    }

    fn offer_rx(&mut self, index: u16) -> Option<()> {
        let page = self.rx_pages.get_mut(usize::from(index))?;
        if *page == 0 {
            *page = frame::alloc_block(0)?;
        }
        self.rx.describe(index, *page, PAGE_SIZE as u32, Direction::FromDevice);
        self.rx.offer(index);
        Some(())
    }

    /// Passes what has arrived to `take`, and offers the buffers again.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8])) {
        let mut any = false;
        while let Some((index, len)) = self.rx.take_used() {
            let index = index % BUFFERS;
            let page = self.rx_pages.get(usize::from(index)).copied().unwrap_or(0);
            if page != 0 {
                // SAFETY: the device has given the buffer back, and wrote at most its length.
                let bytes = unsafe {
                    core::slice::from_raw_parts(
                        core::ptr::with_exposed_provenance::<u8>(page),
                        (len as usize).min(PAGE_SIZE),
                    )
                };
                take(bytes);
            }
            self.offer_rx(index);
            any = true;
        }
        if any && self.rx.wants_notification() {
            self.transport.notify(RX);
        }
    }

    pub fn acknowledge_interrupt(&self) {
        self.transport.acknowledge_interrupt();
    }

    /// A buffer to send, if one is free.
    pub fn take_buffer(&mut self) -> Option<TxBuffer> {
        self.reclaim();
        if self.tx_free == 0 {
            return None;
        }
        let index = self.tx_free.trailing_zeros() as u16;
        let page = self.tx_pages.get_mut(usize::from(index))?;
        if *page == 0 {
            *page = frame::alloc_block(0)?;
        }
        self.tx_free &= !(1 << index);
        Some(TxBuffer { index, page: *page })
    }

    /// A buffer that isn't needed after all.
    pub fn give_back(&mut self, buffer: TxBuffer) {
        self.tx_free |= 1 << buffer.index;
    }

    /// Queues a buffer's first `len` bytes. `announce` tells the device.
    pub fn send(&mut self, buffer: TxBuffer, len: usize) {
        self.tx.describe(buffer.index, buffer.page, len as u32, Direction::ToDevice);
        self.tx.offer(buffer.index);
        self.unannounced = true;
    }

    /// Tells the device what was queued.
    pub fn announce(&mut self) {
        if core::mem::take(&mut self.unannounced) && self.tx.wants_notification() {
            self.transport.notify(TX);
        }
    }

    fn reclaim(&mut self) {
        while let Some((index, _)) = self.tx.take_used() {
            self.tx_free |= 1 << (index % BUFFERS);
        }
    }

    /// Asks for an interrupt when the device has taken something, and says whether a buffer is free by then.
    pub fn await_buffer(&mut self) -> bool {
        self.tx.set_interrupts(true);
        self.reclaim();
        let free = self.tx_free != 0;
        if free {
            self.tx.set_interrupts(false);
        }
        free
    }

    /// Whether the device has taken everything.
    pub fn is_flushed(&mut self) -> bool {
        self.announce();
        self.reclaim();
        self.tx_free == u16::MAX
    }
}

/// Asks again and again, for a bounded time.
fn wait_until<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = tsc::read();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if tsc::read().wrapping_sub(start) > PATIENCE {
            return None;
        }
        core::hint::spin_loop();
    }
}
