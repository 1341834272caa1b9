//! The vDSO.

use abi::Errno;

use crate::mm::AddressSpace;

/// Maps it into a new address space. Returns its address, 0 for none.
pub fn map(_space: &AddressSpace) -> Result<usize, Errno> {
    Ok(0)
}
