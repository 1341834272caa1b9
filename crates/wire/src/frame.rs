//! Frames: an eight-byte header {kind, stream, job, length} and that many bytes.

/// Bytes of a header.
pub const FRAME_HEADER_LEN: usize = 8;

/// What a frame is. Bodies in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Guest to host: bytes of standard output (stream 1) or error (2).
    Output = 1,
    /// Guest to host: a job's first process ended (u32 raw wait status).
    Exit = 2,
    /// Guest to host: a job could not be started (u32 errno, text).
    ExecFailed = 3,
    /// Guest to host: so many more bytes of input may be sent (u32).
    Credit = 4,
    /// Guest to host: a line for the user (text).
    Notice = 5,
    /// Guest to host: counters of the kernel (text).
    Counters = 6,
    /// Guest to host: nothing follows.
    AllDone = 7,
    /// Host to guest: bytes of standard input.
    Stdin = 16,
    /// Host to guest: standard input has ended.
    StdinEof = 17,
    /// Host to guest: a signal for the foreground processes (u32 number).
    Signal = 18,
    /// Host to guest: the terminal's size (u16 rows, u16 columns).
    Winsize = 19,
}

/// A header that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown frame kind {0}")]
pub struct FrameError(pub u8);

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: Kind,
    /// 1 or 2 for `Output`, else 0.
    pub stream: u8,
    /// Which job, counted from 0.
    pub job: u16,
    /// Bytes of the body.
    pub len: u32,
}

impl FrameHeader {
    #[must_use]
    pub const fn encode(&self) -> [u8; FRAME_HEADER_LEN] {
        let [j0, j1] = self.job.to_le_bytes();
        let [l0, l1, l2, l3] = self.len.to_le_bytes();
        [self.kind as u8, self.stream, j0, j1, l0, l1, l2, l3]
    }

    /// # Errors
    /// The kind is none of `Kind`'s.
    pub const fn decode(bytes: &[u8; FRAME_HEADER_LEN]) -> Result<Self, FrameError> {
        let [kind, stream, j0, j1, l0, l1, l2, l3] = *bytes;
        let kind = match kind {
            1 => Kind::Output,
            2 => Kind::Exit,
            3 => Kind::ExecFailed,
            4 => Kind::Credit,
            5 => Kind::Notice,
            6 => Kind::Counters,
            7 => Kind::AllDone,
            16 => Kind::Stdin,
            17 => Kind::StdinEof,
            18 => Kind::Signal,
            19 => Kind::Winsize,
            other => return Err(FrameError(other)),
        };
        Ok(Self {
            kind,
            stream,
            job: u16::from_le_bytes([j0, j1]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes: [u8; FRAME_HEADER_LEN]) {
            if let Ok(header) = FrameHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
