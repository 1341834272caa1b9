//! Devices. Nothing is looked for before somebody needs it.

pub mod pci;
pub mod virtio;

use spin::Once;

use crate::sync::SpinLock;

/// A virtio-mmio device as the command line names it: `virtio_mmio.device=SIZE@ADDRESS:IRQ`.
#[derive(Clone, Copy, Debug)]
pub struct MmioDevice {
    pub address: u64,
    pub irq: u32,
}

const MAX_MMIO: usize = 32;

struct MmioList {
    devices: [Option<MmioDevice>; MAX_MMIO],
}

static MMIO: SpinLock<MmioList> = SpinLock::new(MmioList { devices: [None; MAX_MMIO] });

/// Called from interrupts: one slot per device vector.
type Handler = fn();
const FIRST_VECTOR: u8 = 0x30;
static HANDLERS: [Once<Handler>; 8] = [const { Once::new() }; 8];
static NEXT_HANDLER: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

/// Takes the device tokens off the command line, wherever they stand.
pub fn init(command_line: &str) {
    let mut list = MMIO.lock();
    let found = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("virtio_mmio.device="))
        .filter_map(parse_mmio);
    for (slot, device) in list.devices.iter_mut().zip(found) {
        *slot = Some(device);
    }
}

/// `512@0xfeb00e00:12[:id]`
fn parse_mmio(text: &str) -> Option<MmioDevice> {
    let (_, place) = text.split_once('@')?;
    let mut parts = place.split(':');
    let address = parse_number(parts.next()?)?;
    let irq = parse_number(parts.next()?)?;
    Some(MmioDevice { address, irq: u32::try_from(irq).ok()? })
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The virtio-mmio devices of this machine.
pub fn mmio_devices() -> impl Iterator<Item = MmioDevice> {
    let devices = MMIO.lock().devices;
    devices.into_iter().flatten()
}

/// Gives a handler a vector of its own. `None` when there are no more.
pub fn allocate_vector(handler: Handler) -> Option<u8> {
    let index = NEXT_HANDLER.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    HANDLERS.get(index)?.call_once(|| handler);
    Some(FIRST_VECTOR + index as u8)
}

/// A device interrupt.
pub fn interrupt(vector: u8) {
    let index = usize::from(vector.wrapping_sub(FIRST_VECTOR));
    if let Some(handler) = HANDLERS.get(index).and_then(Once::get) {
        handler();
    }
}
