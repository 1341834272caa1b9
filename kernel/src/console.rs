//! STUB
pub fn notice(t:&str){crate::debug::trace(format_args!("{t}"));} pub fn all_done(){} pub fn poll_input(){}
pub fn exit(_j:u16,s:u32){log::info!("exit {s:#x}");} pub fn exec_failed(_j:u16,e:abi::Errno,t:&str){log::error!("{e} {t}");}
