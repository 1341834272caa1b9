//! The configuration blob: magic, version, length, then items {tag: u16, length: u32, bytes}.

use alloc::vec::Vec;

/// First bytes of a blob.
pub const MAGIC: &[u8; 8] = b"WHELKCFG";
/// The archive behind the blob begins at the next multiple of this.
pub const ALIGN: usize = 4096;
const VERSION: u32 = 1;
const HEADER_LEN: usize = 16;
const ITEM_HEADER_LEN: usize = 6;

/// Item tags. A job's items follow its `JOB` item.
mod tag {
    pub(super) const WALL_NS: u16 = 1;
    pub(super) const HOSTNAME: u16 = 2;
    pub(super) const STREAMS: u16 = 3;
    pub(super) const WINSIZE: u16 = 4;
    pub(super) const JOB: u16 = 16;
    pub(super) const PATH: u16 = 17;
    pub(super) const CWD: u16 = 18;
    pub(super) const ARG: u16 = 19;
    pub(super) const ENV: u16 = 20;
    pub(super) const STDIN: u16 = 21;
}

/// What a stream is on the launcher's side, and so what fstat and isatty say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum StreamKind {
    #[default]
    Pipe = 0,
    Tty = 1,
    /// A regular file.
    File = 2,
}

impl StreamKind {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Tty,
            2 => Self::File,
            _ => Self::Pipe,
        }
    }
}

/// Where a job's standard input comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Stdin {
    /// From the launcher's, over the channel.
    #[default]
    Host,
    /// `/dev/null`.
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
}

/// A program to run. Strings are without NULs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Job {
    pub path: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    pub stdin: Stdin,
}

/// Everything that the launcher tells the kernel besides the command line.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// Wall-clock time at start, ns since 1970.
    pub wall_ns: u64,
    pub hostname: Vec<u8>,
    /// Standard input, output and error.
    pub streams: [StreamKind; 3],
    /// Rows and columns of the terminal.
    pub winsize: (u16, u16),
    pub jobs: Vec<Job>,
}

fn put(out: &mut Vec<u8>, tag: u16, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

impl Config {
    /// The blob, padded to a multiple of `ALIGN`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        put(&mut out, tag::WALL_NS, &[&self.wall_ns.to_le_bytes()]);
        put(&mut out, tag::HOSTNAME, &[&self.hostname]);
        put(&mut out, tag::STREAMS, &[&self.streams.map(|stream| stream as u8)]);
        put(&mut out, tag::WINSIZE, &[&self.winsize.0.to_le_bytes(), &self.winsize.1.to_le_bytes()]);
        for job in &self.jobs {
            put(&mut out, tag::JOB, &[]);
            put(&mut out, tag::PATH, &[&job.path]);
            put(&mut out, tag::CWD, &[&job.cwd]);
            for arg in &job.argv {
                put(&mut out, tag::ARG, &[arg]);
            }
            for variable in &job.env {
                put(&mut out, tag::ENV, &[variable]);
            }
            match &job.stdin {
                Stdin::Host => put(&mut out, tag::STDIN, &[&[0]]),
                Stdin::Null => put(&mut out, tag::STDIN, &[&[1]]),
                Stdin::Bytes(bytes) => put(&mut out, tag::STDIN, &[&[2], bytes]),
            }
        }
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        if let Some(slot) = out.get_mut(12..16) {
            slot.copy_from_slice(&len.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out
    }
}

/// Why a blob can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    #[error("not a configuration blob")]
    NotABlob,
    #[error("configuration version {0} is not known")]
    Version(u32),
    #[error("the configuration is cut short")]
    Truncated,
}

/// A checked blob, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    items: &'a [u8],
    /// Bytes that it takes, padding included: where the archive begins.
    pub len: usize,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A tag and its bytes.
type Item<'a> = (u16, &'a [u8]);

/// Splits the first item off. `None` at the end or where the rest is malformed.
fn split(items: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (header, rest) = items.split_at_checked(ITEM_HEADER_LEN)?;
    let (tag, len) = header.split_at_checked(2)?;
    let len = usize::try_from(number(len)).ok()?;
    let (body, rest) = rest.split_at_checked(len)?;
    Some(((u16::try_from(number(tag)).ok()?, body), rest))
}

impl<'a> Blob<'a> {
    /// Checks the blob at the start of `bytes`.
    ///
    /// # Errors
    /// There is none, of another version, or not all of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BlobError> {
        let header = bytes.get(..HEADER_LEN).ok_or(BlobError::NotABlob)?;
        if !header.starts_with(MAGIC) {
            return Err(BlobError::NotABlob);
        }
        let version = number(header.get(8..12).unwrap_or_default());
        if version != u64::from(VERSION) {
            return Err(BlobError::Version(u32::try_from(version).unwrap_or(u32::MAX)));
        }
        let len = usize::try_from(number(header.get(12..16).unwrap_or_default()))
            .map_err(|_| BlobError::Truncated)?;
        let items = bytes.get(HEADER_LEN..len).ok_or(BlobError::Truncated)?;
        let mut rest = items;
        while !rest.is_empty() {
            (_, rest) = split(rest).ok_or(BlobError::Truncated)?;
        }
        Ok(Self { items, len: len.next_multiple_of(ALIGN).min(bytes.len()) })
    }

    fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let mut rest = self.items;
        core::iter::from_fn(move || {
            let (item, next) = split(rest)?;
            rest = next;
            Some(item)
        })
    }

    fn first(&self, tag: u16) -> Option<&'a [u8]> {
        self.items().take_while(|item| item.0 < tag::JOB).find(|item| item.0 == tag).map(|item| item.1)
    }

    /// Wall-clock time at start, ns since 1970.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        self.first(tag::WALL_NS).map_or(0, |body| number(body.get(..8).unwrap_or(body)))
    }

    #[must_use]
    pub fn hostname(&self) -> &'a [u8] {
        self.first(tag::HOSTNAME).unwrap_or_default()
    }

    #[must_use]
    pub fn streams(&self) -> [StreamKind; 3] {
        let body = self.first(tag::STREAMS).unwrap_or_default();
        core::array::from_fn(|index| StreamKind::from_byte(body.get(index).copied().unwrap_or(0)))
    }

    #[must_use]
    pub fn winsize(&self) -> (u16, u16) {
        match self.first(tag::WINSIZE) {
            Some(&[a, b, c, d]) => (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
            _ => (0, 0),
        }
    }

    /// The job with an index, counted from 0.
    #[must_use]
    pub fn job(&self, index: usize) -> Option<Job> {
        let mut items = self.items();
        items.by_ref().filter(|item| item.0 == tag::JOB).nth(index)?;
        let mut job = Job::default();
        for (tag, body) in items {
            match tag {
                tag::JOB => break,
                tag::PATH => job.path = body.to_vec(),
                tag::CWD => job.cwd = body.to_vec(),
                tag::ARG => job.argv.push(body.to_vec()),
                tag::ENV => job.env.push(body.to_vec()),
                tag::STDIN => {
                    job.stdin = match body.split_first() {
                        Some((1, _)) => Stdin::Null,
                        Some((2, bytes)) => Stdin::Bytes(bytes.to_vec()),
                        _ => Stdin::Host,
                    };
                }
                _ => {}
            }
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn jobs() -> impl Strategy<Value = Vec<Job>> {
        let bytes = || vec(any::<u8>(), 0..40);
        let stdin = prop_oneof![Just(Stdin::Host), Just(Stdin::Null), bytes().prop_map(Stdin::Bytes)];
        let job = (bytes(), vec(bytes(), 0..5), vec(bytes(), 0..5), bytes(), stdin)
            .prop_map(|(path, argv, env, cwd, stdin)| Job { path, argv, env, cwd, stdin });
        vec(job, 0..4)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(jobs in jobs(), wall_ns: u64, rows: u16, cols: u16, hostname in vec(any::<u8>(), 0..64)) {
            let streams = [StreamKind::Tty, StreamKind::Pipe, StreamKind::File];
            let config = Config { wall_ns, hostname, streams, winsize: (rows, cols), jobs };
            let mut bytes = config.encode();
            prop_assert!(bytes.len().is_multiple_of(ALIGN));
            let len = bytes.len();
            bytes.extend_from_slice(b"archive");
            let blob = Blob::parse(&bytes).unwrap();
            prop_assert_eq!(blob.len, len);
            prop_assert_eq!(blob.wall_ns(), config.wall_ns);
            prop_assert_eq!(blob.hostname(), &config.hostname[..]);
            prop_assert_eq!(blob.streams(), config.streams);
            prop_assert_eq!(blob.winsize(), config.winsize);
            let mut read = Vec::new();
            while let Some(job) = blob.job(read.len()) {
                read.push(job);
            }
            prop_assert_eq!(read, config.jobs);
        }

        #[test]
        fn hostile_bytes_do_no_harm(mut bytes in vec(any::<u8>(), 0..300), flips in vec((0usize..200, any::<u8>()), 0..8)) {
            let _ = Blob::parse(&bytes);
            let config = Config { jobs: alloc::vec![Job { path: bytes.clone(), ..Job::default() }], ..Config::default() };
            bytes = config.encode();
            for (at, value) in flips {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = value;
                }
            }
            if let Ok(blob) = Blob::parse(&bytes) {
                let _ = (blob.job(0), blob.job(1), blob.winsize(), blob.streams(), blob.wall_ns());
            }
        }
    }
}
