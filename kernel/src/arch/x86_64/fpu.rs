//! Floating-point and vector state. The kernel never uses it: it is saved when threads switch and in signal frames only.
//!
//! The area is XSAVE's standard format, sized from CPUID leaf 0xD sub-leaf 0 (EBX); processors without XSAVE get FXSAVE's 512 bytes.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cpu::{Features, cpuid, features};

/// XCR0 bits that are turned on where CPUID offers them: x87, SSE, AVX, and the three AVX-512 components. AMX needs Linux's permission
/// calls, and PKRU needs protection keys: both stay off.
const WANTED: u64 = 0x7 | 0xe0;
/// Offset of MXCSR in the legacy area, and its value at program start.
const MXCSR_OFFSET: usize = 24;
const MXCSR_DEFAULT: u32 = 0x1f80;
const FCW_DEFAULT: u16 = 0x37f;
const LEGACY_SIZE: usize = 512;
const HEADER_SIZE: usize = 64;
pub const XSAVE_ALIGN: usize = 64;

static MASK: AtomicU64 = AtomicU64::new(0);
/// Bytes of a state in a signal frame: an XSAVE image is followed by a mark of four bytes.
static FRAME_SIZE: AtomicU32 = AtomicU32::new(LEGACY_SIZE as u32);
static SIZE: AtomicU32 = AtomicU32::new(LEGACY_SIZE as u32);

unsafe extern "C" {
    static __alt_xsave_start: u64;
    static __alt_xsave_end: u64;
}

/// `si_code` of the SIGFPE for a floating-point exception that the running program just raised: vector 16 by x87, 19 by SSE. 0 if no
/// unmasked exception is pending, which means that nothing is to be done. Intel SDM volume 1, 8.1.3 and 10.2.3.
pub fn exception_code(vector: u8) -> i32 {
    const FPE_FLTDIV: i32 = 3;
    const FPE_FLTOVF: i32 = 4;
    const FPE_FLTUND: i32 = 5;
    const FPE_FLTRES: i32 = 6;
    const FPE_FLTINV: i32 = 7;
    const X87: u8 = 16;
    #[repr(C, align(16))]
    struct Image([u32; LEGACY_SIZE / 4]);
    let mut image = core::mem::MaybeUninit::<Image>::uninit();
    // SAFETY: the image is large enough, and saving changes no register; of what is read, every byte is written: FCW and FSW, MXCSR (Intel SDM
    // volume 1, table 10-2).
    let (x87, mxcsr) = unsafe {
        asm!("fxsave64 [{}]", in(reg) image.as_mut_ptr(), options(nostack, preserves_flags));
        let words = image.as_ptr().cast::<u32>();
        (words.read(), words.byte_add(MXCSR_OFFSET).read())
    };
    let (control, status) = (x87 & 0xffff, x87 >> 16);
    // Both have a flag for each exception, and a mask bit for each: x87 in two words, SSE seven bits further up.
    let raised = if vector == X87 { status & !control } else { mxcsr & !(mxcsr >> 7) };
    match raised {
        _ if raised & 1 != 0 => FPE_FLTINV,
        _ if raised & 4 != 0 => FPE_FLTDIV,
        _ if raised & 8 != 0 => FPE_FLTOVF,
        _ if raised & 0x12 != 0 => FPE_FLTUND,
        _ if raised & 0x20 != 0 => FPE_FLTRES,
        _ => 0,
    }
}

/// Turns the components on. On each CPU, after `use_features`.
pub fn init() {
    if !features().contains(Features::XSAVE) {
        return;
    }
    let (low, _, _, high) = cpuid(0xd, 0);
    let mask = (u64::from(low) | u64::from(high) << 32) & WANTED;
    // AVX-512's three components are only valid together.
    let mask = if mask & 0xe0 == 0xe0 { mask } else { mask & !0xe0 };
    // SAFETY: CR4.OSXSAVE is on and every bit is offered by CPUID.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(nomem, nostack, preserves_flags));
    }
    let (_, size, ..) = cpuid(0xd, 0);
    MASK.store(mask, Ordering::Relaxed);
    SIZE.store(size, Ordering::Relaxed);
    FRAME_SIZE.store(size + 4, Ordering::Relaxed);
}

/// Has switches leave out what hasn't changed since it was loaded from the same area, or is as it was at the start (XSAVEOPT, Intel SDM volume 1,
/// 13.9), where the processor can do that. Before the kernel's text is write-protected.
///
/// Whatever is written into an area by other means is loaded from it before the next switch: programs' registers are set that way only.
pub fn use_xsaveopt() {
    if !features().contains(Features::XSAVE) || cpuid(0xd, 1).0 & 1 == 0 {
        return;
    }
    let start = &raw const __alt_xsave_start;
    let count = ((&raw const __alt_xsave_end).addr() - start.addr()) / size_of::<u64>();
    // SAFETY: the linker script bounds the table.
    for &site in unsafe { core::slice::from_raw_parts(start, count) } {
        let code = core::ptr::with_exposed_provenance_mut::<[u8; 4]>(super::paging::writable_alias(site));
        // SAFETY: the site is `xsave64 [rcx]`, which nobody runs yet; this is `xsaveopt64 [rcx]`.
        unsafe { code.write([0x48, 0x0f, 0xae, 0x31]) };
    }
}

/// Bytes that a saved state takes.
pub fn state_size() -> usize {
    SIZE.load(Ordering::Relaxed) as usize
}

/// Bytes that a saved state takes in a signal frame.
#[inline(always)]
pub fn frame_size() -> u64 {
    u64::from(FRAME_SIZE.load(Ordering::Relaxed))
}

/// XCR0 as set, 0 without XSAVE.
pub fn state_mask() -> u64 {
    MASK.load(Ordering::Relaxed)
}

/// A thread's saved state, 64-byte aligned.
#[derive(Debug)]
pub struct State {
    area: core::ptr::NonNull<u8>,
}

// SAFETY: the area is owned memory; the thread that owns the state is the only one that uses it.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

impl State {
    fn layout() -> core::alloc::Layout {
        core::alloc::Layout::from_size_align(state_size(), XSAVE_ALIGN).expect("a valid XSAVE size")
    }

    /// The state in which a program starts.
    pub fn initial() -> Option<Self> {
        // SAFETY: the layout isn't empty.
        let area = core::ptr::NonNull::new(unsafe { alloc::alloc::alloc_zeroed(Self::layout()) })?;
        let state = Self { area };
        // SAFETY: both fields lie in the legacy area.
        unsafe {
            area.as_ptr().cast::<u16>().write(FCW_DEFAULT);
            area.as_ptr().add(MXCSR_OFFSET).cast::<u32>().write(MXCSR_DEFAULT);
        }
        Some(state)
    }

    /// Saves this CPU's registers here.
    pub fn save(&self) {
        let mask = state_mask();
        // SAFETY: the area is large and aligned enough for every component of the mask.
        unsafe {
            if mask == 0 {
                asm!("fxsave64 [{}]", in(reg) self.area.as_ptr(), options(nostack, preserves_flags));
            } else {
                asm!("xsave64 [{}]", in(reg) self.area.as_ptr(), in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(nostack, preserves_flags));
            }
        }
    }

    /// Loads this CPU's registers from here.
    pub fn restore(&self) {
        let mask = state_mask();
        // SAFETY: the area holds what `save`, `initial` or `set_bytes` (which sanitises) put there.
        unsafe {
            if mask == 0 {
                asm!("fxrstor64 [{}]", in(reg) self.area.as_ptr(), options(readonly, nostack, preserves_flags));
            } else {
                asm!("xrstor64 [{}]", in(reg) self.area.as_ptr(), in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(readonly, nostack, preserves_flags));
            }
        }
    }
}

/// Saves this CPU's registers in one area and loads them from another.
///
/// # Safety
/// The processor has XSAVE (`cpu::is_plain`).
#[inline(always)]
pub unsafe fn exchange(old: &State, new: &State) {
    let mask = state_mask();
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    // SAFETY: as `save` and `restore`.
    unsafe {
        asm!(
            "2: xsave64 [rcx]",
            "xrstor64 [{new}]",
            ".pushsection .alt_xsave, \"a\"",
            ".quad 2b",
            ".popsection",
            new = in(reg) new.area.as_ptr(),
            in("rcx") old.area.as_ptr(),
            in("eax") low,
            in("edx") high,
            options(nostack, preserves_flags)
        );
    }
}

impl Clone for State {
    fn clone(&self) -> Self {
        // SAFETY: the layout isn't empty; the new area is filled whole before it is used.
        unsafe {
            let area = core::ptr::NonNull::new(alloc::alloc::alloc(Self::layout()))
                .unwrap_or_else(|| alloc::alloc::handle_alloc_error(Self::layout()));
            core::ptr::copy_nonoverlapping(self.area.as_ptr(), area.as_ptr(), state_size());
            Self { area }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { alloc::alloc::dealloc(self.area.as_ptr(), Self::layout()) };
    }
}

/// Loads the state in which a program starts.
pub fn reset() {
    #[repr(C, align(64))]
    struct Initial([u8; LEGACY_SIZE + HEADER_SIZE]);
    const fn initial() -> Initial {
        let mut area = [0; LEGACY_SIZE + HEADER_SIZE];
        area[0] = FCW_DEFAULT as u8;
        area[1] = (FCW_DEFAULT >> 8) as u8;
        area[MXCSR_OFFSET] = MXCSR_DEFAULT as u8;
        area[MXCSR_OFFSET + 1] = (MXCSR_DEFAULT >> 8) as u8;
        Initial(area)
    }
    static INITIAL: Initial = initial();
    let mask = state_mask();
    let area = (&raw const INITIAL).cast::<u8>();
    // SAFETY: with an empty component mask in its header, XRSTOR reads nothing beyond the header (and MXCSR), and initialises the rest.
    unsafe {
        if mask == 0 {
            asm!("fxrstor64 [{}]", in(reg) area, options(readonly, nostack, preserves_flags));
        } else {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(readonly, nostack, preserves_flags));
        }
    }
}
