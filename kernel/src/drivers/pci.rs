//! PCI configuration space by ports 0xCF8 and 0xCFC (PCI Local Bus 3.0, 3.2.2.3.2), as every PC machine has them.

use crate::arch::x86_64::mmio::Mmio;
use crate::arch::x86_64::port;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const COMMAND: u8 = 0x04;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_MASTER: u32 = 1 << 2;
const BAR0: u8 = 0x10;
const CAPABILITIES: u8 = 0x34;
const CAPABILITY_MSIX: u8 = 0x11;
const MSIX_ENABLE: u32 = 1 << 31;

/// A function of a device on bus 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    device: u8,
    function: u8,
}

/// All functions of bus 0: the machines that this kernel boots on have no bridges before their virtio devices.
pub fn functions() -> impl Iterator<Item = Function> {
    (0..32u8).flat_map(|device| {
        let first = Function { device, function: 0 };
        let count = match first.read(0) {
            0xffff_ffff => 0,
            _ if first.read(0x0c) >> 16 & 0x80 != 0 => 8,
            _ => 1,
        };
        (0..count).map(move |function| Function { device, function }).filter(|f| f.read(0) != 0xffff_ffff)
    })
}

impl Function {
    fn select(self, offset: u8) {
        let address =
            1 << 31 | u32::from(self.device) << 11 | u32::from(self.function) << 8 | u32::from(offset & 0xfc);
        port::write32(CONFIG_ADDRESS, address);
    }

    /// A doubleword of configuration space.
    pub fn read(self, offset: u8) -> u32 {
        self.select(offset);
        port::read32(CONFIG_DATA)
    }

    pub fn write(self, offset: u8, value: u32) {
        self.select(offset);
        port::write32(CONFIG_DATA, value);
    }

    /// Vendor and device ID.
    pub fn id(self) -> (u16, u16) {
        let id = self.read(0);
        (id as u16, (id >> 16) as u16)
    }

    /// Lets it answer memory accesses and read and write memory itself.
    pub fn enable(self) {
        self.write(COMMAND, self.read(COMMAND) | COMMAND_MEMORY | COMMAND_MASTER);
    }

    /// Capabilities: `(ID, offset)`.
    pub fn capabilities(self) -> impl Iterator<Item = (u8, u8)> {
        let mut at = self.read(CAPABILITIES) as u8 & 0xfc;
        // A broken list must end.
        let mut left = 48;
        core::iter::from_fn(move || {
            if at == 0 || left == 0 {
                return None;
            }
            left -= 1;
            let header = self.read(at);
            let here = at;
            at = (header >> 8) as u8 & 0xfc;
            Some((header as u8, here))
        })
    }

    /// Physical address of a memory BAR.
    pub fn bar(self, index: u8) -> Option<u64> {
        if index > 5 {
            return None;
        }
        let low = self.read(BAR0 + index * 4);
        if low & 1 != 0 {
            return None;
        }
        let high = if low & 6 == 4 && index < 5 { self.read(BAR0 + index * 4 + 4) } else { 0 };
        let address = u64::from(low & !0xf) | u64::from(high) << 32;
        (address != 0).then_some(address)
    }

    /// Directs the first message-signalled interrupt to a vector of the boot CPU.
    pub fn enable_msix(self, vector: u8) -> Option<()> {
        let (_, at) = self.capabilities().find(|&(id, _)| id == CAPABILITY_MSIX)?;
        let table = self.read(at + 4);
        let base = self.bar((table & 7) as u8)? + u64::from(table & !7);
        let window: Mmio = crate::mm::map_device(base, 16);
        window.write32(0, 0xfee0_0000 | crate::arch::x86_64::apic::id() << 12);
        window.write32(4, 0);
        window.write32(8, u32::from(vector));
        window.write32(12, 0);
        self.write(at, self.read(at) | MSIX_ENABLE);
        Some(())
    }
}
