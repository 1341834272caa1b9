//! STUB
use abi::SigInfo; use super::Thread; use crate::arch::TrapFrame;
#[derive(Default)] pub struct ThreadSignals; #[derive(Default)] pub struct ProcessSignals;
pub struct FaultContext{pub vector:u64,pub error:u64,pub address:u64}
pub fn is_pending(t:&Thread)->bool{t.process.ending.load(core::sync::atomic::Ordering::Relaxed)}
pub fn force_fault(i:SigInfo,c:FaultContext){log::error!("fault {i:x?} vec {} err {:#x} rip {:#x}",c.vector,c.error,super::current().frame().rip);super::exit::terminate_by_signal(i.signal.0,false)}
pub fn is_restart(_:u64)->bool{false} pub fn deliver(_:&mut TrapFrame){ if is_pending(super::current()){super::exit::exit_thread(0)} } pub fn fpu_code(_:u8)->i32{0}
