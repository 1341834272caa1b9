//! How a driver talks to its device: virtio over MMIO (virtio 1.2, 4.2) and over PCI (4.1), modern interfaces only.

use super::queue::Queue;
use crate::arch::x86_64::apic;
use crate::arch::x86_64::mmio::Mmio;
use crate::drivers::{self, pci};

/// Device types (virtio 1.2, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceKind {
    Console = 3,
}

const STATUS_ACKNOWLEDGE: u32 = 1;
const STATUS_DRIVER: u32 = 2;
const STATUS_DRIVER_OK: u32 = 4;
const STATUS_FEATURES_OK: u32 = 8;
const FEATURE_VERSION_1: u64 = 1 << 32;

/// MMIO registers.
mod reg {
    pub(super) const MAGIC: usize = 0x00;
    pub(super) const VERSION: usize = 0x04;
    pub(super) const DEVICE_ID: usize = 0x08;
    pub(super) const DEVICE_FEATURES: usize = 0x10;
    pub(super) const DEVICE_FEATURES_SELECT: usize = 0x14;
    pub(super) const DRIVER_FEATURES: usize = 0x20;
    pub(super) const DRIVER_FEATURES_SELECT: usize = 0x24;
    pub(super) const QUEUE_SELECT: usize = 0x30;
    pub(super) const QUEUE_SIZE_MAX: usize = 0x34;
    pub(super) const QUEUE_SIZE: usize = 0x38;
    pub(super) const QUEUE_READY: usize = 0x44;
    pub(super) const QUEUE_NOTIFY: usize = 0x50;
    pub(super) const INTERRUPT_STATUS: usize = 0x60;
    pub(super) const INTERRUPT_ACK: usize = 0x64;
    pub(super) const STATUS: usize = 0x70;
    pub(super) const QUEUE_ADDRESSES: [usize; 3] = [0x80, 0x90, 0xa0];
    pub(super) const LEN: usize = 0x200;
}

/// PCI common configuration (4.1.4.3).
mod common {
    pub(super) const DEVICE_FEATURES_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURES: usize = 0x04;
    pub(super) const DRIVER_FEATURES_SELECT: usize = 0x08;
    pub(super) const DRIVER_FEATURES: usize = 0x0c;
    pub(super) const CONFIG_VECTOR: usize = 0x10;
    pub(super) const STATUS: usize = 0x14;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFFSET: usize = 0x1e;
    pub(super) const QUEUE_ADDRESSES: [usize; 3] = [0x20, 0x28, 0x30];
    pub(super) const LEN: usize = 0x38;
}

const MAGIC: u32 = 0x7472_6976;
const VENDOR: u16 = 0x1af4;
const FIRST_MODERN_ID: u16 = 0x1040;
const NO_VECTOR: u16 = 0xffff;
const CAPABILITY_VENDOR: u8 = 0x09;
const CFG_COMMON: u8 = 1;
const CFG_NOTIFY: u8 = 2;
const CFG_ISR: u8 = 3;

/// A device's registers.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    Mmio { window: Mmio, irq: u32 },
    Pci { function: pci::Function, common: Mmio, notify: Mmio, notify_multiplier: u32, isr: Mmio },
}

/// The first device of a kind.
pub fn find(kind: DeviceKind) -> Option<Transport> {
    for device in drivers::mmio_devices() {
        let window = crate::mm::map_device(device.address, reg::LEN);
        let is_modern = window.read32(reg::MAGIC) == MAGIC && window.read32(reg::VERSION) == 2;
        if is_modern && window.read32(reg::DEVICE_ID) == kind as u32 {
            return Some(Transport::Mmio { window, irq: device.irq });
        }
    }
    if drivers::mmio_devices().next().is_some() {
        return None;
    }
    pci::functions().find(|f| f.id() == (VENDOR, FIRST_MODERN_ID + kind as u16)).and_then(open_pci)
}

fn open_pci(function: pci::Function) -> Option<Transport> {
    function.enable();
    let mut windows: [Option<Mmio>; 4] = [None; 4];
    let mut notify_multiplier = 0;
    for (id, at) in function.capabilities() {
        if id != CAPABILITY_VENDOR {
            continue;
        }
        let kind = (function.read(at) >> 24) as u8;
        let Some(slot) = windows.get_mut(usize::from(kind)).filter(|slot| slot.is_none()) else { continue };
        let bar = function.read(at + 4) as u8;
        let offset = function.read(at + 8);
        let len = function.read(at + 12) as usize;
        let Some(base) = function.bar(bar) else { continue };
        *slot = Some(crate::mm::map_device(base + u64::from(offset), len.max(common::LEN)));
        if kind == CFG_NOTIFY {
            notify_multiplier = function.read(at + 16);
        }
    }
    Some(Transport::Pci {
        function,
        common: windows[usize::from(CFG_COMMON)]?,
        notify: windows[usize::from(CFG_NOTIFY)]?,
        notify_multiplier,
        isr: windows[usize::from(CFG_ISR)]?,
    })
}

impl Transport {
    fn set_status(&self, value: u32) {
        match self {
            Self::Mmio { window, .. } => window.write32(reg::STATUS, value),
            Self::Pci { common, .. } => common.write8(common::STATUS, value as u8),
        }
    }

    fn device_features(&self) -> u64 {
        let read = |half: u32| match self {
            Self::Mmio { window, .. } => {
                window.write32(reg::DEVICE_FEATURES_SELECT, half);
                window.read32(reg::DEVICE_FEATURES)
            }
            Self::Pci { common, .. } => {
                common.write32(common::DEVICE_FEATURES_SELECT, half);
                common.read32(common::DEVICE_FEATURES)
            }
        };
        u64::from(read(0)) | u64::from(read(1)) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for (half, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            match self {
                Self::Mmio { window, .. } => {
                    window.write32(reg::DRIVER_FEATURES_SELECT, half);
                    window.write32(reg::DRIVER_FEATURES, value);
                }
                Self::Pci { common, .. } => {
                    common.write32(common::DRIVER_FEATURES_SELECT, half);
                    common.write32(common::DRIVER_FEATURES, value);
                }
            }
        }
    }

    /// Resets the device and agrees on features: those wanted that it offers. Returns them.
    pub fn negotiate(&self, wanted: u64) -> u64 {
        self.set_status(0);
        self.set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        let agreed = self.device_features() & (wanted | FEATURE_VERSION_1);
        self.set_driver_features(agreed);
        self.set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
        agreed
    }

    /// The device may go to work.
    pub fn start(&self) {
        self.set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
    }

    /// Makes a queue known to the device. `None` without memory, or if the device has no such queue.
    pub fn add_queue(&self, index: u16) -> Option<Queue> {
        match self {
            Self::Mmio { window, .. } => {
                window.write32(reg::QUEUE_SELECT, u32::from(index));
                let max = window.read32(reg::QUEUE_SIZE_MAX);
                let queue = Queue::new(u16::try_from(max).ok().filter(|&max| max > 0)?)?;
                window.write32(reg::QUEUE_SIZE, u32::from(queue.size()));
                for (register, address) in reg::QUEUE_ADDRESSES.into_iter().zip(queue.addresses()) {
                    window.write32(register, address as u32);
                    window.write32(register + 4, (address >> 32) as u32);
                }
                window.write32(reg::QUEUE_READY, 1);
                Some(queue)
            }
            Self::Pci { common, .. } => {
                common.write16(common::QUEUE_SELECT, index);
                let max = common.read16(common::QUEUE_SIZE);
                let queue = Queue::new(Some(max).filter(|&max| max > 0)?)?;
                common.write16(common::QUEUE_SIZE, queue.size());
                for (register, address) in common::QUEUE_ADDRESSES.into_iter().zip(queue.addresses()) {
                    common.write32(register, address as u32);
                    common.write32(register + 4, (address >> 32) as u32);
                }
                common.write16(common::QUEUE_VECTOR, 0);
                common.write16(common::QUEUE_ENABLE, 1);
                Some(queue)
            }
        }
    }

    /// Tells the device of new buffers in a queue.
    pub fn notify(&self, index: u16) {
        match self {
            Self::Mmio { window, .. } => window.write32(reg::QUEUE_NOTIFY, u32::from(index)),
            Self::Pci { common, notify, notify_multiplier, .. } => {
                common.write16(common::QUEUE_SELECT, index);
                let offset = usize::from(common.read16(common::QUEUE_NOTIFY_OFFSET));
                notify.write16(offset * *notify_multiplier as usize, index);
            }
        }
    }

    /// Directs the device's interrupts to a vector. Before the queues are added.
    pub fn route_interrupts(&self, vector: u8) {
        match self {
            Self::Mmio { irq, .. } => apic::route_irq(*irq, vector),
            Self::Pci { function, common, .. } => {
                if function.enable_msix(vector).is_some() {
                    common.write16(common::CONFIG_VECTOR, NO_VECTOR);
                }
            }
        }
    }

    /// In the interrupt handler: the device may raise the line again.
    pub fn acknowledge_interrupt(&self) {
        match self {
            Self::Mmio { window, .. } => {
                let status = window.read32(reg::INTERRUPT_STATUS);
                window.write32(reg::INTERRUPT_ACK, status);
            }
            Self::Pci { isr, .. } => {
                isr.read8(0);
            }
        }
    }
}
