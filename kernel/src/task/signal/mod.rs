//! STUB
use abi::SigInfo; use super::Thread; use crate::arch::TrapFrame;
#[derive(Default)] pub struct ThreadSignals; #[derive(Default)] pub struct ProcessSignals;
pub struct FaultContext{pub vector:u64,pub error:u64,pub address:u64}
pub fn is_pending(t:&Thread)->bool{t.process.ending.load(core::sync::atomic::Ordering::Relaxed)}
pub fn force_fault(i:SigInfo,c:FaultContext){log::error!("fault {i:x?} vec {} err {:#x} rip {:#x}",c.vector,c.error,super::current().frame().rip);super::exit::terminate_by_signal(i.signo as u8,false)}
pub fn is_restart(_:u64)->bool{false} pub fn deliver(_:&mut TrapFrame){ if is_pending(super::current()){super::exit::exit_thread(0)} } pub fn fpu_code(_:u8)->i32{0}
impl ProcessSignals{pub fn forked(&self,_clear:bool)->Self{Self}}
pub fn inherit(_:&Thread,_:&Thread,_new_process:bool){} pub fn send_kernel(p:&super::Process,_s:u32){p.ending.store(true,core::sync::atomic::Ordering::Release);for t in p.threads.lock().iter(){t.add_work(1);super::sched::wake(t)}} pub fn discards_children(_:&super::Process)->bool{false} pub fn send_child_ended(_:&super::Process,_:&super::Process,_:u32){} pub fn child_info(_:&super::Process,_:u32)->SigInfo{SigInfo::default()}
pub fn exec_reset(){} pub fn min_signal_stack()->usize{2048}
pub fn send_to_foreground(_:abi::Signal){}
