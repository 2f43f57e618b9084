//! The resolver's one loop: its supervisor polls two descriptors beside its own, the
//! socket that nearly all questions come from, and an epoll descriptor on which
//! everything else hangs. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use domain::base::Rtype;
use domain::base::iana::OptRcode;
use rcnt_base::sys::batch::{self, Room};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};

use super::answer::{self, Decision, Transport};
use super::dice::Xorshift;
use super::inside::{self, Doors, visiting};
use super::learn::Learner;
use super::message::{self, Query, Received};
use super::post::Outbox;
use super::servers::Servers;
use super::stream::Connection;
use super::token::{Token, watch};
use super::upstream::{Exchange, Origin, Outside, Progress};
use super::watch::Watch;
use super::{NamesError, NamesPlan};

mod tcp;

/// Questions on their way to others at the same time; each may hold three sockets.
const MOST_EXCHANGES: usize = 200;
/// Clients over TCP at the same time.
const MOST_CONNECTIONS: usize = 32;
/// Batches of datagrams taken in before the supervisor looks after other things.
const BURST: usize = 16;
/// The host's list of name servers.
const HOSTS_FILE: &str = "/etc/resolv.conf";

/// A container's resolver.
#[derive(Debug)]
pub struct Resolver {
    // Dropped first: closing the others then needs no look into it.
    epoll: OwnedFd,
    doors: Doors,
    netns: OwnedFd,
    plan: NamesPlan,
    watch: Watch,
    servers: Servers,
    learner: Learner,
    exchanges: Vec<Option<Exchange>>,
    connections: Vec<Option<Connection>>,
    serial: u32,
    /// Clients over TCP are not let in before.
    closed_until: Option<Instant>,
    dice: Xorshift,
    outbox: Outbox,
}

/// What an exchange in `slot` may use of the resolver: all but the exchanges.
macro_rules! outside {
    ($resolver:expr, $slot:expr) => {
        Outside {
            servers: &mut $resolver.servers,
            netns: $resolver.netns.as_fd(),
            watch: &mut |socket, nth, streams| {
                watch(&$resolver.epoll, socket, ($slot, nth), streams)
            },
        }
    };
}

impl Resolver {
    /// Opens the sockets inside `netns`, whose `lo` must be up. The calling thread
    /// visits it for a moment.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn open(plan: NamesPlan, netns: OwnedFd) -> Result<Self, NamesError> {
        let container = plan.container.short().to_owned();
        Self::listen(plan, netns).map_err(|source| NamesError { container, source })
    }

    fn listen(plan: NamesPlan, netns: OwnedFd) -> io::Result<Self> {
        let doors = visiting(netns.as_fd(), inside::open)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let token = EventData::new_u64(Token::Tcp.number());
        epoll::add(&epoll, &doors.tcp, token, EventFlags::IN)?;
        Ok(Self {
            epoll,
            doors,
            netns,
            watch: Watch::new(&plan),
            servers: servers(&plan),
            learner: Learner::new(plan.listed.clone()),
            plan,
            exchanges: Vec::new(),
            connections: Vec::new(),
            serial: 0,
            closed_until: None,
            dice: Xorshift::new()?,
            outbox: Outbox::default(),
        })
    }

    /// Serves another plan from now on: the container was connected to a network, or
    /// disconnected from one. What is on its way stays on its way. Port 53 leads here
    /// again if somebody inside has flushed the rules for it.
    ///
    /// # Errors
    /// The kernel's reason against those rules; the plan is served all the same.
    pub fn change(&mut self, plan: NamesPlan) -> Result<(), NamesError> {
        let container = plan.container.short().to_owned();
        self.watch = Watch::new(&plan);
        self.servers = servers(&plan);
        self.learner.change(plan.listed.clone(), Instant::now());
        self.plan = plan;
        self.doors.lead_here().map_err(|source| NamesError { container, source })
    }

    /// The instance's rules were lost and are back, but for what was learned here.
    pub fn rules_are_back(&mut self) {
        self.learner.open_again(Instant::now());
    }

    /// When [`Self::serve`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.iter().flatten().map(|exchange| exchange.until);
        let connections = self.connections.iter().flatten().map(|connection| connection.until);
        exchanges.chain(connections).chain(self.closed_until).min()
    }

    /// What is to be polled for news.
    pub fn poll_fds(&self) -> [PollFd<'_>; 2] {
        [PollFd::new(&self.doors.udp, PollFlags::IN), PollFd::new(&self.epoll, PollFlags::IN)]
    }

    /// Does all there is to do now, and returns. To be called with what has happened to
    /// [`Self::poll_fds`], and when the deadline has passed.
    pub fn serve(&mut self, [datagrams, others]: [PollFlags; 2]) {
        let now = Instant::now();
        if !datagrams.is_empty() {
            self.datagrams(now);
        }
        if !others.is_empty() {
            self.others(now);
        }
        self.overdue(now);
        self.outbox.send(&self.doors.udp);
    }

    /// Gives back the memory that only those need who are being asked.
    pub fn rest(&mut self) {
        self.outbox = Outbox::default();
    }

    fn others(&mut self, now: Instant) {
        let mut events = Vec::with_capacity(64);
        let nothing = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&nothing));
        let mut somebody_new = false;
        for event in events {
            let (data, flags) = (event.data, event.flags);
            match Token::of(data.u64()) {
                // After the others: what happened to who was in a slot before happened not
                // to who gets it now.
                Token::Tcp => somebody_new = true,
                Token::Connection(slot) => self.client(slot, flags, now),
                Token::Attempt(slot, nth) => {
                    self.outside(slot, now, |exchange, outside| exchange.ready(nth, now, outside))
                }
            }
        }
        if somebody_new {
            self.newcomer(now);
        }
    }

    // Its stack is given back when nobody asks (see `memory::sleep_small`), unless the
    // caller's frame has it.
    #[inline(never)]
    fn datagrams(&mut self, now: Instant) {
        let mut room = Room::default();
        for _ in 0..BURST {
            let Ok(many) = room.receive(self.doors.udp.as_fd()) else { break };
            // What was changed before a question was sent is in its answer.
            self.watch.refresh();
            for batch::Received { bytes, from, cut } in (0..many).filter_map(|n| room.get(n)) {
                let from = Origin::Udp(from);
                match cut {
                    false => self.question(bytes, from, now),
                    // Nobody can tell what it says, with its end missing.
                    true => message::malformed(bytes).iter().for_each(|a| self.deliver(from, a)),
                }
            }
            self.outbox.send(&self.doors.udp);
            // Others came since at best: they make the descriptor readable again.
            if many < batch::MOST {
                break;
            }
        }
    }

    /// The one place where answers leave, whoever gave them: our own and others', over
    /// UDP (soon after) and over TCP.
    fn deliver(&mut self, to: Origin, answer: &[u8]) {
        match to {
            Origin::Udp(to) => self.outbox.push(&self.doors.udp, to, answer),
            Origin::Tcp { slot, serial } => {
                if let Some(connection) = self.connection(slot, serial) {
                    connection.answer(answer);
                }
            }
        }
    }

    /// The client over TCP in this slot, if it is still the one that asked.
    fn connection(&mut self, slot: usize, serial: u32) -> Option<&mut Connection> {
        self.connections.get_mut(slot)?.as_mut().filter(|c| c.serial == serial)
    }

    /// Answers a question, or forwards it.
    fn question(&mut self, bytes: &[u8], origin: Origin, now: Instant) {
        if let Some(answer) = self.answer(bytes, origin, now) {
            self.deliver(origin, &answer);
        }
    }

    /// The answer, when there is one now.
    fn answer(&mut self, bytes: &[u8], origin: Origin, now: Instant) -> Option<Vec<u8>> {
        let query = match message::read(bytes) {
            Received::Query(query) => query,
            Received::Refused(answer) => return Some(answer),
            Received::Ignored => return None,
        };
        let via = match origin {
            Origin::Udp(_) => Transport::Udp,
            Origin::Tcp { .. } => Transport::Tcp,
        };
        match answer::decide(&query, self.watch.zone(), via, &mut self.dice) {
            Decision::Answer(answer) => Some(answer),
            Decision::Forward => match self.may_forward(&query) {
                Ok(()) => self.forward(bytes, origin, now),
                Err(rcode) => Some(answer::error(&query, rcode)),
            },
        }
    }

    fn may_forward(&self, query: &Query<'_>) -> Result<(), OptRcode> {
        if !self.plan.forwards {
            // As docker answers; musl waits five seconds when it is refused.
            return Err(OptRcode::SERVFAIL);
        }
        if !self.learner.may_ask(query.name.as_deref()) {
            return Err(OptRcode::NXDOMAIN);
        }
        // Where search domains are put behind names first, a bare name is the last try:
        // no server outside knows it, and none need hear it.
        let bare =
            query.name.as_deref().is_some_and(|name| !name.is_empty() && !name.contains('.'));
        let address = matches!(query.kind(), Rtype::A | Rtype::AAAA);
        if self.plan.ndots > 0 && bare && address { Err(OptRcode::NXDOMAIN) } else { Ok(()) }
    }

    /// Asks others. Returns an answer only when they cannot be asked.
    fn forward(&mut self, bytes: &[u8], origin: Origin, now: Instant) -> Option<Vec<u8>> {
        let mut on_its_way = self.exchanges.iter().flatten();
        let id = message::id_of(bytes);
        if on_its_way
            .any(|e| e.origin == origin && message::id_of(&e.query) == id && e.query == bytes)
        {
            // The client asks once more: the answer will do for both.
            return None;
        }
        let slot = free_slot(&mut self.exchanges, MOST_EXCHANGES);
        let Some(slot) = slot else { return failed(bytes) };
        let query = bytes.to_vec();
        let (exchange, progress) = Exchange::start(origin, query, now, &mut outside!(self, slot));
        if progress == Progress::Failed {
            return failed(bytes);
        }
        if let Origin::Tcp { slot, serial } = origin
            && let Some(connection) = self.connection(slot, serial)
        {
            connection.waits();
        }
        if let Some(place) = self.exchanges.get_mut(slot) {
            *place = Some(exchange);
        }
        None
    }

    /// Lets an exchange go on, and sends its answer when it has one.
    fn outside(
        &mut self,
        slot: usize,
        now: Instant,
        go_on: impl FnOnce(&mut Exchange, &mut Outside<'_>) -> Progress,
    ) {
        // Out of its slot meanwhile: it uses what is beside it.
        let Some(mut exchange) = self.exchanges.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let answer = match go_on(&mut exchange, &mut outside!(self, slot)) {
            Progress::Waits => {
                if let Some(place) = self.exchanges.get_mut(slot) {
                    *place = Some(exchange);
                }
                return;
            }
            Progress::Answered(mut answer) => {
                message::set_id(&mut answer, message::id_of(&exchange.query));
                self.learner.learn(&answer, now);
                answer
            }
            Progress::Failed => failed(&exchange.query).unwrap_or_default(),
        };
        match exchange.origin {
            to @ Origin::Udp(_) => {
                self.deliver(to, &message::cut_to_fit(answer, &exchange.query));
            }
            to @ Origin::Tcp { slot, serial } => {
                self.deliver(to, &answer);
                if let Some(connection) = self.connection(slot, serial) {
                    connection.waited();
                    self.watch.refresh();
                    self.questions(slot, now);
                }
            }
        }
        if self.exchanges.iter().all(Option::is_none) {
            self.exchanges = Vec::new();
        }
    }

    fn overdue(&mut self, now: Instant) {
        for slot in 0..self.exchanges.len() {
            if matches!(self.exchanges.get(slot), Some(Some(exchange)) if exchange.until <= now) {
                self.outside(slot, now, |exchange, outside| exchange.expired(now, outside));
            }
        }
        for slot in 0..self.connections.len() {
            self.look_after(slot, now);
        }
        if self.closed_until.is_some_and(|until| until <= now) {
            self.listen_from(None);
        }
    }
}

/// Whom a plan's resolver asks. Those of a container with an egress list are asked from
/// the host: no hole is needed for them.
fn servers(plan: &NamesPlan) -> Servers {
    Servers::new(&plan.servers, plan.listed.is_none(), PathBuf::from(HOSTS_FILE))
}

/// "Nobody could tell", as an answer to this question.
fn failed(bytes: &[u8]) -> Option<Vec<u8>> {
    match message::read(bytes) {
        Received::Query(query) => Some(answer::error(&query, OptRcode::SERVFAIL)),
        _ => None,
    }
}

/// An empty slot, perhaps a new one.
fn free_slot<T>(slots: &mut Vec<Option<T>>, most: usize) -> Option<usize> {
    if let Some(slot) = slots.iter().position(Option::is_none) {
        return Some(slot);
    }
    (slots.len() < most).then(|| {
        slots.push(None);
        slots.len() - 1
    })
}
