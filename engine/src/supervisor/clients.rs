//! Those who are attached: each has an inbox and an outbox of bounded size. A
//! client that does not read holds the container's output back rather than
//! costing memory without end.

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::session::frame::{Reply, Request};

/// Bytes a client may be behind before the container's output waits for it.
const MOST_UNSENT: usize = 256 << 10;
/// Descriptors one client may hand over at once.
const MOST_AT_ONCE: usize = 253;
/// Clients at the same time; more are refused.
const MOST_CLIENTS: usize = 512;

/// One attached client.
#[derive(Debug)]
pub(super) struct Client {
    socket: UnixStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    output: bool,
    /// The CLI that started the container with `-i`: stdin ends with its own.
    owns_input: bool,
    gone: bool,
    /// Came along with what it sent.
    descriptors: Vec<OwnedFd>,
}

impl Client {
    /// A client that gets `output` from the start.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub(super) fn new(socket: UnixStream, output: bool, owns_input: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            inbox: Vec::new(),
            outbox: Vec::new(),
            output,
            owns_input,
            gone: false,
            descriptors: Vec::new(),
        })
    }

    fn send(&mut self, reply: &Reply) {
        reply.encode(&mut self.outbox);
        self.flush();
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty() && !self.gone {
            match self.socket.write(&self.outbox) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.outbox.is_empty() {
            self.outbox.shrink_to(0);
        }
    }

    /// Reads bytes, and the descriptors that came with them.
    fn take_in(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(chunk)];
        let got = recvmsg(&self.socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        // What nobody asked for is not kept.
        self.descriptors.truncate(MOST_AT_ONCE);
        Ok(got.bytes)
    }

    /// Takes in what it sent. `Hello` is answered here; the rest is returned.
    fn receive(&mut self) -> Vec<Request> {
        let mut chunk = [0u8; 4096];
        match self.take_in(&mut chunk) {
            Ok(0) => self.gone = true,
            Ok(n) => self.inbox.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
        let mut requests = Vec::new();
        loop {
            match Request::decode(&mut self.inbox) {
                Ok(Some(Request::Hello { output, .. })) => self.output = output,
                // Who attaches later may leave without ending the command's input.
                Ok(Some(Request::CloseInput)) if !self.owns_input => {}
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        if self.inbox.is_empty() {
            self.inbox.shrink_to(0);
        }
        requests
    }
}

/// All attached clients and the socket where more arrive.
#[derive(Debug)]
pub(super) struct Clients {
    listener: Option<UnixListener>,
    all: Vec<Client>,
    /// No descriptor was left for a newcomer: none are taken until one leaves.
    full: bool,
    /// The owner of the input has gone.
    input_lost: bool,
    /// Descriptors that came with requests, in their order.
    handed: Vec<OwnedFd>,
}

impl Clients {
    /// Only `first`, the CLI that forked us, until [`Clients::listen`].
    pub(super) fn new(first: Option<Client>) -> Self {
        Self {
            listener: None,
            all: first.into_iter().collect(),
            full: false,
            input_lost: false,
            handed: Vec::new(),
        }
    }

    /// Listens on `ctl.sock` in `run_dir`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen(&mut self, run_dir: &Path) -> io::Result<()> {
        // By a descriptor of the directory: sun_path has room for 108 bytes.
        let dir = std::fs::File::open(run_dir)?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&dir);
        let listener = UnixListener::bind(format!("/proc/self/fd/{fd}/ctl.sock"))?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Tells every client.
    pub(super) fn send(&mut self, reply: &Reply) {
        self.all.iter_mut().for_each(|client| client.send(reply));
        self.drop_gone();
    }

    /// Tells every client that asked for output.
    pub(super) fn send_output(&mut self, reply: &Reply) {
        self.all.iter_mut().filter(|c| c.output).for_each(|client| client.send(reply));
        self.drop_gone();
    }

    /// Whether all are near enough to take more output.
    pub(super) fn keep_up(&self) -> bool {
        self.all.iter().all(|client| client.outbox.len() < MOST_UNSENT)
    }

    /// What to poll: every client in order, then the listener. Input is taken
    /// only while the container `reads`.
    pub(super) fn poll_fds(&self, reads: bool) -> Vec<PollFd<'_>> {
        let mut fds = Vec::with_capacity(self.all.len() + 1);
        for client in &self.all {
            let mut flags = PollFlags::RDHUP;
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, !client.outbox.is_empty());
            fds.push(PollFd::new(&client.socket, flags));
        }
        let listener = self.listener.iter().filter(|_| !self.full);
        fds.extend(listener.map(|l| PollFd::new(l, PollFlags::IN)));
        fds
    }

    /// Serves the clients whose flags are given, in [`Self::poll_fds`]' order;
    /// returns what they ask for.
    pub(super) fn serve(&mut self, ready: &[PollFlags]) -> Vec<Request> {
        let mut requests = Vec::new();
        let newcomer = ready.get(self.all.len()).is_some_and(|f| f.contains(PollFlags::IN));
        for (client, flags) in self.all.iter_mut().zip(ready) {
            if flags.contains(PollFlags::OUT) {
                client.flush();
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR)
            {
                let asked = client.receive();
                if asked.iter().any(|request| matches!(request, Request::Hold(_))) {
                    self.handed.append(&mut client.descriptors);
                }
                requests.extend(asked);
            }
        }
        self.drop_gone();
        if newcomer {
            self.accept();
        }
        requests
    }

    fn accept(&mut self) {
        let Some(Ok((socket, _))) = self.listener.as_ref().map(UnixListener::accept) else {
            return;
        };
        // The run directory is closed to others; this is the second lock on the door.
        let ours = rustix::net::sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if ours && self.all.len() < MOST_CLIENTS {
            self.all.extend(Client::new(socket, false, false));
        }
    }

    /// The descriptors that came with the requests last returned.
    pub(super) fn take_handed(&mut self) -> std::vec::IntoIter<OwnedFd> {
        std::mem::take(&mut self.handed).into_iter()
    }

    /// Whether the owner of the input has gone since this was last asked.
    pub(super) fn take_input_lost(&mut self) -> bool {
        std::mem::take(&mut self.input_lost)
    }

    fn drop_gone(&mut self) {
        let before = self.all.len();
        self.input_lost |= self.all.iter().any(|client| client.gone && client.owns_input);
        self.all.retain(|client| !client.gone);
        self.full &= self.all.len() == before;
        if self.all.is_empty() {
            self.all.shrink_to_fit();
        }
    }

    /// Writes what is still unsent, waiting for slow clients while they live.
    pub(super) fn flush_all(mut self) {
        while self.all.iter().any(|c| !c.outbox.is_empty()) {
            let mut fds: Vec<_> =
                self.all.iter().map(|c| PollFd::new(&c.socket, PollFlags::OUT)).collect();
            if rustix::event::poll(&mut fds, None).is_err() {
                return;
            }
            drop(fds);
            self.all.iter_mut().for_each(Client::flush);
            self.all.retain(|c| !c.gone && !c.outbox.is_empty());
        }
    }
}
