//! STUB
use alloc::sync::Arc; use abi::Errno; use crate::mm::MemoryObject; use crate::syscall::Fd;
pub struct FileTable; impl FileTable{pub fn new()->Self{Self} pub fn close_all(&self){}} pub struct FsContext; impl FsContext{pub fn root()->Self{Self}} pub struct ExeFile;
pub struct Target{pub readable:bool,pub writable:bool,pub append_only:bool,pub object:Option<Arc<dyn MemoryObject>>}
pub fn mmap_target(_:Fd)->Result<Target,Errno>{Err(Errno::EBADF)} pub fn anonymous_object(_:u64)->Result<Arc<dyn MemoryObject>,Errno>{Err(Errno::ENOMEM)}
pub fn init(_:&[u8]){}
