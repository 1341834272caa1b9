//! Random numbers: a ChaCha20 generator with fast key erasure, seeded from the processor, or in exact mode from the command line alone.
//!
//! Without a source there are no random numbers: the calls that need some say so.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::x86_64::{cpu, tsc};
use crate::sync::SpinLock;

/// There is no source of entropy on this machine, and no seed on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEntropy;

const BLOCK: usize = 64;
const KEY_WORDS: usize = 8;
/// "expand 32-byte k" (RFC 8439, 2.3).
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Bytes that are made in advance for small requests, with the key that follows: four blocks.
const STOCK: usize = 4 * BLOCK - 4 * KEY_WORDS;
/// The key is replaced after so many blocks of one request.
const BLOCKS_PER_KEY: u32 = 64;

struct Generator {
    key: [u32; KEY_WORDS],
    ready: bool,
    /// From the command line: nothing else may go in, so that runs repeat.
    fixed: Option<[u32; KEY_WORDS]>,
    /// Made in advance; the last `left` bytes haven't been given out, the others are erased.
    stock: [u8; STOCK],
    left: usize,
}

static GENERATOR: SpinLock<Generator> =
    SpinLock::new(Generator { key: [0; KEY_WORDS], ready: false, fixed: None, stock: [0; STOCK], left: 0 });
static COMPLAINED: AtomicBool = AtomicBool::new(false);

fn quarter_round(state: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

/// The ChaCha20 block function (RFC 8439, 2.3), nonce 0.
fn block(key: &[u32; KEY_WORDS], counter: u32) -> [u32; 16] {
    let mut input = [0; 16];
    input[..4].copy_from_slice(&CONSTANTS);
    input[4..12].copy_from_slice(key);
    input[12] = counter;
    let mut state = input;
    for _ in 0..10 {
        quarter_round(&mut state, 0, 4, 8, 12);
        quarter_round(&mut state, 1, 5, 9, 13);
        quarter_round(&mut state, 2, 6, 10, 14);
        quarter_round(&mut state, 3, 7, 11, 15);
        quarter_round(&mut state, 0, 5, 10, 15);
        quarter_round(&mut state, 1, 6, 11, 12);
        quarter_round(&mut state, 2, 7, 8, 13);
        quarter_round(&mut state, 3, 4, 9, 14);
    }
    for (word, start) in state.iter_mut().zip(input) {
        *word = word.wrapping_add(start);
    }
    state
}

impl Generator {
    /// A key from the processor's generator. The time-stamp counter goes in as well, for what it is worth.
    fn seed(&mut self) -> Result<(), NoEntropy> {
        if let Some(fixed) = self.fixed {
            self.key = fixed;
            self.ready = true;
            return Ok(());
        }
        for pair in self.key.as_chunks_mut::<2>().0 {
            let word = cpu::rdrand().ok_or(NoEntropy)? ^ tsc::read().rotate_left(32);
            *pair = [word as u32, (word >> 32) as u32];
        }
        self.ready = true;
        Ok(())
    }

    /// Makes the next key and the stock that goes with it.
    fn restock(&mut self) {
        let key = self.key;
        let first = self.rekey();
        let (head, rest) = self.stock.split_at_mut(BLOCK - 4 * KEY_WORDS);
        copy_words(head, &first[KEY_WORDS..]);
        for (piece, counter) in rest.chunks_mut(BLOCK).zip(1..) {
            copy_words(piece, &block(&key, counter));
        }
        self.left = STOCK;
    }

    /// Gives out of the stock, which must have as much.
    fn take(&mut self, bytes: &mut [u8]) {
        let start = STOCK - self.left;
        if let Some(from) = self.stock.get_mut(start..start + bytes.len()) {
            bytes.copy_from_slice(from);
            from.fill(0);
            self.left -= bytes.len();
        }
    }

    /// Takes the next key out of the first block, so that what was given out can't be computed back.
    fn rekey(&mut self) -> [u32; 16] {
        let first = block(&self.key, 0);
        self.key.copy_from_slice(&first[..KEY_WORDS]);
        first
    }
}

/// Takes the seed of the command line: up to 32 bytes in hexadecimal.
pub fn init(seed: Option<&str>) {
    let Some(text) = seed else { return };
    let mut key = [0u32; KEY_WORDS];
    for (word, digits) in key.iter_mut().zip(text.as_bytes().chunks(8)) {
        *word = digits.iter().filter_map(|&digit| char::from(digit).to_digit(16)).fold(0, |w, d| w << 4 | d);
    }
    GENERATOR.lock().fixed = Some(key);
}

/// Fills a buffer with random bytes.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    let mut generator = GENERATOR.lock();
    if !generator.ready && generator.seed().is_err() {
        drop(generator);
        if !COMPLAINED.swap(true, Ordering::Relaxed) {
            crate::console::notice(
                "whelk: no source of random numbers: the processor has no RDRAND, and no seed was given",
            );
        }
        return Err(NoEntropy);
    }
    if bytes.len() <= STOCK / 4 {
        if generator.left < bytes.len() {
            generator.restock();
        }
        generator.take(bytes);
        return Ok(());
    }
    // Half of the first block is the next key, the other half output.
    let first = generator.rekey();
    let (head, rest) = bytes.split_at_mut(bytes.len().min(BLOCK / 2));
    copy_words(head, &first[KEY_WORDS..]);
    let mut counter = 0;
    let mut key = generator.key;
    for piece in rest.chunks_mut(BLOCK) {
        if counter == 0 {
            key = generator.key;
            generator.rekey();
        }
        counter = (counter + 1) % BLOCKS_PER_KEY;
        copy_words(piece, &block(&key, counter + 1));
    }
    Ok(())
}

fn copy_words(bytes: &mut [u8], words: &[u32]) {
    let (whole, odd) = bytes.as_chunks_mut::<4>();
    let mut words = words.iter();
    for (to, from) in whole.iter_mut().zip(&mut words) {
        *to = from.to_le_bytes();
    }
    for (to, from) in odd.iter_mut().zip(words.next().copied().unwrap_or_default().to_le_bytes()) {
        *to = from;
    }
}
