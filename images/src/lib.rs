//! Images: from a registry, an archive or a root file system into a
//! content-addressed store, and out of it as directories overlayfs can stack.
//!
//! - [`mod@reference`], [`config`], [`manifest`], `overlay` names and formats (pure)
//! - [`store`]    blobs, layers, names; what is found is whole
//! - `unpack`     a layer archive → a directory, whoever wrote the archive
//! - [`archive`]  `load` and `import`
//! - [`pull`]     from a registry into the store
//! - [`registry`] manifests and blobs over HTTP, authentication
//! - `gc`         frees what no image needs
//! - [`progress`] how long work tells what it is doing
//!
//! Called by the engine; knows nothing of containers. Nothing here is on the
//! start path but [`store::Store::resolve`].
#![forbid(unsafe_code)]

pub mod archive;
pub mod config;
mod gc;
pub mod manifest;
mod overlay;
pub mod progress;
pub mod pull;
pub mod reference;
pub mod registry;
pub mod store;
mod unpack;

pub use config::ImageConfig;
pub use gc::Freed;
pub use reference::Reference;
pub use store::{Image, ImageSummary, Store};
pub use unpack::UnpackError;
