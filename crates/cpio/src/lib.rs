//! cpio archives of the "new ASCII" format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst; cpio(5), "New ASCII Format").
//!
//! The reader borrows from the archive. The writer can align file data to pages by padding names with NULs, which every reader ignores: a
//! kernel can then map the files where they are.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::ops::Range;

const MAGIC: &[u8; 6] = b"070701";
const MAGIC_WITH_CHECKSUM: &[u8; 6] = b"070702";
const HEADER_LEN: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
/// File data begins at multiples of this in what `Writer` writes.
pub const DATA_ALIGN: usize = 4096;

/// An archive that ends in the middle or isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    #[error("no cpio header of the new ASCII format at byte {0}")]
    BadHeader(usize),
    #[error("the archive is cut short at byte {0}")]
    Truncated(usize),
}

/// A file that the format can't hold: sizes have 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file of {0} bytes doesn't fit in a cpio archive, whose files have less than 4 GiB")]
pub struct TooLarge(pub u64);

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path without its NUL, as it stands in the archive.
    pub name: &'a [u8],
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub ino: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Of the file system that the entry came from: entries with the same device and inode are one file.
    pub dev: (u32, u32),
    /// Of a device node.
    pub rdev: (u32, u32),
    /// Where in the archive the contents are: file data, or a symbolic link's target.
    pub data: Range<usize>,
}

/// Reads entries, over the trailers of concatenated archives (and the zeros between them), to the end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    archive: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub const fn new(archive: &'a [u8]) -> Self {
        Self { archive, at: 0, failed: false }
    }

    /// The bytes of a range that an entry named.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        self.archive.get(range).unwrap_or_default()
    }

    fn parse(&mut self) -> Result<Option<Entry<'a>>, CpioError> {
        loop {
            // Between archives there may be any number of zeros.
            while self.archive.get(self.at) == Some(&0) {
                self.at += 1;
            }
            let start = self.at;
            let Some(rest) = self.archive.get(start..).filter(|rest| !rest.is_empty()) else {
                return Ok(None);
            };
            let bad = CpioError::BadHeader(start);
            if !rest.starts_with(MAGIC) && !rest.starts_with(MAGIC_WITH_CHECKSUM) {
                return Err(bad);
            }
            let header = rest.get(..HEADER_LEN).ok_or(CpioError::Truncated(start))?;
            let mut fields = [0u32; 13];
            for (index, field) in fields.iter_mut().enumerate() {
                *field =
                    parse_hex(header.get(6 + index * 8..14 + index * 8).unwrap_or_default()).ok_or(bad)?;
            }
            let [
                ino,
                mode,
                uid,
                gid,
                nlink,
                mtime,
                size,
                dev_major,
                dev_minor,
                rdev_major,
                rdev_minor,
                name_size,
                _,
            ] = fields;
            let truncated = CpioError::Truncated(start);
            let (name_size, size) = (to_usize(name_size), to_usize(size));
            let name_end = start.checked_add(HEADER_LEN + name_size).ok_or(truncated)?;
            let name = self.archive.get(start + HEADER_LEN..name_end).ok_or(truncated)?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            let data_start = name_end.next_multiple_of(4);
            let data_end = data_start.checked_add(size).ok_or(truncated)?;
            if data_end > self.archive.len() {
                return Err(truncated);
            }
            self.at = data_end.next_multiple_of(4);
            if name == TRAILER {
                continue;
            }
            return Ok(Some(Entry {
                name,
                mode,
                uid,
                gid,
                nlink,
                ino,
                mtime,
                dev: (dev_major, dev_minor),
                rdev: (rdev_major, rdev_minor),
                data: data_start..data_end,
            }));
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, CpioError>;

    /// The next entry; after an error nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.parse();
        self.failed = result.is_err();
        result.transpose()
    }
}

const fn to_usize(value: u32) -> usize {
    value as usize
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value << 4 | digit)
    })
}

/// What `Writer::add` is told of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata {
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u32,
    /// More than 1: entries with the same `ino` are one file; only the last of them carries the contents.
    pub nlink: u32,
    pub ino: u32,
    pub rdev: (u32, u32),
}

/// Writes an archive, as a whole or in pieces.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// What hasn't been taken yet.
    out: Vec<u8>,
    /// Bytes that have been: a multiple of 4.
    taken: usize,
    next_ino: u32,
}

impl Writer {
    #[must_use]
    pub const fn new() -> Self {
        Self { out: Vec::new(), taken: 0, next_ino: 1 }
    }

    /// Adds an entry. Regular files with contents get them aligned to `DATA_ALIGN`, counted from the archive's start.
    ///
    /// # Errors
    /// The contents are too large; nothing was added.
    pub fn add(&mut self, name: &[u8], metadata: &Metadata, contents: &[u8]) -> Result<(), TooLarge> {
        const TYPE_MASK: u32 = 0o170_000;
        const REGULAR: u32 = 0o100_000;
        let align = metadata.mode & TYPE_MASK == REGULAR && !contents.is_empty();
        self.add_raw(name, metadata, contents, align)
    }

    /// The archive's next piece: what was added since the last one was taken. `finish` gives the last.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.taken += self.out.len();
        core::mem::take(&mut self.out)
    }

    fn add_raw(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        contents: &[u8],
        align: bool,
    ) -> Result<(), TooLarge> {
        let size = u32::try_from(contents.len()).map_err(|_| TooLarge(contents.len() as u64))?;
        let name_start = self.taken + self.out.len() + HEADER_LEN;
        let mut name_end = name_start + name.len() + 1;
        if align {
            name_end = name_end.next_multiple_of(DATA_ALIGN);
        }
        let ino = if metadata.ino == 0 { self.next_ino } else { metadata.ino };
        self.next_ino = self.next_ino.max(ino).saturating_add(1);
        let fields = [
            ino,
            metadata.mode,
            metadata.uid,
            metadata.gid,
            metadata.nlink.max(1),
            metadata.mtime,
            size,
            0,
            0,
            metadata.rdev.0,
            metadata.rdev.1,
            u32::try_from(name_end - name_start).unwrap_or(u32::MAX),
            0,
        ];
        self.out.extend_from_slice(MAGIC);
        for field in fields {
            for shift in (0..8).rev() {
                let digit = usize::try_from(field >> (shift * 4) & 0xf).unwrap_or(0);
                self.out.push(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
            }
        }
        self.out.extend_from_slice(name);
        self.out.resize(name_end.next_multiple_of(4) - self.taken, 0);
        self.out.extend_from_slice(contents);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        Ok(())
    }

    /// Ends the archive: its last piece, or all of it if nothing was taken before.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        // Without contents it can't be too large.
        let _ = self.add_raw(TRAILER, &Metadata::default(), &[], false);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(mode: u32) -> Metadata {
        Metadata { mode, uid: 1, gid: 2, mtime: 3, ..Metadata::default() }
    }

    #[test]
    fn data_is_aligned_and_comes_back() {
        let mut writer = Writer::new();
        writer.add(b"dir", &file(0o040_755), b"").unwrap();
        writer.add(b"dir/a", &file(0o100_644), b"hello").unwrap();
        writer.add(b"link", &file(0o120_777), b"dir/a").unwrap();
        let archive = writer.finish();
        let reader = Reader::new(&archive);
        let entries: Vec<_> = reader.clone().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].name, b"dir/a");
        assert_eq!(entries[1].data.start % DATA_ALIGN, 0);
        assert_eq!(reader.bytes(entries[1].data.clone()), b"hello");
        assert_eq!(reader.bytes(entries[2].data.clone()), b"dir/a");
        assert_eq!((entries[1].uid, entries[1].gid, entries[1].mtime), (1, 2, 3));
    }

    #[test]
    fn pieces_make_the_same_archive() {
        let (mut whole, mut piecewise) = (Writer::new(), Writer::new());
        let mut pieces = Vec::new();
        for (name, len) in [("a", 1), ("b", 5000), ("c", 0), ("d", 4096)] {
            for writer in [&mut whole, &mut piecewise] {
                writer.add(name.as_bytes(), &file(0o100_644), &alloc::vec![7; len]).unwrap();
            }
            pieces.extend(piecewise.take());
        }
        pieces.extend(piecewise.finish());
        assert_eq!(pieces, whole.finish());
    }

    #[test]
    fn archives_follow_each_other() {
        let mut writer = Writer::new();
        writer.add(b"a", &file(0o100_644), b"1").unwrap();
        let mut archives = writer.finish();
        archives.resize(archives.len().next_multiple_of(512), 0);
        let mut writer = Writer::new();
        writer.add(b"b", &Metadata { rdev: (1, 3), ..file(0o020_666) }, b"").unwrap();
        archives.extend(writer.finish());
        let entries: Vec<_> = Reader::new(&archives).map(Result::unwrap).collect();
        assert_eq!(entries.iter().map(|entry| entry.name).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(entries[1].rdev, (1, 3));
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        let mut writer = Writer::new();
        writer.add(b"a", &file(0o100_644), b"hello").unwrap();
        let archive = writer.finish();
        for len in 1..DATA_ALIGN + 5 {
            let last = Reader::new(&archive[..len]).last();
            assert!(matches!(last, Some(Err(_))), "{len}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..300, value: u8) {
            prop_assert!(Reader::new(&bytes).count() <= bytes.len());
            let mut writer = Writer::new();
            writer.add(b"name", &file(0o100_644), &bytes).unwrap();
            let mut archive = writer.finish();
            let at = at % archive.len();
            archive[at] = value;
            for entry in Reader::new(&archive).flatten() {
                prop_assert!(entry.data.end <= archive.len());
            }
        }
    }
}
