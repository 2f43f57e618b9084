//! The only place in rcnt that may say `unsafe`. Each file wraps one mechanism
//! that neither std nor rustix covers, behind a safe function; each block names
//! the contract it relies on and why it holds.

pub mod batch;
pub mod bpf;
pub mod child;
pub mod datagram;
pub mod device;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod packet;
pub mod process;
pub mod scheduling;
pub mod sealed;
pub mod seccomp;
pub mod signals;
pub mod tables;
