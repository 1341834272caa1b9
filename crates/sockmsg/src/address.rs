//! Addresses of Unix sockets (unix(7)): a path name, a name in the abstract space, or none.

/// `sizeof(struct sockaddr_un)`.
pub const MAX: usize = 110;
/// Where the name begins, behind the family.
pub const NAME: usize = 2;
/// `AF_UNIX`
pub const FAMILY: u16 = 1;

/// What a program's address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// Without its NUL.
    Path(&'a [u8]),
    /// Without the NUL in front; NULs count.
    Abstract(&'a [u8]),
}

/// Neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// The family of an address, if it is long enough to have one.
pub fn family(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.first_chunk()?))
}

/// Whether an address asks bind(2) to choose a name.
pub fn is_autobind(bytes: &[u8]) -> bool {
    bytes.len() == NAME && family(bytes) == Some(FAMILY)
}

/// Reads an address (`unix_validate_addr`, `unix_mkname_bsd`).
///
/// # Errors
/// Too short, too long, or of another family.
pub fn parse(bytes: &[u8]) -> Result<Address<'_>, Invalid> {
    if bytes.len() <= NAME || bytes.len() > MAX || family(bytes) != Some(FAMILY) {
        return Err(Invalid);
    }
    let name = bytes.get(NAME..).unwrap_or_default();
    Ok(match name.split_first() {
        Some((0, rest)) => Address::Abstract(rest),
        _ => Address::Path(name.split(|&byte| byte == 0).next().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn names() {
        assert_eq!(parse(b"\x01\0/a\0b"), Ok(Address::Path(b"/a")));
        assert_eq!(parse(b"\x01\0/a"), Ok(Address::Path(b"/a")));
        assert_eq!(parse(b"\x01\0\0a\0b"), Ok(Address::Abstract(b"a\0b")));
        assert_eq!(parse(b"\x01\0\0"), Ok(Address::Abstract(b"")));
        for wrong in [&b""[..], b"\x01", b"\x01\0", b"\x02\0/a", &[1; 111]] {
            assert_eq!(parse(wrong), Err(Invalid));
        }
        let mut longest = vec![b'x'; MAX];
        longest[0] = 1;
        longest[1] = 0;
        assert_eq!(parse(&longest), Ok(Address::Path(&[b'x'; 108])));
        assert!(is_autobind(b"\x01\0") && !is_autobind(b"\x02\0") && !is_autobind(b"\x01\0\0"));
    }
}
