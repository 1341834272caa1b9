//! STUB
pub fn init(_:Option<&str>){} pub fn fill(b:&mut [u8])->Result<(),()>{for c in b.chunks_mut(8){let v=crate::arch::x86_64::cpu::rdrand().ok_or(())?.to_le_bytes();let n=c.len();c.copy_from_slice(&v[..n]);}Ok(())}
