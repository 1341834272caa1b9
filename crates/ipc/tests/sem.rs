//! Semaphore sets against a model that tries everything anew after each step.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use ipc::sem::{Attempt, Error, Op, Set, alters};
use proptest::prelude::*;

const SEMAPHORES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Semop(u32, Vec<Op>),
    SetValue(usize, u16),
    Exit(u32),
    Cancel(usize),
}

fn op() -> impl Strategy<Value = Op> {
    (0..SEMAPHORES as u16, -2i16..=2, prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(number, change, no_wait, undo)| Op { number, change, no_wait, undo })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u32..4, prop::collection::vec(op(), 1..4)).prop_map(|(process, ops)| Step::Semop(process, ops)),
        1 => (0..SEMAPHORES, 0u16..4).prop_map(|(number, value)| Step::SetValue(number, value)),
        1 => (1u32..4).prop_map(Step::Exit),
        1 => (0usize..20).prop_map(Step::Cancel),
    ]
}

/// Values and adjustments in the plainest form.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: [i32; SEMAPHORES],
    undo: std::collections::BTreeMap<(u32, usize), i32>,
    waiting: Vec<(usize, u32, Vec<Op>)>,
}

impl Model {
    /// Tries on a copy, and keeps it only if all went well.
    fn perform(&mut self, process: u32, ops: &[Op]) -> Result<Attempt, Error> {
        let mut copy = self.clone();
        for (index, op) in ops.iter().enumerate() {
            let at = usize::from(op.number);
            let sum = copy.values[at] + i32::from(op.change);
            if sum < 0 || op.change == 0 && copy.values[at] != 0 {
                return if op.no_wait { Err(Error::WouldBlock) } else { Ok(Attempt::Blocked(index)) };
            }
            copy.values[at] = sum;
            if op.undo {
                *copy.undo.entry((process, at)).or_default() -= i32::from(op.change);
            }
        }
        *self = copy;
        Ok(Attempt::Done)
    }

    fn settle(&mut self) -> Vec<(usize, Result<(), Error>)> {
        let mut finished = Vec::new();
        'again: loop {
            for altering in [false, true] {
                let mut at = 0;
                while let Some((who, process, ops)) = self.waiting.get(at).cloned() {
                    if alters(&ops) != altering {
                        at += 1;
                        continue;
                    }
                    match self.perform(process, &ops) {
                        Ok(Attempt::Blocked(_)) => at += 1,
                        result => {
                            self.waiting.remove(at);
                            finished.push((who, result.map(|_| ())));
                            if altering && result.is_ok() {
                                continue 'again;
                            }
                        }
                    }
                }
            }
            return finished;
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut set: Set<usize> = Set::new(SEMAPHORES).unwrap();
        let mut model = Model::default();
        for (who, step) in steps.into_iter().enumerate() {
            match step {
                Step::Semop(process, ops) => {
                    let result = set.perform(&ops, process);
                    prop_assert_eq!(result, model.perform(process, &ops));
                    if let Ok(Attempt::Blocked(blocking)) = result {
                        set.wait(who, ops.clone(), process, blocking).unwrap();
                        model.waiting.push((who, process, ops));
                    }
                }
                Step::SetValue(number, value) => {
                    set.set_value(number, value, 9);
                    model.values[number] = i32::from(value);
                    model.undo.retain(|key, _| key.1 != number);
                }
                Step::Exit(process) => {
                    set.undo(process);
                    for number in 0..SEMAPHORES {
                        if let Some(adjustment) = model.undo.remove(&(process, number)) {
                            model.values[number] = (model.values[number] + adjustment).max(0);
                        }
                    }
                }
                Step::Cancel(who) => {
                    let before = model.waiting.len();
                    model.waiting.retain(|waiter| waiter.0 != who);
                    prop_assert_eq!(set.cancel(&who), model.waiting.len() < before);
                }
            }
            let mut finished = Vec::new();
            set.settle(|who, result| finished.push((who, result)));
            prop_assert_eq!(finished, model.settle());
            prop_assert!(set.values().map(i32::from).eq(model.values));
            for number in 0..SEMAPHORES {
                // The one operation that each waiter is stuck at.
                let stuck = |zero: bool| {
                    let blocked = model.waiting.iter().filter(|(_, process, ops)| {
                        match model.clone().perform(*process, ops) {
                            Ok(Attempt::Blocked(at)) => {
                                usize::from(ops[at].number) == number && (ops[at].change == 0) == zero
                            }
                            _ => false,
                        }
                    });
                    blocked.count()
                };
                prop_assert_eq!(set.waiters(number), (stuck(false), stuck(true)));
            }
        }
    }
}

fn plain(number: u16, change: i16) -> Op {
    Op { number, change, no_wait: false, undo: false }
}

#[test]
fn values_and_adjustments_have_limits() {
    let mut set: Set<u8> = Set::new(1).unwrap();
    assert_eq!(set.perform(&[plain(0, 32_767)], 1), Ok(Attempt::Done));
    assert_eq!(set.perform(&[plain(0, 1)], 1), Err(Error::Range));
    assert_eq!(set.perform(&[plain(0, -1), plain(0, 2)], 1), Err(Error::Range));
    assert_eq!(set.value(0), Some(32_767));
    let down = Op { undo: true, ..plain(0, -32_767) };
    assert_eq!(set.perform(&[down], 2), Ok(Attempt::Done));
    assert_eq!(set.perform(&[plain(0, 2)], 1), Ok(Attempt::Done));
    // One more would take the adjustment out of range.
    assert_eq!(set.perform(&[Op { undo: true, ..plain(0, -1) }], 2), Err(Error::Range));
    assert!(set.undo(2));
    assert_eq!(set.value(0), Some(32_767));
    assert_eq!(set.process(0), Some(2));
    assert!(!set.undo(2));
}

#[test]
fn a_removed_set_lets_everybody_go() {
    let mut set: Set<u8> = Set::new(2).unwrap();
    for who in 0..3 {
        set.wait(who, vec![plain(1, -1)], 5, 0).unwrap();
    }
    assert_eq!(set.waiters(1), (3, 0));
    assert_eq!(set.take_waiters().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(set.waiters(1), (0, 0));
}
