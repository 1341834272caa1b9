//! STUB
use super::*; use crate::mm::*;
pub fn write(_fd:Fd,p:UserPtr<u8>,n:usize)->SysResult{let mut b=alloc::vec![0u8;n.min(4096)];p.read_bytes(&mut b)?;crate::debug::raw(&b);Ok(b.len())}
pub fn writev(fd:Fd,p:UserPtr<abi::IoVec>,n:usize)->SysResult{let mut t=0;for i in 0..n{let v=p.add(i).read()?;t+=write(fd,UserPtr::new(v.base as usize),v.len as usize)?;}Ok(t)}
pub fn zero()->SysResult{Ok(0)}
pub fn enotty()->SysResult{Err(Errno::ENOSYS.into())}
