//! Network interfaces of the host that become the container's.

use serde::{Deserialize, Serialize};

/// One interface. Its MTU, MAC address and permanent addresses of global scope
/// go with it, and it is up in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevicePlan {
    /// What it is called in the caller's network namespace.
    pub host: String,
    /// What it will be called; with `%d` the kernel puts the lowest free number in.
    pub name: String,
}

impl NetDevicePlan {
    /// Whether the kernel chooses the number in its name.
    pub fn is_template(&self) -> bool {
        self.name.contains("%d")
    }
}
