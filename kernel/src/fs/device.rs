//! Character devices: what their numbers mean, and the simple ones (null(4), full(4), random(4)).

use alloc::sync::Arc;
use core::any::Any;

use abi::{Errno, OpenFlags};

use super::file::{FileOps, Mode, OpenFile, Whence};
use super::inode::Device;
use super::path::Path;
use super::{pty, tty};
use crate::entropy;
use crate::mm::user::{MAX_IO, UserRange};
use crate::mm::{MemoryObject, Sink, Source, UserPtr};
use crate::syscall::random::MOST_RANDOM;
use crate::syscall::{SysError, SysResult};

pub const NULL: Device = Device::new(1, 3);
pub const ZERO: Device = Device::new(1, 5);
pub const FULL: Device = Device::new(1, 7);
pub const RANDOM: Device = Device::new(1, 8);
pub const URANDOM: Device = Device::new(1, 9);
pub const TTY: Device = Device::new(5, 0);
pub const CONSOLE: Device = Device::new(5, 1);
pub const PTMX: Device = Device::new(5, 2);

/// Opens the device that a node's number means. ENXIO for numbers without one.
pub fn open(path: &Path, flags: OpenFlags) -> Result<Arc<OpenFile>, SysError> {
    // Seekable in name only: none of them has an offset that reads and writes would move.
    let mode = Mode::from_flags(flags) | Mode::LSEEK | Mode::PLACED;
    let path = path.clone();
    Ok(match path.inode().device {
        NULL => Arc::new(OpenFile::new(path, flags, mode, Null)),
        ZERO => Arc::new(OpenFile::new(path, flags, mode, Zero)),
        FULL => Arc::new(OpenFile::new(path, flags, mode, Full)),
        RANDOM | URANDOM => Arc::new(OpenFile::new(path, flags, mode, Random)),
        TTY | CONSOLE => return tty::open(path, flags),
        PTMX => return pty::open_master(path, flags),
        number if number.major() == pty::MAJOR => return tty::open(path, flags),
        _ => return Err(Errno::ENXIO.into()),
    })
}

/// Swallows everything.
struct Null;

impl FileOps for Null {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, _: &mut u64, _: &mut Sink<'_>) -> SysResult {
        Ok(0)
    }

    fn write(&self, _: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        Ok(src.remaining())
    }

    fn write_program(&self, _: &OpenFile, buf: UserRange) -> SysResult {
        Ok(buf.len().min(MAX_IO))
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }

    fn is_pollable(&self) -> bool {
        false
    }
}

/// A read that can't be as long as was asked for.
#[cold]
#[inline(never)]
fn read_in_part(ops: &dyn FileOps, file: &OpenFile, buf: UserRange) -> SysResult {
    ops.read(file, &mut 0, &mut buf.sink())
}

/// Endless zeros.
struct Zero;

impl FileOps for Zero {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        Ok(dst.clear()?)
    }

    fn read_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        if buf.len() <= MAX_IO && buf.clear() { Ok(buf.len()) } else { read_in_part(self, file, buf) }
    }

    fn write(&self, _: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        Ok(src.remaining())
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }

    fn mapping(&self, _: &Arc<OpenFile>) -> Result<Option<Arc<dyn MemoryObject>>, Errno> {
        Ok(None)
    }
}

/// Zeros to read, no room to write.
struct Full;

impl FileOps for Full {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        Ok(dst.clear()?)
    }

    fn write(&self, _: &OpenFile, _: &mut u64, _: &mut Source<'_>) -> SysResult {
        Err(Errno::ENOSPC.into())
    }

    fn seek(&self, _: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(0)
    }
}

/// The random number generator.
struct Random;

impl FileOps for Random {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        let mut buffer = [0; 256];
        let mut done = 0;
        while dst.remaining() > 0 && done < MOST_RANDOM {
            let len = dst.remaining().min(buffer.len());
            let piece = buffer.get_mut(..len).unwrap_or_default();
            entropy::fill(piece).map_err(|_| Errno::EIO)?;
            match dst.write(piece) {
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    /// What a program adds to the pool is accepted and not needed.
    fn write(&self, _: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        Ok(src.skip(src.remaining()))
    }

    fn seek(&self, file: &OpenFile, _: i64, _: Whence) -> Result<u64, Errno> {
        Ok(file.position())
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, _: &OpenFile, command: u32, argument: usize) -> SysResult {
        const RNDGETENTCNT: u32 = 0x8004_5200;
        const POOL_BITS: i32 = 256;
        match command {
            RNDGETENTCNT => {
                UserPtr::<i32>::new(argument).write(&POOL_BITS)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY.into()),
        }
    }
}
