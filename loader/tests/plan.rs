//! Plans of made-up files: nothing panics, every plan keeps its promises, and what a well-formed file asks for comes out byte by byte.

mod common;

use loader::{Image, Kind, PAGE_SIZE, USER_TOP, check_class, plan, script};
use proptest::prelude::*;

const PT_LOAD: u32 = 1;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

#[derive(Clone, Copy, Debug)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

/// A file with these program headers behind its ELF header, and a pattern in the rest.
fn file(elf_type: u16, entry: u64, headers: &[ProgramHeader], len: usize) -> Vec<u8> {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([elf_type, 62].into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(1u32.to_le_bytes());
    bytes.extend([entry, HEADER as u64, 0].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend(0u32.to_le_bytes());
    let count = u16::try_from(headers.len()).unwrap();
    bytes.extend([64, 56, count, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    for h in headers {
        bytes.extend([h.kind, h.flags].into_iter().flat_map(u32::to_le_bytes));
        let words = [h.offset, h.vaddr, h.vaddr, h.filesz, h.memsz, h.align];
        bytes.extend(words.into_iter().flat_map(u64::to_le_bytes));
    }
    let from = bytes.len();
    bytes.extend((from..len).map(|at| u8::try_from(at * 7 % 251).unwrap() | 1));
    bytes
}

/// A number that is likely to be at an edge.
fn edgy() -> impl Strategy<Value = u64> {
    let edges =
        prop::sample::select(vec![0, 1, PAGE_SIZE, USER_TOP, 1 << 47, 1 << 63, u64::MAX, i64::MAX as u64]);
    prop_oneof![
        any::<u64>(),
        0..0x4000u64,
        (edges, -2..3i64).prop_map(|(edge, by)| edge.wrapping_add_signed(by * 8)),
        (edges_of_pages(), 0..3u64).prop_map(|(page, by)| page.wrapping_add(by)),
    ]
}

fn edges_of_pages() -> impl Strategy<Value = u64> {
    (0..64u32, -1..2i64).prop_map(|(bit, by)| (1u64 << bit).wrapping_add_signed(by * 4096))
}

fn any_header() -> impl Strategy<Value = ProgramHeader> {
    let kinds = prop::sample::select(vec![1, 1, 1, 3, 6, 7, 0x6474_e551, 0x6474_e552, 0]);
    (kinds, 0..8u32, edgy(), edgy(), edgy(), edgy(), edgy()).prop_map(
        |(kind, flags, offset, vaddr, filesz, memsz, align)| ProgramHeader {
            kind,
            flags,
            offset,
            vaddr,
            filesz,
            memsz,
            align,
        },
    )
}

/// PT_LOADs as a linker lays them out: ascending, each on pages of its own, address and offset equal modulo the page size.
fn linked() -> impl Strategy<Value = Vec<ProgramHeader>> {
    let one = (0..8u32, 0..3u64, 0..PAGE_SIZE, 0..3u64, 0..9000u64, prop_oneof![Just(0u64), 0..9000u64]);
    prop::collection::vec(one, 1..6).prop_map(|pieces| {
        let mut vaddr = 0x40_0000u64;
        let mut offset = 0x1000u64;
        let mut headers = Vec::new();
        for (flags, gap, within, file_gap, filesz, bss) in pieces {
            vaddr = vaddr.next_multiple_of(PAGE_SIZE) + gap * PAGE_SIZE + within;
            offset = offset.next_multiple_of(PAGE_SIZE) + file_gap * PAGE_SIZE + within;
            let memsz = filesz + bss;
            headers.push(ProgramHeader {
                kind: PT_LOAD,
                flags,
                offset,
                vaddr,
                filesz,
                memsz,
                align: PAGE_SIZE,
            });
            vaddr += memsz;
            offset += filesz;
        }
        headers
    })
}

/// Memory after the plan was carried out: what the kernel does with each segment.
struct Memory {
    low: u64,
    bytes: Vec<Option<u8>>,
}

impl Memory {
    fn of(image: &Image, file: &[u8]) -> Self {
        let len = usize::try_from(image.high - image.low).unwrap();
        let mut memory = Self { low: image.low, bytes: vec![None; len] };
        for segment in &image.segments {
            let pages = memory.part(segment.start, segment.file_end);
            let from = usize::try_from(segment.offset).unwrap().min(file.len());
            pages.fill(Some(0));
            for (to, byte) in pages.iter_mut().zip(&file[from..]) {
                *to = Some(*byte);
            }
            if segment.writable {
                memory.part(segment.zero_start, segment.zero_end).fill(Some(0));
            }
            memory.part(segment.file_end, segment.end).fill(Some(0));
        }
        memory
    }

    fn part(&mut self, start: u64, end: u64) -> &mut [Option<u8>] {
        let index = |address: u64| usize::try_from(address - self.low).unwrap();
        let range = index(start)..index(end);
        &mut self.bytes[range]
    }

    fn get(&self, address: u64) -> Option<u8> {
        self.bytes.get(usize::try_from(address - self.low).unwrap()).copied().flatten()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = check_class(&bytes[..]);
        let _ = script::parse(&bytes);
        if let Ok(image) = plan(&bytes[..]) {
            common::check(&image);
        }
    }

    #[test]
    fn headers_of_edges_make_sound_plans_or_none(
        elf_type in 2..4u16,
        entry in edgy(),
        headers in prop::collection::vec(any_header(), 1..6),
        len in 0..0x3000usize,
    ) {
        let bytes = file(elf_type, entry, &headers, len);
        match plan(&bytes[..]) {
            Ok(image) => {
                common::check(&image);
                prop_assert_eq!(image.kind == Kind::Fixed, elf_type == 2);
                prop_assert_eq!(image.entry, entry);
            }
            Err(error) => prop_assert!([5, 8, 12, 22].contains(&error.errno()), "{}", error),
        }
    }

    #[test]
    fn a_valid_file_with_changed_bytes_makes_a_sound_plan_or_none(
        headers in linked(),
        changes in prop::collection::vec((0..HEADER + 5 * PROGRAM_HEADER, any::<u8>()), 1..5),
        cut in prop::option::of(0..0x2000usize),
    ) {
        let mut bytes = file(2, 0x40_0000, &headers, 0x2000);
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        if let Ok(image) = plan(&bytes[..]) {
            common::check(&image);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_a_linked_file_asks_for_is_what_it_gets(headers in linked(), elf_type in 2..4u16) {
        let len = headers.iter().map(|h| h.offset + h.filesz).max().unwrap();
        let bytes = file(elf_type, 0x40_1234, &headers, usize::try_from(len).unwrap());
        let image = plan(&bytes[..]).unwrap();
        common::check(&image);
        prop_assert_eq!(image.segments.len(), headers.len());
        for pair in image.segments.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start, "{:x?}", pair);
        }
        for (header, segment) in headers.iter().zip(&image.segments) {
            let rights = [segment.readable, segment.writable, segment.executable];
            prop_assert_eq!(rights, [4, 2, 1].map(|bit| header.flags & bit != 0));
        }
        let last = headers.last().unwrap();
        prop_assert_eq!(image.brk, last.vaddr + last.memsz);
        let memory = Memory::of(&image, &bytes);
        for header in &headers {
            for at in 0..header.memsz {
                let in_file = at < header.filesz;
                // Linux leaves the tail of the last page of a segment that can't be written as it is in the file.
                let is_left = !in_file && header.flags & 2 == 0;
                let found = memory.get(header.vaddr + at);
                let expected = if in_file { bytes[usize::try_from(header.offset + at).unwrap()] } else { 0 };
                prop_assert!(found == Some(expected) || is_left && found.is_some(), "{:x?} at {:#x}", header, at);
            }
        }
    }

    #[test]
    fn the_program_headers_are_found_in_memory(headers in linked()) {
        // The first segment holds the beginning of the file.
        let mut headers = headers;
        let first = ProgramHeader { offset: 0, vaddr: 0x3f_0000, filesz: 0x1000, memsz: 0x1000, ..headers[0] };
        headers.insert(0, first);
        let bytes = file(2, 0x40_0000, &headers, 0x10000);
        let image = plan(&bytes[..]).unwrap();
        prop_assert_eq!(image.phdr, 0x3f_0000 + HEADER as u64);
        prop_assert_eq!(usize::from(image.phnum), headers.len());
        prop_assert_eq!(usize::from(image.phent), PROGRAM_HEADER);
        let memory = Memory::of(&image, &bytes);
        for at in 0..headers.len() * PROGRAM_HEADER {
            prop_assert_eq!(memory.get(image.phdr + at as u64), Some(bytes[HEADER + at]));
        }
    }

    #[test]
    fn interpreters_are_paths(path in prop::collection::vec(1..=255u8, 0..300), end in any::<bool>()) {
        let at = HEADER + 2 * PROGRAM_HEADER;
        let filesz = path.len() as u64 + u64::from(end);
        let interpreter =
            ProgramHeader { kind: 3, flags: 4, offset: at as u64, vaddr: 0, filesz, memsz: filesz, align: 1 };
        let load = ProgramHeader {
            kind: PT_LOAD, flags: 5, offset: 0, vaddr: 0, filesz: 0x1000, memsz: 0x1000, align: PAGE_SIZE,
        };
        let mut bytes = file(3, 0, &[load, interpreter], 0x1000);
        bytes[at..at + path.len()].copy_from_slice(&path);
        bytes[at + path.len()] = 0;
        let image = plan(&bytes[..]);
        if end && !path.is_empty() {
            prop_assert_eq!(image.unwrap().interpreter, Some(path));
        } else {
            prop_assert!(image.is_err());
        }
    }
}
