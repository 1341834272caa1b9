//! A program as people write them in Rust: maps, sorting, strings, threads and channels. Prints a sum.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::thread;

fn work(seed: u64) -> u64 {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut numbers: Vec<u64> = (0..20_000).map(|_| next()).collect();
    numbers.sort_unstable();
    let mut words: HashMap<String, u64> = HashMap::new();
    for number in &numbers {
        *words.entry(format!("w{}", number % 1000)).or_default() += number % 7;
    }
    let ordered: BTreeMap<&str, u64> = words.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    ordered.iter().fold(0u64, |sum, (word, count)| sum.wrapping_mul(31).wrapping_add(count + word.len() as u64))
}

fn main() {
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (1..=4)
        .map(|seed| {
            let sender = sender.clone();
            thread::spawn(move || sender.send(work(seed)).unwrap())
        })
        .collect();
    drop(sender);
    let sum = receiver.iter().fold(0u64, u64::wrapping_add);
    for thread in threads {
        thread.join().unwrap();
    }
    println!("{sum}");
}
