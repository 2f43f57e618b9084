//! Images out of files: `load` of what `docker save`, skopeo, podman and
//! BuildKit write, and `import` of a root file system.
//!
//! - [`load`]    docker archive, OCI layout directory, OCI archive → images
//! - [`import`]  a tar of files → an image of one layer
//! - [`changes`] `--change` instructions (pure)
//! - `members`   files of an archive or directory by name, read in place
//!
//! Every member is named by a stranger: it is found below the archive or not at
//! all, and what it holds is believed only when its digest is right.

pub mod changes;
mod docker;
pub mod import;
pub mod load;
mod members;
mod oci;

use std::io::Read;
use std::path::Path;

/// Where an archive comes from.
pub enum Input<'a> {
    /// A file, or for `load` a directory in OCI layout.
    Path(&'a Path),
    /// Standard input: read once.
    Stream(&'a mut (dyn Read + Send)),
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}
