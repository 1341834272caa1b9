//! Sockets that hold each other in their queues, and whom nobody else can reach (`sockmsg::cycles`): they are closed.
//!
//! Looked for whenever a socket is closed while one is on its way in a message. Holders are counted before queues are looked at: what another CPU
//! takes out of a queue meanwhile then counts as held from outside. What it puts into one would not: whoever departs after the count is noted,
//! and counts as held as well.

use alloc::collections::TryReserveError;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use abi::Errno;
use sockmsg::cycles::leave_reachable;

use super::{Endpoint, UnixSocket};
use crate::fs::OpenFile;
use crate::sync::{OneAtATime, SpinLock};

/// Sockets on their way, once for each message; and how many that is.
static ON_THEIR_WAY: SpinLock<Vec<Weak<OpenFile>>> = SpinLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

static COLLECTION: OneAtATime = OneAtATime::new();

/// Counts the looks, so that an endpoint can tell when it last departed.
static ROUND: AtomicU32 = AtomicU32::new(0);

fn endpoint(file: &OpenFile) -> Option<&Arc<Endpoint>> {
    let socket = crate::net::of(file).ok()?;
    socket.ops.as_any().downcast_ref::<UnixSocket>().map(|socket| &socket.0)
}

/// Files go on their way. ENOMEM.
pub(super) fn departed(files: &[Arc<OpenFile>]) -> Result<(), Errno> {
    let sockets = || files.iter().filter_map(|file| Some((file, endpoint(file)?)));
    let count = sockets().count();
    if count > 0 {
        let mut list = ON_THEIR_WAY.lock();
        list.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
        let round = ROUND.load(Ordering::Relaxed);
        for (file, endpoint) in sockets() {
            endpoint.departed_in.store(round, Ordering::Relaxed);
            list.push(Arc::downgrade(file));
        }
        COUNT.store(list.len(), Ordering::Release);
    }
    Ok(())
}

/// They are on their way no more.
pub(super) fn arrived(files: &[Arc<OpenFile>]) {
    if COUNT.load(Ordering::Acquire) == 0 {
        return;
    }
    let mut list = ON_THEIR_WAY.lock();
    for file in files {
        if let Some(at) = list.iter().position(|entry| core::ptr::eq(entry.as_ptr(), Arc::as_ptr(file))) {
            list.swap_remove(at);
        }
    }
    COUNT.store(list.len(), Ordering::Release);
}

/// A socket was closed, perhaps the last of many that are let go of together: whoever can't be reached any more is closed as well.
pub(super) fn collect() {
    if COUNT.load(Ordering::Acquire) == 0 || super::rights::is_burying() {
        return;
    }
    // Letting go may close further sockets, which come here again; without memory for it the garbage stays until the next time.
    COLLECTION.run(|| {
        let _ = collect_once();
    });
}

#[inline(never)]
fn collect_once() -> Result<(), TryReserveError> {
    let address = |file: &Arc<OpenFile>| Arc::as_ptr(file).addr();
    let mut on_their_way: Vec<Arc<OpenFile>> = Vec::new();
    let round;
    {
        let list = ON_THEIR_WAY.lock();
        round = ROUND.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        on_their_way.try_reserve_exact(list.len())?;
        on_their_way.extend(list.iter().filter_map(Weak::upgrade));
    }
    // In order, and each once: only one reference of our own is to be taken off.
    let mut files: Vec<Arc<OpenFile>> = Vec::new();
    files.try_reserve_exact(on_their_way.len())?;
    for file in on_their_way {
        if let Err(at) = files.binary_search_by_key(&address(&file), address) {
            files.insert(at, file);
        }
    }
    let mut holders: Vec<usize> = Vec::new();
    holders.try_reserve_exact(files.len())?;
    holders.extend(files.iter().map(|file| Arc::strong_count(file).saturating_sub(1)));
    let mut messages = Vec::new();
    let mut result = Ok(());
    for (at, file) in files.iter().enumerate() {
        if let Some(endpoint) = endpoint(file) {
            endpoint.for_each_message(&mut |message| {
                for held in message.rights.iter().flat_map(|rights| rights.files()) {
                    if let Ok(held) = files.binary_search_by_key(&address(held), address) {
                        match messages.try_reserve(1) {
                            Ok(()) => messages.push((at, held)),
                            Err(error) => result = Err(error),
                        }
                    }
                }
            });
        }
    }
    result?;
    for (file, holders) in files.iter().zip(&mut holders) {
        if endpoint(file).is_some_and(|endpoint| endpoint.departed_in.load(Ordering::Relaxed) == round) {
            *holders = usize::MAX;
        }
    }
    leave_reachable(&mut holders, &messages)?;
    for (file, _) in files.iter().zip(&holders).filter(|(_, holders)| **holders == 0) {
        if let Some(endpoint) = endpoint(file) {
            endpoint.release();
        }
    }
    Ok(())
}
