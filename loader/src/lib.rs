#![no_std]
#![forbid(unsafe_code)]
pub struct ReadError;
pub trait Source { fn size(&self)->u64; fn read_at(&self,o:u64,d:&mut [u8])->Result<usize,ReadError>; }
