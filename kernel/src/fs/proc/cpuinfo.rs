//! /proc/cpuinfo, from CPUID.

use abi::Errno;

use super::Text;
use super::text::put;
use crate::arch::x86_64::cpu::{self, cpuid};
use crate::time;

/// A feature word: leaf, subleaf, which of EAX…EDX, and the names of its bits that Linux shows.
type Word = (u32, u32, usize, &'static [(u32, &'static str)]);

static WORDS: [Word; 6] = [
    (
        1,
        0,
        3,
        &[
            (0, "fpu"),
            (1, "vme"),
            (2, "de"),
            (3, "pse"),
            (4, "tsc"),
            (5, "msr"),
            (6, "pae"),
            (7, "mce"),
            (8, "cx8"),
            (9, "apic"),
            (11, "sep"),
            (12, "mtrr"),
            (13, "pge"),
            (14, "mca"),
            (15, "cmov"),
            (16, "pat"),
            (17, "pse36"),
            (19, "clflush"),
            (23, "mmx"),
            (24, "fxsr"),
            (25, "sse"),
            (26, "sse2"),
            (27, "ss"),
            (28, "ht"),
        ],
    ),
    (0x8000_0001, 0, 3, &[(11, "syscall"), (20, "nx"), (26, "pdpe1gb"), (27, "rdtscp"), (29, "lm")]),
    (
        1,
        0,
        2,
        &[
            (0, "pni"),
            (1, "pclmulqdq"),
            (3, "monitor"),
            (9, "ssse3"),
            (12, "fma"),
            (13, "cx16"),
            (17, "pcid"),
            (19, "sse4_1"),
            (20, "sse4_2"),
            (21, "x2apic"),
            (22, "movbe"),
            (23, "popcnt"),
            (24, "tsc_deadline_timer"),
            (25, "aes"),
            (26, "xsave"),
            (28, "avx"),
            (29, "f16c"),
            (30, "rdrand"),
            (31, "hypervisor"),
        ],
    ),
    (0x8000_0001, 0, 2, &[(0, "lahf_lm"), (2, "svm"), (5, "abm"), (6, "sse4a"), (8, "3dnowprefetch")]),
    (
        7,
        0,
        1,
        &[
            (0, "fsgsbase"),
            (1, "tsc_adjust"),
            (3, "bmi1"),
            (5, "avx2"),
            (7, "smep"),
            (8, "bmi2"),
            (9, "erms"),
            (10, "invpcid"),
            (16, "avx512f"),
            (17, "avx512dq"),
            (18, "rdseed"),
            (19, "adx"),
            (20, "smap"),
            (23, "clflushopt"),
            (24, "clwb"),
            (28, "avx512cd"),
            (29, "sha_ni"),
            (30, "avx512bw"),
            (31, "avx512vl"),
        ],
    ),
    (7, 0, 2, &[(2, "umip"), (3, "pku"), (4, "ospke"), (9, "vaes"), (10, "vpclmulqdq"), (22, "rdpid")]),
];

fn register(values: (u32, u32, u32, u32), index: usize) -> u32 {
    let (a, b, c, d) = values;
    [a, b, c, d].get(index).copied().unwrap_or(0)
}

fn write_ascii(words: &[u32], text: &mut Text) {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    let printable = bytes.filter(|byte| (0x20..0x7f).contains(byte));
    text.bytes.extend(printable);
}

fn write_flags(text: &mut Text) {
    let largest = cpuid(0, 0).0;
    put!(text, "flags\t\t:");
    for (leaf, subleaf, index, names) in WORDS {
        if leaf < 0x8000_0000 && leaf > largest {
            continue;
        }
        let word = register(cpuid(leaf, subleaf), index);
        for (bit, name) in names {
            if word >> bit & 1 != 0 {
                put!(text, " {name}");
            }
        }
    }
    put!(text, "\n");
}

/// The text of the file.
pub fn write(text: &mut Text) -> Result<(), Errno> {
    let (_, b, c, d) = cpuid(0, 0);
    let (signature, misc, ..) = cpuid(1, 0);
    let base_family = signature >> 8 & 0xf;
    let family = if base_family == 0xf { base_family + (signature >> 20 & 0xff) } else { base_family };
    let base_model = signature >> 4 & 0xf;
    let model = if base_family >= 6 { base_model | (signature >> 12 & 0xf0) } else { base_model };
    let cpus = cpu::online_count();
    // Ticks per second, from a span long enough for the digits that are shown.
    let ns = time::ticks_to_ns(1 << 32).max(1);
    let khz = (1u64 << 32) * 1_000_000 / ns;
    for index in 0..cpus {
        put!(text, "processor\t: {index}\nvendor_id\t: ");
        write_ascii(&[b, d, c], text);
        put!(text, "\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: ");
        if cpuid(0x8000_0000, 0).0 >= 0x8000_0004 {
            for leaf in 0x8000_0002..=0x8000_0004 {
                let (a, b, c, d) = cpuid(leaf, 0);
                write_ascii(&[a, b, c, d], text);
            }
        } else {
            put!(text, "unknown");
        }
        put!(text, "\nstepping\t: {}\nmicrocode\t: 0x1\n", signature & 0xf);
        put!(text, "cpu MHz\t\t: {}.{:03}\ncache size\t: 0 KB\n", khz / 1000, khz % 1000);
        put!(text, "physical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {index}\ncpu cores\t: {cpus}\n");
        put!(text, "apicid\t\t: {index}\ninitial apicid\t: {index}\nfpu\t\t: yes\nfpu_exception\t: yes\n");
        put!(text, "cpuid level\t: {}\nwp\t\t: yes\n", cpuid(0, 0).0);
        write_flags(text);
        put!(text, "bugs\t\t:\nbogomips\t: {}.{:02}\n", khz / 500, khz / 5 % 100);
        put!(text, "clflush size\t: {}\ncache_alignment\t: 64\n", (misc >> 8 & 0xff) * 8);
        put!(text, "address sizes\t: 40 bits physical, 48 bits virtual\npower management:\n\n");
    }
    Ok(())
}
