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
    /// Nodes are bound from the host's of the same path: in a user namespace
    /// mknod(2) makes none. FIFOs are made all the same.
    #[serde(default)]
    pub bind: bool,
}

/// A device node (mknod(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Path inside the container.
    pub path: PathBuf,
    /// Character, block, or no device at all.
    pub kind: NodeKind,
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

/// What mknod(2) can make for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// `c`, `u`
    Char,
    /// `b`
    Block,
    /// `p`: a named pipe; its numbers mean nothing.
    Fifo,
}

/// The two kinds of device, and "any" for rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// `c`
    Char,
    /// `b`
    Block,
    /// `a`: only in [`super::DeviceRule`]s.
    All,
}
