//! STUB
pub fn init(_:&str){} pub fn interrupt(_:u8){}
