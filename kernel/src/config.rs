//! What the launcher wants: the configuration blob at the start of the initrd, and the file archive behind it.
#![expect(unsafe_code, reason = "the initrd is memory that the boot loader filled")]

use alloc::vec::Vec;

use spin::Once;
use wire::{Blob, Stdin, StreamKind};

use crate::arch::x86_64::paging::direct;
use crate::boot::BootInfo;
use crate::sync::SpinLock;

/// A program to run.
pub struct Job {
    /// Its number on the launcher's side.
    pub index: u16,
    pub path: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    pub stdin: Stdin,
    /// What standard input, output and error are on the launcher's side.
    pub streams: [StreamKind; 3],
}

/// The initrd's two parts.
pub struct Config {
    blob: Option<Blob<'static>>,
    archive: &'static [u8],
}

static BLOB: Once<Blob<'static>> = Once::new();
static NEXT_JOB: SpinLock<u16> = SpinLock::new(0);
static NAMES: SpinLock<([u8; 65], [u8; 65])> = SpinLock::new(([0; 65], [0; 65]));

fn name(text: &[u8]) -> [u8; 65] {
    let mut out = [0; 65];
    for (to, from) in out.iter_mut().take(64).zip(text) {
        *to = *from;
    }
    out
}

impl Config {
    /// Finds the blob. An initrd without one is an archive and nothing else.
    pub fn read(boot: &BootInfo) -> Self {
        let len = (boot.initrd.end - boot.initrd.start) as usize;
        let initrd: &'static [u8] = if len == 0 {
            &[]
        } else {
            // SAFETY: the boot loader put the initrd there, `frame::init` leaves it alone, and nobody writes it through this address while
            // the slice is read: file pages that programs may change are copied first.
            unsafe {
                core::slice::from_raw_parts(
                    core::ptr::with_exposed_provenance(direct(boot.initrd.start)),
                    len,
                )
            }
        };
        let blob = match Blob::parse(initrd) {
            Ok(blob) => Some(blob),
            Err(error) => {
                log::info!("initrd: {error}");
                None
            }
        };
        let archive = blob.map_or(initrd, |blob| initrd.get(blob.len..).unwrap_or_default());
        let mut names = NAMES.lock();
        names.0 = name(blob.map(|blob| blob.hostname()).filter(|text| !text.is_empty()).unwrap_or(b"whelk"));
        names.1 = name(b"(none)");
        drop(names);
        if let Some(blob) = blob {
            BLOB.call_once(|| blob);
            let (rows, cols) = blob.winsize();
            if rows != 0 && cols != 0 {
                crate::console::set_winsize(rows, cols);
            }
        }
        Self { blob, archive }
    }

    /// Wall-clock time at start, ns since 1970.
    pub fn wall_ns(&self) -> u64 {
        self.blob.map_or(0, |blob| blob.wall_ns())
    }

    /// The file archive.
    pub fn archive(&self) -> &'static [u8] {
        self.archive
    }
}

/// The next job to run, if there is one.
pub fn next_job() -> Option<Job> {
    let index = {
        let mut next = NEXT_JOB.lock();
        let index = *next;
        *next += 1;
        index
    };
    let blob = BLOB.get()?;
    let job = blob.job(usize::from(index))?;
    Some(Job {
        index,
        path: job.path,
        argv: job.argv,
        env: job.env,
        cwd: job.cwd,
        stdin: job.stdin,
        streams: blob.streams(),
    })
}

/// `nodename` of uname(2), NUL-padded.
pub fn hostname() -> [u8; 65] {
    NAMES.lock().0
}

pub fn domainname() -> [u8; 65] {
    NAMES.lock().1
}

pub fn set_hostname(bytes: [u8; 65]) {
    NAMES.lock().0 = bytes;
}

pub fn set_domainname(bytes: [u8; 65]) {
    NAMES.lock().1 = bytes;
}
