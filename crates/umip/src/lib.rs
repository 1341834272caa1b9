//! The five instructions that user-mode instruction prevention refuses to programs (Intel SDM volume 3, 2.5, CR4.UMIP): SGDT, SIDT, SMSW, SLDT
//! and STR. Linux answers them with made-up values (`arch/x86/kernel/umip.c`); here is which instruction it is, where its result goes, and what
//! that is. Encodings are those of the Intel SDM volume 2, chapter 2, for 64-bit code.

#![no_std]
#![forbid(unsafe_code)]

/// Longest instruction in bytes.
pub const MAX_LENGTH: usize = 15;

/// What the program is told. Bytes from the lowest.
const GDT_BASE: u64 = 0xffff_ffff_fffe_0000;
const IDT_BASE: u64 = 0xffff_ffff_ffff_0000;
/// CR0 as Linux has it (CR0_STATE).
const MACHINE_STATUS: u64 = 0x8005_0033;
const TASK_SELECTOR: u64 = 0x40;

/// The program's registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// By their numbers in instructions: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub general: [u64; 16],
    pub rip: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// Where a result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The low bytes of a register, by its number; the others stay.
    Register(u8),
    /// An address, which may be any.
    Memory(u64),
}

/// One of the five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub place: Place,
    /// The result; the first `size` bytes count.
    pub result: [u8; 10],
    pub size: u8,
    /// Length of the instruction in bytes.
    pub length: u8,
}

/// Bytes one after the other.
struct Code<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Code<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A signed number of one or four bytes.
    fn displacement(&mut self, size: usize) -> Option<u64> {
        let mut bytes = [0; 4];
        for byte in bytes.iter_mut().take(size) {
            *byte = self.next()?;
        }
        let value = i32::from_le_bytes(bytes);
        let value = if size == 1 {
            i64::from(value.cast_unsigned().to_le_bytes()[0].cast_signed())
        } else {
            i64::from(value)
        };
        Some(value.cast_unsigned())
    }
}

/// Decodes the instruction at the start of `code`, which holds up to `MAX_LENGTH` bytes. `None` if it isn't one of the five.
#[must_use]
pub fn decode(code: &[u8], registers: &Registers) -> Option<Instruction> {
    let mut code = Code { bytes: code.get(..MAX_LENGTH).unwrap_or(code), at: 0 };
    let (mut narrow, mut short_address, mut segment, mut rex) = (false, false, 0, 0);
    let mut opcode = code.next()?;
    // Legacy prefixes in any order; REX counts only right before the opcode.
    loop {
        match opcode {
            0x66 => narrow = true,
            0x67 => short_address = true,
            0x64 => segment = registers.fs_base,
            0x65 => segment = registers.gs_base,
            0x26 | 0x2e | 0x36 | 0x3e | 0xf2 | 0xf3 => {}
            0x40..=0x4f => {
                rex = opcode;
                opcode = code.next()?;
                break;
            }
            _ => break,
        }
        opcode = code.next()?;
    }
    if opcode != 0x0f {
        return None;
    }
    let group = code.next()?;
    let modrm = code.next()?;
    let (mode, extension) = (modrm >> 6, modrm >> 3 & 7);
    let in_register = mode == 3;
    let (value, is_table) = match (group, extension) {
        (0, 0) => (0, false),
        (0, 1) => (TASK_SELECTOR, false),
        (1, 0) if !in_register => (GDT_BASE, true),
        (1, 1) if !in_register => (IDT_BASE, true),
        (1, 4) => (MACHINE_STATUS, false),
        _ => return None,
    };
    let place = if in_register {
        Place::Register(modrm & 7 | rex << 3 & 8)
    } else {
        let address = address(&mut code, registers, mode, modrm & 7, rex)?;
        let address = if short_address { address & u64::from(u32::MAX) } else { address };
        Place::Memory(segment.wrapping_add(address))
    };
    let mut result = [0; 10];
    let size = if is_table {
        // A limit of 0 stands before the base.
        for (to, from) in result.iter_mut().skip(2).zip(value.to_le_bytes()) {
            *to = from;
        }
        10
    } else {
        for (to, from) in result.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        match (in_register, rex & 8 != 0, narrow) {
            (true, true, _) => 8,
            (true, false, false) => 4,
            _ => 2,
        }
    };
    Some(Instruction { place, result, size, length: u8::try_from(code.at).ok()? })
}

/// The address that ModRM, SIB and displacement make.
fn address(code: &mut Code<'_>, registers: &Registers, mode: u8, low: u8, rex: u8) -> Option<u64> {
    let register = |number: u8| registers.general.get(usize::from(number)).copied().unwrap_or(0);
    let base = if low == 4 {
        let sib = code.next()?;
        let index = sib >> 3 & 7 | rex << 2 & 8;
        let scaled = if index == 4 { 0 } else { register(index) << (sib >> 6) };
        // Without a base there are four bytes of displacement.
        if sib & 7 == 5 && mode == 0 {
            return Some(scaled.wrapping_add(code.displacement(4)?));
        }
        scaled.wrapping_add(register(sib & 7 | rex << 3 & 8))
    } else if low == 5 && mode == 0 {
        // Relative to the next instruction: nothing follows the displacement.
        let displacement = code.displacement(4)?;
        return Some(registers.rip.wrapping_add(code.at as u64).wrapping_add(displacement));
    } else {
        register(low | rex << 3 & 8)
    };
    let displacement = match mode {
        1 => code.displacement(1)?,
        2 => code.displacement(4)?,
        _ => 0,
    };
    Some(base.wrapping_add(displacement))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registers() -> Registers {
        let mut registers = Registers {
            rip: 0x40_0000,
            fs_base: 0x7000_0000_0000,
            gs_base: 0x6000_0000_0000,
            ..Registers::default()
        };
        for (number, value) in (1u64..).zip(registers.general.iter_mut()) {
            *value = number << 32 | number << 8;
        }
        registers
    }

    /// Place, size, length.
    fn found(code: &[u8]) -> Option<(Place, u8, u8)> {
        decode(code, &registers()).map(|found| (found.place, found.size, found.length))
    }

    const fn general(number: u64) -> u64 {
        (number + 1) << 32 | (number + 1) << 8
    }

    #[test]
    fn registers_by_size() {
        // As the assembler makes them.
        assert_eq!(found(&[0x0f, 0x01, 0xe0]), Some((Place::Register(0), 4, 3))); // smsw eax
        assert_eq!(found(&[0x48, 0x0f, 0x01, 0xe1]), Some((Place::Register(1), 8, 4))); // smsw rcx
        assert_eq!(found(&[0x66, 0x41, 0x0f, 0x01, 0xe7]), Some((Place::Register(15), 2, 5))); // smsw r15w
        assert_eq!(found(&[0x49, 0x0f, 0x00, 0xc8]), Some((Place::Register(8), 8, 4))); // str r8
        assert_eq!(found(&[0x0f, 0x00, 0xc3]), Some((Place::Register(3), 4, 3))); // sldt ebx
    }

    #[test]
    fn places_in_memory() {
        let at = |code: &[u8]| match found(code) {
            Some((Place::Memory(address), size, length)) if usize::from(length) == code.len() => {
                (address, size)
            }
            other => panic!("{code:x?}: {other:x?}"),
        };
        assert_eq!(at(&[0x0f, 0x01, 0x00]), (general(0), 10)); // sgdt [rax]
        assert_eq!(at(&[0x41, 0x0f, 0x01, 0x4d, 0xf8]), (general(13) - 8, 10)); // sidt [r13 - 8]
        assert_eq!(at(&[0x0f, 0x01, 0xa1, 0, 1, 0, 0]), (general(1) + 256, 2)); // smsw [rcx + 256]
        assert_eq!(at(&[0x0f, 0x00, 0x04, 0x24]), (general(4), 2)); // sldt [rsp]
        assert_eq!(at(&[0x43, 0x0f, 0x00, 0x0c, 0xe5, 8, 0, 0, 0]), (general(12) * 8 + 8, 2)); // str [r12 * 8 + 8]
        assert_eq!(at(&[0x0f, 0x01, 0x44, 0x58, 0x10]), (general(0) + general(3) * 2 + 16, 10)); // sgdt [rax + rbx * 2 + 16]
        assert_eq!(at(&[0x0f, 0x01, 0x04, 0x25, 0, 0, 0, 0xff]), (0xffff_ffff_ff00_0000, 10)); // sgdt [-0x1000000]
        assert_eq!(at(&[0x0f, 0x01, 0x05, 0xf9, 0xff, 0xff, 0xff]), (0x40_0000, 10)); // sgdt [rip - 7]
        assert_eq!(at(&[0x64, 0x0f, 0x01, 0x02]), (0x7000_0000_0000 + general(2), 10)); // sgdt fs:[rdx]
        assert_eq!(at(&[0x65, 0x67, 0x0f, 0x01, 0x0b]), (0x6000_0000_0000 + (general(3) & 0xffff_ffff), 10)); // sidt gs:[ebx]
    }

    #[test]
    fn results() {
        let result = |code: &[u8]| decode(code, &registers()).unwrap().result;
        assert_eq!(result(&[0x0f, 0x01, 0x00]), [0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(result(&[0x0f, 0x01, 0x08]), [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(result(&[0x0f, 0x01, 0xe0])[..8], 0x8005_0033u64.to_le_bytes());
    }

    #[test]
    fn others_are_others() {
        let lgdt = [0x0f, 0x01, 0x10];
        let (lmsw, vmcall, verr, cut) =
            ([0x0f, 0x01, 0xf0], [0x0f, 0x01, 0xc1], [0x0f, 0x00, 0xe0], [0x0f, 0x01]);
        let without_displacement = [0x0f, 0x01, 0x80, 1, 2, 3];
        // REX before another prefix means nothing, and then the instruction isn't one.
        let rex_too_early = [0x48, 0x66, 0x0f, 0x01, 0xe0];
        let locked = [0xf0, 0x0f, 0x01, 0x00];
        for code in [
            &lgdt[..],
            &lmsw,
            &vmcall,
            &verr,
            &cut,
            &[],
            &without_displacement,
            &rex_too_early,
            &locked,
            &[0x66; 20],
        ] {
            assert_eq!(found(code), None, "{code:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do(mut code in prop::collection::vec(any::<u8>(), 0..20), at in 0..4usize, group in 0..2u8, general in any::<[u64; 16]>(), rip in any::<u64>()) {
            if let Some(window) = code.get_mut(at..at + 2) {
                window.copy_from_slice(&[0x0f, group]);
            }
            if let Some(found) = decode(&code, &Registers { general, rip, ..Registers::default() }) {
                prop_assert!(usize::from(found.length) <= code.len().min(MAX_LENGTH));
                prop_assert!([2, 4, 8, 10].contains(&found.size));
                prop_assert!(!matches!(found.place, Place::Register(16..)));
            }
        }
    }
}
