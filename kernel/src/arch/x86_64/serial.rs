//! COM1 for the kernel's log.

use uart_16550::{Config, Uart16550, backend::PioBackend};

/// The log's serial port. Created at the first message: a silent kernel never touches the device.
pub struct Serial(Uart16550<PioBackend>);

impl Serial {
    pub fn open() -> Option<Self> {
        // SAFETY: port 0x3f8 is COM1 on every machine that this kernel boots on, and nothing else drives it.
        let mut uart = unsafe { Uart16550::new_port(0x3f8) }.ok()?;
        uart.init(Config::default()).ok()?;
        Some(Self(uart))
    }

    pub fn write(&mut self, text: &str) {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.0.send_bytes_exact(b"\r");
            }
            self.0.send_bytes_exact(&[byte]);
        }
    }
}
