//! Control messages (cmsg(3)): a header of length, level and type, then the data, each message padded to eight bytes.

/// `sizeof(struct cmsghdr)`.
pub const HEADER: usize = 16;
/// `SOL_SOCKET`
pub const SOL_SOCKET: u32 = 1;
/// `SCM_RIGHTS`
pub const SCM_RIGHTS: u32 = 1;
/// `SCM_CREDENTIALS`
pub const SCM_CREDENTIALS: u32 = 2;
/// Most descriptors in one message (`SCM_MAX_FD`).
pub const MAX_RIGHTS: usize = 253;

/// A header that says more than there is, or less than itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub level: u32,
    pub kind: u32,
    pub data: &'a [u8],
}

/// The messages of a control buffer, as Linux's `for_each_cmsghdr` and `CMSG_OK` find them. What is too short for a header ends it.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub fn new(control: &'a [u8]) -> Self {
        Self(control)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0;
        let len = u64::from_le_bytes(*rest.first_chunk()?);
        let (level, kind) = (word(rest, 8)?, word(rest, 12)?);
        let Some(data) = usize::try_from(len).ok().and_then(|len| rest.get(HEADER..len)) else {
            self.0 = &[];
            return Some(Err(Malformed));
        };
        // The last one may go without its padding.
        let next = (HEADER + data.len()).next_multiple_of(8);
        self.0 = rest.get(next..).unwrap_or_default();
        Some(Ok(Message { level, kind, data }))
    }
}

/// The header of a message with so many bytes of data (`CMSG_LEN`).
pub fn header(level: u32, kind: u32, data_len: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&((HEADER + data_len) as u64).to_le_bytes());
    header[8..12].copy_from_slice(&level.to_le_bytes());
    header[12..].copy_from_slice(&kind.to_le_bytes());
    header
}

/// How a message with `data_len` bytes fits into `room` bytes of a buffer (`put_cmsg`): its length as its header says, and how much of the
/// buffer it uses up. `None` if not even a header fits.
pub fn fit(data_len: usize, room: usize) -> Option<(usize, usize)> {
    if room < HEADER {
        return None;
    }
    Some(((HEADER + data_len).min(room), (HEADER + data_len.next_multiple_of(8)).min(room)))
}

/// How many descriptors fit into `room` bytes of a buffer, of `count` (`scm_max_fds`).
pub fn rights_that_fit(count: usize, room: usize) -> usize {
    count.min(room.saturating_sub(HEADER) / 4)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn parse(bytes: &[u8]) -> Vec<Result<Message<'_>, Malformed>> {
        Messages::new(bytes).collect()
    }

    #[test]
    fn what_is_built_is_parsed() {
        let mut buffer = Vec::new();
        for (kind, data) in [(SCM_CREDENTIALS, &[1u8; 12][..]), (SCM_RIGHTS, &[2; 4]), (7, &[])] {
            buffer.extend(header(SOL_SOCKET, kind, data.len()));
            buffer.extend(data);
            buffer.resize(buffer.len().next_multiple_of(8), 0);
        }
        let found = parse(&buffer);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], Ok(Message { level: 1, kind: 2, data: &[1; 12] }));
        assert_eq!(found[1], Ok(Message { level: 1, kind: 1, data: &[2; 4] }));
        assert_eq!(found[2], Ok(Message { level: 1, kind: 7, data: &[] }));
        // Without the padding of the last.
        assert_eq!(parse(&buffer[..buffer.len() - HEADER - 4]).len(), 2);
    }

    #[test]
    fn lengths_that_lie() {
        let mut buffer = header(1, 1, 0).to_vec();
        for len in [0u64, 15, 17, 1 << 40, u64::MAX] {
            buffer[..8].copy_from_slice(&len.to_le_bytes());
            assert_eq!(parse(&buffer), [Err(Malformed)]);
        }
        assert!(parse(&buffer[..15]).is_empty());
    }

    #[test]
    fn room() {
        assert_eq!(fit(12, 15), None);
        assert_eq!(fit(12, 16), Some((16, 16)));
        assert_eq!(fit(12, 28), Some((28, 28)));
        assert_eq!(fit(12, 100), Some((28, 32)));
        assert_eq!(rights_that_fit(3, 0), 0);
        assert_eq!(rights_that_fit(3, 23), 1);
        assert_eq!(rights_that_fit(3, 24), 2);
        assert_eq!(rights_that_fit(3, 1000), 3);
    }

    proptest! {
        /// Whatever is built comes back, up to where the buffer was cut off.
        #[test]
        fn round_trip(lens in proptest::collection::vec(0usize..40, 0..6), cut in 0usize..300) {
            let mut buffer = Vec::new();
            let mut whole = 0;
            for &len in &lens {
                buffer.extend(header(SOL_SOCKET, SCM_RIGHTS, len));
                whole += usize::from(buffer.len() + len <= cut);
                buffer.resize((buffer.len() + len).next_multiple_of(8), 9);
            }
            buffer.truncate(cut);
            let found = parse(&buffer);
            let good = found.iter().take_while(|message| message.is_ok()).count();
            prop_assert_eq!(good, whole);
            prop_assert!(found.len() <= whole + 1);
            for (message, len) in found.iter().take(good).zip(lens) {
                prop_assert!(message.is_ok_and(|message| message.data.len() == len));
            }
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Messages::new(&bytes).count() <= bytes.len());
        }
    }
}
