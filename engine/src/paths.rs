//! Where the engine's files are, and nothing else.
//!
//! ```text
//! data-root/containers/<id>/{container.json,state.json,networks.json,lock,log.json,upper,work,hosts,hostname,resolv.conf}
//! data-root/names/<name> → id            data-root/volumes/<name>/_data
//! exec-root/containers/<id>/{lock,change,undo.json,network.json,ctl.sock,rootfs}   exec-root/changes/<id>
//! ```

use std::path::PathBuf;

use rcnt_base::ids::{ContainerId, Name};
use rcnt_base::roots::Roots;

/// The files of one instance.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The two trees.
    pub roots: Roots,
}

impl Paths {
    /// In [`Self::container`]: [`Self::record`].
    pub(crate) const RECORD: &str = "container.json";
    /// In [`Self::container`]: [`Self::state`].
    pub(crate) const STATE: &str = "state.json";
    /// In [`Self::run`]: [`Self::supervisor_lock`].
    pub(crate) const SUPERVISOR_LOCK: &str = "lock";

    /// Every container's lasting directory.
    pub fn containers(&self) -> PathBuf {
        self.roots.data.join("containers")
    }
    /// One container's lasting directory.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id)
    }
    /// What it is: written once.
    pub fn record(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(Self::RECORD)
    }
    /// How it is: rewritten at each change.
    pub fn state(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(Self::STATE)
    }
    /// The networks it is on, when it was connected or disconnected since it was created.
    pub fn networks(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("networks.json")
    }
    /// The ports it shall have, once that is not what it was created with.
    pub fn ports(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("ports.json")
    }
    /// Held by the command that changes the container.
    pub fn command_lock(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("lock")
    }
    /// What it wrote to stdout and stderr.
    pub fn log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("log.json")
    }
    /// Names in use: symbolic links to ids.
    pub fn names(&self) -> PathBuf {
        self.roots.data.join("names")
    }
    /// One name.
    pub fn name(&self, name: &Name) -> PathBuf {
        self.names().join(name)
    }
    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.roots.data.join("images")
    }
    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.roots.data.join("volumes")
    }
    /// What a volume holds.
    pub fn volume_data(&self, name: &Name) -> PathBuf {
        self.volumes().join(name).join("_data")
    }
    /// The families whose forwarding rcnt switched on: the host is kept from routing
    /// for others.
    pub fn forwarding(&self) -> PathBuf {
        self.roots.exec.join("forwarding.json")
    }
    /// Every running container's directory.
    pub fn runs(&self) -> PathBuf {
        self.roots.exec.join("containers")
    }
    /// One running container's directory; exists exactly while it runs, or
    /// until its crash is cleaned up.
    pub fn run(&self, id: &ContainerId) -> PathBuf {
        self.runs().join(id)
    }
    /// Held by the supervisor as long as it lives.
    pub fn supervisor_lock(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join(Self::SUPERVISOR_LOCK)
    }
    /// How to take back what starting made.
    pub fn undo(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("undo.json")
    }
    /// Its network, to declare it again when somebody flushed the firewall.
    pub fn network_plan(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("network.json")
    }
    /// Held by the command that changes the networks or ports of a running container;
    /// there once one has.
    pub fn change_lock(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("change")
    }
    /// The changes that are on their way.
    pub fn changes(&self) -> PathBuf {
        self.roots.exec.join("changes")
    }
    /// The change of one running container that is on its way.
    pub fn change(&self, id: &ContainerId) -> PathBuf {
        self.changes().join(id)
    }
    /// Who runs and is linked to the container of this name.
    pub fn recipients(&self, source: &Name) -> PathBuf {
        self.roots.exec.join("links").join(source)
    }
    /// There when another container has joined its network namespace, which may
    /// then outlive it.
    pub fn joined(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("joined")
    }
    /// There while a container with `--rm` is restarted: it stays for once.
    pub fn keep(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("keep")
    }
    /// Where clients attach.
    pub fn control_socket(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("ctl.sock")
    }
    /// Where the root file system is mounted, seen only by the container.
    pub fn rootfs(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("rootfs")
    }
}
