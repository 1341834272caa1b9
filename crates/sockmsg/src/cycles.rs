//! Sockets on their way in messages that nobody can receive any more: they hold each other.
//!
//! A socket that was sent is held by the queue in which it waits. If that queue is its own, or belongs to a socket that is on its way in turn, closing
//! all descriptors frees nothing. Those to whom no way leads from outside are garbage (as `unix_gc` of Linux finds them).

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Finds those that nobody outside can reach: 0 is left of their count of holders, and something of all others'.
///
/// `holders` counts everybody who holds a socket: descriptors, system calls, and messages. `messages` says in whose queue a socket waits, by the
/// indexes of both, once for each time, in the order of the first; only of sockets that are on their way themselves.
///
/// # Errors
/// There is no memory for it; the counts say nothing then.
pub fn leave_reachable(holders: &mut [usize], messages: &[(usize, usize)]) -> Result<(), TryReserveError> {
    let mut left: Vec<usize> = Vec::new();
    // Each is there once at most.
    left.try_reserve_exact(holders.len())?;
    for &(_, held) in messages {
        if let Some(count) = holders.get_mut(held) {
            *count = count.saturating_sub(1);
        }
    }
    // Whoever is held from outside keeps what it holds, and so on.
    let is_held = |at: &usize| holders.get(*at).is_some_and(|&count| count > 0);
    left.extend((0..holders.len()).filter(is_held));
    while let Some(holder) = left.pop() {
        let first = messages.partition_point(|message| message.0 < holder);
        let own = messages.get(first..).unwrap_or_default().iter().take_while(|message| message.0 == holder);
        for &(_, held) in own {
            if let Some(count) = holders.get_mut(held).filter(|count| **count == 0) {
                *count = 1;
                left.push(held);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    /// A socket with so many holders, in whose queue these wait.
    fn socket(holders: usize, holds: &[usize]) -> (usize, Vec<usize>) {
        (holders, holds.to_vec())
    }

    fn garbage(sockets: &[(usize, Vec<usize>)]) -> Vec<bool> {
        let mut holders: Vec<usize> = sockets.iter().map(|socket| socket.0).collect();
        let numbered = sockets.iter().enumerate();
        let messages: Vec<_> =
            numbered.flat_map(|(at, socket)| socket.1.iter().map(move |&to| (at, to))).collect();
        leave_reachable(&mut holders, &messages).unwrap();
        holders.iter().map(|&count| count == 0).collect()
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
            let sockets: Vec<_> = (0..count)
                .map(|at| {
                    let waiting = queues.iter().flatten().filter(|&&held| held == at).count();
                    socket(open[at] + waiting, &queues[at])
                })
                .collect();
            prop_assert_eq!(garbage(&sockets), model(&open, &queues));
        }
    }
}
