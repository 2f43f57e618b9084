//! The networks of rcnt: from a wish (`-p 8080:80 --net=bridge`) to links,
//! addresses, routes and nftables map elements, and back.
//!
//! - [`capture`] the packets of a namespace; [`namespace`] visits to one
//! - [`bandwidth`] limits of it (pure)
//! - [`egress`] what a container may open connections to (pure)
//! - [`trace`] where a packet goes, by a probe that is followed
//! - [`graph`] pictures of all of it (pure)
//! - [`plan`]  what one container's network shall be, and its undo list (pure)
//! - [`apply`] sends a plan to the kernel, takes it back; [`sysctl`] the settings it needs
//! - [`check`] compares the kernel with what was recorded, and mends drift
//! - [`guard`] notices that somebody has taken the rules away
//! - [`facts`] links, addresses, routes of the host, as structs
//! - [`neighbours`] firewalls of others that drop our packets
//! - [`ports`] `-p` as typed and as decided (pure)
//! - [`network`] one bridge network, decided once and stored; [`cidr`] address blocks
//! - [`members`] who is on a network, one file per container
//! - [`relay`] carries what the kernel cannot translate (`::1`)
//! - [`dns`]     the resolver inside a container on user-defined networks
//! - [`names`] the texts of resolv.conf, hosts and hostname (pure)
//! - [`claims`] addresses and host ports, held by files and bound sockets; [`ipam`] which address is next
//!
//! Nothing here knows of images, root filesystems or container state; no
//! program is executed and no thread is started.
#![forbid(unsafe_code)]

pub mod apply;
pub mod bandwidth;
pub mod capture;
pub mod check;
pub mod cidr;
pub mod claims;
pub mod dns;
pub mod egress;
pub mod facts;
pub mod graph;
pub mod guard;
pub mod ipam;
mod mac;
pub mod members;
pub mod names;
pub mod namespace;
pub mod neighbours;
pub mod network;
pub mod plan;
pub mod ports;
pub mod relay;
mod rules;
mod socket;
pub mod sysctl;
pub mod trace;
mod wire;
