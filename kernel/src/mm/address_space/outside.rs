//! A program's memory as others see it: exec that fills it, /proc and process_vm_readv that look into it.
#![expect(unsafe_code, reason = "borrows frames from page-table entries")]

use core::mem::ManuallyDrop;

use super::AddressSpace;
use crate::arch::x86_64::paging::Entry;
use crate::mm::fault::{Access, FaultError};
use crate::mm::frame::Frame;
use crate::mm::{PAGE_SIZE, USER_TOP, page_floor};

impl AddressSpace {
    /// Runs `act` on pieces of `[address, address + len)`, page by page, each brought in first if the program itself may access it so:
    /// for what comes from outside (/proc/PID/cmdline, process_vm_readv). `act` gets a frame, the offset and length in it, and how much
    /// was done; it runs under a lock. An error ends it there: `done` says how much was done before.
    pub fn for_pages(
        &self,
        address: usize,
        len: usize,
        access: Access,
        done: &mut usize,
        act: &mut dyn FnMut(&Frame, usize, usize, usize),
    ) -> Result<(), FaultError> {
        *done = 0;
        while *done < len {
            let at = address.checked_add(*done).filter(|&at| at < USER_TOP).ok_or(FaultError::NotMapped)?;
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(len - *done);
            self.fault(at, access)?;
            let _inner = self.inner.write();
            let entry = self.table.get(page_floor(at));
            // Taken away again by another thread: try once more.
            if !entry.contains(Entry::PRESENT) || access == Access::Write && !entry.contains(Entry::WRITABLE)
            {
                continue;
            }
            // SAFETY: the entry's reference stays with the entry, which stays while the lock is held.
            let frame = ManuallyDrop::new(unsafe { Frame::from_raw(entry.address()) });
            act(&frame, at % PAGE_SIZE, piece, *done);
            *done += piece;
        }
        Ok(())
    }

    /// Writes bytes into a program that isn't running yet (exec).
    pub fn write_initial(&self, address: usize, bytes: &[u8]) -> Result<(), FaultError> {
        self.for_pages(address, bytes.len(), Access::Write, &mut 0, &mut |frame, within, len, at| {
            frame.write(within, bytes.get(at..at + len).unwrap_or_default());
        })
    }

    /// Reads a program's memory from outside, as far as it may be read. Returns how much that was if there was a fault.
    pub fn read(&self, address: usize, dst: &mut [u8]) -> Result<(), usize> {
        let mut done = 0;
        let result =
            self.for_pages(address, dst.len(), Access::Read, &mut done, &mut |frame, within, len, at| {
                frame.read(within, dst.get_mut(at..at + len).unwrap_or_default());
            });
        result.map_err(|_| done)
    }

    /// Writes a program's memory from outside, as far as it may be written. As `read`.
    pub fn write(&self, address: usize, src: &[u8]) -> Result<(), usize> {
        let mut done = 0;
        let result =
            self.for_pages(address, src.len(), Access::Write, &mut done, &mut |frame, within, len, at| {
                frame.write(within, src.get(at..at + len).unwrap_or_default());
            });
        result.map_err(|_| done)
    }

    /// Zeroes part of one page of a program that isn't running yet (the tail of .bss).
    pub fn zero_initial(&self, address: usize, len: usize) -> Result<(), FaultError> {
        let len = len.min(PAGE_SIZE - address % PAGE_SIZE);
        self.for_pages(address, len, Access::Write, &mut 0, &mut |frame, within, len, _| {
            frame.zero_range(within..within + len);
        })
    }
}
