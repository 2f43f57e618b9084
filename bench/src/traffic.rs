//! The traffic of the data paths, one implementation for all contestants and
//! the floor: the server is a process of the container (`rcnt-bench serve`),
//! the client a thread of ours in whatever namespace the path begins in.
//!
//! - port 80: keep-alive requests, HTTP by their looks; [`requests`] asks over
//!   several connections at once and times every answer
//! - port 81: whatever comes is read and its size told at the end; [`stream`]
//!   sends as much as goes

mod server;

pub(crate) use server::serve;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::Result;
use crate::statistics::Answers;

/// Where a server answers requests.
pub(crate) const REQUESTS: u16 = 80;
/// Where it takes in what is sent.
pub(crate) const STREAM: u16 = 81;

/// A request, and the size that tells where the next one begins.
const REQUEST: &[u8; 73] =
    b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: rcnt-bench\r\nAccept: */*     \r\n\r\n";
const ANSWER: &[u8; 77] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello bench\n";

/// Requests under way at once.
const CONNECTIONS: usize = 16;
/// What is written at once to a stream, as iperf3 does.
const BLOCK: usize = 128 << 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks over several connections, each again as soon as it has its answer.
pub(crate) fn requests(to: SocketAddrV4, lasting: Duration) -> Result<Answers> {
    asked(to, lasting).map_err(|e| format!("requests to {to}: {e}"))?.ok_or("no answer".to_owned())
}

fn asked(to: SocketAddrV4, lasting: Duration) -> std::io::Result<Option<Answers>> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::new();
    for nth in 0..CONNECTIONS {
        let stream = connect(to)?;
        epoll::add(&set, &stream, epoll::EventData::new_u64(nth as u64), epoll::EventFlags::IN)?;
        connections.push((stream, Instant::now(), 0));
    }
    let started = Instant::now();
    for (stream, since, _) in &mut connections {
        *since = Instant::now();
        stream.write_all(REQUEST)?;
    }
    let mut micros = Vec::with_capacity(1 << 18);
    let mut events = Vec::with_capacity(CONNECTIONS);
    let mut answer = [0; 4 * ANSWER.len()];
    while started.elapsed() < lasting {
        events.clear();
        let most = rustix::time::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&most))?;
        if events.is_empty() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        for event in &events {
            let (stream, since, come) = &mut connections[event.data.u64() as usize];
            match stream.read(&mut answer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => *come += count,
            }
            if *come >= ANSWER.len() {
                let now = Instant::now();
                micros.push((now - *since).as_secs_f64() * 1e6);
                (*since, *come) = (now, 0);
                stream.write_all(REQUEST)?;
            }
        }
    }
    Ok(Answers::new(micros, started.elapsed().as_secs_f64()))
}

/// Sends as much as goes, and returns how much came, in Gbit/s.
pub(crate) fn stream(to: SocketAddrV4, lasting: Duration) -> Result<f64> {
    sent(to, lasting).map_err(|e| format!("stream to {to}: {e}"))
}

fn sent(to: SocketAddrV4, lasting: Duration) -> std::io::Result<f64> {
    let mut stream = connect(to)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let block = vec![b'x'; BLOCK];
    let started = Instant::now();
    while started.elapsed() < lasting {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count) as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e9)
}

fn connect(to: SocketAddrV4) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits until the server is there.
pub(crate) fn reach(to: SocketAddrV4) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&to.into(), PATIENCE) {
            Ok(_) => return Ok(()),
            Err(reason) if Instant::now() > until => return Err(format!("{to}: {reason}")),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn listening(serve: fn(&TcpListener) -> std::io::Result<()>) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || serve(&listener));
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn requests_are_answered() {
        let to = listening(server::answer);
        let answers = requests(to, Duration::from_millis(50)).unwrap();
        assert!(answers.per_second > 100.0 && answers.p50 <= answers.p99, "{answers:?}");
    }

    #[test]
    fn all_that_is_sent_comes() {
        let to = listening(server::take);
        assert!(stream(to, Duration::from_millis(50)).unwrap() > 0.01);
    }
}
