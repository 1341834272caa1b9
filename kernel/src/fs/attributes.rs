//! Extended attributes of files in memory (xattr(7)).

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;

use crate::mm::frame;
use crate::mm::heap::try_share;
use crate::sync::SpinLock;

/// An inode's attributes, in the order of their names from the last to the first.
#[derive(Default)]
pub struct Attributes(SpinLock<Vec<Attribute>>);

struct Attribute {
    name: Arc<[u8]>,
    value: Arc<[u8]>,
}

/// How a set may go (setxattr(2)).
pub mod flag {
    pub const CREATE: u32 = 1;
    pub const REPLACE: u32 = 2;
}

impl Attributes {
    /// EEXIST, ENODATA, ENOSPC.
    pub fn set(&self, name: &[u8], value: Arc<[u8]>, flags: u32) -> Result<(), Errno> {
        // What is stored here is the kernel's memory.
        if frame::is_short() && frame::is_exhausted() {
            return Err(Errno::ENOSPC);
        }
        let name = try_share(name)?;
        let mut all = self.0.lock();
        // The greatest comes first, as Linux lists them.
        let old = match all.binary_search_by(|other| name.cmp(&other.name)) {
            Ok(_) if flags & flag::CREATE != 0 => return Err(Errno::EEXIST),
            Err(_) if flags & flag::REPLACE != 0 => return Err(Errno::ENODATA),
            Ok(at) => all.get_mut(at).map(|entry| core::mem::replace(&mut entry.value, value)),
            Err(at) => {
                if listed(&all) + name.len() + 1 > LIST_MAX {
                    return Err(Errno::ENOSPC);
                }
                all.try_reserve(1).map_err(|_| Errno::ENOSPC)?;
                all.insert(at, Attribute { name, value });
                None
            }
        };
        drop(all);
        drop(old);
        Ok(())
    }

    pub fn get(&self, name: &[u8]) -> Option<Arc<[u8]>> {
        let all = self.0.lock();
        all.iter().find(|other| *other.name == *name).map(|found| found.value.clone())
    }

    /// ENODATA.
    pub fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        let mut all = self.0.lock();
        let at = all.iter().position(|other| *other.name == *name).ok_or(Errno::ENODATA)?;
        let removed = all.remove(at);
        drop(all);
        drop(removed);
        Ok(())
    }

    /// The names that `shows` lets through, each with a NUL behind it. ENOMEM.
    pub fn list(&self, shows: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Errno> {
        let all = self.0.lock();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(listed(&all)).map_err(|_| Errno::ENOMEM)?;
        for own in all.iter().filter(|own| shows(&own.name)) {
            bytes.extend_from_slice(&own.name);
            bytes.push(0);
        }
        Ok(bytes)
    }
}

/// Most bytes of a list (XATTR_LIST_MAX).
const LIST_MAX: usize = 65_536;

/// Bytes that all names take in a list.
fn listed(all: &[Attribute]) -> usize {
    all.iter().map(|own| own.name.len() + 1).sum()
}
