//! Sorting by a heap. The library's sorts are faster and take several KiB of code for each type.

/// Puts numbers into order.
pub fn sort(numbers: &mut [u32]) {
    for root in (0..numbers.len() / 2).rev() {
        sift_down(numbers, root);
    }
    for end in (1..numbers.len()).rev() {
        numbers.swap(0, end);
        sift_down(numbers.get_mut(..end).unwrap_or_default(), 0);
    }
}

/// Lets a number sink until none below it is larger.
fn sift_down(numbers: &mut [u32], root: usize) {
    let mut at = root;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let child = if numbers.get(right) > numbers.get(left) { right } else { left };
        if numbers.get(child) <= numbers.get(at) {
            return;
        }
        numbers.swap(at, child);
        at = child;
    }
}
