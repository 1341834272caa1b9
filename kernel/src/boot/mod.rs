//! What the boot protocols hand over, in one form.
#![expect(unsafe_code, reason = "reads the structures that the boot loader left in memory")]

pub mod entry;

use core::ops::Range;

use entry::Protocol;

use crate::arch::x86_64::paging::{direct, image_to_physical};

const MAX_RANGES: usize = 32;
/// Linux's COMMAND_LINE_SIZE.
const MAX_COMMAND_LINE: usize = 2048;

unsafe extern "C" {
    static __kernel_end: u8;
}

/// Memory map, command line and initrd.
pub struct BootInfo {
    ranges: [Range<u64>; MAX_RANGES],
    range_count: usize,
    command_line: [u8; MAX_COMMAND_LINE],
    command_line_len: usize,
    /// Physical range of the initrd, empty if there is none.
    pub initrd: Range<u64>,
}

impl BootInfo {
    /// Usable RAM, physical.
    pub fn usable(&self) -> &[Range<u64>] {
        self.ranges.get(..self.range_count).unwrap_or_default()
    }

    /// The command line; bytes that aren't UTF-8 end it.
    pub fn command_line(&self) -> &str {
        let bytes = self.command_line.get(..self.command_line_len).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => bytes
                .get(..error.valid_up_to())
                .and_then(|b| core::str::from_utf8(b).ok())
                .unwrap_or_default(),
        }
    }

    /// The value of `name=value` on the command line.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.command_line()
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether a word stands on the command line.
    pub fn has_flag(&self, name: &str) -> bool {
        self.command_line().split_ascii_whitespace().any(|word| word == name)
    }

    /// First physical address behind the kernel's image.
    pub fn kernel_end() -> u64 {
        image_to_physical((&raw const __kernel_end).addr()).next_multiple_of(4096)
    }

    fn add_usable(&mut self, range: Range<u64>) {
        if let Some(slot) = self.ranges.get_mut(self.range_count)
            && range.start < range.end
        {
            *slot = range;
            self.range_count += 1;
        }
    }
}

/// Reads a value that the boot loader left at a physical address of the first GiB.
fn read<T: zerocopy::FromBytes>(physical: u64) -> T {
    assert!(physical < 1 << 30, "boot information beyond the first GiB");
    // SAFETY: the first GiB is mapped, and any bytes make a T.
    unsafe { core::ptr::with_exposed_provenance::<T>(direct(physical)).read_unaligned() }
}

/// `struct hvm_start_info` (Xen, public/arch-x86/hvm/start_info.h).
#[derive(zerocopy::FromBytes)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    _reserved: u32,
}

#[derive(zerocopy::FromBytes)]
#[repr(C)]
struct Module {
    start: u64,
    size: u64,
    command_line: u64,
    _reserved: u64,
}

#[derive(zerocopy::FromBytes)]
#[repr(C)]
struct MemoryMapEntry {
    start: u64,
    size: u64,
    kind: u32,
    _reserved: u32,
}

const START_INFO_MAGIC: u32 = 0x336e_c578;
const MEMORY_KIND_RAM: u32 = 1;

/// Offsets in `struct boot_params` (Linux, Documentation/arch/x86/zero-page.rst).
mod zero_page {
    pub(super) const E820_ENTRIES: u64 = 0x1e8;
    pub(super) const RAMDISK_IMAGE: u64 = 0x218;
    pub(super) const RAMDISK_SIZE: u64 = 0x21c;
    pub(super) const COMMAND_LINE: u64 = 0x228;
    pub(super) const E820_TABLE: u64 = 0x2d0;
}

/// Gathers what a boot protocol handed over.
pub fn read_boot_info(protocol: u32, info: u64) -> BootInfo {
    let mut boot = BootInfo {
        ranges: [const { 0..0 }; MAX_RANGES],
        range_count: 0,
        command_line: [0; MAX_COMMAND_LINE],
        command_line_len: 0,
        initrd: 0..0,
    };
    let command_line = if protocol != Protocol::Linux64 as u32 {
        let start: StartInfo = read(info);
        assert!(start.magic == START_INFO_MAGIC, "no PVH start information");
        for index in 0..u64::from(start.memory_map_entries) {
            let entry: MemoryMapEntry = read(start.memory_map + index * size_of::<MemoryMapEntry>() as u64);
            if entry.kind == MEMORY_KIND_RAM {
                boot.add_usable(entry.start..entry.start + entry.size);
            }
        }
        if start.module_count > 0 {
            let module: Module = read(start.modules);
            boot.initrd = module.start..module.start + module.size;
        }
        start.command_line
    } else {
        #[derive(zerocopy::FromBytes)]
        #[repr(C, packed)]
        struct E820 {
            start: u64,
            size: u64,
            kind: u32,
        }
        let entries: u8 = read(info + zero_page::E820_ENTRIES);
        for index in 0..u64::from(entries) {
            let entry: E820 = read(info + zero_page::E820_TABLE + index * size_of::<E820>() as u64);
            if entry.kind == MEMORY_KIND_RAM {
                boot.add_usable(entry.start..entry.start + entry.size);
            }
        }
        let image: u32 = read(info + zero_page::RAMDISK_IMAGE);
        let size: u32 = read(info + zero_page::RAMDISK_SIZE);
        boot.initrd = u64::from(image)..u64::from(image) + u64::from(size);
        let pointer: u32 = read(info + zero_page::COMMAND_LINE);
        u64::from(pointer)
    };
    if command_line != 0 {
        for (offset, slot) in (0u64..).zip(boot.command_line.iter_mut()) {
            let byte: u8 = read(command_line + offset);
            if byte == 0 {
                break;
            }
            *slot = byte;
            boot.command_line_len += 1;
        }
    }
    boot
}
