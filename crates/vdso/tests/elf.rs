//! The vDSO as a shared object: symbols, hash table, versions, and what the host's dynamic linker makes of it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::cast_possible_truncation, reason = "offsets in one page")]

mod support;

use std::ffi::{CString, c_char, c_void};

use support::{PAGE, image_bytes, number, string, symbols, tag};

/// The hash function of the System V ABI.
fn elf_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

const FUNCTIONS: [&str; 5] = ["clock_gettime", "gettimeofday", "time", "getcpu", "clock_getres"];

#[test]
fn every_function_has_its_two_names() {
    let symbols = symbols(image_bytes());
    assert!(image_bytes().len() <= PAGE);
    assert_eq!(symbols.len(), 2 * FUNCTIONS.len());
    for name in FUNCTIONS {
        let find = |name: &str| symbols.iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!(find(name), find(&format!("__vdso_{name}")));
        assert_eq!(find(name) % 16, 0);
    }
}

#[test]
fn the_hash_table_finds_each_symbol() {
    let image = image_bytes();
    let (hash, strings, table) = (tag(image, 4), tag(image, 5), tag(image, 6));
    let buckets = number::<4>(image, hash) as usize;
    let mut names: Vec<String> = symbols(image).into_iter().map(|(name, _)| name).collect();
    names.push("LINUX_2.6".into());
    for name in names {
        let mut index = number::<4>(image, hash + 8 + elf_hash(&name) as usize % buckets * 4) as usize;
        while string(image, strings + number::<4>(image, table + index * 24) as usize) != name {
            index = number::<4>(image, hash + 8 + (buckets + index) * 4) as usize;
            assert_ne!(index, 0, "{name}");
        }
    }
    // Versions carry their hashes, and the strings end where they say.
    let definitions = tag(image, 0x6fff_fffc);
    for (at, name) in [(definitions, "linux-vdso.so.1"), (definitions + 28, "LINUX_2.6")] {
        assert_eq!(number::<4>(image, at + 8), u64::from(elf_hash(name)));
    }
    assert_eq!(image[strings + tag(image, 10) - 1], 0);
    assert_eq!(string(image, strings + tag(image, 14)), "linux-vdso.so.1");
}

#[test]
fn the_hosts_dynamic_linker_takes_it() {
    unsafe extern "C" {
        fn dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void;
        fn _Unwind_Find_FDE(pc: *const c_void, bases: *mut [*mut c_void; 3]) -> *const u32;
    }
    let path = std::env::temp_dir().join(format!("vdso-{}.so", std::process::id()));
    std::fs::write(&path, image_bytes()).unwrap();
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: an object without constructors or relocations.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null());
    for (name, offset) in symbols(image_bytes()) {
        let name = CString::new(name).unwrap();
        // SAFETY: C strings, an open handle; the results are only looked at.
        let (found, versioned, other) = unsafe {
            (
                libc::dlsym(handle, name.as_ptr()),
                dlvsym(handle, name.as_ptr(), c"LINUX_2.6".as_ptr()),
                dlvsym(handle, name.as_ptr(), c"LINUX_2.5".as_ptr()),
            )
        };
        assert_eq!(found.addr() % PAGE, offset, "{name:?}");
        assert_eq!(found, versioned);
        assert!(other.is_null());
        let mut bases = [std::ptr::null_mut(); 3];
        // SAFETY: the unwinder's own look-up, of an address within the loaded object.
        let entry = unsafe { _Unwind_Find_FDE(found.cast::<u8>().wrapping_add(1).cast(), &raw mut bases) };
        assert!(!entry.is_null(), "no unwind entry for {name:?}");
        assert!(bases[2] <= found && bases[2].addr() % PAGE == found.addr() % PAGE - offset + word_of_text());
    }
    // SAFETY: the handle from above.
    unsafe { libc::dlclose(handle) };
    std::fs::remove_file(path).unwrap();
}

/// Where the code begins: the first function.
fn word_of_text() -> usize {
    symbols(image_bytes()).into_iter().map(|(_, offset)| offset).min().unwrap()
}
