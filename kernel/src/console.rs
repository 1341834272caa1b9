//! STUB
pub fn notice(t:&str){crate::debug::trace(format_args!("{t}"));} pub fn all_done(){} pub fn poll_input(){}
