//! Virtio 1.x devices (Virtual I/O Device specification 1.2): transports and queues.

pub mod console;
mod queue;
mod transport;
