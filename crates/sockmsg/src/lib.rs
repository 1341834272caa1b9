//! What socket calls carry beside their bytes: control messages (cmsg(3)), the addresses of Unix sockets (unix(7)), and what a message
//! costs of a socket's buffer.
#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod charge;
pub mod control;
