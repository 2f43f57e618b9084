//! What runs in the container: one thread answers requests on all connections,
//! another takes in streams, one after the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::event::epoll;

use super::{ANSWER, BLOCK, REQUEST, REQUESTS, STREAM};
use crate::Result;

/// Which event is a new connection.
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed.
pub(crate) fn serve() -> Result<()> {
    let bind = |port| {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|e| format!("port {port}: {e}"))
    };
    let (requests, streams) = (bind(REQUESTS)?, bind(STREAM)?);
    std::thread::spawn(move || {
        loop {
            // A client that breaks off is no reason to serve no other.
            let _ = take(&streams);
        }
    });
    loop {
        let _ = answer(&requests);
    }
}

/// Answers every request on every connection.
pub(super) fn answer(listener: &TcpListener) -> std::io::Result<()> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let event = epoll::EventData::new_u64;
    epoll::add(&set, listener, event(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<(TcpStream, usize)>> = Vec::new();
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
        for ready in &events {
            if ready.data.u64() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                let free = connections.iter().position(Option::is_none);
                let nth = free.unwrap_or(connections.len());
                if nth == connections.len() {
                    connections.push(None);
                }
                epoll::add(&set, &stream, event(nth as u64), epoll::EventFlags::IN)?;
                connections[nth] = Some((stream, 0));
                continue;
            }
            let place = &mut connections[ready.data.u64() as usize];
            if place.as_mut().is_some_and(|(stream, come)| served(stream, come).is_err()) {
                *place = None;
            }
        }
    }
}

/// Answers what has come on one connection; an error at its end.
fn served(stream: &mut TcpStream, come: &mut usize) -> std::io::Result<()> {
    let mut text = [0; 4 * REQUEST.len()];
    match stream.read(&mut text)? {
        0 => return Err(ErrorKind::UnexpectedEof.into()),
        count => *come += count,
    }
    while *come >= REQUEST.len() {
        *come -= REQUEST.len();
        stream.write_all(ANSWER)?;
    }
    Ok(())
}

/// Reads one connection to its end, then tells how much it was.
pub(super) fn take(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut block = vec![0; BLOCK];
    let mut sum = 0_u64;
    loop {
        match stream.read(&mut block)? {
            0 => return stream.write_all(&sum.to_be_bytes()),
            count => sum += count as u64,
        }
    }
}
