//! Names: which endpoint is bound to a file or to an abstract name.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;
use namei::Follow;
use sockmsg::address::{self, Address as Parsed};

use super::Endpoint;
use crate::fs::inode::{FileKind, Inode};
use crate::fs::names::{self, Node};
use crate::fs::path::{Path, resolve};
use crate::fs::perm::{self, Want};
use crate::net::Kind;
use crate::sync::SpinLock;
use crate::syscall::Fd;

/// What an endpoint is bound to.
pub struct Address {
    /// As getsockname(2) gives it.
    pub bytes: Box<[u8]>,
    /// The file, which stays while the endpoint does.
    place: Option<Path>,
}

impl Address {
    fn new(name: &[&[u8]], place: Option<Path>) -> Arc<Self> {
        let mut bytes = address::FAMILY.to_le_bytes().to_vec();
        for part in name {
            bytes.extend_from_slice(part);
        }
        Arc::new(Self { bytes: bytes.into(), place })
    }
}

/// A binding.
struct Bound {
    hash: u64,
    kind: Kind,
    address: Arc<Address>,
    endpoint: Weak<Endpoint>,
}

/// All of them, by hash.
static BOUND: SpinLock<Vec<Bound>> = SpinLock::new(Vec::new());
/// All endpoints, for /proc/net/unix.
static ALL: SpinLock<Vec<Weak<Endpoint>>> = SpinLock::new(Vec::new());

/// FNV-1a.
fn hash_name(kind: Kind, name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325 ^ kind as u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn hash_inode(inode: &Inode) -> u64 {
    (inode.fs.device << 48 ^ inode.number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The first binding of a hash for which `test` holds.
fn find(hash: u64, test: impl Fn(&Bound) -> bool) -> Option<(Kind, Arc<Endpoint>)> {
    let bound = BOUND.lock();
    let from = bound.partition_point(|entry| entry.hash < hash);
    let mut entries = bound.get(from..).unwrap_or_default().iter().take_while(|entry| entry.hash == hash);
    let entry = entries.find(|entry| test(entry))?;
    Some((entry.kind, entry.endpoint.upgrade()?))
}

fn by_name(kind: Kind, bytes: &[u8]) -> Option<Arc<Endpoint>> {
    let is_it =
        |entry: &Bound| entry.place().is_none() && entry.kind == kind && *entry.address.bytes == *bytes;
    find(hash_name(kind, bytes), is_it).map(|(_, endpoint)| endpoint)
}

impl Bound {
    fn place(&self) -> Option<&Path> {
        self.address.place.as_ref()
    }
}

/// Enters a binding. EADDRINUSE for an abstract name that is taken.
fn enter(endpoint: &Arc<Endpoint>, address: &Arc<Address>) -> Result<(), Errno> {
    let kind = endpoint.kind;
    let hash = match &address.place {
        Some(place) => hash_inode(place.inode()),
        None => hash_name(kind, &address.bytes),
    };
    let mut bound = BOUND.lock();
    let from = bound.partition_point(|entry| entry.hash < hash);
    let entries = bound.get(from..).unwrap_or_default().iter().take_while(|entry| entry.hash == hash);
    let is_taken =
        |entry: &Bound| entry.place().is_none() && entry.kind == kind && entry.address.bytes == address.bytes;
    if address.place.is_none() && entries.into_iter().any(is_taken) {
        return Err(Errno::EADDRINUSE);
    }
    bound.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    let endpoint = Arc::downgrade(endpoint);
    bound.insert(from, Bound { hash, kind, address: address.clone(), endpoint });
    Ok(())
}

/// A new endpoint, for the list.
pub fn register(endpoint: &Arc<Endpoint>) {
    let mut all = ALL.lock();
    // Without memory for the list it is missing there, and nowhere else.
    if all.try_reserve(1).is_ok() {
        endpoint.listed_at.store(all.len(), Ordering::Relaxed);
        all.push(Arc::downgrade(endpoint));
    }
}

/// All endpoints. ENOMEM.
pub fn all() -> Result<Vec<Arc<Endpoint>>, Errno> {
    let mut found = Vec::new();
    loop {
        let list = ALL.lock();
        if list.len() <= found.capacity() {
            found.extend(list.iter().filter_map(Weak::upgrade));
            return Ok(found);
        }
        let count = list.len();
        drop(list);
        found.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    }
}

/// An endpoint ends: its name is free again.
pub fn forget(endpoint: &Arc<Endpoint>) {
    let is_it = |weak: &Weak<Endpoint>| core::ptr::eq(weak.as_ptr(), Arc::as_ptr(endpoint));
    let listed = {
        let mut all = ALL.lock();
        let at = endpoint.listed_at.load(Ordering::Relaxed);
        all.get(at).is_some_and(is_it).then(|| {
            let own = all.swap_remove(at);
            let moved = all.get(at).and_then(Weak::upgrade);
            if let Some(moved) = &moved {
                moved.listed_at.store(at, Ordering::Relaxed);
            }
            // Dropped without the lock.
            (own, moved)
        })
    };
    drop(listed);
    if endpoint.inner.lock().address.is_none() {
        return;
    }
    let binding = {
        let mut bound = BOUND.lock();
        bound.iter().position(|entry| is_it(&entry.endpoint)).map(|at| bound.remove(at))
    };
    drop(binding);
}

impl Endpoint {
    /// The address as getsockname(2) gives it: only the family without a name.
    pub fn address_bytes(&self) -> Vec<u8> {
        match &self.inner.lock().address {
            Some(address) => address.bytes.to_vec(),
            None => address::FAMILY.to_le_bytes().to_vec(),
        }
    }

    /// The address as a receiver is given it: nothing without a name.
    pub fn name_bytes(&self) -> Vec<u8> {
        self.inner.lock().address.as_ref().map(|address| address.bytes.to_vec()).unwrap_or_default()
    }

    pub fn is_bound(&self) -> bool {
        self.inner.lock().address.is_some()
    }

    /// Takes an address, once. EINVAL; EADDRINUSE.
    fn take_address(self: &Arc<Self>, address: Arc<Address>) -> Result<(), Errno> {
        {
            let mut inner = self.inner.lock();
            if inner.address.is_some() {
                return Err(Errno::EINVAL);
            }
            inner.address = Some(address.clone());
        }
        let entered = enter(self, &address);
        if entered.is_err() {
            self.inner.lock().address = None;
        }
        entered
    }

    /// bind(2). EINVAL, EADDRINUSE; what making the file says.
    pub fn bind(self: &Arc<Self>, raw: &[u8], mode: u32) -> Result<(), Errno> {
        if address::is_autobind(raw) {
            return self.bind_anyhow();
        }
        let path = match address::parse(raw).map_err(|_| Errno::EINVAL)? {
            Parsed::Abstract(name) => return self.take_address(Address::new(&[&[0], name], None)),
            Parsed::Path(path) => path,
        };
        let place = match names::create(Fd::CWD, path, &Node::plain(FileKind::Socket, mode)) {
            Err(Errno::EEXIST) => return Err(Errno::EADDRINUSE),
            other => other?,
        };
        let bound = self.take_address(Address::new(&[path, &[0]], Some(place)));
        if bound.is_err() {
            names::unlink(Fd::CWD, path)?;
        }
        bound
    }

    /// Takes an abstract name of five digits, if there is none yet. ENOSPC.
    pub fn bind_anyhow(self: &Arc<Self>) -> Result<(), Errno> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const NAMES: u32 = 1 << 20;
        for _ in 0..NAMES {
            if self.is_bound() {
                return Ok(());
            }
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % NAMES;
            match self.take_address(Address::new(&[&[0], format!("{number:05x}").as_bytes()], None)) {
                Err(Errno::EADDRINUSE) => {}
                other => return other,
            }
        }
        Err(Errno::ENOSPC)
    }

    /// A sender whose credentials go along must have a name to answer to.
    pub fn bind_for_credentials(self: &Arc<Self>) -> Result<(), Errno> {
        if self.wants_credentials() && !self.is_bound() { self.bind_anyhow() } else { Ok(()) }
    }
}

/// The endpoint that an address leads to. ECONNREFUSED, EPROTOTYPE, EINVAL; what the path says.
pub fn look_up(raw: &[u8], kind: Kind) -> Result<Arc<Endpoint>, Errno> {
    let path = match address::parse(raw).map_err(|_| Errno::EINVAL)? {
        Parsed::Abstract(_) => return by_name(kind, raw).ok_or(Errno::ECONNREFUSED),
        Parsed::Path(path) => path,
    };
    let place = resolve(Fd::CWD, path, Follow::Yes)?;
    let inode = place.inode();
    perm::check(inode, Want::WRITE)?;
    if inode.kind != FileKind::Socket {
        return Err(Errno::ECONNREFUSED);
    }
    let is_it = |entry: &Bound| entry.place().is_some_and(|other| Arc::ptr_eq(other.inode(), inode));
    match find(hash_inode(inode), is_it) {
        None => Err(Errno::ECONNREFUSED),
        Some((found, _)) if found != kind => Err(Errno::EPROTOTYPE),
        Some((_, endpoint)) => Ok(endpoint),
    }
}
