//! A host of its own for every contestant: a network namespace with an uplink
//! to another host. One's firewall rules are not on another's path.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::Result;
use crate::child::quiet;

/// A host's address on the wire to the other one (RFC 5737).
pub(crate) const ADDRESS: &str = "192.0.2.1";
const OTHER_ADDRESS: &str = "192.0.2.2";

/// A network namespace, kept by its descriptor.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one with its loopback interface up.
    pub(crate) fn new() -> Result<Self> {
        let made = std::thread::scope(|scope| scope.spawn(make).join());
        let namespace = made.map_err(|_| "a thread failed")??;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// That of a process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        open(&format!("/proc/{pid}/ns/net"))
    }

    /// Runs `work` on a thread inside. Namespaces belong to threads, and a
    /// process that a thread starts gets the thread's.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let done = std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|e| format!("setns: {e}"))?;
                work()
            });
            entered.join()
        });
        done.map_err(|_| "a thread failed".to_owned())?
    }

    /// A command of ip(8).
    pub(crate) fn ip(&self, command: &str) -> Result<String> {
        self.inside(|| quiet(Command::new("ip").args(command.split(' '))))
    }

    /// A path to it for ip(8).
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Its first address on eth0.
    pub(crate) fn address(&self) -> Result<String> {
        let text = self.ip("-4 -o address show dev eth0")?;
        let word = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
        let address = word.and_then(|word| word.split('/').next());
        address.map(str::to_owned).ok_or_else(|| format!("no address: {text}"))
    }
}

fn open(path: &str) -> Result<Namespace> {
    File::open(path).map(Namespace).map_err(|e| format!("{path}: {e}"))
}

fn make() -> Result<Namespace> {
    #[expect(deprecated, reason = "a new network namespace cannot invalidate a descriptor")]
    rustix::thread::unshare(UnshareFlags::NEWNET).map_err(|e| format!("unshare: {e}"))?;
    open("/proc/thread-self/ns/net")
}

/// A host, and another one at the end of its wire.
#[derive(Debug)]
pub(crate) struct Host {
    /// The host itself.
    pub(crate) network: Namespace,
    /// Somebody on its LAN.
    pub(crate) other: Namespace,
}

impl Host {
    /// Two new namespaces with a veth pair between them.
    pub(crate) fn new() -> Result<Self> {
        let host = Self { network: Namespace::new()?, other: Namespace::new()? };
        let other = host.other.path();
        host.network.ip(&format!("link add eth0 type veth peer name eth0 netns {other}"))?;
        host.network.ip(&format!("address add {ADDRESS}/24 dev eth0"))?;
        host.other.ip(&format!("address add {OTHER_ADDRESS}/24 dev eth0"))?;
        host.network.ip("link set eth0 up")?;
        host.other.ip("link set eth0 up")?;
        host.network.ip(&format!("route add default via {OTHER_ADDRESS}"))?;
        Ok(host)
    }
}
