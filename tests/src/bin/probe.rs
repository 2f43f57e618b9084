//! Runs inside containers: answers every caller with its address, so that a
//! test sees who a published port thinks is calling; and calls others.
//!
//! `probe serve tcp|udp PORT` · `probe ask tcp|udp ADDRESS:PORT` · `probe socket FAMILY`
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve", "tcp", port] => serve_tcp(port),
        ["serve", "udp", port] => serve_udp(port),
        ["ask", "tcp", address] => ask_tcp(address),
        ["ask", "udp", address] => ask_udp(address),
        ["socket", family] => open_socket(family),
        _ => Err(std::io::Error::other(
            "usage: probe serve|ask tcp|udp PORT|ADDRESS:PORT, probe socket FAMILY",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both families, where the container has both.
fn any(port: &str) -> Vec<String> {
    vec![format!("[::]:{port}"), format!("0.0.0.0:{port}")]
}

fn serve_tcp(port: &str) -> std::io::Result<()> {
    let listener = any(port).iter().find_map(|a| TcpListener::bind(a).ok());
    let listener = listener.ok_or_else(|| std::io::Error::other("cannot listen"))?;
    println!("ready");
    loop {
        let (mut stream, peer) = listener.accept()?;
        let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let local = stream.local_addr()?;
        let line = format!(
            "from {} to {} at {}\n",
            peer.ip().to_canonical(),
            local.ip().to_canonical(),
            name.trim()
        );
        let _ = stream.write_all(line.as_bytes());
    }
}

fn serve_udp(port: &str) -> std::io::Result<()> {
    let socket = any(port).iter().find_map(|a| UdpSocket::bind(a).ok());
    let socket = socket.ok_or_else(|| std::io::Error::other("cannot bind"))?;
    println!("ready");
    let mut buffer = [0; 2048];
    loop {
        let (count, peer) = socket.recv_from(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let _ =
            socket.send_to(format!("{text} from {}", peer.ip().to_canonical()).as_bytes(), peer);
    }
}

/// Opens a socket of a family by number: what the seccomp profile lets through.
fn open_socket(family: &str) -> std::io::Result<()> {
    use rustix::net::{AddressFamily, SocketType, socket};
    let family = family.parse().map_err(std::io::Error::other)?;
    let kinds = [SocketType::SEQPACKET, SocketType::STREAM, SocketType::DGRAM];
    let mut last = Ok(());
    for kind in kinds {
        match socket(AddressFamily::from_raw(family), kind, None) {
            Ok(_) => return Ok(()),
            Err(error) => last = Err(error.into()),
        }
    }
    last
}

fn ask_tcp(address: &str) -> std::io::Result<()> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    print!("{answer}");
    Ok(())
}

fn ask_udp(address: &str) -> std::io::Result<()> {
    let socket = UdpSocket::bind(if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"ping")?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer)?;
    println!("{}", String::from_utf8_lossy(&buffer[..count]));
    Ok(())
}
