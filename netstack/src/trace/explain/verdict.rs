//! Where it ended, and why.

use rustix::io::Errno;

use super::super::probe::Answer;
use super::super::watch::{Event, Station, Verdict};
use super::super::{Place, Seen, Sighting, Sought};
use super::{View, end, rule_words};

/// Whether it got there, a sentence, and what may help.
type End = (bool, String, Option<String>);

impl View<'_> {
    /// The end of the way.
    pub(super) fn end(&self) -> End {
        let drop = self
            .seen
            .events
            .iter()
            .find(|(.., event)| matches!(event, Event::Decided { verdict: Verdict::Drop, .. }));
        if let Some((place, answer, event)) = drop {
            return self.dropped(*place, *answer, event);
        }
        let destination = self.destination();
        match self.seen.answer {
            Answer::Positive => {
                let how = match self.request.sought {
                    Sought::Tcp(_) => "accepts connections",
                    _ => "answers",
                };
                (true, format!("{destination} {how}{}", self.behind()), None)
            }
            Answer::Refused => self.refused(),
            Answer::NotSent(errno) | Answer::Unreachable(errno) => self.unreachable(errno),
            Answer::Silence => self.lost(),
        }
    }

    /// " (web)", when a container is behind the address.
    fn behind(&self) -> String {
        let target = self.request.target.as_ref().map(|(name, _)| format!(" ({name})"));
        target.unwrap_or_default()
    }

    fn dropped(&self, place: Place, answer: bool, event: &Event) -> End {
        let Event::Decided { family, table, chain, comment, .. } = event else {
            return self.lost();
        };
        let rejected = self.seen.answer != Answer::Silence;
        let word = if rejected { "rejected" } else { "dropped" };
        let subject = if answer { "the answer is " } else { "" };
        let by = rule_words(event);
        let place = self.name(place);
        let verdict =
            format!("{subject}{word} in {place} by {by} of chain {chain}, table {family} {table}");
        let ours = table == self.request.table;
        let hint = match (ours, comment.as_deref(), &self.request.target, self.request.sought) {
            (true, Some(c), Some((name, _)), Sought::Tcp(port) | Sought::Udp(port))
                if c.contains("not published") =>
            {
                Some(format!("publish port {port} of {name} (-p), or ask from its own network"))
            }
            // What a container sends comes by its bridge.
            (true, ..) if chain == "strangers" && self.home() == Place::Source => {
                Some("its link is in no bridge of rcnt: rcnt network check --repair".to_owned())
            }
            (true, Some(crate::rules::NOT_LISTED), ..) => Some(self.listing()),
            (true, ..) => None,
            _ => Some(format!("see nft -a list chain {family} {table} {chain}")),
        };
        (false, verdict, hint)
    }

    /// The flag that would let it pass.
    fn listing(&self) -> String {
        let protocol = if matches!(self.request.sought, Sought::Udp(_)) { "/udp" } else { "" };
        format!("run {} with --egress-allow {}{protocol}", self.source(), self.destination())
    }

    fn refused(&self) -> End {
        let what = match self.request.sought {
            Sought::Tcp(port) => format!("port {port}/tcp"),
            Sought::Udp(port) => format!("port {port}/udp"),
            Sought::Echo => "the address".to_owned(),
        };
        let arrived = self.probes(Place::Target, false).last();
        if let (Some(arrived), Some((name, _))) = (arrived, &self.request.target) {
            let port = arrived.to.port();
            let hint = format!(
                "its server may listen on another port, or on 127.0.0.1 only: rcnt logs {name}"
            );
            return (false, format!("nothing listens on port {port} in {name}"), Some(hint));
        }
        // What somebody sends to himself never leaves.
        let to = self.request.destination;
        if to.is_loopback() || self.seen.source.is_some_and(|own| own.ip() == to) {
            let place = self.name(self.home());
            return (false, format!("nothing listens on {what} in {place}"), None);
        }
        let left = self.probes(Place::Host, true).any(|s| s.interface != "lo");
        if left {
            return (
                false,
                format!("{} refuses: {what} is closed", self.request.destination),
                None,
            );
        }
        // It never left the host, so the host is who refused.
        let hint = "no container's port is published there: rcnt ps shows those that are";
        (
            false,
            format!("{what} is closed on the host: nothing listens there"),
            Some(hint.to_owned()),
        )
    }

    fn unreachable(&self, errno: i32) -> End {
        let (place, to) = (self.name(self.home()), self.request.destination);
        if let Some(end) = self.nowhere() {
            return end;
        }
        if let Some(Sighting { what: Seen::Error(line), .. }) =
            self.sightings(|seen| matches!(seen, Seen::Error(_))).next()
        {
            return (false, format!("on the way it is sent back: {line}"), None);
        }
        let is = |wanted: Errno| errno == wanted.raw_os_error();
        if is(Errno::NETUNREACH) {
            let hint =
                self.request.internal.as_ref().map(|network| {
                    format!("its network {network} is internal: it leads nowhere else")
                });
            let down = self.down();
            return (false, format!("{place} has no route to {to}{down}"), hint);
        }
        if is(Errno::HOSTUNREACH) {
            return self.no_neighbour(self.home()).unwrap_or_else(|| {
                (false, format!("{place}'s route to {to} says: unreachable"), None)
            });
        }
        if is(Errno::ACCESS) {
            return (false, format!("{place}'s route to {to} prohibits it"), None);
        }
        let reason = std::io::Error::from_raw_os_error(errno);
        (false, format!("{place} cannot send to {to}: {reason}"), None)
    }

    /// "; down there: eth0".
    fn down(&self) -> String {
        match self.seen.facts.nowhere.down.as_slice() {
            [] => String::new(),
            down => format!("; down there: {}", down.join(", ")),
        }
    }

    /// A route that leads nowhere on purpose, at the source or on the host.
    fn nowhere(&self) -> Option<End> {
        let facts = &self.seen.facts;
        let (place, route) = match (&facts.nowhere.route, &facts.nowhere_on_host.route) {
            (Some(route), _) => (self.name(self.home()), route),
            (_, Some(route)) => (self.name(Place::Host), route),
            _ => return None,
        };
        let to = self.request.destination;
        let verdict = format!("{place}'s route '{route}' lets nothing through to {to}");
        Some((false, verdict, Some("see ip route".to_owned())))
    }

    /// Somebody was asked for and nobody answered.
    fn no_neighbour(&self, place: Place) -> Option<End> {
        let asked = self.sightings(|seen| matches!(seen, Seen::Asks(_)));
        let last = asked.filter(|s| s.place == place && s.outgoing).last()?;
        let Seen::Asks(address) = last.what else { return None };
        let (place, interface) = (self.name(place), &last.interface);
        let verdict = format!(
            "{place} asks on {interface} who has {address}, and nobody answers: there is no such machine"
        );
        Some((false, verdict, None))
    }

    /// Nothing came back: how far did it come?
    fn lost(&self) -> End {
        let answers = self.sightings(|seen| matches!(seen, Seen::Answer { .. }));
        if let Some(last) = answers.last() {
            let (place, interface) = (self.name(last.place), &last.interface);
            let verdict =
                format!("the answer was seen at {interface} of {place} and lost after it");
            return (false, verdict, None);
        }
        let udp = matches!(self.request.sought, Sought::Udp(_));
        if let (Some(at), Some((name, _))) =
            (self.probes(Place::Target, false).last(), &self.request.target)
        {
            let interface = &at.interface;
            return match udp {
                true => (
                    true,
                    format!("it arrives in {name}; no answer came, which UDP need not give"),
                    None,
                ),
                false => {
                    let why = "a firewall inside, or a full queue of connections";
                    (
                        false,
                        format!("it arrives in {name} by {interface}, but nothing answers: {why}"),
                        None,
                    )
                }
            };
        }
        if let Some(out) = self.probes(Place::Host, true).filter(|s| s.interface != "lo").last() {
            let (interface, to) = (&out.interface, end(out.to));
            let verdict = match &self.request.target {
                Some((name, _)) => {
                    format!("it left the host by {interface} but never came to {name}")
                }
                None => format!("it left this host by {interface} for {to}, and nobody answered"),
            };
            return (false, verdict, None);
        }
        self.lost_in_host().unwrap_or_else(|| self.lost_at_home())
    }

    fn lost_in_host(&self) -> Option<End> {
        use Station::{Forward, Input, Output, Postrouting, Prerouting};
        let last = |station| self.passed(station, false);
        let udp = matches!(self.request.sought, Sought::Udp(_));
        if last(Postrouting) {
            let gone =
                || (false, "it is lost after the host's postrouting chains".to_owned(), None);
            return Some(self.no_neighbour(Place::Host).unwrap_or_else(gone));
        }
        if last(Input) {
            return Some(match udp {
                true => (
                    true,
                    "it arrives at the host; no answer came, which UDP need not give".into(),
                    None,
                ),
                false => (false, "it arrives at the host, but nothing answers".into(), None),
            });
        }
        for station in [Postrouting, Forward, Input, Output] {
            if self.passed(station, true) && !last(station) {
                return Some(self.elsewhere(station));
            }
        }
        if last(Prerouting) {
            return Some(self.not_routed());
        }
        if self.passed(Prerouting, true) {
            return Some(self.elsewhere(Prerouting));
        }
        let entered = self.probes(Place::Host, false).last()?;
        let interface = &entered.interface;
        Some((
            false,
            format!(
                "the host drops it behind {interface}, before its firewall: a bridge's rule or setting, or traffic control"
            ),
            None,
        ))
    }

    /// Lost in a hook, but in no chain of nf_tables.
    fn elsewhere(&self, station: Station) -> End {
        let hook = station.word().to_uppercase();
        let legacy = &self.seen.facts.legacy;
        if legacy.is_empty() {
            let verdict = format!("it is lost at the host's {hook} hook, in no chain of nftables");
            return (false, verdict, None);
        }
        let tables = legacy.join(", ");
        let verdict = match self.seen.facts.legacy_drops.as_slice() {
            drops @ [_, ..] if station == Station::Forward => {
                format!("dropped in host by iptables-legacy: {}", drops.join(", "))
            }
            _ => format!(
                "dropped in host by iptables-legacy, at {hook} (it has the tables {tables}): no trace shows its rules"
            ),
        };
        let command = if self.request.destination.is_ipv4() { "iptables" } else { "ip6tables" };
        (
            false,
            verdict,
            Some(format!("see {command}-legacy -S {hook}, and its counters with -L -v")),
        )
    }

    /// Past prerouting, but neither delivered nor forwarded.
    fn not_routed(&self) -> End {
        let entered = self.probes(Place::Host, false).last();
        let (from, interface) =
            entered.map(|s| (s.from.ip().to_string(), s.interface.clone())).unwrap_or_default();
        match &self.seen.facts.arrival {
            _ if self.seen.facts.reverse_path => (
                false,
                format!(
                    "dropped in host by reverse path filtering: its route to {from} does not lead through {interface}"
                ),
                Some(format!(
                    "see sysctl net.ipv4.conf.all.rp_filter and net.ipv4.conf.{interface}.rp_filter"
                )),
            ),
            _ if self.seen.facts.not_forwarding.is_some() => {
                let setting = self.seen.facts.not_forwarding.as_deref().unwrap_or_default();
                let verdict =
                    format!("the host does not forward: {} is 0", setting.replace('/', "."));
                let hint = "rcnt network check --repair switches it on where containers need it";
                (false, verdict, Some(hint.to_owned()))
            }
            Some(Err(_)) => self.nowhere().unwrap_or_else(|| {
                (false, format!("the host has no route to {}", self.request.destination), None)
            }),
            _ => (
                false,
                format!("the host's routing drops what comes from {from} by {interface}"),
                None,
            ),
        }
    }

    fn lost_at_home(&self) -> End {
        let home = self.home();
        let place = self.name(home);
        if let Some(end) = self.no_neighbour(home) {
            return end;
        }
        match self.probes(home, true).last() {
            Some(out) => {
                (false, format!("it left {place} by {} but came nowhere", out.interface), None)
            }
            None => (false, format!("it never left {place}{}", self.down()), None),
        }
    }
}
