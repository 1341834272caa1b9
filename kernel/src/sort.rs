//! Sorting by a heap. The library's sorts are faster and take several KiB of code for each type.

/// Puts the `count` smallest items into order, and returns them; the others stand before them in no order.
pub fn smallest<T>(items: &mut [T], count: usize, key: impl Fn(&T) -> u64) -> &mut [T] {
    let count = count.min(items.len());
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &key);
    }
    for end in (items.len() - count..items.len()).rev() {
        items.swap(0, end);
        sift_down(items.get_mut(..end).unwrap_or_default(), 0, &key);
    }
    let rest = items.len() - count;
    let found = items.get_mut(rest..).unwrap_or_default();
    found.reverse();
    found
}

/// Lets an item sink until none below it is smaller.
fn sift_down<T>(items: &mut [T], root: usize, key: &impl Fn(&T) -> u64) {
    let mut at = root;
    loop {
        let key_of = |index: usize| items.get(index).map_or(u64::MAX, key);
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let child = if key_of(right) < key_of(left) { right } else { left };
        if child >= items.len() || key_of(at) <= key_of(child) {
            return;
        }
        items.swap(at, child);
        at = child;
    }
}

/// Puts numbers into order.
pub fn sort(numbers: &mut [u32]) {
    let count = numbers.len();
    smallest(numbers, count, |&number| number.into());
}
