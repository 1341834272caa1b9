//! Device registers in memory.

/// A window of device registers. Offsets are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: usize,
    len: usize,
}

impl Mmio {
    /// A window at a virtual address that is mapped uncached for ever (`mm::map_device`).
    pub(crate) fn new(base: usize, len: usize) -> Self {
        Self { base, len }
    }

    fn at<T>(self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.len && offset.is_multiple_of(size_of::<T>()));
        core::ptr::with_exposed_provenance_mut(self.base + offset)
    }

    pub fn read32(self, offset: usize) -> u32 {
        // SAFETY: inside the window, aligned.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }

    pub fn write32(self, offset: usize, value: u32) {
        // SAFETY: inside the window, aligned.
        unsafe { self.at::<u32>(offset).write_volatile(value) };
    }

    pub fn read8(self, offset: usize) -> u8 {
        // SAFETY: inside the window.
        unsafe { self.at::<u8>(offset).read_volatile() }
    }

    pub fn write8(self, offset: usize, value: u8) {
        // SAFETY: inside the window.
        unsafe { self.at::<u8>(offset).write_volatile(value) };
    }

    pub fn read16(self, offset: usize) -> u16 {
        // SAFETY: inside the window, aligned.
        unsafe { self.at::<u16>(offset).read_volatile() }
    }

    pub fn write16(self, offset: usize, value: u16) {
        // SAFETY: inside the window, aligned.
        unsafe { self.at::<u16>(offset).write_volatile(value) };
    }
}
