//! Page faults, the program's and the kernel's own on the program's memory.

use crate::task::current;
use crate::task::thread::work;

/// What the instruction tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Execute,
}

/// Why it can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// No region there: SIGSEGV, SEGV_MAPERR.
    NotMapped,
    /// The region doesn't allow it: SIGSEGV, SEGV_ACCERR.
    NotAllowed,
    /// A file mapping beyond the file's last page: SIGBUS, BUS_ADRERR.
    BeyondFile,
    OutOfMemory,
}

impl From<super::OutOfMemory> for FaultError {
    fn from(_: super::OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Makes the page at `address` accessible if the running program may access it so.
#[inline]
pub fn handle(address: usize, access: Access) -> Result<(), FaultError> {
    if address >= super::USER_TOP {
        return Err(FaultError::NotMapped);
    }
    let thread = current();
    thread.counters.note_fault();
    let Some(space) = thread.address_space() else { return Err(FaultError::NotMapped) };
    let result = space.fault(address, access);
    thread.counters.fault_done();
    if result == Err(FaultError::OutOfMemory) {
        thread.add_work(work::MEMORY);
    }
    result
}
