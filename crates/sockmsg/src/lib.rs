//! What socket calls carry beside their bytes: control messages (cmsg(3)), the addresses of Unix sockets (unix(7)), what a message
//! costs of a socket's buffer, and sockets that hold each other in messages.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod charge;
pub mod control;
pub mod cycles;
