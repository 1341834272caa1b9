//! STUB
use alloc::sync::Arc; use abi::Errno; use crate::mm::MemoryObject; use crate::syscall::Fd;
pub struct FileTable; impl FileTable{pub fn fork(&self)->Result<Self,Errno>{Ok(Self)} pub fn new()->Self{Self} pub fn close_all(&self){}} #[derive(Clone)] pub struct FsContext; impl FsContext{pub fn root()->Self{Self}} #[derive(Clone)] pub struct ExeFile; pub fn pidfd(_:Arc<crate::task::Process>)->Result<i32,Errno>{Err(Errno::EINVAL)} pub fn pidfd_process(_:Fd)->Result<u32,Errno>{Err(Errno::EBADF)} pub fn leave_controlling_terminal(_:&crate::task::Process){}
pub struct Target{pub readable:bool,pub writable:bool,pub append_only:bool,pub object:Option<Arc<dyn MemoryObject>>}
pub fn mmap_target(_:Fd)->Result<Target,Errno>{Err(Errno::EBADF)} pub fn anonymous_object(_:u64)->Result<Arc<dyn MemoryObject>,Errno>{Err(Errno::ENOMEM)}
pub fn init(_:&[u8]){}
