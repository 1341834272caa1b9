//! The FPU state in a signal frame (asm/sigcontext.h).

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::FpSoftware;

/// `struct _fpstate_64`: the FXSAVE area; its last 48 bytes are the software's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FpState {
    pub cwd: u16,
    pub swd: u16,
    pub twd: u16,
    pub fop: u16,
    pub rip: u64,
    pub rdp: u64,
    pub mxcsr: u32,
    pub mxcsr_mask: u32,
    pub st_space: [u32; 32],
    pub xmm_space: [u32; 64],
    pub _reserved2: [u32; 12],
    pub sw_reserved: FpSoftware,
}

impl Default for FpState {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// Bytes of [`FP_XSTATE_MAGIC2`](crate::FP_XSTATE_MAGIC2).
pub const FP_XSTATE_MAGIC2_SIZE: usize = 4;
