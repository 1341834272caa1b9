//! A directory's entries: names to values.
//!
//! Open addressing with linear probing. A name of up to 16 bytes stands in its slot as two words, so that looking it up touches nothing
//! but the slot; of a longer one the slot has the beginning and a 64-bit hash, and the value is asked whether it really is that name.
//! Entries are numbered in the order in which they came, for directory listings that go on where they stopped.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;

/// Longest name that a slot holds as it is.
const WHOLE: usize = 16;
/// Of so many numbers that were given out one is in use, or else the entries are sorted.
const SPARSEST: usize = 4;
/// Slots of the smallest table.
const MIN_SLOTS: usize = 8;

/// A name ready to be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    head: u64,
    tail: u64,
    len: u32,
    hash: u32,
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(MULTIPLIER);
    product ^ product >> 32
}

impl Key {
    /// The key of a name.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "names are short; of a hash any half will do")]
    pub fn new(name: &[u8]) -> Self {
        // Two words that cover the name, overlapping where it is shorter than both.
        let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                let head = u64::from_le_bytes(*first);
                if name.len() <= WHOLE { (head, u64::from_le_bytes(*last)) } else { (head, digest(name)) }
            }
            _ => (short_word(name), 0),
        };
        let len = name.len() as u32;
        let mixed = (head ^ tail.rotate_left(29) ^ u64::from(len)).wrapping_mul(MULTIPLIER);
        Self { head, tail, len, hash: (mixed >> 32) as u32 }
    }

    /// Whether the names are the same, or both long and as good as surely the same.
    #[inline]
    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.tail == other.tail && self.len == other.len
    }

    fn is_whole(&self) -> bool {
        self.len as usize <= WHOLE
    }
}

/// A name of less than eight bytes as a word; among names of the same length no two have the same.
#[inline(always)]
#[must_use]
pub fn short_word(name: &[u8]) -> u64 {
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        // Up to three bytes: the first, the middle one and the last are all of them.
        _ => match (name.first(), name.get(name.len() / 2), name.last()) {
            (Some(a), Some(b), Some(c)) => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
            _ => 0,
        },
    }
}

/// Where what stands behind the last of these bytes begins; 0 without one.
#[inline]
#[must_use]
pub fn behind_last(text: &[u8], wanted: u8) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7f * ONES;
    let mut rest = text;
    while let Some((before, last)) = rest.split_last_chunk::<8>() {
        let word = u64::from_le_bytes(*last) ^ (ONES * u64::from(wanted));
        // The top bit of each byte that is zero now.
        let found = !(((word & LOW) + LOW) | word | LOW);
        if found != 0 {
            return rest.len() - found.leading_zeros() as usize / 8;
        }
        rest = before;
    }
    rest.iter().rposition(|&byte| byte == wanted).map_or(0, |at| at + 1)
}

/// A hash of all of a long name.
#[inline(never)]
fn digest(name: &[u8]) -> u64 {
    let (words, _) = name.as_chunks::<8>();
    let hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    name.last_chunk::<8>().map_or(hash, |last| mix(hash, u64::from_le_bytes(*last)))
}

#[derive(Debug)]
struct Slot<T> {
    key: Key,
    cookie: u64,
    value: T,
}

/// No memory for a larger table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Names to values. The caller sees to it that no name is put in twice.
#[derive(Debug)]
pub struct NameMap<T> {
    /// A power of two, or none.
    slots: Vec<Option<Slot<T>>>,
    len: usize,
    next_cookie: u64,
}

impl<T> NameMap<T> {
    /// An empty map whose first entry gets the number `first_cookie`.
    #[must_use]
    pub const fn new(first_cookie: u64) -> Self {
        Self { slots: Vec::new(), len: 0, next_cookie: first_cookie }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number that the next entry gets.
    pub fn next_cookie(&self) -> u64 {
        self.next_cookie
    }

    #[inline]
    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }

    /// The value of a name. `same` is asked whether a value has that name, if it is a long one.
    #[inline(always)]
    pub fn get(&self, key: &Key, same: impl FnMut(&T) -> bool) -> Option<&T> {
        if !key.is_whole() {
            return self.get_long(key, same);
        }
        let mask = self.mask();
        let mut at = key.hash as usize;
        loop {
            let slot = self.slots.get(at & mask)?.as_ref()?;
            if slot.key.matches(key) {
                return Some(&slot.value);
            }
            at = at.wrapping_add(1);
        }
    }

    #[inline(never)]
    fn get_long(&self, key: &Key, mut same: impl FnMut(&T) -> bool) -> Option<&T> {
        let mask = self.mask();
        let mut at = key.hash as usize;
        loop {
            let slot = self.slots.get(at & mask)?.as_ref()?;
            if slot.key.matches(key) && same(&slot.value) {
                return Some(&slot.value);
            }
            at = at.wrapping_add(1);
        }
    }

    /// Puts a name in that isn't there.
    pub fn insert(&mut self, key: Key, value: T) -> Result<(), NoMemory> {
        // At most three quarters full.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(MIN_SLOTS))?;
        }
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.len += 1;
        self.place(Slot { key, cookie, value });
        Ok(())
    }

    fn place(&mut self, slot: Slot<T>) {
        let mask = self.mask();
        let mut at = slot.key.hash as usize & mask;
        while let Some(Some(_)) = self.slots.get(at) {
            at = (at + 1) & mask;
        }
        if let Some(free) = self.slots.get_mut(at) {
            *free = Some(slot);
        }
    }

    #[inline(never)]
    fn resize(&mut self, slots: usize) -> Result<(), NoMemory> {
        let mut larger = Vec::new();
        larger.try_reserve_exact(slots).map_err(|_| NoMemory)?;
        larger.resize_with(slots, || None);
        for slot in core::mem::replace(&mut self.slots, larger).into_iter().flatten() {
            self.place(slot);
        }
        Ok(())
    }

    /// Where a name stands. `same` says which of the values with that key it is.
    fn place_of(&self, key: &Key, mut same: impl FnMut(&T) -> bool) -> Option<usize> {
        let mask = self.mask();
        let mut at = key.hash as usize & mask;
        loop {
            let slot = self.slots.get(at)?.as_ref()?;
            if slot.key.matches(key) && same(&slot.value) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Gives a name another value, with the number of the one that comes back. `same` is asked as by `remove`.
    pub fn replace(&mut self, key: &Key, value: T, same: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.place_of(key, same)?;
        let slot = self.slots.get_mut(at)?.as_mut()?;
        Some(core::mem::replace(&mut slot.value, value))
    }

    /// Takes a name out. `same` says which of the values with that key it is.
    pub fn remove(&mut self, key: &Key, same: impl FnMut(&T) -> bool) -> Option<T> {
        let mut hole = self.place_of(key, same)?;
        let mask = self.mask();
        let removed = self.slots.get_mut(hole)?.take()?;
        self.len -= 1;
        // What was pushed behind the hole by it moves up.
        let mut at = (hole + 1) & mask;
        while let Some(Some(slot)) = self.slots.get(at) {
            let home = slot.key.hash as usize & mask;
            // Whether `hole` lies in the cyclic range home..at.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots.swap(hole, at);
                hole = at;
            }
            at = (at + 1) & mask;
        }
        Some(removed.value)
    }

    /// Calls `visit` for the entries from a number on, in the order of their numbers, until it returns false.
    ///
    /// Where most numbers are still in use each entry goes to its number's place. Otherwise they are sorted.
    pub fn visit_in_order(&self, from: u64, mut visit: impl FnMut(u64, &T) -> bool) -> Result<(), NoMemory> {
        let entries = self.slots.iter().flatten().filter(|slot| slot.cookie >= from);
        let span = usize::try_from(self.next_cookie.saturating_sub(from)).unwrap_or(usize::MAX);
        let is_dense = span <= self.len.saturating_mul(SPARSEST);
        let mut places: Vec<Option<&Slot<T>>> = Vec::new();
        places.try_reserve_exact(if is_dense { span } else { self.len }).map_err(|_| NoMemory)?;
        if is_dense {
            places.resize(span, None);
            for slot in entries {
                let place = usize::try_from(slot.cookie - from).ok().and_then(|at| places.get_mut(at));
                if let Some(place) = place {
                    *place = Some(slot);
                }
            }
        } else {
            places.extend(entries.map(Some));
            sort(&mut places);
        }
        for slot in places.into_iter().flatten() {
            if !visit(slot.cookie, &slot.value) {
                break;
            }
        }
        Ok(())
    }

    /// All values; the map is empty then.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.len = 0;
        core::mem::take(&mut self.slots).into_iter().flatten().map(|slot| slot.value)
    }
}

/// Sorts by the numbers, by a heap: the library's sorts are faster and take several KiB of code for each type.
#[inline(never)]
fn sort<T>(items: &mut [Option<&Slot<T>>]) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(items.get_mut(..end).unwrap_or_default(), 0);
    }
}

/// Lets an item sink until none below it is larger.
fn sift_down<T>(items: &mut [Option<&Slot<T>>], root: usize) {
    let mut at = root;
    loop {
        let key_of = |index: usize| items.get(index).map(|slot| slot.map(|slot| slot.cookie));
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let child = if key_of(right) > key_of(left) { right } else { left };
        if key_of(child) <= key_of(at) {
            return;
        }
        items.swap(at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[ab]{0,4}", 2 => "[ab]{6,10}", 2 => "[a]{14,18}[ab]{0,2}", 1 => "[ab]{250}"]
    }

    proptest! {
        #[test]
        fn behaves_as_a_btree_map(ops in prop::collection::vec((name(), 0u8..4), 1..200)) {
            let mut map = NameMap::new(3);
            let mut model = BTreeMap::new();
            let mut cookie = 3;
            for (name, op) in ops {
                let key = Key::new(name.as_bytes());
                let found = map.get(&key, |value: &String| *value == name);
                prop_assert_eq!(found, model.get(&name).map(|(_, value)| value));
                match op {
                    0 | 1 if !model.contains_key(&name) => {
                        map.insert(key, name.clone()).unwrap();
                        model.insert(name.clone(), (cookie, name));
                        cookie += 1;
                    }
                    2 => {
                        let removed = map.remove(&key, |value| *value == name);
                        prop_assert_eq!(removed, model.remove(&name).map(|(_, value)| value));
                    }
                    3 => {
                        let replaced = map.replace(&key, name.clone(), |value| *value == name);
                        prop_assert_eq!(replaced.as_ref(), model.get(&name).map(|(_, value)| value));
                    }
                    _ => {}
                }
                prop_assert_eq!(map.len(), model.len());
                for from in [3, 7, cookie] {
                    let mut entries = Vec::new();
                    map.visit_in_order(from, |cookie, value| { entries.push((cookie, value.clone())); true }).unwrap();
                    let mut expected: Vec<(u64, String)> = model.values().filter(|e| e.0 >= from).cloned().collect();
                    expected.sort();
                    prop_assert_eq!(entries, expected);
                }
            }
        }

        #[test]
        fn the_last_slash_is_found(text in "[/ab\\x80-\\xff]{0,40}") {
            let bytes = text.as_bytes();
            prop_assert_eq!(behind_last(bytes, b'/'), bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1));
        }

        #[test]
        fn different_short_names_have_different_keys(a in "[ab]{0,16}", b in "[ab]{0,16}") {
            prop_assert_eq!(a == b, Key::new(a.as_bytes()) == Key::new(b.as_bytes()));
        }
    }
}
