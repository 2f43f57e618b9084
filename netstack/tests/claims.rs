//! Claims against a real kernel. Each test runs in a network namespace of its
//! own: it starts itself again below unshare(1), so that ports bound here are
//! nobody else's and the machine's own network is never touched.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rcnt_base::ids::ContainerId;
use rcnt_netstack::claims::{self, ClaimError, ClaimRequest, Claims, ClaimsUndo, reap, release};
use rcnt_netstack::network::Network;
use rcnt_netstack::ports::{PortSpec, Protocol, PublishedPort};
use rcnt_netstack::relay::Relays;
use rustix::net::{AddressFamily, SocketType, sockopt};

const INSIDE: &str = "RCNT_TEST_INSIDE";

/// Runs `test` in a new network namespace with `lo` up.
fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        return test();
    }
    let root = rustix::process::getuid().is_root();
    let output = Command::new("timeout")
        .args(["100", "unshare", if root { "-n" } else { "-rn" }, "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    print!("{}", text(&output.stdout));
}

fn network(subnet6: bool) -> Network {
    serde_json::from_value(serde_json::json!({
        "name": "bridge", "id": "0".repeat(64), "created": "2026-01-02T03:04:05Z",
        "enable_ipv4": true, "enable_ipv6": subnet6,
        "addresses": {
            "subnet4": "10.90.0.0/24", "gateway4": "10.90.0.1",
            "subnet6": subnet6.then_some("fd00:1::/64"),
            "gateway6": subnet6.then_some("fd00:1::1"),
        },
        "kind": { "driver": "bridge", "interface": "rcnt0", "alias": "rcnt:/x", "mtu": 1500 },
    }))
    .unwrap()
}

fn id(n: u32) -> ContainerId {
    format!("{n:064x}").parse().unwrap()
}

struct Bench {
    dir: tempfile::TempDir,
    network: Network,
}

impl Bench {
    fn new(v6: bool) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), network: network(v6) }
    }

    fn take(&self, n: u32, name: &str, ports: &[&str]) -> Result<Claims, ClaimError> {
        let ports: Vec<PortSpec> = ports.iter().map(|p| p.parse().unwrap()).collect();
        Claims::take(&ClaimRequest {
            exec_root: self.dir.path(),
            owner: &id(n),
            owner_name: name,
            network: &self.network,
            address4: None,
            address6: None,
            lease: true,
            relay: Relays::Nothing,
            ports: &ports,
        })
    }

    fn refused(&self, ports: &[&str]) -> String {
        let error = self.take(99, "late", ports).unwrap_err();
        rcnt_base::report::chain(&error)
    }

    /// Every claim file, sorted; the temporary record too if one stayed behind.
    fn files(&self) -> Vec<String> {
        let list = |dir: &str| {
            let dir = self.dir.path().join(dir);
            let entries = std::fs::read_dir(dir).into_iter().flatten();
            entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .filter(|n| !["ports", "networks", "arena", "claims.lock"].contains(&n.as_str()))
                .collect::<Vec<_>>()
        };
        let mut all: Vec<String> = ["", "ports", "networks/bridge/ip"].map(list).concat();
        all.sort();
        all
    }
}

fn show(claims: &Claims) -> String {
    claims.published.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn socket(v6: bool, udp: bool, reuse: bool) -> std::os::fd::OwnedFd {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let kind = if udp { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = rustix::net::socket(family, kind, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, reuse).unwrap();
    if v6 {
        sockopt::set_ipv6_v6only(&socket, true).unwrap();
    }
    socket
}

fn try_bind(address: &str, udp: bool, reuse: bool) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    let socket = socket(address.is_ipv6(), udp, reuse);
    let bound = rustix::net::bind(&socket, &address).is_ok();
    bound && (udp || rustix::net::listen(&socket, 1).is_ok())
}

#[test]
fn a_claimed_port_is_closed_to_every_other_program() {
    isolated("a_claimed_port_is_closed_to_every_other_program", || {
        let bench = Bench::new(true);
        let claims = bench.take(1, "web", &["8080:80", "53:53/udp", "127.0.0.1:9000:90"]).unwrap();
        assert_eq!(
            show(&claims),
            "0.0.0.0:8080->80/tcp [::]:8080->80/tcp 0.0.0.0:53->53/udp [::]:53->53/udp \
             127.0.0.1:9000->90/tcp"
        );
        for reuse in [false, true] {
            for address in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", "[::1]:8080"] {
                assert!(!try_bind(address, false, reuse), "{address} reuse {reuse}");
                assert!(try_bind(address, true, reuse), "udp {address} is another port");
            }
            for address in ["0.0.0.0:53", "127.0.0.1:53", "[::1]:53"] {
                assert!(!try_bind(address, true, reuse), "udp {address} reuse {reuse}");
            }
            assert!(!try_bind("127.0.0.1:9000", false, reuse));
            assert!(!try_bind("0.0.0.0:9000", false, reuse));
            assert!(try_bind("127.0.0.2:9000", false, reuse));
        }
        // What our rules do not redirect is refused at once, not left waiting.
        let refused = TcpStream::connect("127.0.0.1:8080").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(claims);
        assert!(try_bind("0.0.0.0:8080", false, false));
        assert_eq!(bench.files(), Vec::<String>::new());
    });
}

#[test]
fn a_conflict_names_the_container() {
    isolated("a_conflict_names_the_container", || {
        let bench = Bench::new(false);
        let _web = bench.take(1, "web", &["8080:80", "127.0.0.1:81:81", "5000:5/sctp"]).unwrap();
        let before = bench.files();
        assert_eq!(
            bench.refused(&["8080:80"]),
            "Bind for 0.0.0.0:8080 failed: port is already allocated: \
             address already in use: 8080/tcp is held by container web"
        );
        for ports in
            ["127.0.0.1:8080:80", "0.0.0.0:8080:80", "81:81", "0.0.0.0:81:1", "5000:6/sctp"]
        {
            let text = bench.refused(&["1234:1", ports]);
            assert!(text.ends_with("is held by container web"), "{ports}: {text}");
            assert_eq!(bench.files(), before, "all or nothing: {ports}");
        }
        let error = bench.take(2, "x", &["8080:80"]).unwrap_err();
        assert_eq!(error.holder(), Some(&id(1)));
        assert_eq!(
            show(&bench.take(3, "y", &["127.0.0.2:81:81"]).unwrap()),
            "127.0.0.2:81->81/tcp"
        );
    });
}

#[test]
fn a_conflict_names_the_program() {
    isolated("a_conflict_names_the_program", || {
        let bench = Bench::new(false);
        let me = std::process::id();
        let _tcp = TcpListener::bind("127.0.0.1:8080").unwrap();
        let _udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        let _six = TcpListener::bind("[::1]:86").unwrap();
        for (ports, port) in [("8080:80", "8080/tcp"), ("53:53/udp", "53/udp"), ("86:1", "86/tcp")]
        {
            let text = bench.refused(&[ports]);
            assert!(text.contains("port is already allocated: address already in use: "), "{text}");
            assert!(text.contains(&format!("{port} is held by ")), "{text}");
            assert!(text.ends_with(&format!("(pid {me})")), "{text}");
        }
        assert_eq!(bench.files(), Vec::<String>::new());
        let text = bench.refused(&["192.0.2.77:80:80"]);
        assert!(text.starts_with("Bind for 192.0.2.77:80 failed: Cannot assign"), "{text}");
        let text = bench.refused(&["[::1]:80:80"]);
        assert_eq!(text, "cannot publish [::1]:80:80/tcp: network bridge has no IPv6 subnet");
    });
}

#[test]
fn a_conflict_names_another_instance() {
    isolated("a_conflict_names_another_instance", || {
        let (one, two) = (Bench::new(false), Bench::new(false));
        let _held = one.take(1, "web", &["8080:80", "53:53/udp"]).unwrap();
        assert!(two.refused(&["53:53/udp"]).ends_with(&format!("(pid {})", std::process::id())));
        let text = two.refused(&["8080:80"]);
        let silent = text.ends_with("8080/tcp is held by another process");
        let named = text.ends_with(&format!("(pid {})", std::process::id()));
        // Linux 6.8 tells of sockets that are bound and nothing else.
        assert!(named || (silent && kernel_before(6, 8)), "{text}");
        assert_eq!(two.files(), Vec::<String>::new());
    });
}

fn kernel_before(major: u32, minor: u32) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) < (Some(major), Some(minor))
}

#[test]
fn connections_still_closing_do_not_hold_a_port() {
    isolated("connections_still_closing_do_not_hold_a_port", || {
        let bench = Bench::new(true);
        // std's listeners set SO_REUSEADDR, as servers do; closing first leaves TIME_WAIT behind.
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            let server = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(address).unwrap();
            drop(server.accept().unwrap());
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
        assert!(!try_bind("0.0.0.0:8080", false, false), "TIME_WAIT is there");
        let claims = bench.take(1, "web", &["8080:80"]).unwrap();
        for reuse in [false, true] {
            for address in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", "[::1]:8080"] {
                assert!(!try_bind(address, false, reuse), "{address} reuse {reuse}");
            }
        }
        assert!(TcpStream::connect("127.0.0.1:8080").is_err());
        // A client's port, bound to be shared and never listened on: the kernel remembers that.
        let _server = TcpListener::bind("127.0.0.1:7000").unwrap();
        let client = socket(false, false, true);
        rustix::net::bind(&client, &"127.0.0.1:8090".parse::<SocketAddr>().unwrap()).unwrap();
        rustix::net::connect(&client, &"127.0.0.1:7000".parse::<SocketAddr>().unwrap()).unwrap();
        let other = bench.take(2, "x", &["8090:80"]).unwrap();
        for address in ["0.0.0.0:8090", "127.0.0.1:8090"] {
            assert!(!try_bind(address, false, true), "{address}");
        }
        drop((other, client));
        // Restarted at once.
        drop(claims);
        bench.take(1, "web", &["8080:80"]).unwrap();
        // A listener is never talked over, however willing to share.
        let _server = TcpListener::bind("127.0.0.1:8080").unwrap();
        assert!(bench.take(1, "web", &["8080:80"]).is_err());
    });
}

#[test]
fn ranges_ephemeral_ports_and_one_of_many() {
    isolated("ranges_ephemeral_ports_and_one_of_many", || {
        let bench = Bench::new(false);
        let a = bench.take(1, "a", &["8000-8002:80", "8000-8002:81", "9000-9001:90-91"]).unwrap();
        assert_eq!(
            show(&a),
            "0.0.0.0:8000->80/tcp 0.0.0.0:8001->81/tcp 0.0.0.0:9000->90/tcp 0.0.0.0:9001->91/tcp"
        );
        let b = bench
            .take(2, "b", &["8000-8002:80", "70", "71-72", "127.0.0.1::73", "80/udp"])
            .unwrap();
        assert_eq!(b.published[0].host_port, 8002);
        let ephemeral: BTreeSet<u16> = b.published[1..].iter().map(|p| p.host_port).collect();
        assert_eq!(b.published[1..].len(), 5);
        assert!(ephemeral.iter().all(|p| *p >= 32768), "{ephemeral:?}");
        assert_eq!(b.reservations.len(), 6);
        assert_eq!(
            bench.refused(&["8000-8002:80"]),
            "Bind for 8000-8002:80/tcp failed: all ports are allocated"
        );
        let all = bench.take(3, "c", &["20000-20999:1-1000"]).unwrap();
        assert_eq!((all.published.len(), all.reservations.len()), (1000, 1000));
    });
}

#[test]
fn no_two_get_the_same_ephemeral_port_or_address() {
    isolated("no_two_get_the_same_ephemeral_port_or_address", || {
        let bench = Bench::new(true);
        let taken: Vec<Claims> = std::thread::scope(|scope| {
            let bench = &bench;
            let threads: Vec<_> = (0..24)
                .map(|n| {
                    scope.spawn(move || {
                        (0..5)
                            .map(|m| bench.take(n * 10 + m, "x", &["80", "80/udp"]).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        let addresses: BTreeSet<_> = taken.iter().map(|c| c.lease.clone().unwrap().v4).collect();
        assert_eq!(addresses.len(), 120);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ports: BTreeSet<u16> = taken
                .iter()
                .flat_map(|c| &c.published)
                .filter(|p| p.protocol == protocol)
                .map(|p| p.host_port)
                .collect();
            assert_eq!(ports.len(), 120);
        }
        drop(taken);
        assert_eq!(bench.files(), Vec::<String>::new());
    });
}

#[test]
fn release_frees_only_the_owners_claims_and_twice_is_fine() {
    isolated("release_frees_only_the_owners_claims_and_twice_is_fine", || {
        let bench = Bench::new(true);
        let root = bench.dir.path();
        let claims = bench.take(1, "a", &["8080:80"]).unwrap();
        let json = serde_json::to_string(claims.undo()).unwrap();
        let undo = serde_json::from_str(&json).unwrap();
        let sockets = claims.keep();
        assert_eq!(bench.files().len(), 4, "{:?}", bench.files());
        assert!(bench.take(2, "b", &["8080:80"]).is_err());
        drop(sockets);
        // Nobody holds the port any more, but the claim stands until it is released.
        for ports in ["8080:80", "127.0.0.1:8080:80", "[::1]:8080:80"] {
            assert_eq!(bench.take(2, "b", &[ports]).unwrap_err().holder(), Some(&id(1)), "{ports}");
        }
        release(root, &undo).unwrap();
        release(root, &undo).unwrap();
        assert_eq!(bench.files(), Vec::<String>::new());
        let other = bench.take(2, "b", &["8080:80"]).unwrap();
        release(root, &undo).unwrap();
        assert!(bench.files().iter().any(|f| f == "tcp-0.0.0.0-8080"));
        drop(other);
        release(Path::new("/nonexistent/exec"), &undo).unwrap();
    });
}

#[test]
fn a_damaged_undo_list_touches_nothing_outside_the_exec_root() {
    isolated("a_damaged_undo_list_touches_nothing_outside_the_exec_root", || {
        let bench = Bench::new(true);
        let root = bench.dir.path();
        let claims = bench.take(1, "a", &["8080:80"]).unwrap();
        // The owner's own record, but elsewhere.
        let outside = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
        let victim = outside.path().join("victim");
        std::fs::hard_link(root.join("ports/tcp-0.0.0.0-8080"), &victim).unwrap();
        let name = outside.path().file_name().unwrap().to_str().unwrap();
        let mut undo = claims.undo().clone();
        undo.files = vec![
            victim.clone(),
            format!("../{name}/victim").into(),
            format!("ports/../../{name}/victim").into(),
            "".into(),
            "ports".into(),
        ];
        release(root, &undo).unwrap();
        assert!(victim.exists());
    });
}

#[test]
fn reap_frees_the_dead_and_only_them() {
    isolated("reap_frees_the_dead_and_only_them", || {
        let bench = Bench::new(false);
        let root = bench.dir.path();
        drop(bench.take(1, "taker-lives", &["81:1"]).unwrap().keep());
        let mut worker = Worker::start(root, 2, "hold");
        worker.wait_for_lease();
        worker.kill();
        let all = bench.files();
        assert!(all.len() >= 3, "{all:?}");
        assert_eq!(reap(root, &|owner| *owner == id(2)).unwrap().len(), 0);
        assert_eq!(bench.files(), all);
        assert!(!reap(root, &|_| false).unwrap().is_empty());
        assert_eq!(bench.files(), ["10.90.0.2", "tcp-0.0.0.0-81", "tcp-::-81"]);
        std::fs::write(root.join("ports/tcp-0.0.0.0-82"), "").unwrap();
        assert_eq!(reap(root, &|_| true).unwrap().len(), 1, "a damaged claim is nobody's");
    });
}

#[test]
fn sockets_cost_microseconds() {
    isolated("sockets_cost_microseconds", || {
        let bench = Bench::new(true);
        let since = Instant::now();
        let one = bench.take(1, "a", &["8080:80"]).unwrap();
        let first = since.elapsed();
        let since = Instant::now();
        let two = bench.take(2, "b", &["8081:80"]).unwrap();
        let second = since.elapsed();
        let since = Instant::now();
        let many = bench.take(3, "c", &["20000-20999:1-1000"]).unwrap();
        let thousand = since.elapsed();
        println!("one port: {first:?} then {second:?}; 1000 ports: {thousand:?}");
        drop((one, two));
        let since = Instant::now();
        drop(many);
        println!("released 1000 in {:?}", since.elapsed());
        assert!(thousand < Duration::from_secs(2), "{thousand:?}");
    });
}

/// A process that leases and gives back until it is killed.
struct Worker(Child, BufReader<std::process::ChildStdout>);

const WORKER: &str = "RCNT_TEST_WORKER";

impl Worker {
    /// `then` is what follows the first lease: `churn` or `hold`.
    fn start(root: &Path, n: u32, then: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(WORKER, format!("{n} {then} {}", root.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn wait_for_lease(&mut self) {
        let mut line = String::new();
        while !line.contains("lease ") {
            line.clear();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "the worker ended");
        }
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Not a test: the body of [`Worker`]. Whoever holds an address owns its file in `arena`; finding
/// one there is the double lease that must never be.
#[test]
#[ignore = "started by other tests as a process of its own"]
fn worker() {
    let Ok(arguments) = std::env::var(WORKER) else { return };
    let mut arguments = arguments.splitn(3, ' ');
    let mut argument = || arguments.next().unwrap();
    let (n, then, root) = (argument(), argument(), Path::new(argument()));
    let arena = root.join("arena");
    std::fs::create_dir_all(&arena).unwrap();
    // So small that addresses come back while others still hold theirs.
    let mut bench = network(true);
    bench.addresses.as_mut().unwrap().subnet4 = "10.90.0.0/28".parse().unwrap();
    let mut held: Vec<(Claims, IpAddr)> = Vec::new();
    for round in 0u64.. {
        let specs: Vec<PortSpec> = vec!["3000-3009:80".parse().unwrap(), "80".parse().unwrap()];
        let taken = Claims::take(&ClaimRequest {
            exec_root: root,
            owner: &id(n.parse().unwrap()),
            owner_name: "worker",
            network: &bench,
            address4: None,
            address6: None,
            lease: true,
            relay: Relays::Nothing,
            ports: if round % 2 == 0 { &specs } else { &[] },
        });
        if let Ok(claims) = taken {
            let address = IpAddr::V4(claims.lease.as_ref().map_or(Ipv4Addr::LOCALHOST, |l| l.v4));
            // A symbolic link appears with its content or not at all.
            std::os::unix::fs::symlink(n, arena.join(address.to_string()))
                .unwrap_or_else(|e| panic!("double lease of {address}: {e}"));
            println!("lease {address}");
            held.push((claims, address));
            if then == "hold" {
                std::thread::sleep(Duration::from_secs(90));
            }
        }
        while held.len() > 4 || (round % 3 == 0 && !held.is_empty()) {
            let (claims, address) = held.remove(0);
            std::fs::remove_file(arena.join(address.to_string())).unwrap();
            drop(claims);
        }
    }
}

#[test]
fn no_address_is_leased_twice_whoever_is_killed_and_when() {
    isolated("no_address_is_leased_twice_whoever_is_killed_and_when", || {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut workers: Vec<Worker> = (0..4).map(|n| Worker::start(root, n, "churn")).collect();
        for round in 0..24u32 {
            let n = round % 4;
            let slot = &mut workers[n as usize];
            slot.wait_for_lease();
            // Anything between two system calls.
            std::thread::sleep(Duration::from_micros(u64::from(round * 377 % 3000)));
            slot.kill();
            let mut output = String::new();
            slot.1.read_to_string(&mut output).unwrap();
            assert!(!output.contains("FAILED"), "{output}");
            for entry in std::fs::read_dir(root.join("arena")).unwrap() {
                let path = entry.unwrap().path();
                if std::fs::read_link(&path).is_ok_and(|owner| owner == Path::new(&n.to_string())) {
                    std::fs::remove_file(path).unwrap();
                }
            }
            reap(root, &|_| false).unwrap();
            *slot = Worker::start(root, n, "churn");
        }
        for worker in &mut workers {
            assert!(worker.0.try_wait().unwrap().is_none(), "a worker met a double lease");
            worker.kill();
        }
        reap(root, &|_| false).unwrap();
        let left = |dir: &str| std::fs::read_dir(root.join(dir)).unwrap().count();
        assert_eq!((left("ports"), left("networks/bridge/ip")), (0, 0));
        let temporary = |e: std::io::Result<std::fs::DirEntry>| {
            e.unwrap().file_name().to_string_lossy().starts_with(".claim.")
        };
        assert!(!std::fs::read_dir(root).unwrap().any(temporary));
    });
}

/// What happens to ports, in any order.
#[derive(Debug, Clone)]
enum Step {
    /// A container asks for these.
    Take(Vec<&'static str>),
    /// One gives its own back.
    GiveBack(usize),
    /// One is killed: its sockets are gone, its files are not.
    Crash(usize),
    /// The next command takes back what the dead had written down.
    Repair,
}

fn step() -> impl Strategy<Value = Step> {
    let spec = proptest::sample::select(vec![
        "4000:80",
        "4001:80",
        "4000:80/udp",
        "0.0.0.0:4000:80",
        "127.0.0.1:4000:80",
        "127.0.0.1:4001:80",
        "[::]:4000:80",
        "[::1]:4000:80",
        "4000-4002:80-82",
        "4000-4003:80",
        "127.0.0.1:4000-4003:80",
        "80",
        "127.0.0.1::80",
    ]);
    prop_oneof![
        5 => proptest::collection::vec(spec, 1..4).prop_map(Step::Take),
        2 => any::<usize>().prop_map(Step::GiveBack),
        1 => any::<usize>().prop_map(Step::Crash),
        1 => Just(Step::Repair),
    ]
}

/// Whether nobody else can have the one port while somebody has the other.
fn meet(a: &PublishedPort, b: &PublishedPort) -> bool {
    (a.protocol, a.host_port) == (b.protocol, b.host_port)
        && a.host_ip.is_ipv4() == b.host_ip.is_ipv4()
        && (a.host_ip == b.host_ip || a.host_ip.is_unspecified() || b.host_ip.is_unspecified())
}

/// The ports of all claims, dead or alive, on a model and on disk.
#[derive(Default)]
struct Held {
    alive: Vec<(u32, Claims)>,
    dead: Vec<(ClaimsUndo, Vec<PublishedPort>)>,
}

impl Held {
    fn all(&self) -> Vec<Vec<PublishedPort>> {
        let alive = self.alive.iter().map(|(_, claims)| claims.published.clone());
        alive.chain(self.dead.iter().map(|(_, ports)| ports.clone())).collect()
    }

    /// The living share nothing. What the dead hold at an address is nobody's before it is
    /// taken back, which every command does before it claims (so that a port at every
    /// address need not look for dead ones at single addresses).
    fn check(&self, bench: &Bench) {
        let alive: Vec<&[PublishedPort]> =
            self.alive.iter().map(|(_, claims)| &claims.published[..]).collect();
        for (n, one) in alive.iter().enumerate() {
            let others = alive.iter().skip(n + 1).copied().flatten();
            let twice = others.filter(|port| one.iter().any(|own| meet(own, port))).count();
            assert_eq!(twice, 0, "held twice: {alive:?}");
            let dead = self.dead.iter().flat_map(|(_, ports)| ports);
            let same = |port: &&PublishedPort| {
                one.iter().any(|own| claims::file_of(own) == claims::file_of(port))
            };
            assert_eq!(dead.filter(same).count(), 0, "held by the dead: {one:?}");
        }
        let all = self.all();
        let mut files: Vec<String> = all
            .iter()
            .flatten()
            .map(|port| claims::file_of(port).file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let there = bench.files();
        let there: Vec<&String> =
            there.iter().filter(|f| files.contains(f) || is_port(f)).collect();
        assert_eq!(there, files.iter().collect::<Vec<_>>());
    }

    fn step(&mut self, bench: &Bench, number: u32, step: &Step) {
        match step {
            Step::Take(specs) => {
                let before = bench.files();
                match bench.take(number, "web", specs) {
                    Ok(claims) => self.alive.push((number, claims)),
                    Err(_) => assert_eq!(bench.files(), before, "{specs:?} left something"),
                }
            }
            Step::GiveBack(which) if !self.alive.is_empty() => {
                drop(self.alive.remove(which % self.alive.len()));
            }
            Step::Crash(which) if !self.alive.is_empty() => {
                let (_, claims) = self.alive.remove(which % self.alive.len());
                self.dead.push((claims.undo().clone(), claims.published.clone()));
                drop(claims.keep());
            }
            Step::Repair => {
                for (undo, _) in self.dead.drain(..) {
                    release(bench.dir.path(), &undo).unwrap();
                }
            }
            Step::GiveBack(_) | Step::Crash(_) => {}
        }
    }
}

fn is_port(file: &str) -> bool {
    file.starts_with("tcp-") || file.starts_with("udp-")
}

#[test]
fn no_port_is_held_twice_whatever_is_asked_for_given_back_and_killed() {
    isolated("no_port_is_held_twice_whatever_is_asked_for_given_back_and_killed", || {
        let config = ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() };
        let steps = proptest::collection::vec(step(), 1..24);
        TestRunner::new(config)
            .run(&steps, |steps| {
                let (bench, mut held) = (Bench::new(true), Held::default());
                for (number, step) in (1..).zip(&steps) {
                    held.step(&bench, number, step);
                    held.check(&bench);
                }
                // What nobody holds can be had: refusals were for a reason.
                held.alive.clear();
                held.step(&bench, 0, &Step::Repair);
                let all = ["4000-4003:80-83", "4000:80/udp"];
                let free = bench.take(1000, "last", &all).map(|claims| claims.published.len());
                prop_assert_eq!(free.map_err(|e| e.to_string()), Ok(10));
                Ok(())
            })
            .unwrap();
    });
}
