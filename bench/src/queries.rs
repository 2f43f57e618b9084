//! Questions to a resolver, as a container asks them: over UDP, from inside its
//! network namespace. [`load`] keeps 32 under way, [`one_by_one`] one.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::Result;
use crate::statistics::Answers;

const PORT: u16 = 53;
/// Clients, and what each has under way, as `dnsperf -c4 -q32` has.
const SOCKETS: usize = 4;
const UNDER_WAY: usize = 8;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// The question for the IPv4 address of a name (RFC 1035, section 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The id of a message that answers with at least one record, or that comes back as
/// it was, from an echo.
fn answered(message: &[u8]) -> std::result::Result<u16, String> {
    let [a, b, flags, code, _, _, records @ ..] = message else {
        return Err(format!("no message: {message:?}"));
    };
    let records = records.iter().take(2).any(|byte| *byte != 0);
    let echo = flags & 0x80 == 0;
    match code & 0xf {
        0 if records || echo => Ok(u16::from_be_bytes([*a, *b])),
        code => Err(format!("the resolver does not know the name (code {code})")),
    }
}

fn socket(server: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(SocketAddrV4::new(server, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Asks `count` times, each after the answer to the one before.
pub(crate) fn one_by_one(server: Ipv4Addr, name: &str, count: u16) -> Result<Answers> {
    let failed = |e: std::io::Error| format!("{name} at {server}: {e}");
    let socket = socket(server).map_err(failed)?;
    let mut micros = Vec::with_capacity(count.into());
    let mut buffer = [0; 512];
    let started = Instant::now();
    for id in 0..count {
        let message = question(id, name);
        let since = Instant::now();
        socket.send(&message).map_err(failed)?;
        loop {
            let count = socket.recv(&mut buffer).map_err(failed)?;
            if answered(&buffer[..count])? == id {
                break;
            }
        }
        micros.push(since.elapsed().as_secs_f64() * 1e6);
    }
    Answers::new(micros, started.elapsed().as_secs_f64()).ok_or("no answer".to_owned())
}

/// Keeps as many questions under way as [`SOCKETS`] × [`UNDER_WAY`].
pub(crate) fn load(server: Ipv4Addr, name: &str, lasting: Duration) -> Result<Answers> {
    let failed = |e: std::io::Error| format!("{name} at {server}: {e}");
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut clients = Vec::new();
    for nth in 0..SOCKETS {
        let client = Client::new(server, name).map_err(failed)?;
        let data = epoll::EventData::new_u64(nth as u64);
        epoll::add(&set, &client.socket, data, epoll::EventFlags::IN)
            .map_err(|e| failed(e.into()))?;
        clients.push(client);
    }
    let started = Instant::now();
    for client in &mut clients {
        (0..UNDER_WAY).try_for_each(|slot| client.ask(slot)).map_err(failed)?;
    }
    let mut micros = Vec::with_capacity(1 << 17);
    let mut events = Vec::with_capacity(SOCKETS);
    while started.elapsed() < lasting {
        events.clear();
        let most = rustix::time::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&most))
            .map_err(|e| failed(e.into()))?;
        if events.is_empty() {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        for event in &events {
            clients[event.data.u64() as usize].take(&mut micros)?;
        }
    }
    Answers::new(micros, started.elapsed().as_secs_f64()).ok_or("no answer".to_owned())
}

/// One socket and what it has under way. The id of a question is its slot.
struct Client {
    socket: UdpSocket,
    questions: Vec<(Vec<u8>, Instant)>,
}

impl Client {
    fn new(server: Ipv4Addr, name: &str) -> std::io::Result<Self> {
        let socket = socket(server)?;
        let questions = (0..UNDER_WAY).map(|slot| (question(slot as u16, name), Instant::now()));
        Ok(Self { socket, questions: questions.collect() })
    }

    fn ask(&mut self, slot: usize) -> std::io::Result<()> {
        let (message, since) = &mut self.questions[slot];
        *since = Instant::now();
        self.socket.send(message).map(drop)
    }

    fn take(&mut self, micros: &mut Vec<f64>) -> Result<()> {
        let mut buffer = [0; 512];
        let count = self.socket.recv(&mut buffer).map_err(|e| e.to_string())?;
        let slot = usize::from(answered(&buffer[..count])?);
        let (_, since) = self.questions.get(slot).ok_or("an answer to no question")?;
        micros.push(since.elapsed().as_secs_f64() * 1e6);
        self.ask(slot).map_err(|e| e.to_string())
    }
}

/// Sends back what comes, until its process ends.
pub(crate) fn echo() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)).map_err(|e| e.to_string())?;
    let mut buffer = [0; 512];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).map_err(|e| e.to_string())?;
        // Who asked may be gone.
        let _ = socket.send_to(&buffer[..count], from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_the_rfc_says() {
        let wanted = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x02my\0\0\x01\0\x01";
        assert_eq!(question(0x1234, "web.my"), wanted);
    }

    #[test]
    fn only_a_record_is_an_answer() {
        let answer = |flags: u8, code: u8, records: u8| {
            answered(&[0, 7, flags, code, 0, 1, 0, records, 0, 0, 0, 0])
        };
        assert_eq!(answer(0x81, 0x80, 1), Ok(7));
        assert_eq!(answer(0x01, 0, 0), Ok(7), "an echo");
        assert!(answer(0x81, 0x83, 0).is_err_and(|e| e.ends_with("(code 3)")));
        assert!(answer(0x81, 0x80, 0).is_err(), "no record");
        assert!(answered(&[1, 2]).is_err());
    }
}
