//! What a process has mapped: /proc/PID/maps and its relatives.

use alloc::vec::Vec;

use abi::Errno;

use super::Text;
use super::text::{PIECE, Place, put};
use crate::fs::inode::Device;
use crate::mm::regions::{Backing, Region, RegionFlags};
use crate::mm::{AddressSpace, PAGE_SIZE, USER_TOP};
use crate::task::Process;

/// How much is told of each region.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// maps
    Lines,
    /// smaps
    Everything,
    /// smaps_rollup
    Sum,
}

/// Regions from an address on, up to so many.
fn regions(space: &AddressSpace, from: usize, limit: usize) -> Result<Vec<Region>, Errno> {
    space.with(|inner| {
        let mut regions = Vec::new();
        regions.try_reserve_exact(inner.regions.count().min(limit)).map_err(|_| Errno::ENOMEM)?;
        regions.extend(inner.regions.overlapping(from..USER_TOP).take(limit).cloned());
        Ok(regions)
    })
}

/// One region's line.
fn write_line(region: &Region, heap: core::ops::Range<usize>, text: &mut Text) {
    let flag = |flag: RegionFlags, letter: char| if region.flags.contains(flag) { letter } else { '-' };
    let (offset, (device, inode)) = match &region.backing {
        Backing::Object(object, page) => (*page * PAGE_SIZE as u64, object.identity()),
        Backing::Anonymous => (0, (0, 0)),
    };
    let device = Device::decode(device as u32);
    let start = text.bytes.len();
    put!(
        text,
        "{:08x}-{:08x} {}{}{}{} {offset:08x} {:02x}:{:02x} {inode} ",
        region.start,
        region.end,
        flag(RegionFlags::READ, 'r'),
        flag(RegionFlags::WRITE, 'w'),
        flag(RegionFlags::EXECUTE, 'x'),
        if region.flags.contains(RegionFlags::SHARED) { 's' } else { 'p' },
        device.major(),
        device.minor()
    );
    /// Names begin in this column.
    const NAME_COLUMN: usize = 73;
    let width = text.bytes.len() - start;
    let before = text.bytes.len();
    let padding = NAME_COLUMN.saturating_sub(width);
    put!(text, "{:padding$}", "");
    let named = text.bytes.len();
    match &region.backing {
        Backing::Object(object, _) => {
            struct Name<'a>(&'a dyn crate::mm::MemoryObject);
            impl core::fmt::Display for Name<'_> {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    self.0.describe(f)
                }
            }
            put!(text, "{}", Name(&**object));
        }
        Backing::Anonymous if region.flags.contains(RegionFlags::STACK) => put!(text, "[stack]"),
        Backing::Anonymous if region.start < heap.end && heap.start < region.end => put!(text, "[heap]"),
        Backing::Anonymous => {}
    }
    if text.bytes.len() == named {
        text.bytes.truncate(before);
    }
    put!(text, "\n");
}

fn write_details(resident: usize, locked: usize, size: usize, text: &mut Text) {
    let kib = |pages: usize| pages * (PAGE_SIZE / 1024);
    put!(
        text,
        "Size:           {:8} kB\nKernelPageSize: {:8} kB\nMMUPageSize:    {:8} kB\n",
        size / 1024,
        4,
        4
    );
    put!(text, "Rss:            {:8} kB\nPss:            {:8} kB\n", kib(resident), kib(resident));
    for name in ["Shared_Clean", "Shared_Dirty", "Private_Clean"] {
        let width = 23usize.saturating_sub(name.len());
        put!(text, "{name}:{:>width$} kB\n", 0);
    }
    put!(text, "Private_Dirty:  {:8} kB\nReferenced:     {:8} kB\n", kib(resident), kib(resident));
    put!(
        text,
        "Anonymous:      {:8} kB\nSwap:           {:8} kB\nLocked:         {:8} kB\n",
        kib(resident),
        0,
        kib(locked)
    );
}

/// Pages of a region that are mapped and locked.
fn locked_pages(space: &AddressSpace, region: &Region) -> usize {
    if region.flags.contains(RegionFlags::LOCKED) { space.resident_in(&region.range()) } else { 0 }
}

/// The text of maps, smaps or smaps_rollup.
pub fn write(process: &Process, text: &mut Text, detail: Detail) -> Result<(), Errno> {
    let Some(space) = process.space() else { return Ok(()) };
    let heap = space.with(|inner| inner.layout.brk_start..inner.brk);
    if detail == Detail::Sum {
        let regions = regions(&space, 0, usize::MAX)?;
        let (first, last) = (regions.first().map_or(0, |r| r.start), regions.last().map_or(0, |r| r.end));
        put!(text, "{first:08x}-{last:08x} ---p 00000000 00:00 0 {:30}[rollup]\n", "");
        let locked = regions.iter().map(|region| locked_pages(&space, region)).sum();
        write_details(space.resident().0, locked, 0, text);
        return Ok(());
    }
    /// No line is shorter.
    const LINE: usize = 40;
    let from = if let Place::At(address) = text.place { address } else { 0 };
    for region in &regions(&space, from, PIECE / LINE)? {
        let whole = text.bytes.len();
        write_line(region, heap.clone(), text);
        if detail == Detail::Everything {
            let locked = locked_pages(&space, region);
            write_details(space.resident_in(&region.range()), locked, region.len(), text);
        }
        if whole > 0 && text.bytes.len() > PIECE {
            text.bytes.truncate(whole);
            break;
        }
        text.place = Place::At(region.end);
    }
    Ok(())
}

/// Pages of private writable memory, the stack included.
pub fn data_pages(space: &AddressSpace) -> usize {
    space.with(|inner| {
        let private = |region: &&Region| {
            region.flags.contains(RegionFlags::WRITE) && !region.flags.contains(RegionFlags::SHARED)
        };
        inner.regions.iter().filter(private).map(|region| region.len() / PAGE_SIZE).sum()
    })
}

/// The memory lines of /proc/PID/status.
pub fn write_status(space: &AddressSpace, text: &mut Text) {
    let (mut data, mut stack, mut code, mut locked) = (0, 0, 0, 0);
    let total = space.with(|inner| {
        for region in inner.regions.iter() {
            let len = region.len();
            if region.flags.contains(RegionFlags::STACK) {
                stack += len;
            } else if region.flags.contains(RegionFlags::WRITE) && !region.flags.contains(RegionFlags::SHARED)
            {
                data += len;
            }
            if region.flags.contains(RegionFlags::EXECUTE) {
                code += len;
            }
            if region.flags.contains(RegionFlags::LOCKED) {
                locked += len;
            }
        }
        inner.total
    });
    let (resident, peak) = space.resident();
    let resident_kib = resident * (PAGE_SIZE / 1024);
    let peak_kib = peak * (PAGE_SIZE / 1024);
    for (name, kib) in [
        ("VmPeak", total / 1024),
        ("VmSize", total / 1024),
        ("VmLck", locked / 1024),
        ("VmPin", 0),
        ("VmHWM", peak_kib),
        ("VmRSS", resident_kib),
        ("RssAnon", resident_kib),
        ("RssFile", 0),
        ("RssShmem", 0),
        ("VmData", data / 1024),
        ("VmStk", stack / 1024),
        ("VmExe", code / 1024),
        ("VmLib", 0),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ] {
        put!(text, "{name}:\t{kib:8} kB\n");
    }
}
