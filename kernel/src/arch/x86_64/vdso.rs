//! The vDSO: code that tells programs the time without a system call. The image is `vdso.S`, what it reads is `vdso::Vvar`.
//!
//! Both are pages of the kernel's own memory, mapped into programs; each is alone in its page.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use alloc::sync::Arc;
use vdso::{Clock, CpuSource, Vvar};

use super::cpu::{self, Features};
use super::{paging, tsc};
use crate::mm::address_space::Place;
use crate::mm::fault::{Access, FaultError};
use crate::mm::regions::{Backing, RegionFlags};
use crate::mm::{AddressSpace, Frame, MemoryObject, PAGE_SIZE};
use crate::sync::SpinLock;

global_asm!(include_str!("vdso.S"), options(att_syntax, raw));

unsafe extern "C" {
    static vdso_image: u8;
    static vdso_image_end: u8;
}

/// The page that programs map: the file has only what is in use of it.
#[repr(C, align(4096))]
struct Code(UnsafeCell<[u8; PAGE_SIZE]>);

// SAFETY: written once, before anybody knows of it.
unsafe impl Sync for Code {}

static CODE: Code = Code(UnsafeCell::new([0; PAGE_SIZE]));

/// What programs see of the clocks.
static VVAR: Vvar = Vvar::new();
/// One writer at a time; an interrupt can't come in between.
static WRITER: SpinLock<()> = SpinLock::new(());
/// TSC at the last publication.
static PUBLISHED: AtomicU64 = AtomicU64::new(0);
/// The two pages as mappable objects: data, then code.
static PAGES: spin::Once<[Arc<dyn MemoryObject>; 2]> = spin::Once::new();

/// One page of the kernel's image.
struct ImagePage {
    address: usize,
    name: &'static str,
}

impl MemoryObject for ImagePage {
    fn page(&self, index: u64, _access: Access) -> Result<Frame, FaultError> {
        match index {
            0 => Ok(Frame::from_boot_memory(paging::image_to_physical(self.address))),
            _ => Err(FaultError::BeyondFile),
        }
    }

    fn size(&self) -> u64 {
        PAGE_SIZE as u64
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Tells programs whether there is an instruction that says the processor's number; `coarse_ns` is the resolution of the coarse clocks.
pub fn init(coarse_ns: u64) {
    VVAR.set_constants(init_cpu(), coarse_ns);
}

/// Tells this processor's number to RDPID and RDTSCP.
pub fn init_cpu() -> CpuSource {
    let source = if cpu::features().contains(Features::RDPID) {
        CpuSource::Rdpid
    } else if cpu::features().contains(Features::RDTSCP) {
        CpuSource::Rdtscp
    } else {
        CpuSource::SystemCall
    };
    if source != CpuSource::SystemCall {
        cpu::write_msr(cpu::MSR_TSC_AUX, u64::from(cpu::per_cpu().id.get()));
    }
    source
}

/// Gives programs a new base, and the clock as it is from now on.
pub fn publish(clock: &Clock) {
    let _writer = WRITER.lock();
    let now = tsc::read();
    VVAR.publish(clock, now);
    PUBLISHED.store(now, Ordering::Relaxed);
}

/// Whether the base is so old that programs will soon need more instructions to count from there.
#[inline]
pub fn is_stale() -> bool {
    tsc::read().wrapping_sub(PUBLISHED.load(Ordering::Relaxed)) > VVAR.quick_ticks() / 4
}

/// Maps data and code into a new address space: above the stack if there is room. Returns the code's address. ENOMEM.
pub fn map(space: &AddressSpace) -> Result<usize, Errno> {
    let [data, code] = PAGES.call_once(|| {
        let page = |address, name| -> Arc<dyn MemoryObject> { Arc::new(ImagePage { address, name }) };
        let (image, end) = (&raw const vdso_image, &raw const vdso_image_end);
        // SAFETY: what stands between the two symbols is shorter than a page, and nobody else has the page yet.
        unsafe { image.copy_to_nonoverlapping(CODE.0.get().cast(), end.addr() - image.addr()) };
        [page((&raw const VVAR).addr(), "[vvar]"), page((&raw const CODE).addr(), "[vdso]")]
    });
    let hint = space.with(|inner| inner.layout.stack_top) + PAGE_SIZE;
    let flags = RegionFlags::READ | RegionFlags::SPECIAL | RegionFlags::DONT_DUMP;
    let backing = Backing::Object(data.clone(), 0);
    // The two have to be neighbours: one mapping finds room for both, the second takes over its upper half.
    let start = space.map(Place::Anywhere(hint), 2 * PAGE_SIZE, PAGE_SIZE, flags, backing, usize::MAX)?;
    let base = start + PAGE_SIZE;
    let flags = RegionFlags::READ | RegionFlags::EXECUTE | RegionFlags::MAY_EXECUTE | RegionFlags::SPECIAL;
    let backing = Backing::Object(code.clone(), 0);
    space.map(Place::Fixed(base), PAGE_SIZE, PAGE_SIZE, flags, backing, usize::MAX)?;
    Ok(base)
}
