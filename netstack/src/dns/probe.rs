//! Whether names are answered inside a container: asked, not read from rules.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};

use domain::base::iana::Class;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::Name;
use domain::base::{Message, Rtype};
use domain::rdata::A;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::inside::{ADDRESS, PORT, visiting};
use super::message::{UDP_PLAIN, is_answer_to};

/// How long an answer is waited for: it takes a tenth of a millisecond.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
/// How often it is asked: a queue that is full for the moment loses a datagram.
const TRIES: u16 = 2;

/// Whether port 53 of 127.0.0.11 in this namespace leads to a resolver that gives one
/// of `addresses` to `name`: a server of the container's own would give others.
///
/// # Errors
/// The kernel's reason, or a name that DNS cannot say.
pub fn answers(netns: BorrowedFd<'_>, name: &str, addresses: &[Ipv4Addr]) -> io::Result<bool> {
    let socket = visiting(netns, || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?)
    })?;
    net::connect(&socket, &SocketAddrV4::new(ADDRESS, PORT))?;
    for id in 1..=TRIES {
        let query = query(name, id)?;
        // A port that nobody listens on says so to the next call (udp(7)).
        let asked = net::send(&socket, &query, SendFlags::NOSIGNAL).is_ok();
        if asked && told(&socket, &query, id)?.is_some_and(|got| addresses.contains(&got)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The address in the answer.
fn told(socket: &OwnedFd, query: &[u8], id: u16) -> io::Result<Option<Ipv4Addr>> {
    if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        return Ok(None);
    }
    let mut buffer = [0u8; UDP_PLAIN as usize];
    let length = net::recv(socket, &mut buffer, RecvFlags::empty()).map_or(0, |(length, _)| length);
    let answer = buffer.get(..length).unwrap_or_default();
    if !is_answer_to(answer, query, id) {
        return Ok(None);
    }
    let records = Message::from_slice(answer).ok().and_then(|message| message.answer().ok());
    let mut records = records.into_iter().flat_map(|records| records.limit_to::<A>());
    Ok(records.find_map(|record| Some(record.ok()?.data().addr())))
}

fn query(name: &str, id: u16) -> io::Result<Vec<u8>> {
    let name: Name<Vec<u8>> = Name::vec_from_str(name).map_err(io::Error::other)?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut builder = builder.question();
    builder.push((name, Rtype::A, Class::IN)).map_err(io::Error::other)?;
    Ok(builder.finish())
}
