//! (being written)
#![forbid(unsafe_code)]

pub mod progress;
pub mod reference;
pub mod registry;
