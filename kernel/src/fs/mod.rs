//! STUB
use alloc::sync::Arc; use abi::Errno; use crate::mm::MemoryObject; use crate::syscall::Fd; use crate::mm::fault::FaultError; use crate::config::Job;
pub struct FileTable; impl FileTable{pub fn fork(&self)->Result<Self,Errno>{Ok(Self)} pub fn new()->Self{Self} pub fn for_job(_:&Job)->Result<Self,Errno>{Ok(Self)} pub fn close_on_exec(&self){}}
#[derive(Clone)] pub struct FsContext; impl FsContext{pub fn root()->Self{Self} pub fn for_job(_:&[u8])->Result<Self,Errno>{Ok(Self)}}
#[derive(Clone)] pub struct ExeFile(Arc<dyn MemoryObject>); impl ExeFile{pub fn object(&self)->Arc<dyn MemoryObject>{self.0.clone()}}
pub fn open_executable(_:Fd,_:&[u8],_:u32)->Result<ExeFile,Errno>{let a=INITRD.lock().clone(); let e=cpio::Reader::new(a).flatten().find(|e|e.mode&0o170000==0o100000).ok_or(Errno::ENOENT)?; let b=(a.as_ptr() as usize-0xffff_8000_0000_0000) as u64; Ok(ExeFile(Arc::new(BootElf(b+e.data.start as u64..b+e.data.end as u64))))}
pub fn open_executable_in(_:&crate::task::Process,_:&[u8])->Result<ExeFile,Errno>{open_executable(Fd(0),b"",0)}
pub fn pidfd(_:Arc<crate::task::Process>)->Result<i32,Errno>{Err(Errno::EINVAL)} pub fn pidfd_process(_:Fd)->Result<u32,Errno>{Err(Errno::EBADF)} pub fn leave_controlling_terminal(_:&crate::task::Process){}
pub struct Target{pub readable:bool,pub writable:bool,pub append_only:bool,pub object:Option<Arc<dyn MemoryObject>>}
pub fn mmap_target(_:Fd)->Result<Target,Errno>{Err(Errno::EBADF)} pub fn anonymous_object(_:u64)->Result<Arc<dyn MemoryObject>,Errno>{Err(Errno::ENOMEM)}
pub fn init(a:&'static [u8]){*INITRD.lock()=a;} static INITRD:crate::sync::SpinLock<&'static [u8]>=crate::sync::SpinLock::new(&[]);
struct BootElf(core::ops::Range<u64>);
impl MemoryObject for BootElf {
    fn page(&self, index: u64, _: crate::mm::fault::Access) -> Result<crate::mm::Frame, FaultError> {
        if index * 4096 >= self.size() { return Err(FaultError::BeyondFile); }
        Ok(crate::mm::Frame::from_boot_memory(self.0.start + index * 4096))
    }
    fn cached_page(&self, index: u64) -> Option<crate::mm::Frame> { self.page(index, crate::mm::fault::Access::Read).ok() }
    fn size(&self) -> u64 { self.0.end - self.0.start }
    fn describe(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.write_str("app") }
}
