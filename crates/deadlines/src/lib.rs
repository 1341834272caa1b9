//! Deadlines in order: a search tree that keeps itself balanced by chance (a treap), for what comes and goes often and is looked at from its
//! least key on. It takes a tenth of the code of `BTreeMap`, and memory by the node.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;

type Link<K, V> = Option<Box<Node<K, V>>>;

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    /// Greater than that of both children. As good as random.
    weight: u32,
    left: Link<K, V>,
    right: Link<K, V>,
}

/// Keys, which are all different, to values.
#[derive(Debug)]
pub struct Deadlines<K, V> {
    root: Link<K, V>,
    /// Where the next weight comes from.
    count: u32,
}

impl<K, V> Default for Deadlines<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Deadlines<K, V> {
    #[must_use]
    pub const fn new() -> Self {
        Self { root: None, count: 0 }
    }
}

impl<K: Ord + Copy, V> Deadlines<K, V> {
    /// Enters a key that isn't there.
    pub fn insert(&mut self, key: K, value: V) {
        self.count = self.count.wrapping_add(1);
        let weight = self.count.wrapping_mul(0x9e37_79b9).swap_bytes().wrapping_mul(0x85eb_ca6b);
        let mut at = &mut self.root;
        while at.as_ref().is_some_and(|node| node.weight >= weight) {
            let Some(node) = at else { return };
            at = if key < node.key { &mut node.left } else { &mut node.right };
        }
        let (left, right) = split(at.take(), key);
        *at = Some(Box::new(Node { key, value, weight, left, right }));
    }

    /// The least key.
    #[must_use]
    pub fn first(&self) -> Option<K> {
        let mut node = self.root.as_ref()?;
        while let Some(left) = &node.left {
            node = left;
        }
        Some(node.key)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let mut at = &mut self.root;
        while at.as_ref().is_some_and(|node| node.key != key) {
            let Some(node) = at else { return None };
            at = if key < node.key { &mut node.left } else { &mut node.right };
        }
        let node = *at.take()?;
        *at = join(node.left, node.right);
        Some(node.value)
    }
}

/// What is below a key, and what is above it. Not by recursion, nor is `join`: whoever chooses the keys can make the tree as deep as it is large.
fn split<K: Ord + Copy, V>(mut link: Link<K, V>, key: K) -> (Link<K, V>, Link<K, V>) {
    let (mut below, mut above) = (None, None);
    let (mut to_below, mut to_above) = (&mut below, &mut above);
    while let Some(mut node) = link {
        if node.key < key {
            link = node.right.take();
            to_below = &mut to_below.insert(node).right;
        } else {
            link = node.left.take();
            to_above = &mut to_above.insert(node).left;
        }
    }
    (below, above)
}

/// One tree of two, of which the first has the lesser keys.
fn join<K, V>(mut left: Link<K, V>, mut right: Link<K, V>) -> Link<K, V> {
    let mut root = None;
    let mut at = &mut root;
    loop {
        match (left, right) {
            (Some(mut lesser), Some(mut greater)) => {
                if lesser.weight > greater.weight {
                    (left, right) = (lesser.right.take(), Some(greater));
                    at = &mut at.insert(lesser).right;
                } else {
                    (left, right) = (Some(lesser), greater.left.take());
                    at = &mut at.insert(greater).left;
                }
            }
            (lesser, greater) => {
                *at = lesser.or(greater);
                return root;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn depth<K, V>(link: &Link<K, V>) -> usize {
        link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    proptest! {
        #[test]
        fn as_an_ordered_map(steps in proptest::collection::vec((0u8..4, 0u16..200), 0..600)) {
            let mut own = Deadlines::new();
            let mut model = BTreeMap::new();
            for (serial, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        own.insert((key, serial), serial);
                        model.insert((key, serial), serial);
                    }
                    2 => {
                        let some = model.keys().nth(usize::from(key)).copied().unwrap_or((key, serial));
                        prop_assert_eq!(own.remove(some), model.remove(&some));
                    }
                    _ => {
                        prop_assert_eq!(own.first(), model.keys().next().copied());
                        if let Some(first) = own.first() {
                            prop_assert_eq!(own.remove(first), model.remove(&first));
                        }
                    }
                }
            }
            let mut rest = Vec::new();
            while let Some(first) = own.first() {
                rest.push((first, own.remove(first).unwrap()));
            }
            prop_assert!(model.into_iter().eq(rest));
        }
    }

    /// Keys that rise as weights fall make one path of the tree.
    #[test]
    fn a_path_takes_no_stack() {
        let weight_of = |count: u32| count.wrapping_mul(0x9e37_79b9).swap_bytes().wrapping_mul(0x85eb_ca6b);
        let mut own = Deadlines::new();
        for count in 1..=8_000u32 {
            own.insert(u32::MAX - weight_of(count), ());
        }
        let run = move || {
            own.insert(u32::MAX, ());
            let mut last = 0;
            while let Some(first) = own.first() {
                assert!(first >= last);
                last = first;
                own.remove(first).unwrap();
            }
        };
        std::thread::Builder::new().stack_size(64 << 10).spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn it_stays_flat_however_the_keys_come() {
        for order in 0..3 {
            let mut own = Deadlines::new();
            for n in 0..30_000u64 {
                own.insert([n, 30_000 - n, n * 7919 % 30_011][order], ());
            }
            assert!(depth(&own.root) < 60, "{}", depth(&own.root));
        }
    }
}
