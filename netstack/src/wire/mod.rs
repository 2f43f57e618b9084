//! What netstack says over netlink, as structs to bytes and back. Pure: the
//! format is [`rcnt_base::netlink`]'s, the conversation [`crate::socket`]'s.
//!
//! - [`abi`]       numbers of the kernel's headers
//! - [`link`]      interfaces
//! - [`route`]     addresses, routes
//! - [`nft`]       nf_tables objects and transactions
//! - [`conntrack`] deletion of tracked connections

pub(crate) mod abi;
pub(crate) mod conntrack;
pub(crate) mod link;
pub(crate) mod nft;
pub(crate) mod route;

pub(crate) use rcnt_base::netlink::*;
