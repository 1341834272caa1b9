//! /proc/net/unix.

use abi::Errno;

use super::{State, names};
use crate::fs::proc::{Text, put};

/// All sockets, as proc(5) says.
pub fn write_table(text: &mut Text) -> Result<(), Errno> {
    /// `__SO_ACCEPTCON`
    const LISTENS: u32 = 0x1_0000;
    put!(text, "Num       RefCount Protocol Flags    Type St Inode Path\n");
    for (number, endpoint) in names::all()?.iter().enumerate() {
        let address = endpoint.inner.lock().address.clone();
        let inode = endpoint.inode_number();
        let flags = if endpoint.is(State::Listening) { LISTENS } else { 0 };
        // SS_UNCONNECTED, SS_CONNECTED; SS_CONNECTING before it is accepted.
        let state = match (inode, endpoint.is(State::Connected)) {
            (0, _) => 2,
            (_, true) => 3,
            _ => 1,
        };
        put!(
            text,
            "{number:016x}: {:08X} 00000000 {flags:08X} {:04X} {state:02X} {inode:5}",
            2 + u32::from(endpoint.is(State::Connected)),
            endpoint.kind as u32
        );
        if let Some(address) = address {
            text.bytes(b" ");
            let name = address.bytes.get(2..).unwrap_or_default();
            let (name, is_abstract) = match name {
                [0, rest @ ..] => (rest, true),
                [rest @ .., 0] => (rest, false),
                rest => (rest, false),
            };
            if is_abstract {
                text.bytes(b"@");
            }
            for &byte in name {
                text.bytes(&[if byte == 0 { b'@' } else { byte }]);
            }
        }
        text.bytes(b"\n");
    }
    Ok(())
}
