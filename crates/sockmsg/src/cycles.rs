//! Sockets on their way in messages that nobody can receive any more: they hold each other.
//!
//! A socket that was sent is held by the queue in which it waits. If that queue is its own, or belongs to a socket that is on its way in turn, closing
//! all descriptors frees nothing. Those to whom no way leads from outside are garbage (as `unix_gc` of Linux finds them).

use alloc::vec::Vec;

/// A socket that is on its way in at least one message.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    /// Everybody who holds it: descriptors, system calls, and messages.
    pub holders: usize,
    /// What waits in its own queue: indexes of sockets, once for each message.
    pub holds: Vec<usize>,
}

/// Which of them nobody outside can reach.
pub fn garbage(sockets: &[InFlight]) -> Vec<bool> {
    let mut outside: Vec<usize> = sockets.iter().map(|socket| socket.holders).collect();
    for &held in sockets.iter().flat_map(|socket| &socket.holds) {
        if let Some(count) = outside.get_mut(held) {
            *count = count.saturating_sub(1);
        }
    }
    // Whoever is held from outside keeps what it holds.
    let mut unreached: Vec<bool> = outside.iter().map(|&count| count == 0).collect();
    let mut left: Vec<usize> = (0..sockets.len()).filter(|&at| unreached.get(at) == Some(&false)).collect();
    while let Some(socket) = left.pop().and_then(|at| sockets.get(at)) {
        for &held in &socket.holds {
            if let Some(is_unreached) = unreached.get_mut(held).filter(|is| **is) {
                *is_unreached = false;
                left.push(held);
            }
        }
    }
    unreached
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn socket(holders: usize, holds: &[usize]) -> InFlight {
        InFlight { holders, holds: holds.to_vec() }
    }

    #[test]
    fn small_cases() {
        assert_eq!(garbage(&[]), []);
        assert_eq!(garbage(&[socket(1, &[0])]), [true], "sent to itself, and closed");
        assert_eq!(garbage(&[socket(2, &[0])]), [false], "and still open");
        assert_eq!(garbage(&[socket(1, &[1]), socket(1, &[0])]), [true, true]);
        assert_eq!(garbage(&[socket(2, &[1]), socket(1, &[0])]), [false, false]);
        assert_eq!(
            garbage(&[socket(1, &[1]), socket(1, &[])]),
            [false, false],
            "in the queue of one that isn't on its way"
        );
        assert_eq!(garbage(&[socket(2, &[0, 0, 1]), socket(1, &[])]), [true, true]);
    }

    /// The same by definition: whoever can be reached along the edges from an open one.
    fn model(open: &[usize], queues: &[Vec<usize>]) -> Vec<bool> {
        let mut reached = vec![false; queues.len()];
        loop {
            let before = reached.clone();
            for at in 0..queues.len() {
                if open[at] > 0 || reached[at] {
                    reached[at] = true;
                    queues[at].iter().for_each(|&held| reached[held] = true);
                }
            }
            if before == reached {
                return reached.iter().map(|is| !is).collect();
            }
        }
    }

    proptest! {
        #[test]
        fn as_the_definition_says(
            open in proptest::collection::vec(0usize..2, 1..12),
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30),
        ) {
            let count = open.len();
            let mut queues = vec![Vec::new(); count];
            for (from, to) in edges {
                queues[from % count].push(to % count);
            }
            let sockets: Vec<InFlight> = (0..count)
                .map(|at| InFlight {
                    holders: open[at] + queues.iter().flatten().filter(|&&held| held == at).count(),
                    holds: queues[at].clone(),
                })
                .collect();
            prop_assert_eq!(garbage(&sockets), model(&open, &queues));
        }
    }
}
