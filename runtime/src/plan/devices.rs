//! Device nodes and the links of `/dev`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `/dev`: nodes, symlinks and the console. Empty when `/dev` is a directory of
/// the host's: then nothing is made in it, the console included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesPlan {
    /// Nodes made with mknod(2).
    pub nodes: Vec<DeviceNode>,
    /// Link path → target, `/dev/fd` → `/proc/self/fd`.
    pub symlinks: BTreeMap<PathBuf, PathBuf>,
}

/// A device node (mknod(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Path inside the container.
    pub path: PathBuf,
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The two kinds of device, and "any" for rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// `c`
    Char,
    /// `b`
    Block,
    /// `a`: only in [`DeviceRule`]s.
    All,
}
