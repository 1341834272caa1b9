//! The initial stack (System V ABI, AMD64 supplement, 3.4.1): argc, argv, envp, the auxiliary vector, and the strings above them, where
//! Linux puts them.

use alloc::vec::Vec;

/// Auxiliary vector tags (elf.h).
pub mod tag {
    pub const NULL: u64 = 0;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const PAGESZ: u64 = 6;
    pub const BASE: u64 = 7;
    pub const FLAGS: u64 = 8;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const HWCAP: u64 = 16;
    pub const CLKTCK: u64 = 17;
    pub const SECURE: u64 = 23;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const RSEQ_FEATURE_SIZE: u64 = 27;
    pub const RSEQ_ALIGN: u64 = 28;
    pub const EXECFN: u64 = 31;
    pub const SYSINFO_EHDR: u64 = 33;
    pub const MINSIGSTKSZ: u64 = 51;
}

/// Longest single string, its NUL included (MAX_ARG_STRLEN).
pub const MAX_STRING: usize = 131_072;
/// Least room for strings and pointers, whatever the stack limit (ARG_MAX of Linux 2.6.23).
const MIN_ROOM: u64 = 131_072;
/// Most room (three quarters of _STK_LIM).
const MAX_ROOM: u64 = 6 * 1024 * 1024;

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// The arguments and environment are too large: E2BIG.
    #[error("argument list too long")]
    TooLong,
    /// There is no memory to put it together in: ENOMEM.
    #[error("not enough memory")]
    NoMemory,
}

/// Auxiliary vector entries that the kernel knows; the others are made from them here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aux {
    /// Address of the vDSO, 0 for none.
    pub vdso: u64,
    pub min_signal_stack: u64,
    pub hwcap: u64,
    pub hwcap2: u64,
    pub phdr: u64,
    pub phent: u64,
    pub phnum: u64,
    /// Load address of the dynamic linker, 0 for none.
    pub base: u64,
    pub entry: u64,
    pub uid: u64,
    pub euid: u64,
    pub gid: u64,
    pub egid: u64,
    /// Whether the program gained privileges.
    pub secure: bool,
    pub random: [u8; 16],
}

/// Size and alignment of `struct rseq`'s features (AT_RSEQ_*).
const RSEQ_FEATURE_SIZE: u64 = 28;
const RSEQ_ALIGN: u64 = 32;
const CLOCK_TICKS: u64 = 100;
const PLATFORM: &[u8] = b"x86_64\0";
/// Tag and value pairs, the terminator included.
const AUX_COUNT: usize = 23;

/// What stands on a new stack.
#[derive(Clone, Debug)]
pub struct InitialStack {
    /// The bytes from RSP up.
    pub bytes: Vec<u8>,
    /// RSP at the first instruction, 16-byte aligned.
    pub rsp: u64,
    /// Address ranges of the argument and environment strings, for /proc.
    pub args: (u64, u64),
    pub env: (u64, u64),
    /// The auxiliary vector's, its end included.
    pub auxv: (u64, u64),
}

/// Builds the stack below `top` (16-byte aligned). `stack_limit` is RLIMIT_STACK in bytes.
///
/// # Errors
/// The strings and pointers don't fit a quarter of the stack limit (128 KiB if that is more), or the strings the limit itself, or one string is
/// longer than 128 KiB.
pub fn build<S: AsRef<[u8]>>(
    top: u64,
    argv: &[S],
    env: &[S],
    filename: &[u8],
    aux: &Aux,
    stack_limit: u64,
) -> Result<InitialStack, StackError> {
    let strings = || argv.iter().chain(env).map(AsRef::as_ref);
    let mut string_bytes = filename.len() + 1;
    for string in strings() {
        if string.len() >= MAX_STRING {
            return Err(StackError::TooLong);
        }
        string_bytes += string.len() + 1;
    }
    let pointers = (argv.len() + env.len()) * 8;
    let room = (stack_limit / 4).clamp(MIN_ROOM, MAX_ROOM);
    // Linux copies the strings to the new stack first, which grows for them as far as its limit lets it.
    let on_stack = (string_bytes as u64 + 8).next_multiple_of(crate::PAGE_SIZE);
    if (string_bytes + pointers) as u64 > room || on_stack > stack_limit.max(crate::PAGE_SIZE) {
        return Err(StackError::TooLong);
    }
    // From the top: a null word, the file name, env and argv strings, then platform and random bytes, then the vectors.
    let strings_start = top - 8 - string_bytes as u64;
    let platform = (strings_start & !15) - 16;
    let random = platform - 16;
    let words = 1 + argv.len() + 1 + env.len() + 1 + AUX_COUNT * 2;
    let rsp = (random - (words * 8) as u64) & !15;
    let size = usize::try_from(top - rsp).map_err(|_| StackError::TooLong)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| StackError::NoMemory)?;
    // `resize` would go byte by byte.
    let zeros = [0; 512];
    while let Some(piece) = zeros.get(..zeros.len().min(size - bytes.len())).filter(|piece| !piece.is_empty())
    {
        bytes.extend_from_slice(piece);
    }
    let mut slots = bytes.as_chunks_mut::<8>().0.iter_mut();
    let mut push = |word: u64| {
        if let Some(slot) = slots.next() {
            *slot = word.to_le_bytes();
        }
    };
    let mut at = strings_start;
    push(argv.len() as u64);
    push_pointers(&mut push, &mut at, argv);
    let env_start = at;
    push_pointers(&mut push, &mut at, env);
    let filename_at = at;
    let entries = [
        (tag::SYSINFO_EHDR, aux.vdso),
        (tag::MINSIGSTKSZ, aux.min_signal_stack),
        (tag::HWCAP, aux.hwcap),
        (tag::PAGESZ, crate::PAGE_SIZE),
        (tag::CLKTCK, CLOCK_TICKS),
        (tag::PHDR, aux.phdr),
        (tag::PHENT, aux.phent),
        (tag::PHNUM, aux.phnum),
        (tag::BASE, aux.base),
        (tag::FLAGS, 0),
        (tag::ENTRY, aux.entry),
        (tag::UID, aux.uid),
        (tag::EUID, aux.euid),
        (tag::GID, aux.gid),
        (tag::EGID, aux.egid),
        (tag::SECURE, u64::from(aux.secure)),
        (tag::RANDOM, random),
        (tag::HWCAP2, aux.hwcap2),
        (tag::EXECFN, filename_at),
        (tag::PLATFORM, platform),
        (tag::RSEQ_FEATURE_SIZE, RSEQ_FEATURE_SIZE),
        (tag::RSEQ_ALIGN, RSEQ_ALIGN),
    ];
    for (key, value) in entries {
        // Without a vDSO there is no such entry; the vector is one shorter then.
        if key != tag::SYSINFO_EHDR || value != 0 {
            push(key);
            push(value);
        }
    }
    push(tag::NULL);
    push(0);

    put(&mut bytes, random - rsp, &aux.random);
    put(&mut bytes, platform - rsp, PLATFORM);
    let mut at = strings_start - rsp;
    for string in strings().chain(core::iter::once(filename)) {
        put(&mut bytes, at, string);
        // A NUL is there already.
        at += string.len() as u64 + 1;
    }
    let auxv_end = rsp + (words * 8) as u64;
    Ok(InitialStack {
        bytes,
        rsp,
        args: (strings_start, env_start),
        env: (env_start, filename_at),
        auxv: (auxv_end - (AUX_COUNT * 16) as u64, auxv_end),
    })
}

/// Copies to an offset.
fn put(bytes: &mut [u8], at: u64, what: &[u8]) {
    let place = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at..)?.get_mut(..what.len()));
    if let Some(place) = place {
        place.copy_from_slice(what);
    }
}

/// The addresses that strings will have, from `at` on, and the null that ends them.
fn push_pointers<S: AsRef<[u8]>>(push: &mut impl FnMut(u64), at: &mut u64, strings: &[S]) {
    for string in strings {
        push(*at);
        *at += string.as_ref().len() as u64 + 1;
    }
    push(0);
}
