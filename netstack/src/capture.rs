//! The packets of one network namespace, as they pass its interfaces, without any
//! program inside it: a packet(7) socket opened on a visit there.
//!
//! - [`filter`] tcpdump's language, compiled to classic BPF (pure)
//! - [`packet`] a frame in one line (pure)
//! - [`pcapng`] frames in a file (pure)
//! - [`Capture`] the socket

pub mod filter;
pub mod packet;
pub mod pcapng;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rcnt_base::sys::netlink::Family;
use rcnt_base::sys::packet::PacketSocket;
pub use rcnt_base::sys::packet::{Counters, Frame};

use crate::namespace::visit;
use crate::socket::Socket;
use crate::wire::link::read_link;
use crate::wire::route::Dump;
use filter::Filter;

/// PACKET_OUTGOING of linux/if_packet.h.
const OUTGOING: u8 = 4;
/// Bytes that may wait while a disk or a terminal is slow.
const BUFFER: usize = 32 << 20;
/// Bytes of a packet that are kept unless told: as many as the largest has.
pub const WHOLE: u32 = 262_144;

/// What is to be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRequest {
    /// One interface; all of them when absent.
    pub interface: Option<String>,
    /// Which packets.
    pub filter: Filter,
    /// Bytes of each that are kept.
    pub snapshot: u32,
}

/// Why there is nothing to capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// `-i`.
    #[error("there is no interface {wanted} in it, but {}", .there.join(", "))]
    Interface {
        /// As typed.
        wanted: String,
        /// The ones there are.
        there: Vec<String>,
    },
    /// The filter's program.
    #[error(transparent)]
    TooLong(#[from] filter::compile::TooLong),
    /// The socket.
    #[error("cannot listen to its packets")]
    Open(#[source] io::Error),
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    packets: PacketSocket,
    route: Socket,
    names: BTreeMap<u32, String>,
}

impl Capture {
    /// Begins: every packet from now on is kept until it is read.
    ///
    /// # Errors
    /// No such interface, a filter too long, the kernel's reason.
    pub fn open(netns: BorrowedFd<'_>, request: &CaptureRequest) -> Result<Self, CaptureError> {
        let program = filter::compile::program(&request.filter, request.snapshot)?;
        let opened = visit(netns, || {
            let mut route = Socket::open(Family::Route)?;
            let names = interfaces(&mut route)?;
            let index = match &request.interface {
                None => Some(0),
                Some(wanted) => names.iter().find(|(_, n)| *n == wanted).map(|(index, _)| *index),
            };
            let Some(index) = index else { return Ok(Err(names)) };
            let snapshot = usize::try_from(request.snapshot).unwrap_or(usize::MAX);
            let packets = PacketSocket::open(index, &program, snapshot)?;
            packets.set_buffer(BUFFER)?;
            Ok(Ok(Self { packets, route, names }))
        });
        opened.map_err(CaptureError::Open)?.map_err(|names| CaptureError::Interface {
            wanted: request.interface.clone().unwrap_or_default(),
            there: names.into_values().collect(),
        })
    }

    /// The names of the interfaces, by number.
    pub fn interfaces(&self) -> &BTreeMap<u32, String> {
        &self.names
    }

    /// The name of an interface, which may have come since the capture began.
    pub fn interface(&mut self, index: u32) -> String {
        if !self.names.contains_key(&index)
            && let Ok(names) = interfaces(&mut self.route)
        {
            self.names.extend(names);
        }
        // Gone before we asked: so it stays.
        self.names.entry(index).or_insert_with(|| format!("if{index}")).clone()
    }

    /// Hands packets that wait to `each`, at most a batch; how many there were.
    ///
    /// # Errors
    /// The kernel's reason, or `each`'s.
    pub fn read(&mut self, each: impl FnMut(&Frame<'_>) -> io::Result<()>) -> io::Result<usize> {
        self.packets.read(each)
    }

    /// What the kernel has counted.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn counters(&mut self) -> io::Result<Counters> {
        self.packets.counters()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }
}

/// Whether the frame leaves the namespace, rather than enters.
pub fn is_outgoing(frame: &Frame<'_>) -> bool {
    frame.direction == OUTGOING
}

fn interfaces(route: &mut Socket) -> io::Result<BTreeMap<u32, String>> {
    let links = route.dump(
        |requests| {
            Dump::Links.request(requests);
        },
        |message| {
            let link = read_link(message);
            link.map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        },
    )?;
    Ok(links.into_iter().map(|link| (link.index, link.name)).collect())
}
