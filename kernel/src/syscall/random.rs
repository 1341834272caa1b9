//! getrandom(2).

use abi::Errno;

use super::SysResult;
use crate::mm::{Sink, UserPtr};

const GRND_NONBLOCK: u32 = 1;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;
/// Bytes of one call, as Linux has them from /dev/urandom: no interrupt comes meanwhile.
pub const MOST_RANDOM: usize = (32 << 20) - 1;
/// Bytes made at a time.
const PIECE: usize = 256;

pub fn getrandom(buffer: UserPtr<u8>, len: usize, flags: u32) -> SysResult {
    let both = GRND_RANDOM | GRND_INSECURE;
    if flags & !(GRND_NONBLOCK | both) != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let mut sink = Sink::user(buffer, len.min(MOST_RANDOM));
    let mut done = 0;
    let mut piece = [0u8; PIECE];
    while sink.remaining() > 0 {
        let window = piece.get_mut(..sink.remaining().min(PIECE)).unwrap_or_default();
        crate::entropy::fill(window).map_err(|_| Errno::EAGAIN)?;
        match sink.write(window) {
            Ok(copied) => {
                done += copied;
                if copied < window.len() {
                    break;
                }
            }
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}
