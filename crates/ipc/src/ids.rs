//! Identifiers of System V objects: a slot's index and how often it was used, so that an old identifier doesn't name a new object.

use alloc::vec::Vec;

use crate::NoMemory;

/// Most objects of a kind (IPCMNI).
pub const MAX: usize = 32_768;
const SHIFT: u32 = 15;
/// Sequence numbers are as many as fit into a positive `int`.
const SEQUENCES: u32 = 1 << (31 - SHIFT);

#[derive(Clone, Debug)]
struct Slot<T> {
    sequence: u32,
    value: Option<T>,
}

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Ids<T> {
    slots: Vec<Slot<T>>,
    used: usize,
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Ids<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), used: 0 }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The highest index in use; 0 if there is none, as the `*_INFO` commands report it.
    #[must_use]
    pub fn highest_index(&self) -> usize {
        self.slots.iter().rposition(|slot| slot.value.is_some()).unwrap_or(0)
    }

    /// Adds an object: `make` gets its identifier and sequence number.
    pub fn insert(&mut self, make: impl FnOnce(i32, u16) -> T) -> Result<i32, NoMemory> {
        let index = match self.slots.iter().position(|slot| slot.value.is_none()) {
            Some(index) => index,
            None if self.slots.len() < MAX => {
                self.slots.try_reserve(1).map_err(|_| NoMemory)?;
                self.slots.push(Slot { sequence: 0, value: None });
                self.slots.len() - 1
            }
            None => return Err(NoMemory),
        };
        let slot = self.slots.get_mut(index).ok_or(NoMemory)?;
        let id = i32::try_from(u64::from(slot.sequence) << SHIFT | index as u64).map_err(|_| NoMemory)?;
        slot.value = Some(make(id, u16::try_from(slot.sequence).unwrap_or(0)));
        self.used += 1;
        Ok(id)
    }

    fn index(&self, id: i32) -> Option<usize> {
        let id = u32::try_from(id).ok()?;
        let index = (id & ((1 << SHIFT) - 1)) as usize;
        let slot = self.slots.get(index)?;
        (slot.sequence == id >> SHIFT && slot.value.is_some()).then_some(index)
    }

    /// The object of an identifier.
    #[must_use]
    pub fn get(&self, id: i32) -> Option<&T> {
        self.slots.get(self.index(id)?)?.value.as_ref()
    }

    /// The identifier and object at an index (SHM_STAT and its relatives).
    #[must_use]
    pub fn at(&self, index: usize) -> Option<(i32, &T)> {
        let slot = self.slots.get(index)?;
        let id = i32::try_from(u64::from(slot.sequence) << SHIFT | index as u64).ok()?;
        Some((id, slot.value.as_ref()?))
    }

    /// Takes an object out; its identifier will not come back soon.
    pub fn remove(&mut self, id: i32) -> Option<T> {
        let index = self.index(id)?;
        let slot = self.slots.get_mut(index)?;
        slot.sequence = (slot.sequence + 1) % SEQUENCES;
        self.used -= 1;
        slot.value.take()
    }

    /// All objects with their identifiers, by index.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &T)> {
        (0..self.slots.len()).filter_map(|index| self.at(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_identifier_names_nothing() {
        let mut ids = Ids::new();
        let a = ids.insert(|id, sequence| (id, sequence)).unwrap();
        let b = ids.insert(|id, sequence| (id, sequence)).unwrap();
        assert_ne!(a, b);
        assert_eq!(ids.highest_index(), 1);
        assert!(ids.remove(a).is_some());
        assert!(ids.remove(a).is_none());
        let c = ids.insert(|id, sequence| (id, sequence)).unwrap();
        assert_ne!(a, c);
        assert!(ids.get(a).is_none());
        assert_eq!(ids.get(c), Some(&(c, 1)));
        assert_eq!(ids.iter().map(|(id, _)| id).collect::<Vec<_>>(), [c, b]);
        assert_eq!(ids.at(0).map(|(id, _)| id), Some(c));
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn negative_and_foreign_numbers_name_nothing() {
        let mut ids = Ids::new();
        ids.insert(|_, _| ()).unwrap();
        for id in [-1, i32::MIN, 1, i32::MAX, 1 << 15] {
            assert!(ids.get(id).is_none());
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut ids = Ids::new();
        for _ in 0..=SEQUENCES {
            let id = ids.insert(|_, _| ()).unwrap();
            assert!(id >= 0);
            ids.remove(id).unwrap();
        }
    }
}
