//! The path built by hand: namespaces on a bridge, ports forwarded by one map
//! and two chains of nftables, and nothing else. The server is in a cgroup, as theirs.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::Result;
use crate::child::quiet;
use crate::host::{Host, Namespace};
use crate::place;
use crate::traffic::{REQUESTS, STREAM};

/// The server's address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
const GATEWAY: &str = "172.31.0.1";

/// What somebody would write who wants two ports forwarded, also from the host
/// itself and from the server's neighbours.
fn rules(published: u16) -> String {
    let (first, second) = (published, published + 1);
    format!(
        "table ip floor {{
            map ports {{
                type inet_service : ipv4_addr . inet_service
                elements = {{ {first} : {SERVER} . {REQUESTS}, {second} : {SERVER} . {STREAM} }}
            }}
            chain arriving {{
                type nat hook prerouting priority dstnat
                fib daddr type local meta l4proto tcp dnat ip to tcp dport map @ports
            }}
            chain local {{
                type nat hook output priority -100
                fib daddr type local meta l4proto tcp dnat ip to tcp dport map @ports
            }}
            chain leaving {{
                type nat hook postrouting priority srcnat
                oifname floor ip saddr 127.0.0.0/8 masquerade
                iifname floor oifname floor masquerade
            }}
        }}"
    )
}

/// A server and a client on a bridge.
#[derive(Debug)]
pub(crate) struct Floor {
    /// The host, with the bridge.
    pub(crate) host: Host,
    /// Where the client is.
    pub(crate) client: Namespace,
    server: Child,
}

impl Floor {
    /// Builds it, with the two ports from `published` on forwarded.
    pub(crate) fn new(published: u16) -> Result<Self> {
        let host = Host::new()?;
        host.network.ip("link add floor type bridge")?;
        host.network.ip(&format!("address add {GATEWAY}/24 dev floor"))?;
        host.network.ip("link set floor up")?;
        let server = attach(&host, "server", &SERVER.to_string())?;
        let client = attach(&host, "client", "172.31.0.3")?;
        host.network.inside(|| {
            // What /proc/sys/net shows depends on who looks.
            for name in ["ip_forward", "conf/floor/route_localnet"] {
                let path = format!("/proc/sys/net/ipv4/{name}");
                std::fs::write(&path, "1").map_err(|e| format!("{path}: {e}"))?;
            }
            quiet(Command::new("nft").arg(rules(published)))
        })?;
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut serve = Command::new(own);
        serve.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        let server = server.inside(|| serve.spawn().map_err(|e| e.to_string()))?;
        let built = Self { host, client, server };
        place::account(built.server.id())?;
        Ok(built)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A namespace on the bridge.
fn attach(host: &Host, name: &str, address: &str) -> Result<Namespace> {
    let inside = Namespace::new()?;
    let path = inside.path();
    host.network.ip(&format!("link add {name} type veth peer name eth0 netns {path}"))?;
    host.network.ip(&format!("link set {name} master floor up"))?;
    inside.ip(&format!("address add {address}/24 dev eth0"))?;
    inside.ip("link set eth0 up")?;
    inside.ip(&format!("route add default via {GATEWAY}"))?;
    Ok(inside)
}
