//! QEMU's execution log, with one line per instruction: `Trace 0: 0x7f4034000100 [cs_base/pc/flags/cflags] `.

/// The program counter of a line. `None` for other lines.
pub(crate) fn program_counter(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"Trace ")?;
    let open = rest.iter().position(|&byte| byte == b'[')?;
    // The code segment's base, which is 0 in 64-bit code, has 16 digits.
    let digits = rest.get(open + 18..open + 34)?;
    digits.iter().try_fold(0u64, |number, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = b"Trace 0: 0x7f403469be40 [0000000000000000/ffffffff80134324/1040c2b0/ff020201] ";
        assert_eq!(program_counter(line), Some(0xffff_ffff_8013_4324));
        for wrong in [
            &b"Trace 0: 0x7f [0000000000000000/ffff"[..],
            b"",
            b"Stopped execution of TB chain before",
            b"Trace 0",
        ] {
            assert_eq!(program_counter(wrong), None);
        }
    }
}
