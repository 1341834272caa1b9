//! What launcher and kernel say to each other.
//!
//! * The *configuration blob* at the start of the initrd: which jobs to run, and what their streams are on the launcher's side.
//! * The *frames* of the stream channel: output, input, signals, exit statuses.
//!
//! All numbers are little endian. Both sides check everything: neither trusts the other's bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod blob;
mod frame;

pub use blob::{Blob, BlobError, Config, Job, Stdin, StreamKind};
pub use frame::{FRAME_HEADER_LEN, FrameError, FrameHeader, Kind};
