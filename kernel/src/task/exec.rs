//! Starting programs: from a path to a process that is ready to run its first instruction.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;

use super::process::{Process, allocate_pid, reset_pids, rlimit};
use super::sched;
use super::thread::Thread;
use crate::arch::TrapFrame;
use crate::arch::x86_64::{cpu, fpu};
use crate::config::{Config, Job};
use crate::mm::address_space::{Layout, Place};
use crate::mm::fault::FaultError;
use crate::mm::object::{self, MemoryObject};
use crate::mm::regions::{Backing, RegionFlags};
use crate::mm::{AddressSpace, PAGE_SIZE, USER_TOP};
use crate::sync::SpinLock;
use crate::{console, entropy, fs};

/// Bits of randomness, as Linux has them by default on x86_64: 28 for mmap, 22 for the stack, 13 for brk (in pages).
const MMAP_RANDOM_BITS: u32 = 28;
const STACK_RANDOM_BITS: u32 = 22;
const BRK_RANDOM_BITS: u32 = 13;
/// Where position-independent programs are loaded (ELF_ET_DYN_BASE), before randomisation.
const DYN_BASE: usize = 0x5555_5555_4000;
/// Gap between mmap's top and the stack: at least 128 MiB for a stack of the usual limit.
const MIN_STACK_GAP: usize = 128 << 20;
/// Pages of stack that are there at the start beyond what the arguments take.
const INITIAL_STACK_PAGES: usize = 32;

/// The job's first process: everything else descends from it, and ends with it.
pub const FIRST_PID: u32 = 1;

/// An image ready to run.
pub struct Image {
    pub space: Arc<AddressSpace>,
    pub entry: usize,
    pub stack: usize,
}

/// An executable's bytes, for the loader.
struct ObjectSource<'a>(&'a dyn MemoryObject);

impl loader::Source for ObjectSource<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<usize, loader::ReadError> {
        object::read_at(self.0, offset, dst).map_err(|_| loader::ReadError)
    }
}

fn random_pages(bits: u32) -> usize {
    let mut bytes = [0; 8];
    if entropy::fill(&mut bytes).is_err() {
        return 0;
    }
    (u64::from_le_bytes(bytes) & ((1 << bits) - 1)) as usize * PAGE_SIZE
}

impl From<FaultError> for Errno {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::OutOfMemory => Self::ENOMEM,
            FaultError::BeyondFile | FaultError::NotMapped | FaultError::NotAllowed => Self::EFAULT,
        }
    }
}

// STUB
struct BootElf(core::ops::Range<u64>);
impl MemoryObject for BootElf {
    fn page(&self, index: u64, _: crate::mm::fault::Access) -> Result<crate::mm::Frame, FaultError> {
        if index * 4096 >= self.size() { return Err(FaultError::BeyondFile); }
        Ok(crate::mm::Frame::from_boot_memory(self.0.start + index * 4096))
    }
    fn cached_page(&self, index: u64) -> Option<crate::mm::Frame> { self.page(index, crate::mm::fault::Access::Read).ok() }
    fn size(&self) -> u64 { self.0.end - self.0.start }
    fn describe(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.write_str("app") }
}
pub fn start_first_job(c: Config) {
    let o: Arc<dyn MemoryObject> = Arc::new(BootElf(c.initrd.clone()));
    let rd = |off: u64, n: usize| { let mut b = alloc::vec![0u8; n]; let _ = object::read_at(&*o, off, &mut b); b };
    let h = rd(0, 64);
    let u64at = |b: &[u8], o: usize| u64::from_le_bytes(b[o..o + 8].try_into().unwrap());
    let entry = u64at(&h, 24) as usize;
    let phoff = u64at(&h, 32);
    let phn = u16::from_le_bytes([h[56], h[57]]) as usize;
    let dynamic = h[16] == 3;
    let bias = if dynamic { DYN_BASE } else { 0 };
    let space = AddressSpace::new(Layout { mmap_top: 0x7fff_0000_0000, stack_top: 0x7fff_ffff_e000, brk_start: 0x4000_0000 + random_pages(BRK_RANDOM_BITS) }, 8 << 20).unwrap();
    let mut phdr = 0;
    for i in 0..phn {
        let p = rd(phoff + i as u64 * 56, 56);
        let ty = u32::from_le_bytes(p[0..4].try_into().unwrap());
        let fl = u32::from_le_bytes(p[4..8].try_into().unwrap());
        let (off, va, fsz, msz) = (u64at(&p, 8), u64at(&p, 16) as usize + bias, u64at(&p, 32) as usize, u64at(&p, 40) as usize);
        if ty == 6 { phdr = va; }
        if ty != 1 { continue; }
        if off == 0 && phdr == 0 { phdr = va + phoff as usize; }
        let mut f = RegionFlags::MAY_WRITE;
        if fl & 1 != 0 { f |= RegionFlags::EXECUTE; }
        if fl & 2 != 0 { f |= RegionFlags::WRITE; }
        if fl & 4 != 0 { f |= RegionFlags::READ; }
        let start = va & !4095;
        let fend = (va + fsz + 4095) & !4095;
        let end = (va + msz + 4095) & !4095;
        if fend > start {
            space.map(Place::Fixed(start), fend - start, 4096, f, Backing::Object(o.clone(), (off & !4095) / 4096), usize::MAX).unwrap();
            if msz > fsz && (va + fsz) % 4096 != 0 { space.zero_initial(va + fsz, 4096 - (va + fsz) % 4096).unwrap(); }
        }
        if end > fend { space.map(Place::Fixed(fend), end - fend, 4096, f, Backing::Anonymous, usize::MAX).unwrap(); }
    }
    let top = 0x7fff_ffff_e000usize;
    space.map(Place::Fixed(top - (INITIAL_STACK_PAGES * 4096)), INITIAL_STACK_PAGES * 4096, 4096, RegionFlags::READ | RegionFlags::WRITE | RegionFlags::MAY_WRITE | RegionFlags::GROWS_DOWN | RegionFlags::STACK, Backing::Anonymous, usize::MAX).unwrap();
    let sp = top - 512;
    let mut w: Vec<u64> = alloc::vec![1, top as u64 - 64, 0, 0];
    for (a, b) in [(3u64, phdr as u64), (4, 56), (5, phn as u64), (6, 4096), (7, 0), (9, (entry + bias) as u64), (11, 0), (12, 0), (13, 0), (14, 0), (23, 0), (25, top as u64 - 32), (16, 0), (0, 0)] { w.push(a); w.push(b); }
    let bytes: Vec<u8> = w.iter().flat_map(|v| v.to_le_bytes()).collect();
    space.write_initial(sp, &bytes).unwrap();
    space.write_initial(top - 64, b"hello\0").unwrap();
    let _ = (MIN_STACK_GAP, MMAP_RANDOM_BITS, STACK_RANDOM_BITS, USER_TOP, rlimit::AS, reset_pids as fn(), fpu::reset as fn(), cpu::online_count as fn() -> usize, SpinLock::new(0));
    let pid = allocate_pid().unwrap();
    let process = Process::new(pid, 0, Arc::new(fs::FileTable::new()), Arc::new(SpinLock::new(fs::FsContext::root())));
    process.set_space(Some(space));
    let process = Arc::new(process);
    super::process::register(&process);
    let thread = Thread::new(pid, process.clone(), TrapFrame::start(crate::mode(), (entry + bias) as u64, sp as u64), fpu::State::initial().unwrap()).unwrap();
    super::process::register_thread(&thread);
    console::poll_input();
    sched::enqueue(thread);
}
pub fn job_finished(_job: u16, status: u32) { log::info!("finished {status:#x}"); super::exit::shut_down() }
