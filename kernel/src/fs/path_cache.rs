//! Whole paths that were resolved a moment ago: one probe instead of a walk.
//!
//! Only walks are kept whose result depends on nothing but the tree and the place they start from: over directories that everybody may
//! search, in file systems in memory. A place has one spelling here, and when it is removed or renamed its path goes; whatever else could
//! change where a path leads (a directory or a link that goes, a mount, a directory's mode) makes the whole cache stale.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use namei::Follow;

use super::dentry::Dentry;
use super::path::Path;
use crate::sync::SpinLock;

const SLOTS: usize = 128;
/// Longest path that is kept, in words of eight bytes.
const WORDS: usize = 6;
/// The same in bytes.
pub const LONGEST: usize = WORDS * 8;

/// Where a path starts: addresses of its dentry and its mount.
pub type Start = [usize; 2];

/// The start as part of a key.
#[inline]
pub fn start_of(path: &Path) -> Start {
    [Arc::as_ptr(&path.dentry).addr(), Arc::as_ptr(&path.mount).addr()]
}

/// A path as a program spells it, and where it starts.
pub struct Key<'p> {
    path: &'p [u8],
    /// What is left behind the whole words, as one.
    tail: u64,
    hash: u32,
    generation: u32,
    start: Start,
}

struct Slot {
    /// The path in words, the last one filled up with zeros.
    words: [u64; WORDS],
    len: usize,
    start: Start,
    generation: u32,
    place: Path,
    /// Links were followed, perhaps as the last component: not for those who want that one itself.
    over_links: bool,
}

static TABLE: [SpinLock<Option<Box<Slot>>>; SLOTS] = [const { SpinLock::new(None) }; SLOTS];
/// Keys of another generation are stale.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// How often a file went elsewhere: what a walk found that one of these overtook isn't kept.
static MOVES: AtomicU32 = AtomicU32::new(0);

/// To be asked before a walk, for `keep`.
pub fn moves() -> u32 {
    MOVES.load(Ordering::Acquire)
}

impl<'p> Key<'p> {
    /// The key of a path of up to `LONGEST` bytes. Made before the walk, so that a change during it makes it stale.
    #[inline(always)]
    pub fn new(start: Start, path: &'p [u8]) -> Self {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let [place, _] = start;
        let mut hash = place as u64;
        let mut mix = |word: u64| {
            hash = (hash ^ word).wrapping_mul(MULTIPLIER);
            hash ^= hash >> 32;
        };
        let (chunks, rest) = path.as_chunks::<8>();
        chunks.iter().for_each(|chunk| mix(u64::from_le_bytes(*chunk)));
        let tail = match path.last_chunk::<8>() {
            None => namemap::short_word(path),
            Some(_) if rest.is_empty() => 0,
            // With what stands before them shifted out, the last eight bytes are the rest.
            Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        };
        mix(tail);
        Self { path, tail, hash: hash as u32, generation: GENERATION.load(Ordering::Acquire), start }
    }

    #[inline(always)]
    fn is_of(&self, slot: &Slot) -> bool {
        let (chunks, _) = self.path.as_chunks::<8>();
        let is_same =
            slot.len == self.path.len() && slot.start == self.start && slot.generation == self.generation;
        is_same
            && chunks.iter().zip(&slot.words).all(|(chunk, word)| u64::from_le_bytes(*chunk) == *word)
            && slot.words.get(chunks.len()).is_none_or(|word| *word == self.tail)
    }

    fn slot(&self) -> Option<&'static SpinLock<Option<Box<Slot>>>> {
        TABLE.get(self.hash as usize % SLOTS)
    }

    /// Where the path led, if it was here lately.
    #[inline(always)]
    pub fn find(&self, follow: Follow) -> Option<Path> {
        let slot = self.slot()?.lock();
        let slot = slot.as_ref()?;
        let is_same = self.is_of(slot) && (!slot.over_links || follow == Follow::Yes);
        is_same.then(|| slot.place.clone())
    }

    /// Keeps where the path led, unless the place has another spelling that was in use lately.
    #[inline(never)]
    pub fn keep(&self, place: &Path, over_links: bool, moves_before: u32) {
        /// One in so many other spellings takes over.
        const PATIENCE: u32 = 4;
        static OTHERS: AtomicU32 = AtomicU32::new(0);
        static KEEPING: SpinLock<()> = SpinLock::new(());
        let index = self.hash as usize % SLOTS;
        let dentry = &place.dentry;
        let _guard = KEEPING.lock();
        let other = (dentry.path_slot() as usize).wrapping_sub(1);
        if other != index && holds(other, dentry) {
            if !OTHERS.fetch_add(1, Ordering::Relaxed).is_multiple_of(PATIENCE) {
                return;
            }
            forget(dentry);
        }
        let Some(slot) = TABLE.get(index) else { return };
        let mut words = [0; WORDS];
        let (chunks, _) = self.path.as_chunks::<8>();
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        if let Some(word) = words.get_mut(chunks.len()) {
            *word = self.tail;
        }
        let (len, start, generation) = (self.path.len(), self.start, self.generation);
        let new = Box::new(Slot { words, len, start, generation, place: place.clone(), over_links });
        let old = {
            let mut slot = slot.lock();
            dentry.set_path_slot(index as u32 + 1);
            // Who removes or moves the entry looks into the slot after having said so.
            if dentry.is_removed() || moves() != moves_before { Some(new) } else { slot.replace(new) }
        };
        drop(old);
    }
}

/// Whether a slot leads to an entry.
fn holds(slot: usize, dentry: &Arc<Dentry>) -> bool {
    TABLE
        .get(slot)
        .is_some_and(|slot| slot.lock().as_ref().is_some_and(|slot| Arc::ptr_eq(&slot.place.dentry, dentry)))
}

/// A file has gone elsewhere.
pub fn moved(dentry: &Arc<Dentry>) {
    MOVES.fetch_add(1, Ordering::AcqRel);
    forget(dentry);
}

/// An entry goes, or goes elsewhere: its path leads there no longer.
#[inline]
pub fn forget(dentry: &Arc<Dentry>) {
    let Some(slot) = TABLE.get((dentry.path_slot() as usize).wrapping_sub(1)) else { return };
    let old = {
        let mut slot = slot.lock();
        slot.take_if(|slot| Arc::ptr_eq(&slot.place.dentry, dentry))
    };
    drop(old);
}

/// Paths may lead elsewhere from now on.
pub fn forget_all() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    for slot in &TABLE {
        let old = slot.lock().take();
        drop(old);
    }
}
