//! STUB
use alloc::vec::Vec;
use crate::boot::BootInfo;
pub struct Job{pub argv:Vec<Vec<u8>>,pub env:Vec<Vec<u8>>,pub elf:core::ops::Range<u64>}
pub struct Config{pub initrd:core::ops::Range<u64>}
impl Config{pub fn read(b:&BootInfo)->Self{Self{initrd:b.initrd.clone()}} pub fn wall_ns(&self)->u64{0} pub fn archive(&self)->&[u8]{&[]}}
pub fn hostname()->[u8;65]{[0;65]} pub fn domainname()->[u8;65]{[0;65]} pub fn set_hostname(_:[u8;65]){} pub fn set_domainname(_:[u8;65]){}
