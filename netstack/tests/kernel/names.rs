//! The resolver against a real kernel: real clients inside a container's namespace,
//! name servers outside that behave, lie, keep silent or cut short.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rcode};
use domain::base::message_builder::MessageBuilder;
use domain::base::{Message, Name, Rtype, Ttl};
use domain::rdata::{A, AllRecordData, Txt};
use rcnt_netstack::dns::{NamesPlan, Resolver};
use rcnt_netstack::members::{self, Member};
use rcnt_netstack::plan::Mac;
use rustix::event::{Timespec, poll};
use rustix::net::{self, AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::cases::{Case, cases};
use crate::world::{inside, sh};

cases![
    names_are_answered_inside_and_nowhere_else,
    a_server_of_the_containers_own_keeps_its_port,
    the_hosts_servers_are_asked_from_the_host,
    a_server_behind_an_interface_is_asked_there,
    silent_and_failing_servers_are_passed_over,
    refusals_lead_to_the_next_server_and_denials_do_not,
    a_flood_of_questions_is_bounded,
    a_question_that_comes_back_ends,
    strange_questions_are_refused,
    forged_answers_are_not_taken,
    long_answers_come_over_tcp,
    an_internal_network_tells_nobody,
    stalling_tcp_clients_delay_nobody,
    who_finds_no_descriptor_left_is_let_in_later,
    noise_is_survived,
];

const HERE: &str = "127.0.0.11:53";

/// A container's namespace `c1` with a veth to the host, and its resolver in a thread.
struct Inside {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn member(digit: &str, name: &str, last: u8) -> Member {
    Member {
        id: digit.repeat(64).parse().unwrap(),
        name: name.into(),
        aliases: vec!["api".into()],
        links: Vec::new(),
        address4: Some(Ipv4Addr::new(10, 90, 0, last)),
        address6: None,
        mac: Mac([2, 0, 0, 0, 0, last]),
        interface: String::new(),
        host_interface: String::new(),
        endpoint_id: String::new(),
    }
}

fn start(servers: &[&str], internal: bool) -> Inside {
    sh("ip link set lo up
        ip netns add c1
        ip link add v0 type veth peer name eth0 netns c1
        ip addr add 10.90.0.1/24 dev v0; ip link set v0 up
        ip -n c1 link set lo up; ip -n c1 addr add 10.90.0.2/24 dev eth0; ip -n c1 link set eth0 up
        ip -n c1 route add default via 10.90.0.1
        mkdir /run/x /run/aside; touch /run/resolv.conf
        mount --bind /run/resolv.conf $(readlink -f /etc/resolv.conf)");
    let root = std::path::Path::new("/run/x");
    let name: rcnt_base::ids::Name = "front".parse().unwrap();
    for (digit, called, last) in [("a", "web", 2), ("b", "db", 3)] {
        members::add(root, &name, &member(digit, called, last), "/run/aside".as_ref()).unwrap();
    }
    let plan = NamesPlan {
        exec_root: root.into(),
        container: "a".repeat(64).parse().unwrap(),
        networks: vec![name],
        forwards: !internal,
        servers: servers.iter().map(|ip| ip.parse().unwrap()).collect(),
        search: Vec::new(),
        ndots: 0,
        listed: None,
    };
    let netns = std::fs::File::open("/run/netns/c1").unwrap();
    let mut resolver = Resolver::open(plan, netns.into()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let deadline = resolver.deadline().map(|d| d.saturating_duration_since(Instant::now()));
            let wait = deadline.unwrap_or(Duration::MAX).min(Duration::from_millis(20));
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
            let mut fds = resolver.poll_fds();
            let _ = poll(&mut fds, Some(&wait));
            let news = fds.map(|fd| fd.revents());
            resolver.serve(news);
        }
    });
    Inside { stop, thread: Some(thread) }
}

fn hosts_servers(text: &str) {
    sh(&format!("printf '{text}' >/run/resolv.conf"));
}

fn query(name: &str, kind: Rtype, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x4242);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::vec_from_str(name).unwrap(), kind, Class::IN)).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = edns {
        builder
            .opt(|o| {
                o.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

fn udp(bytes: &[u8]) -> Vec<u8> {
    inside("c1", || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        socket.connect(HERE).unwrap();
        socket.send(bytes).unwrap();
        let mut buffer = [0; 65_535];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    })
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn connect() -> TcpStream {
    let stream = inside("c1", || TcpStream::connect(HERE).unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    stream
}

fn tcp(bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect();
    stream.write_all(&framed(bytes)).unwrap();
    read_framed(&mut stream)
}

/// `RCODE record record …`, and `cut` behind the code.
fn show(answer: &[u8]) -> String {
    let message = Message::from_slice(answer).unwrap();
    assert!(message.header().qr() && message.header().id() == 0x4242);
    let mut text = message.header().rcode().to_string();
    if message.header().tc() {
        text.push_str(" cut");
    }
    for record in message.answer().unwrap().limit_to::<AllRecordData<_, _>>() {
        text.push_str(&format!(" {}", record.unwrap().data()));
    }
    text
}

fn ask(name: &str) -> String {
    show(&udp(&query(name, Rtype::A, None)))
}

/// The answer of a name server to `asked`: one address, or a long text.
fn reply(asked: &[u8], address: &str, rcode: Rcode) -> Vec<u8> {
    let asked = Message::from_slice(asked).unwrap();
    let question = asked.sole_question().unwrap();
    let mut builder = MessageBuilder::new_vec().start_answer(asked, rcode).unwrap();
    if question.qtype() == Rtype::TXT {
        let text: Txt<Vec<u8>> = Txt::build_from_slice(&[b'x'; 3000]).unwrap();
        builder.push((question.qname(), Class::IN, Ttl::from_secs(77), text)).unwrap();
    } else if rcode == Rcode::NOERROR {
        let address = A::new(address.parse().unwrap());
        builder.push((question.qname(), Class::IN, Ttl::from_secs(77), address)).unwrap();
    }
    builder.finish()
}

/// A name server in a namespace; `answer` makes the datagrams it sends for one it got.
/// Counts what it got.
fn name_server(
    netns: &str,
    address: &str,
    answer: impl Fn(&[u8], u32) -> Vec<Vec<u8>> + Send + 'static,
) -> Arc<AtomicU32> {
    let socket = inside(netns, || UdpSocket::bind((address, 53)).unwrap());
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let nth = counter.fetch_add(1, Ordering::Relaxed);
            for message in answer(&buffer[..length], nth) {
                socket.send_to(&message, from).unwrap();
            }
        }
    });
    count
}

fn honest(address: &'static str) -> impl Fn(&[u8], u32) -> Vec<Vec<u8>> + Send + 'static {
    move |asked, _| vec![reply(asked, address, Rcode::NOERROR)]
}

/// The same over TCP; counts connections.
fn tcp_name_server(netns: &str, address: &str) -> Arc<AtomicU32> {
    let listener = inside(netns, || TcpListener::bind((address, 53)).unwrap());
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut stream = stream.unwrap();
            let asked = read_framed(&mut stream);
            let answer = framed(&reply(&asked, "192.0.2.80", Rcode::NOERROR));
            // In two parts: a reader must not believe in whole messages.
            stream.write_all(&answer[..3]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&answer[3..]).unwrap();
        }
    });
    count
}

fn names_are_answered_inside_and_nowhere_else() {
    let _inside = start(&[], false);
    assert_eq!(ask("web"), "NOERROR 10.90.0.2");
    assert_eq!(ask("DB.front."), "NOERROR 10.90.0.3");
    assert_eq!(show(&tcp(&query("db", Rtype::A, Some(1232)))), "NOERROR 10.90.0.3");
    assert_eq!(show(&udp(&query("db", Rtype::AAAA, None))), "NOERROR");
    assert_eq!(show(&udp(&query("3.0.90.10.in-addr.arpa", Rtype::PTR, None))), "NOERROR db.front.");
    // A renamed neighbour, and a client that is bound to the container's address.
    let (root, name) = ("/run/x".as_ref(), "front".parse().unwrap());
    members::add(root, &name, &member("b", "store", 3), "/run/aside".as_ref()).unwrap();
    assert_eq!(ask("store"), "NOERROR 10.90.0.3");
    assert_eq!(
        show(&udp(&query("3.0.90.10.in-addr.arpa", Rtype::PTR, None))),
        "NOERROR store.front."
    );
    let bound = inside("c1", || {
        let socket = UdpSocket::bind("10.90.0.2:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.send_to(&query("web", Rtype::A, None), HERE).unwrap();
        let mut buffer = [0; 512];
        socket.recv_from(&mut buffer).map(|(n, from)| (show(&buffer[..n]), from))
    });
    assert_eq!(bound.unwrap(), ("NOERROR 10.90.0.2".into(), HERE.parse::<SocketAddr>().unwrap()));
    // A neighbour that forges a route, on a container that lets it: on every port.
    sh("ip netns exec c1 sysctl -qw net.ipv4.conf.all.route_localnet=1
        ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1
        ip route add 127.0.0.11 via 10.90.0.2 src 10.90.0.1");
    let own = sh("ip netns exec c1 ss -Huln | grep -o '127.0.0.11[^ ]*' | grep -o '[0-9]*$'");
    for port in [53, own.trim().parse().unwrap()] {
        let socket = UdpSocket::bind("10.90.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send_to(&query("web", Rtype::A, None), ("127.0.0.11", port)).unwrap();
        assert!(socket.recv_from(&mut [0; 512]).is_err(), "answered on port {port}");
        let to = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 11), port));
        assert!(TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_err());
    }
}

fn a_server_of_the_containers_own_keeps_its_port() {
    let _inside = start(&[], false);
    name_server("c1", "0.0.0.0", honest("192.0.2.1"));
    tcp_name_server("c1", "0.0.0.0");
    let asked = query("anything", Rtype::A, None);
    let own = inside("c1", || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&asked, "127.0.0.1:53").unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        show(&buffer[..length])
    });
    assert_eq!(own, "NOERROR 192.0.2.1");
    assert_eq!(ask("web"), "NOERROR 10.90.0.2");
    assert_eq!(show(&tcp(&query("web", Rtype::A, None))), "NOERROR 10.90.0.2");
}

fn the_hosts_servers_are_asked_from_the_host() {
    let inside = start(&[], false);
    assert_eq!(ask("example.com"), "SERVFAIL", "without any server");
    sh("ip addr add 127.0.0.53/8 dev lo");
    name_server("host", "127.0.0.53", honest("192.0.2.53"));
    hosts_servers("nameserver 127.0.0.53\\n");
    assert_eq!(ask("example.com"), "NOERROR 192.0.2.53");
    // TTL and names come as they were sent.
    let answer = udp(&query("eXample.com", Rtype::A, Some(1400)));
    let message = Message::from_slice(&answer).unwrap();
    let record = message.answer().unwrap().next().unwrap().unwrap();
    assert_eq!(
        (record.ttl(), record.owner().to_string().as_str()),
        (Ttl::from_secs(77), "eXample.com")
    );
    // The file changes: the next question goes elsewhere.
    name_server("host", "10.90.0.1", honest("192.0.2.99"));
    hosts_servers("nameserver 10.90.0.1\\n");
    assert_eq!(ask("example.com"), "NOERROR 192.0.2.99");
    drop(inside);
    // The kernel would remove the pair a moment later.
    sh(
        "ip link del v0; ip netns del c1; umount $(readlink -f /etc/resolv.conf); rm -r /run/x /run/aside",
    );
    // --dns: from inside the container.
    let _inside = start(&["127.0.0.11", "127.0.0.5"], false);
    let count = name_server("c1", "127.0.0.5", honest("192.0.2.5"));
    assert_eq!(ask("example.com"), "NOERROR 192.0.2.5");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

fn a_server_behind_an_interface_is_asked_there() {
    let _inside = start(&[], false);
    sh("ip link add v1 type veth peer name v2; ip link set v2 up; ip link set v1 up
        ip addr add fe80::98/64 dev v0 nodad; ip addr add fe80::97/64 dev v1 nodad
        ip -n c1 addr add fe80::99/64 dev eth0 nodad");
    let count = name_server("c1", "::", honest("192.0.2.6"));
    // The same address is nobody's behind the other.
    hosts_servers("nameserver fe80::99%%v1\\nnameserver fe80::99%%v0\\n");
    assert_eq!(ask("example.com"), "NOERROR 192.0.2.6");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let number = sh("cat /sys/class/net/v0/ifindex");
    hosts_servers(&format!("nameserver fe80::99%%{}\\n", number.trim()));
    assert_eq!(ask("example.org"), "NOERROR 192.0.2.6");
    hosts_servers("nameserver fe80::99%%gone\\n");
    assert_eq!(ask("example.net"), "SERVFAIL");
}

fn silent_and_failing_servers_are_passed_over() {
    let _inside = start(&[], false);
    let silent = name_server("host", "127.0.0.61", |_, _| Vec::new());
    name_server("host", "127.0.0.62", |asked, _| vec![reply(asked, "", Rcode::SERVFAIL)]);
    name_server("host", "127.0.0.63", honest("192.0.2.63"));
    name_server("host", "127.0.0.64", |asked, _| {
        std::thread::sleep(Duration::from_millis(2200));
        vec![reply(asked, "192.0.2.64", Rcode::NOERROR)]
    });
    let timed = |name: &str| {
        let before = Instant::now();
        (ask(name), before.elapsed().as_millis())
    };
    hosts_servers("nameserver 127.0.0.61\\nnameserver 127.0.0.62\\nnameserver 127.0.0.63\\n");
    let (answer, took) = timed("one.example");
    assert_eq!(answer, "NOERROR 192.0.2.63");
    assert!((1400..2500).contains(&took), "{took} ms");
    // Nobody waits for the silent one again.
    let (answer, took) = timed("two.example");
    assert!(answer == "NOERROR 192.0.2.63" && took < 500, "{answer} after {took} ms");
    assert_eq!(silent.load(Ordering::Relaxed), 1);
    // Port unreachable is known at once; a failure is told when nobody knows better.
    hosts_servers("nameserver 127.0.0.77\\nnameserver 127.0.0.62\\n");
    let (answer, took) = timed("three.example");
    assert!(answer == "SERVFAIL" && took < 500, "{answer} after {took} ms");
    // An answer to the first attempt is taken while the second is waited for.
    hosts_servers("nameserver 127.0.0.64\\n");
    let (answer, took) = timed("four.example");
    assert!(answer == "NOERROR 192.0.2.64" && took < 3500, "{answer} after {took} ms");
    // Nobody at all: the client hears so before it gives up.
    hosts_servers("nameserver 127.0.0.61\\n");
    let (answer, took) = timed("five.example");
    assert!(answer == "SERVFAIL" && (4000..5000).contains(&took), "{answer} after {took} ms");
}

fn refusals_lead_to_the_next_server_and_denials_do_not() {
    let _inside = start(&[], false);
    for (address, rcode) in [
        ("127.0.0.61", Rcode::REFUSED),
        ("127.0.0.62", Rcode::SERVFAIL),
        ("127.0.0.63", Rcode::NOTIMP),
        ("127.0.0.64", Rcode::NXDOMAIN),
    ] {
        name_server("host", address, move |asked, _| vec![reply(asked, "", rcode)]);
    }
    let knows = name_server("host", "127.0.0.65", honest("192.0.2.65"));
    let asked = |servers: &[u8]| {
        let line = |n: &u8| format!("nameserver 127.0.0.{n}\\n");
        hosts_servers(&servers.iter().map(line).collect::<String>());
        ask("x.example")
    };
    for poor in [61, 62, 63] {
        assert_eq!(asked(&[poor, 65]), "NOERROR 192.0.2.65", "after {poor}");
    }
    assert_eq!(asked(&[61, 62, 65]), "NOERROR 192.0.2.65");
    assert_eq!(knows.load(Ordering::Relaxed), 4);
    // Nobody knows: the last word that was said.
    assert_eq!(asked(&[62, 61]), "REFUSED");
    // "No such name" is an answer.
    assert_eq!(asked(&[64, 65]), "NXDOMAIN");
    assert_eq!(knows.load(Ordering::Relaxed), 4);
}

fn a_flood_of_questions_is_bounded() {
    let _inside = start(&[], false);
    let silent = name_server("host", "127.0.0.61", |_, _| Vec::new());
    hosts_servers("nameserver 127.0.0.61\\n");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let socket = inside("c1", || UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut refused = 0;
    let mut buffer = [0; 512];
    for n in 0..600 {
        socket.send_to(&query(&format!("n{n}.example"), Rtype::A, None), HERE).unwrap();
        // One that is not answered at once is waited for elsewhere.
        if n >= 200 {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(show(&buffer[..length]), "SERVFAIL");
            refused += 1;
        } else if n % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(ask("web"), "NOERROR 10.90.0.2");
    assert_eq!(refused, 400);
    // Each is asked at most three times, each time from a socket of its own.
    assert!(descriptors() - before < 610);
    eventually(|| (200..=600).contains(&silent.load(Ordering::Relaxed)));
}

/// A forwarder inside, which asks us, is asked by us.
fn a_question_that_comes_back_ends() {
    let _inside = start(&["127.0.0.5"], false);
    let socket = inside("c1", || UdpSocket::bind("127.0.0.5:53").unwrap());
    let rounds = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&rounds);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let mut asking = std::collections::BTreeMap::new();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let (id, is_answer) = ([buffer[0], buffer[1]], buffer[2] & 0x80 != 0);
            if is_answer {
                if let Some(whom) = asking.remove(&id) {
                    socket.send_to(&buffer[..length], whom).unwrap();
                }
            } else {
                counter.fetch_add(1, Ordering::Relaxed);
                asking.insert(id, from);
                socket.send_to(&buffer[..length], HERE).unwrap();
            }
        }
    });
    let before = Instant::now();
    assert_eq!(ask("x.example"), "SERVFAIL");
    assert!(before.elapsed() < Duration::from_secs(5));
    assert!(rounds.load(Ordering::Relaxed) <= 600);
    assert_eq!(ask("web"), "NOERROR 10.90.0.2");
}

/// Waits for what other threads do.
fn eventually(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn strange_questions_are_refused() {
    let _inside = start(&[], false);
    let web = query("web", Rtype::A, None);
    let question = &web[12..];
    let mut two = [&web[..], question].concat();
    two[5] = 2;
    let mut none = web[..12].to_vec();
    none[5] = 0;
    // Longer than we say that we take: nobody can tell how it ends.
    let mut long = query("web", Rtype::A, Some(4096));
    long.resize(1300, 0);
    for (what, bytes) in [("two", &two), ("none", &none), ("long", &long)] {
        assert_eq!(show(&udp(bytes)), "FORMERR", "{what}");
    }
    let mut status = web.clone();
    status[2] |= 2 << 3;
    assert_eq!(show(&udp(&status)), "NOTIMP");
    // Over TCP a question may be longer.
    assert_eq!(show(&tcp(&long)), "NOERROR 10.90.0.2");
    assert_eq!(show(&tcp(&two)), "FORMERR");
    assert_eq!(show(&udp(&query("web", Rtype::ANY, None))), "NOERROR 10.90.0.2");
    assert_eq!(show(&udp(&query("web", Rtype::AXFR, None))), "NOERROR");
}

fn forged_answers_are_not_taken() {
    let _inside = start(&[], false);
    let ports = Arc::new(std::sync::Mutex::new(Vec::new()));
    name_server("host", "127.0.0.61", |asked, _| {
        let mut wrong_id = reply(asked, "6.6.6.6", Rcode::NOERROR);
        wrong_id[0] ^= 1;
        let mut other_question = reply(asked, "6.6.6.6", Rcode::NOERROR);
        other_question[13] ^= 1;
        let mut other_kind = reply(asked, "6.6.6.6", Rcode::NOERROR);
        other_kind[12 + 14] ^= 1;
        let not_an_answer = asked.to_vec();
        let right = reply(asked, "192.0.2.61", Rcode::NOERROR);
        vec![wrong_id, other_question, other_kind, not_an_answer, vec![1, 2, 3], right]
    });
    let socket = UdpSocket::bind("127.0.0.62:53").unwrap();
    let seen = Arc::clone(&ports);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            seen.lock().unwrap().push((from.port(), buffer[0], buffer[1]));
            // Another address than the asked one answers first.
            let stranger = UdpSocket::bind("127.0.0.66:53").unwrap();
            stranger.send_to(&reply(&buffer[..length], "6.6.6.6", Rcode::NOERROR), from).unwrap();
            socket.send_to(&reply(&buffer[..length], "192.0.2.62", Rcode::NOERROR), from).unwrap();
        }
    });
    hosts_servers("nameserver 127.0.0.61\\n");
    assert_eq!(ask("x.example.org"), "NOERROR 192.0.2.61");
    hosts_servers("nameserver 127.0.0.62\\n");
    for _ in 0..20 {
        assert_eq!(ask("x.example.org"), "NOERROR 192.0.2.62");
    }
    let mut seen = ports.lock().unwrap().clone();
    assert!(seen.iter().all(|(_, a, b)| (*a, *b) != (0x42, 0x42)), "the client's id is not used");
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|(_, a, b)| (*a, *b)).collect();
    seen.sort_unstable();
    seen.dedup_by_key(|(port, ..)| *port);
    assert!(seen.len() > 15 && ids.len() > 15, "ports and ids differ: {seen:?}");
}

fn long_answers_come_over_tcp() {
    let _inside = start(&[], false);
    name_server("host", "127.0.0.61", |asked, _| {
        let mut cut = reply(asked, "192.0.2.1", Rcode::NOERROR);
        cut[2] |= 2;
        cut.truncate(asked.len());
        cut[6..12].fill(0);
        vec![cut]
    });
    let whole = tcp_name_server("host", "127.0.0.61");
    hosts_servers("nameserver 127.0.0.61\\n");
    let asked = query("long.example", Rtype::TXT, None);
    assert_eq!(show(&udp(&asked)), "NOERROR cut");
    let answer = tcp(&asked);
    assert!(answer.len() > 3000 && whole.load(Ordering::Relaxed) == 1);
    // A server that sends more over UDP than the client takes; and one without TCP.
    name_server("host", "127.0.0.62", |asked, _| vec![reply(asked, "", Rcode::NOERROR)]);
    hosts_servers("nameserver 127.0.0.62\\n");
    assert_eq!(show(&udp(&asked)), "NOERROR cut");
    assert_eq!(tcp(&asked).len(), answer.len());
    let edns = udp(&query("long.example", Rtype::TXT, Some(4096)));
    assert!(edns.len() > 3000, "what the client takes comes over UDP");
    // Several questions on one connection; those that wait hold back no other.
    hosts_servers("nameserver 127.0.0.61\\n");
    let mut stream = connect();
    let both = [framed(&asked), framed(&query("web", Rtype::A, None))].concat();
    stream.write_all(&both).unwrap();
    assert_eq!(show(&read_framed(&mut stream)), "NOERROR 10.90.0.2");
    assert_eq!(read_framed(&mut stream), answer);
}

fn an_internal_network_tells_nobody() {
    let _inside = start(&[], true);
    let count = name_server("host", "127.0.0.61", honest("192.0.2.1"));
    hosts_servers("nameserver 127.0.0.61\\n");
    assert_eq!(ask("web"), "NOERROR 10.90.0.2");
    assert_eq!(ask("secret.example.com"), "SERVFAIL");
    assert_eq!(show(&tcp(&query("secret.example.com", Rtype::TXT, None))), "SERVFAIL");
    assert_eq!(show(&udp(&query("9.0.90.10.in-addr.arpa", Rtype::PTR, None))), "SERVFAIL");
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

fn stalling_tcp_clients_delay_nobody() {
    let _inside = start(&[], false);
    // More than are taken, each with half a question or many answers it never reads.
    let mut stalling: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
    for (n, stream) in stalling.iter_mut().enumerate() {
        stream.set_nonblocking(true).unwrap();
        let bytes = match n % 3 {
            0 => vec![0],
            1 => framed(&query("web", Rtype::A, None)).repeat(3000),
            _ => vec![0xff; 3000],
        };
        let _ = stream.write(&bytes);
    }
    let before = Instant::now();
    assert_eq!(ask("web"), "NOERROR 10.90.0.2");
    assert_eq!(show(&tcp(&query("web", Rtype::A, None))), "NOERROR 10.90.0.2");
    // Those who stall are sent away after ten.
    assert!(before.elapsed() < Duration::from_secs(4));
    // Who asks and then says that it is done gets its answer.
    let mut stream = connect();
    stream.write_all(&framed(&query("db", Rtype::A, None))).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(show(&read_framed(&mut stream)), "NOERROR 10.90.0.3");
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "and is closed");
}

fn who_finds_no_descriptor_left_is_let_in_later() {
    let _inside = start(&[], false);
    let client =
        inside("c1", || net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
    let few = Rlimit { current: Some(64), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, few).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| rustix::io::dup(&client).ok()).collect();
    net::connect(&client, &HERE.parse::<SocketAddr>().unwrap()).unwrap();
    let mut client = TcpStream::from(client);
    client.write_all(&framed(&query("web", Rtype::A, None))).unwrap();
    let busy = || {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.try_into().unwrap())
    };
    let before = busy();
    std::thread::sleep(Duration::from_millis(300));
    assert!(busy() - before < Duration::from_millis(100), "it is asked all the time");
    drop(held);
    client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(show(&read_framed(&mut client)), "NOERROR 10.90.0.2");
}

fn noise_is_survived() {
    let _inside = start(&[], false);
    let socket = inside("c1", || UdpSocket::bind("0.0.0.0:0").unwrap());
    let whole = query("web", Rtype::A, Some(1232));
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(random() as usize % (bytes.len() + 1));
        socket.send_to(&bytes, HERE).unwrap();
    }
    socket.send_to(&vec![0; 60_000], HERE).unwrap();
    // The noise before it may fill the receiver's buffer: a client asks again.
    let heard = || std::panic::catch_unwind(|| ask("web")).ok();
    let answer = (0..5).find_map(|_| heard()).unwrap();
    assert_eq!(answer, "NOERROR 10.90.0.2");
}
