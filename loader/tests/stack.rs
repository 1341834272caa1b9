//! Initial stacks, read back the way a C library reads them.

use loader::stack::{Aux, InitialStack, MAX_STRING, build, tag};
use proptest::prelude::*;

/// A stack as the program finds it.
struct Reader<'a> {
    stack: &'a InitialStack,
    at: u64,
}

impl Reader<'_> {
    fn bytes(&self, address: u64) -> &[u8] {
        let from =
            usize::try_from(address.checked_sub(self.stack.rsp).expect("an address below RSP")).unwrap();
        self.stack.bytes.get(from..).expect("an address above the stack")
    }

    fn word(&mut self) -> u64 {
        let word = u64::from_le_bytes(*self.bytes(self.at).first_chunk().unwrap());
        self.at += 8;
        word
    }

    fn string(&self, address: u64) -> Vec<u8> {
        let bytes = self.bytes(address);
        let end = bytes.iter().position(|&byte| byte == 0).expect("a string without an end");
        bytes[..end].to_vec()
    }

    /// Strings up to a null pointer, and the addresses of the first and of the byte after the last.
    fn strings(&mut self) -> (Vec<Vec<u8>>, Option<(u64, u64)>) {
        let mut found = Vec::new();
        let mut range: Option<(u64, u64)> = None;
        loop {
            let pointer = self.word();
            if pointer == 0 {
                return (found, range);
            }
            let string = self.string(pointer);
            let end = pointer + string.len() as u64 + 1;
            // One behind the other, as setproctitle and /proc/self/cmdline want them.
            assert!(range.is_none_or(|(_, before)| before == pointer));
            range = Some((range.map_or(pointer, |(start, _)| start), end));
            found.push(string);
        }
    }
}

fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(1..=255u8, 0..60), 0..20)
}

fn aux() -> impl Strategy<Value = Aux> {
    (any::<[u64; 12]>(), any::<[u8; 16]>(), any::<bool>(), any::<bool>()).prop_map(
        |(n, random, vdso, secure)| Aux {
            vdso: if vdso { n[0] | 1 } else { 0 },
            min_signal_stack: n[1],
            hwcap: n[2],
            hwcap2: n[3],
            phdr: n[4],
            phent: n[5],
            phnum: n[6],
            base: n[7],
            entry: n[8],
            uid: n[9],
            euid: n[10],
            gid: n[11],
            egid: n[0],
            secure,
            random,
        },
    )
}

fn refs(strings: &[Vec<u8>]) -> Vec<&[u8]> {
    strings.iter().map(Vec::as_slice).collect()
}

proptest! {
    #[test]
    fn everything_is_found_again(
        top in (0x10_0000..0x7fff_ffff_ff00u64).prop_map(|top| top & !15),
        argv in strings(),
        env in strings(),
        filename in prop::collection::vec(1..=255u8, 0..100),
        aux in aux(),
    ) {
        let stack = build(top, &refs(&argv), &refs(&env), &filename, &aux, 8 << 20).unwrap();
        prop_assert_eq!(stack.rsp % 16, 0);
        prop_assert_eq!(stack.rsp + stack.bytes.len() as u64, top);
        let mut reader = Reader { stack: &stack, at: stack.rsp };
        prop_assert_eq!(reader.word(), argv.len() as u64);
        let (found, range) = reader.strings();
        prop_assert_eq!(found, argv);
        prop_assert_eq!(range.unwrap_or((stack.args.0, stack.args.0)), stack.args);
        let (found, range) = reader.strings();
        prop_assert_eq!(found, env);
        prop_assert_eq!(range.unwrap_or((stack.env.0, stack.env.0)), stack.env);
        let mut vector = Vec::new();
        loop {
            let entry = (reader.word(), reader.word());
            vector.push(entry);
            if entry.0 == tag::NULL {
                break;
            }
        }
        // With a vDSO the range ends where the vector does; without one an entry of zeros follows.
        prop_assert_eq!(stack.auxv, (reader.at - 16 * vector.len() as u64, reader.at + if aux.vdso == 0 { 16 } else { 0 }));
        prop_assert_eq!(vector.pop(), Some((tag::NULL, 0)));
        let value = |key: u64| {
            let mut values = vector.iter().filter(|entry| entry.0 == key).map(|entry| entry.1);
            (values.next(), values.next().is_none())
        };
        let expected = [
            (tag::PHDR, aux.phdr), (tag::PHENT, aux.phent), (tag::PHNUM, aux.phnum), (tag::BASE, aux.base),
            (tag::ENTRY, aux.entry), (tag::UID, aux.uid), (tag::EUID, aux.euid), (tag::GID, aux.gid),
            (tag::EGID, aux.egid), (tag::SECURE, u64::from(aux.secure)), (tag::HWCAP, aux.hwcap),
            (tag::HWCAP2, aux.hwcap2), (tag::MINSIGSTKSZ, aux.min_signal_stack), (tag::PAGESZ, 4096),
            (tag::CLKTCK, 100), (tag::FLAGS, 0),
        ];
        for (key, number) in expected {
            prop_assert_eq!(value(key), (Some(number), true), "tag {}", key);
        }
        prop_assert_eq!(value(tag::SYSINFO_EHDR).0, (aux.vdso != 0).then_some(aux.vdso));
        let at = |key: u64| value(key).0.unwrap();
        prop_assert_eq!(&reader.bytes(at(tag::RANDOM))[..16], &aux.random);
        prop_assert_eq!(reader.string(at(tag::PLATFORM)), b"x86_64");
        prop_assert_eq!(reader.string(at(tag::EXECFN)), filename);
        // The vectors end below what they point to.
        prop_assert!(reader.at <= at(tag::RANDOM) && reader.at <= at(tag::PLATFORM));
    }

    #[test]
    fn what_is_too_long_is_refused(count in 0..70_000usize, len in 0..MAX_STRING + 2, limit in prop::sample::select(vec![0u64, 40_000, 1 << 20, 8 << 20, u64::MAX])) {
        let long = vec![b'x'; len];
        let mut argv = vec![&b"y"[..]; count];
        argv.push(&long);
        let room = (limit / 4).clamp(128 << 10, 6 << 20);
        let needed = (count * 2 + len + 1 + 1 + 8 * argv.len()) as u64;
        let stack = build(0x7fff_ffff_f000, &argv, &[], b"", &Aux::default(), limit);
        let on_stack = ((count * 2 + len + 1 + 1 + 8) as u64).next_multiple_of(4096);
        prop_assert_eq!(stack.is_ok(), len < MAX_STRING && needed <= room && on_stack <= limit.max(4096));
    }
}
