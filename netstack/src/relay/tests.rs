use super::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// A relay that holds one dual-stack port and leads to `container_port` at 127.0.0.1,
/// served until the test drops it. Returns the host's port.
struct Running {
    port: u16,
    end: std::sync::mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<Relay>>,
}

impl Running {
    fn new(protocol: Protocol, container_port: u16) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket_with};
        let kind = match protocol {
            Protocol::Udp => SocketType::DGRAM,
            _ => SocketType::STREAM,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET6, kind, flags, None).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        bind(&socket, &any).unwrap();
        let port = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap().port();
        let held = Reservation {
            protocol,
            host_ip: None,
            host_port: port,
            container_port,
            socket: Some(socket),
        };
        let mut relay = Relay::closed(vec![held]);
        relay.open(Relays::Untranslated, vec![Ipv4Addr::LOCALHOST.into()]).unwrap();
        let (end, ended) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            while ended.try_recv().is_err() {
                let limit = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
                rustix::event::poll(&mut relay.poll_fds(), Some(&limit)).unwrap();
                relay.serve();
            }
            relay
        });
        Self { port, end, thread: Some(thread) }
    }

    fn end(mut self) -> Relay {
        self.end.send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("::1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }
}

#[test]
fn both_directions_and_their_ends_are_carried() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Running::new(Protocol::Tcp, server.local_addr().unwrap().port());
    let echo = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut all = Vec::new();
        // Only the client's half is closed when this returns.
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let mut client = relay.connect();
    // More than all buffers on the way hold, so that each side has to wait.
    let sent: Vec<u8> = (0..8_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut writer = client.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    echo.join().unwrap();
    assert!(got == sent, "{} of {} bytes came back", got.len(), sent.len());
    drop(client);
    let relay = relay.end();
    assert!(relay.connections.is_empty() && relay.flows.is_none(), "all is let go of");
}

#[test]
fn a_refused_connection_is_reset() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let relay = Running::new(Protocol::Tcp, closed);
    let error = relay.connect().read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(relay.end().connections.is_empty());
}

#[test]
fn a_reset_goes_through() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Running::new(Protocol::Tcp, server.local_addr().unwrap().port());
    let mut client = relay.connect();
    let (stream, _) = server.accept().unwrap();
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn datagrams_are_carried_and_each_client_gets_its_own_answers() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = Running::new(Protocol::Udp, server.local_addr().unwrap().port());
    let echo = thread::spawn(move || {
        let mut buffer = [0; 64];
        for _ in 0..4 {
            let (n, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..n], from).unwrap();
        }
    });
    let clients = [(), ()].map(|()| UdpSocket::bind("[::1]:0").unwrap());
    for round in 0..2 {
        for (n, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let text = format!("{round} of {n}");
            client.send_to(text.as_bytes(), ("::1", relay.port)).unwrap();
            let mut buffer = [0; 64];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text.as_bytes());
            assert_eq!(from.to_string(), format!("[::1]:{}", relay.port));
        }
    }
    echo.join().unwrap();
    let mut relay = relay.end();
    assert!(relay.datagrams.deadline().is_some());
    relay.datagrams.forget_idle(Instant::now() + Duration::from_secs(91));
    assert!(relay.datagrams.is_empty());
}

#[test]
fn a_port_that_is_let_go_of_is_free() {
    let relay = Running::new(Protocol::Tcp, 9);
    let port = relay.port;
    let mut relay = relay.end();
    relay.remove(|held| held.host_port == port);
    assert!(relay.held().next().is_none());
    TcpListener::bind(("::1", port)).unwrap();
}
