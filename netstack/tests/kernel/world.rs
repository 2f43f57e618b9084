//! A machine of one's own: the test process's fresh network namespace is the
//! host, named namespaces are a LAN peer and containers. Sockets are made inside
//! a namespace by a thread that enters it, and used from anywhere.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use rcnt_base::ids::ContainerId;
use rcnt_netstack::apply::{self, Attached};
use rcnt_netstack::bandwidth::Bandwidth;
use rcnt_netstack::plan::{BridgePlan, BridgeRules, EndpointPlan, Mac, NetworkPlan, table_name};
use rcnt_netstack::ports::{Protocol, PublishedPort};
use rcnt_netstack::sysctl::ProcSys;

/// Addresses of the host and of its LAN peer on the wire between them.
pub const HOST: &str = "192.168.77.1";
pub const PEER: &str = "192.168.77.2";
pub const HOST6: &str = "fd77::1";
pub const PEER6: &str = "fd77::2";

/// How long a connection that must not come about is waited for.
const REFUSED_AFTER: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a program, returns its output; for observation and for the scenery.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `f` inside the namespace called `name`; "host" is this process's own.
pub fn inside<T: Send>(name: &str, f: impl FnOnce() -> T + Send) -> T {
    if name == "host" {
        return f();
    }
    let fd = File::open(format!("/run/netns/{name}")).unwrap();
    std::thread::scope(|scope| {
        let enter = move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(fd.as_fd(), kind).unwrap();
            f()
        };
        scope.spawn(enter).join().unwrap()
    })
}

/// The host's uplink to a LAN peer that routes everything through the host.
pub fn lan() {
    sh("ip link set lo up
        ip netns add lan
        ip link add up0 type veth peer name eth0 netns lan
        ip addr add 192.168.77.1/24 dev up0; ip addr add fd77::1/64 dev up0 nodad; ip link set up0 up
        ip -n lan link set lo up; ip -n lan addr add 192.168.77.2/24 dev eth0
        ip -n lan addr add fd77::2/64 dev eth0 nodad; ip -n lan link set eth0 up
        ip -n lan route add default via 192.168.77.1; ip -n lan -6 route add default via fd77::1");
}

/// A bridge network of an instance; `number` makes it differ from others.
#[derive(Clone, Copy)]
pub struct Net {
    pub instance: &'static str,
    pub number: u8,
    pub ipv6: bool,
}

pub const NET: Net = Net { instance: "", number: 0, ipv6: false };

pub fn port(
    protocol: Protocol,
    host_ip: &str,
    host_port: u16,
    container_port: u16,
) -> PublishedPort {
    PublishedPort { protocol, host_ip: host_ip.parse().unwrap(), host_port, container_port }
}

pub fn tcp(host_ip: &str, host_port: u16, container_port: u16) -> PublishedPort {
    port(Protocol::Tcp, host_ip, host_port, container_port)
}

impl Net {
    pub fn bridge(&self) -> BridgePlan {
        let n = self.number;
        let gateway = Ipv4Addr::new(10, 88, n, 1);
        BridgePlan {
            interface: format!("rcnt{n}"),
            alias: format!("rcnt:/run/rcnt{}", self.instance),
            mac: Mac::from_ipv4(gateway),
            address4: (gateway, 24),
            address6: self.ipv6.then(|| (self.address6(1), 64)),
            mtu: 1500,
            policy: BridgeRules::default(),
        }
    }

    pub fn address6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd88, 0, 0, u16::from(self.number), 0, 0, 0, last)
    }

    /// The plan of the container whose address ends in `last`.
    pub fn plan(&self, last: u8, published: &[PublishedPort]) -> NetworkPlan {
        let bridge = self.bridge();
        let ip = Ipv4Addr::new(10, 88, self.number, last);
        let endpoint = EndpointPlan {
            host_interface: format!("rv{}x{last}", self.number),
            interface: "eth0".into(),
            mac: Mac::from_ipv4(ip),
            address4: (ip, 24),
            gateway4: Some(bridge.address4.0),
            address6: self.ipv6.then(|| (self.address6(last.into()), 64)),
            gateway6: bridge.address6.map(|(address, _)| address),
            mtu: 1500,
            hairpin: true,
            link_local: Vec::new(),
            sysctls: Vec::new(),
            further: false,
            bandwidth: Bandwidth::default(),
            egress: None,
        };
        let owner: ContainerId = format!("{:08x}", u32::from(ip)).repeat(8).parse().unwrap();
        NetworkPlan {
            table: table_name(self.instance),
            host: rcnt_netstack::network::HostPolicy::default(),
            wire: rcnt_netstack::plan::Wire::Bridge(bridge),
            endpoint,
            published: published.to_vec(),
            owner,
            owner_name: format!("web{last}"),
        }
    }
}

/// A namespace called `name`, attached and configured by the code under test.
pub fn start(name: &str, plan: &NetworkPlan) -> Attached {
    sh(&format!("ip netns add {name}"));
    let netns = File::open(format!("/run/netns/{name}")).unwrap();
    apply::attach(plan, netns.as_fd(), &ProcSys::open().unwrap())
        .unwrap_or_else(|e| panic!("{e:?}"))
}

/// Answers every TCP connection to `port` of namespace `name` with "<tag> <client address>".
pub fn serve_tcp(name: &str, tag: &'static str, address: &str, port: u16) {
    let at: IpAddr = address.parse().unwrap();
    let listener = inside(name, || TcpListener::bind((at, port)).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            let _ = write!(stream, "{tag} {}", plain(client.ip()));
        }
    });
}

/// The same for UDP datagrams.
pub fn serve_udp(name: &str, tag: &'static str, port: u16) {
    let socket = inside(name, || UdpSocket::bind(("0.0.0.0", port)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{tag} {}", client.ip()).as_bytes(), client);
        }
    });
}

/// IPv4 clients of a dual-stack socket are IPv4 clients.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// What namespace `from` gets when it connects.
pub fn fetch(from: &str, ip: &str, port: u16) -> String {
    inside(from, || {
        let mut stream = TcpStream::connect_timeout(&address(ip, port), PATIENCE)
            .unwrap_or_else(|e| panic!("{from} → {ip}:{port}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

/// Whether `from` can connect at all.
pub fn reaches(from: &str, ip: &str, port: u16) -> bool {
    inside(from, || TcpStream::connect_timeout(&address(ip, port), REFUSED_AFTER).is_ok())
}

/// What `from` gets back for a datagram; empty when nothing comes.
pub fn ask_udp(from: &str, ip: &str, port: u16) -> String {
    let socket = inside(from, || UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    ask_on(&socket, ip, port)
}

/// [`ask_udp`] with a socket of the caller's: the same flow each time.
pub fn ask_on(socket: &UdpSocket, ip: &str, port: u16) -> String {
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.send_to(b"?", address(ip, port)).unwrap();
    let mut buffer = [0; 64];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            assert_eq!(from, address(ip, port), "the answer comes from where the question went");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
        Err(_) => String::new(),
    }
}

/// Everything on the host that an attach may leave behind.
pub fn host_dump() -> String {
    // Counters, timers and the numbers of what came and went do not matter.
    let links = sh(
        "ip -o -d link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/(hello|tcn|topology_change|gc)_timer +[0-9.]+//g' | sort",
    );
    format!("{links}{}{}", sh("ip -o addr | sed -E 's/^[0-9]+: //' | sort"), sh("nft list ruleset"))
}
