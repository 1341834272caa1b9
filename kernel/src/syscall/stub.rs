//! STUB
use super::*;
use crate::mm::*;
pub fn write(_fd: Fd, p: UserPtr<u8>, n: usize) -> SysResult {
    crate::console::write(if _fd.0 == 2 { 2 } else { 1 }, &mut Source::user(p, n))
}
pub fn read(_fd: Fd, p: UserPtr<u8>, n: usize) -> SysResult {
    let mut s = Sink::user(p, n);
    let v = crate::console::input_queue().wait(None, || crate::console::read_input(&mut s).transpose())??;
    Ok(v)
}
pub fn writev(fd: Fd, p: UserPtr<abi::IoVec>, n: usize) -> SysResult {
    let mut t = 0;
    for i in 0..n {
        let v = p.add(i).read()?;
        t += write(fd, UserPtr::new(v.base as usize), v.len as usize)?;
    }
    Ok(t)
}
pub fn zero() -> SysResult {
    Ok(0)
}
pub fn enotty() -> SysResult {
    Err(Errno::ENOSYS.into())
}
