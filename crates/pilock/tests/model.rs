//! Against a naive model: a map from locks to their owners and queues, in which everything is searched for.

use std::collections::BTreeMap;

use pilock::{Deadlock, Locks};
use proptest::prelude::*;

const THREADS: u32 = 6;
const KEYS: u8 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Takes a lock, or waits for it with an urgency.
    Take {
        key: u8,
        tid: u32,
        urgency: u32,
    },
    Release {
        key: u8,
    },
    GiveUp {
        tid: u32,
    },
    Die {
        tid: u32,
    },
    Settle {
        key: u8,
    },
    Urgency {
        tid: u32,
        urgency: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let tid = 1..=THREADS;
    prop_oneof![
        4 => (0..KEYS, tid.clone(), 0..4u32).prop_map(|(key, tid, urgency)| Step::Take { key, tid, urgency }),
        2 => (0..KEYS).prop_map(|key| Step::Release { key }),
        1 => tid.clone().prop_map(|tid| Step::GiveUp { tid }),
        1 => tid.clone().prop_map(|tid| Step::Die { tid }),
        1 => (0..KEYS).prop_map(|key| Step::Settle { key }),
        1 => (tid, 0..4u32).prop_map(|(tid, urgency)| Step::Urgency { tid, urgency }),
    ]
}

#[derive(Default)]
struct Model {
    owners: BTreeMap<u8, (u32, bool)>,
    queues: BTreeMap<u8, Vec<(u32, u32)>>,
}

impl Model {
    fn waits_for(&self, tid: u32) -> Option<u8> {
        self.queues.iter().find(|(_, queue)| queue.iter().any(|w| w.0 == tid)).map(|(key, _)| *key)
    }

    fn reaches(&self, from: u32, to: u32) -> bool {
        from == to || self.waits_for(from).is_some_and(|key| self.reaches(self.owners[&key].0, to))
    }

    fn pop(&mut self, key: u8) -> Option<u32> {
        let queue = self.queues.entry(key).or_default();
        let mut best: Option<usize> = None;
        for (index, waiter) in queue.iter().enumerate() {
            if best.is_none_or(|best| waiter.1 > queue[best].1) {
                best = Some(index);
            }
        }
        best.map(|index| queue.remove(index).0)
    }
}

proptest! {
    #[test]
    fn as_the_model(steps in proptest::collection::vec(step(), 1..80)) {
        let mut locks: Locks<u8, u32> = Locks::new();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Take { key, tid, urgency } => {
                    if model.waits_for(tid).is_some() {
                        continue;
                    }
                    match model.owners.get(&key).copied() {
                        None => {
                            model.owners.insert(key, (tid, true));
                        }
                        Some((owner, _)) => {
                            let closes = model.reaches(owner, tid);
                            let result = locks.wait(key, owner, tid, urgency, tid);
                            prop_assert_eq!(result, if closes { Err(Deadlock) } else { Ok(()) });
                            if !closes {
                                model.queues.entry(key).or_default().push((tid, urgency));
                            }
                        }
                    }
                }
                Step::Release { key } => {
                    // An owner that hasn't settled isn't awake yet.
                    if model.owners.get(&key).is_none_or(|owner| !owner.1) {
                        continue;
                    }
                    let next = model.pop(key);
                    prop_assert_eq!(locks.next(key), next);
                    prop_assert_eq!(locks.hand_over(key), next.map(|tid| (tid, tid)));
                    match next {
                        Some(tid) => model.owners.insert(key, (tid, true)),
                        None => model.owners.remove(&key),
                    };
                }
                Step::GiveUp { tid } => {
                    let key = model.waits_for(tid);
                    prop_assert_eq!(locks.blocked_on(tid), key);
                    if let Some(key) = key {
                        prop_assert!(locks.cancel(key, tid));
                        model.queues.get_mut(&key).unwrap().retain(|waiter| waiter.0 != tid);
                    } else {
                        prop_assert!(!locks.cancel(0, tid));
                    }
                }
                Step::Die { tid } => {
                    if model.waits_for(tid).is_some() {
                        continue;
                    }
                    let mut heirs = Vec::new();
                    while let Some((heir, payload)) = locks.orphan(tid) {
                        prop_assert_eq!(heir, payload);
                        heirs.push(heir);
                    }
                    let owned: Vec<u8> =
                        model.owners.iter().filter(|(_, owner)| owner.0 == tid).map(|(key, _)| *key).collect();
                    let mut expected = Vec::new();
                    for key in owned {
                        match model.pop(key) {
                            Some(next) => {
                                expected.push(next);
                                model.owners.insert(key, (next, false));
                            }
                            None => {
                                model.owners.remove(&key);
                            }
                        }
                    }
                    heirs.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(heirs, expected);
                }
                Step::Settle { key } => {
                    locks.settle(key);
                    if let Some(owner) = model.owners.get_mut(&key) {
                        owner.1 = true;
                    }
                }
                Step::Urgency { tid, urgency } => {
                    let key = model.waits_for(tid);
                    let mut changed = None;
                    if let Some(key) = key {
                        for waiter in model.queues.get_mut(&key).unwrap() {
                            if waiter.0 == tid && waiter.1 != urgency {
                                waiter.1 = urgency;
                                changed = Some(model.owners[&key].0);
                            }
                        }
                    }
                    prop_assert_eq!(locks.set_urgency(tid, urgency), changed);
                }
            }
            for key in 0..KEYS {
                let queue = model.queues.get(&key).map_or(0, Vec::len);
                let owner = model.owners.get(&key).copied();
                // What nobody waits for isn't known, but for a lock whose word is still to be written.
                let known = owner.filter(|owner| queue > 0 || !owner.1);
                prop_assert_eq!(locks.owner(key), known);
            }
            for tid in 1..=THREADS {
                let most = model.owners.iter().filter(|(_, owner)| owner.0 == tid);
                let most = most.filter_map(|(key, _)| model.queues.get(key)?.iter().map(|w| w.1).max()).max();
                prop_assert_eq!(locks.inherited(tid), most.unwrap_or(0));
            }
            prop_assert_eq!(locks.is_empty(), (0..KEYS).all(|key| locks.owner(key).is_none()));
        }
    }
}
