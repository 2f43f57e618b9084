//! Just enough of HTTP to fetch a page with a deadline. curl would do, but a
//! refused connection and a silent one must be told apart.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long a connection that will not come may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Fetches `path` from `address` and returns the body.
///
/// # Errors
/// The kernel's reason, or the answer when it is not "200".
pub fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let answer = tcp(address, &format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200") {
        return Ok(body.to_owned());
    }
    Err(io::Error::other(format!("not a page: {head:?}")))
}

/// Repeats `fetch` while the connection is refused or reset, as it is until a
/// server that was just started listens; at most five seconds.
#[track_caller]
pub(crate) fn patiently(address: &str, fetch: impl Fn() -> io::Result<String>) -> String {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match fetch() {
            Ok(page) => return page,
            Err(error) if Instant::now() > until => panic!("no page from {address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Sends `text` over TCP, closes that half, reads until the end.
///
/// # Errors
/// The kernel's reason; `TimedOut` after [`PATIENCE`].
pub fn tcp(address: SocketAddr, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends one datagram and waits for one from the same address.
///
/// # Errors
/// The kernel's reason; `WouldBlock` when nothing came.
pub fn udp(address: SocketAddr, text: &str) -> io::Result<String> {
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    // A connected socket takes answers from that address only: a reply from
    // the wrong one is lost, as it would be for a real client.
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(text.as_bytes())?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}
