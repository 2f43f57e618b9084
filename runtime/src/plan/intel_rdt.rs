//! Shares of the processor's cache and memory bandwidth (Intel RDT, AMD PQoS).

use serde::{Deserialize, Serialize};

/// The resctrl group of a container (`Documentation/arch/x86/resctrl.rst`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntelRdtPlan {
    /// Its name below resctrl; the root group is "/".
    pub group: String,
    /// It was named by the configuration: somebody else's, which stays when the
    /// container goes, and has to be there when nothing is to be written to it.
    pub shared: bool,
    /// Shares of the level 3 cache, a line `L3:…`.
    pub l3_cache: Option<String>,
    /// Shares of the memory bandwidth, a line `MB:…`.
    pub memory_bandwidth: Option<String>,
    /// Further lines of the group's `schemata`, after those two.
    pub schemata: Vec<String>,
    /// Name of a monitoring group of the container's own.
    pub monitor: Option<String>,
}

impl IntelRdtPlan {
    /// What is written to the group's `schemata`; empty = nothing.
    pub fn lines(&self) -> String {
        let lines = self.l3_cache.iter().chain(&self.memory_bandwidth).chain(&self.schemata);
        lines.map(|line| format!("{line}\n")).collect()
    }
}
