//! Where the measuring happens: a network, mount and pid namespace of our own,
//! with a tmpfs for everybody's data. Peers' daemons end with it, and neither
//! their firewall rules nor their mounts reach the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::child::quiet;

const INSIDE: &str = "RCNT_BENCH_INSIDE";
/// The cgroup that everything of ours is below: cgroups outlive namespaces.
pub(crate) const CGROUP: &str = "rcnt-bench";

/// Whether [`enter`] has happened.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again, inside.
pub(crate) fn enter() -> Result<()> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    // What a run left that was ended from outside.
    rcnt_tests::leaks::remove_cgroups(CGROUP);
    // Whoever ends us ends everything: unshare ends with us, its child with it.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
        .args(["--propagation", "private", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|e| format!("setpriv(1), of util-linux: {e}"))?;
    rcnt_tests::leaks::remove_cgroups(CGROUP);
    if status.success() { Ok(()) } else { Err("the measuring did not finish".to_owned()) }
}

/// The prepared place.
#[derive(Debug)]
pub(crate) struct Place {
    /// A directory on tmpfs, gone with the namespace.
    pub(crate) dir: PathBuf,
}

/// $1 is a directory for the tmpfs. The hugetlb controller is missing on some
/// hybrid machines and crun insists on it: it gets one below a private copy of
/// the tree of cgroup mounts, which no other process sees.
const SCRIPT: &str = r#"
set -e
ip link set lo up
mount -t tmpfs -o mode=700 rcnt-bench "$1"
if [ -d /sys/fs/cgroup/memory ] && [ ! -d /sys/fs/cgroup/hugetlb ] && command -v crun >/dev/null; then
    mkdir "$1/cgroup"; mount -t tmpfs -o mode=755 cgroup "$1/cgroup"
    for mount in /sys/fs/cgroup/*; do
        mkdir "$1/cgroup/${mount##*/}"; mount --rbind "$mount" "$1/cgroup/${mount##*/}"
    done
    mkdir "$1/cgroup/hugetlb"; mount -t cgroup -o hugetlb cgroup "$1/cgroup/hugetlb" || rmdir "$1/cgroup/hugetlb"
    mount --move "$1/cgroup" /sys/fs/cgroup
fi
"#;

impl Place {
    /// Mounts what is needed. Only inside.
    pub(crate) fn prepare() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("rcnt-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut script = Command::new("sh");
        script.args(["-c", SCRIPT, "sh"]).arg(&dir);
        quiet(&mut script)?;
        Ok(Self { dir })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The hierarchy would outlive our mount of it while it has children.
        let _ = Command::new("umount").arg("/sys/fs/cgroup/hugetlb").stderr(Stdio::null()).status();
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Puts a process into a cgroup in every hierarchy, as runtimes do: what it sends and
/// gets is accounted for there, which costs it its part.
pub(crate) fn account(pid: u32) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let unified = root.join("cgroup.procs").exists().then(|| root.to_owned());
    let hierarchies = below.filter(|dir| unified.is_none() && dir.join("cgroup.procs").exists());
    for hierarchy in hierarchies.chain(unified.clone()) {
        let dir = hierarchy.join(CGROUP).join("floor");
        let put = std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(dir.join("cgroup.procs"), pid.to_string()));
        // cpuset takes nobody before it has processors.
        match put {
            Err(_) if hierarchy.ends_with("cpuset") => {}
            put => put.map_err(|e| format!("{}: {e}", dir.display()))?,
        }
    }
    Ok(())
}

/// Where a program is, if it is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}
