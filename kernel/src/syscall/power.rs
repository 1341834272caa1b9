//! reboot(2).

use abi::Errno;
use caps::cap;

use super::SysResult;
use crate::console;
use crate::task::process::has_capability;
use crate::task::{current, exit};

const MAGIC1: u32 = 0xfee1_dead;
const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];

/// `LINUX_REBOOT_CMD_*`
mod command {
    pub(super) const RESTART: u32 = 0x0123_4567;
    pub(super) const RESTART2: u32 = 0xa1b2_c3d4;
    pub(super) const HALT: u32 = 0xcdef_0123;
    pub(super) const POWER_OFF: u32 = 0x4321_fedc;
    pub(super) const CAD_ON: u32 = 0x89ab_cdef;
    pub(super) const CAD_OFF: u32 = 0;
}

/// reboot(2): whichever way, the machine ends, and the launcher reports success. EPERM, EINVAL.
pub fn reboot(magic1: u32, magic2: u32, command: u32) -> SysResult {
    if !has_capability(cap::SYS_BOOT) {
        return Err(Errno::EPERM.into());
    }
    if magic1 != MAGIC1 || !MAGIC2.contains(&magic2) {
        return Err(Errno::EINVAL.into());
    }
    match command {
        command::RESTART | command::RESTART2 | command::HALT | command::POWER_OFF => {
            console::exit(current().process.job, 0);
            exit::shut_down()
        }
        // There is no keyboard with these keys.
        command::CAD_ON | command::CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}
