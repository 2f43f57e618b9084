//! One netlink conversation: send a buffer of requests, read the answers.
//!
//! The kernel handles rtnetlink and nf_tables requests inside sendmsg(2), so
//! every answer is there when it returns: reads never wait, and a kernel that
//! does not answer is an error instead of a hang.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Ack, Message, Requests, abi, messages};
use crate::sys::netlink::{self, Family};
use crate::sys::packet::attach_filter;
use crate::sys::seccomp::SockFilter;

/// A dump is asked for again this often when it changed under way.
const DUMP_ATTEMPTS: u32 = 16;
/// Bytes; the kernel fills at most 32 KiB per datagram of a dump.
const RECEIVE: usize = 64 * 1024;
/// Bytes; a socket's default send buffer (net.core.wmem_default) takes one message a bit smaller.
const LARGE_SEND: usize = 128 * 1024;

/// More requests than this may overflow the default receive buffer with their answers.
const FEW_REQUESTS: u32 = 32;
/// Bytes of buffer that the kernel charges for one short answer, and then some.
const ANSWER: usize = 4096;

/// An errno with the kernel's own words, when it had any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As a positive number.
    pub errno: i32,
    /// The extended ack's text.
    pub words: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = io::Error::from_raw_os_error(self.errno);
        match &self.words {
            Some(words) => write!(f, "{reason}: {words}"),
            None => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        let kind = io::Error::from_raw_os_error(refusal.errno).kind();
        io::Error::new(kind, refusal)
    }
}

/// The answers to a buffer of requests.
#[derive(Debug, Default)]
pub struct Answers {
    /// By sequence number: acks, errors included.
    pub acks: Vec<(u32, Ack)>,
}

impl Answers {
    /// The errno of request `sequence`; 0 when it went well or nothing was said.
    pub fn errno(&self, sequence: u32) -> i32 {
        self.acks.iter().find(|(s, _)| *s == sequence).map_or(0, |(_, ack)| ack.errno)
    }

    /// The first request that was refused.
    pub fn refused(&self) -> Option<&(u32, Ack)> {
        self.acks.iter().find(|(_, ack)| ack.errno != 0)
    }

    /// An error unless request `sequence` went well or was refused with one of `fine`.
    ///
    /// # Errors
    /// [`Refusal`] inside, or no answer at all.
    pub fn check(&self, sequence: u32, fine: &[i32]) -> io::Result<()> {
        match self.acks.iter().find(|(s, _)| *s == sequence) {
            Some((_, ack)) if ack.errno == 0 || fine.contains(&ack.errno) => Ok(()),
            Some((_, ack)) => Err(refusal(ack).into()),
            None => Err(io::Error::other("the kernel did not answer a netlink request")),
        }
    }
}

/// An ack as an error.
pub fn refusal(ack: &Ack) -> Refusal {
    Refusal { errno: ack.errno, words: ack.words.clone() }
}

fn malformed<E: std::error::Error + Send + Sync + 'static>(error: E) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// One in the calling thread's namespace.
    ///
    /// # Errors
    /// As [`netlink::open`].
    pub fn open(family: Family) -> io::Result<Self> {
        Ok(Self { fd: netlink::open(family)?, buffer: Vec::new() })
    }

    /// Frees the buffer until the next conversation, for a socket that is kept.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
    }

    /// Receives from now on what the kernel tells everybody in this multicast group.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn join(&self, group: u32) -> io::Result<()> {
        let address = SocketAddrNetlink::new(0, 1 << group.saturating_sub(1));
        Ok(rustix::net::bind(&self.fd, &address)?)
    }

    /// Takes of what [`Socket::join`] brings only what `filter` lets pass: a program
    /// over the first message of each datagram. Set before joining.
    ///
    /// # Errors
    /// EINVAL for a program the kernel does not take.
    pub fn filter(&self, filter: &[SockFilter]) -> io::Result<()> {
        attach_filter(&self.fd, filter)
    }

    /// Hands over what has been told since; does not wait. What did not fit into the
    /// socket's buffer is lost: returns whether anything was.
    ///
    /// # Errors
    /// What recvmsg(2) says, or `data`.
    pub fn told(
        &mut self,
        mut data: impl FnMut(&Message<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut lost = false;
        loop {
            let length = match self.receive() {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(lost),
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    lost = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                data(&message.map_err(malformed)?)?;
            }
        }
    }

    /// The number of the interface called `name` in this namespace; `None` when there
    /// is none. An ioctl, because unlike RTM_GETLINK it does not wait for the RTNL lock.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn interface_index(&self, name: &str) -> io::Result<Option<u32>> {
        match rustix::net::netdevice::name_to_index(&self.fd, name) {
            Ok(index) => Ok(Some(index)),
            Err(rustix::io::Errno::NODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of an interface of this namespace.
    ///
    /// # Errors
    /// ENXIO when it is gone.
    pub fn interface_name(&self, index: u32) -> io::Result<String> {
        Ok(rustix::net::netdevice::index_to_name(&self.fd, index)?)
    }

    /// Sends `requests`, if there are any, and hands every message that is no ack to `data`, in the
    /// order in which the kernel sent them.
    ///
    /// # Errors
    /// What sendmsg(2) says, or `data`. A refused request is no error here: see [`Answers`].
    pub fn exchange(
        &mut self,
        requests: &Requests,
        mut data: impl FnMut(&Message<'_>) -> io::Result<()>,
    ) -> io::Result<Answers> {
        let mut answers = Answers::default();
        // The kernel has an error for an empty message (ENODATA, since 5.16).
        if requests.count() == 0 {
            return Ok(answers);
        }
        self.send(requests)?;
        while let Some(length) = self.receive()? {
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                let message = message.map_err(malformed)?;
                match message.kind {
                    abi::NLMSG_ERROR => {
                        let ack = Ack::decode(&message).map_err(malformed)?;
                        answers.acks.push((message.sequence, ack));
                    }
                    _ => data(&message)?,
                }
            }
        }
        Ok(answers)
    }

    /// Lists objects. A list that changed while it was read (NLM_F_DUMP_INTR) is
    /// read again, because it may lack entries or have them twice.
    ///
    /// # Errors
    /// [`Refusal`] inside, or a list that never keeps still.
    pub fn dump<T>(
        &mut self,
        request: impl Fn(&mut Requests),
        read: impl Fn(&Message<'_>) -> io::Result<Option<T>>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(list) = self.dump_once(&request, &read)? {
                return Ok(list);
            }
        }
        Err(io::Error::other("a netlink list kept changing while it was read"))
    }

    fn dump_once<T>(
        &mut self,
        request: &impl Fn(&mut Requests),
        read: &impl Fn(&Message<'_>) -> io::Result<Option<T>>,
    ) -> io::Result<Option<Vec<T>>> {
        let mut requests = Requests::default();
        request(&mut requests);
        let mut list = Vec::new();
        let (mut interrupted, mut done) = (false, false);
        let answers = self.exchange(&requests, |message| {
            interrupted |= message.flags & abi::NLM_F_DUMP_INTR != 0;
            if message.kind != abi::NLMSG_DONE {
                list.extend(read(message)?);
                return Ok(());
            }
            done = true;
            match Ack::decode(message).map_err(malformed)? {
                ack if ack.errno == 0 => Ok(()),
                ack => Err(refusal(&ack).into()),
            }
        })?;
        if let Some((_, ack)) = answers.acks.first() {
            return Err(refusal(ack).into());
        }
        if !done {
            return Err(io::Error::other("the kernel ended a netlink list early"));
        }
        Ok((!interrupted).then_some(list))
    }

    fn send(&mut self, requests: &Requests) -> io::Result<()> {
        let bytes = requests.bytes().map_err(malformed)?;
        if bytes.len() > LARGE_SEND {
            // Beyond wmem_max only with CAP_NET_ADMIN, which we need anyway.
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2)?;
        }
        if requests.count() > FEW_REQUESTS {
            let answers = usize::try_from(requests.count()).unwrap_or(usize::MAX);
            let bytes = answers.saturating_mul(ANSWER);
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes)?;
        }
        loop {
            match send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One datagram into the buffer; `None` when there is no more.
    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.buffer.resize(RECEIVE, 0);
        loop {
            match recv(&self.fd, &mut *self.buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, length)) if length > self.buffer.len() => {
                    return Err(io::Error::other("a netlink answer was cut off"));
                }
                Ok((_, length)) => return Ok(Some(length)),
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
