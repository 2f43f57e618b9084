//! What was seen → the way of the packet in words, and where and why it ended. Pure.

mod verdict;

use std::fmt::Write;
use std::net::SocketAddr;

use serde::Serialize;

use super::watch::{Event, Station, Verdict};
use super::{Observation, Place, Seen, Sighting, Sought, Source, TraceRequest};
use crate::facts::Route;

/// The answer to `rcnt network trace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who asked: a container, `host`, or an outside address.
    pub source: String,
    /// Address and port.
    pub destination: String,
    /// `tcp`, `udp`, `icmp`.
    pub protocol: &'static str,
    /// The way, in order.
    pub steps: Vec<Step>,
    /// Whether it got where it should.
    pub reached: bool,
    /// One sentence: why, or why not.
    pub verdict: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// One station of the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The container, or `host`.
    pub place: String,
    /// The interface, route, or chain.
    pub at: String,
    /// What happened there.
    pub what: String,
}

impl Report {
    /// For people: the way, then the verdict.
    pub fn text(&self) -> String {
        let mut text = format!("{} to {}/{}\n", self.source, self.destination, self.protocol);
        let width = |part: fn(&Step) -> &str| {
            self.steps.iter().map(|step| part(step).chars().count()).max().unwrap_or(0)
        };
        let (place, at) = (width(|s| &s.place), width(|s| &s.at));
        for step in &self.steps {
            let _ = writeln!(text, "  {:place$}  {:at$}  {}", step.place, step.at, step.what);
        }
        let word = if self.reached { "reached" } else { "not reached" };
        let _ = writeln!(text, "{word}: {}", self.verdict);
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

/// Puts it into words.
pub(crate) fn explain(request: &TraceRequest<'_>, seen: &Observation) -> Report {
    let view = View { request, seen };
    let (reached, verdict, hint) = view.end();
    Report {
        source: view.source(),
        destination: view.destination(),
        protocol: match request.sought {
            Sought::Tcp(_) => "tcp",
            Sought::Udp(_) => "udp",
            Sought::Echo => "icmp",
        },
        steps: view.steps(),
        reached,
        verdict,
        hint,
    }
}

struct View<'a> {
    request: &'a TraceRequest<'a>,
    seen: &'a Observation,
}

impl View<'_> {
    fn source(&self) -> String {
        match &self.request.source {
            Source::Inside(name, _) => name.clone(),
            Source::Outside(address) => address.to_string(),
        }
    }

    fn destination(&self) -> String {
        match self.request.sought {
            Sought::Tcp(port) | Sought::Udp(port) => {
                SocketAddr::new(self.request.destination, port).to_string()
            }
            Sought::Echo => self.request.destination.to_string(),
        }
    }

    fn name(&self, place: Place) -> String {
        match (place, &self.request.target) {
            (Place::Host, _) | (Place::Target, None) => "host".to_owned(),
            (Place::Source, _) => self.source(),
            (Place::Target, Some((name, _))) => name.clone(),
        }
    }

    /// Where the sender is.
    fn home(&self) -> Place {
        match &self.request.source {
            Source::Inside(name, _) if name != "host" => Place::Source,
            _ => Place::Host,
        }
    }

    fn sightings(&self, what: impl Fn(&Seen) -> bool) -> impl Iterator<Item = &Sighting> {
        self.seen.sightings.iter().filter(move |sighting| what(&sighting.what))
    }

    fn probes(&self, place: Place, outgoing: bool) -> impl Iterator<Item = &Sighting> {
        let probes = self.sightings(|seen| *seen == Seen::Probe);
        probes.filter(move |s| s.place == place && s.outgoing == outgoing)
    }

    /// Whether the probe came to (first) or past (last) a station of the host.
    fn passed(&self, station: Station, first: bool) -> bool {
        let wanted = (Place::Host, false, Event::Passed(station, first));
        self.seen.events.contains(&wanted)
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(route) = &self.seen.facts.route {
            steps.push(self.step(self.home(), "route".to_owned(), route_words(route)));
        }
        self.decisions(Place::Source, &mut steps);
        self.wires(Place::Source, true, &mut steps);
        self.wires(Place::Host, false, &mut steps);
        self.decisions(Place::Host, &mut steps);
        self.wires(Place::Host, true, &mut steps);
        self.wires(Place::Target, false, &mut steps);
        self.decisions(Place::Target, &mut steps);
        let back = |seen: &Seen| matches!(seen, Seen::Error(_) | Seen::Answer { .. });
        let mut back: Vec<&Sighting> = self.sightings(back).collect();
        back.sort_by_key(|sighting| (std::cmp::Reverse(sighting.place), sighting.outgoing));
        for sighting in back {
            let what = match &sighting.what {
                Seen::Error(line) => line.clone(),
                Seen::Answer { refuses: true } => {
                    format!("answer: refused, {} > {}", end(sighting.from), end(sighting.to))
                }
                _ => format!("answer: {} > {}", end(sighting.from), end(sighting.to)),
            };
            steps.push(self.step(sighting.place, at(sighting), what));
        }
        steps
    }

    fn step(&self, place: Place, at: String, what: String) -> Step {
        Step { place: self.name(place), at, what }
    }

    fn wires(&self, place: Place, outgoing: bool, steps: &mut Vec<Step>) {
        for sighting in self.probes(place, outgoing) {
            let what = format!("{} > {}", end(sighting.from), end(sighting.to));
            steps.push(self.step(place, at(sighting), what));
        }
    }

    /// The rules that decided something, of whatever table.
    fn decisions(&self, place: Place, steps: &mut Vec<Step>) {
        for (_, answer, event) in self.seen.events.iter().filter(|(p, ..)| *p == place) {
            let Event::Decided { family, table, chain, rule, verdict, .. } = event else {
                continue;
            };
            let word = match verdict {
                Verdict::Drop => "drops",
                Verdict::Accept if rule.is_some() => "accepts",
                _ => continue,
            };
            let whose = if *answer { " the answer" } else { "" };
            let what = format!("{} {word}{whose}", rule_words(event));
            steps.push(self.step(place, format!("{family} {table} {chain}"), what));
        }
    }
}

/// `rule "not published"`, `rule handle 7`, `its policy`.
fn rule_words(event: &Event) -> String {
    match event {
        Event::Decided { comment: Some(comment), .. } => format!("rule \"{comment}\""),
        Event::Decided { rule: Some(handle), .. } => format!("rule handle {handle}"),
        _ => "the policy".to_owned(),
    }
}

fn route_words(route: &Result<(Route, String), i32>) -> String {
    match route {
        Ok((route, interface)) => {
            let to = match route.prefix {
                0 => "default".to_owned(),
                prefix => format!("{}/{prefix}", route.destination),
            };
            let via = route.gateway.map(|g| format!(" via {g}")).unwrap_or_default();
            format!("{to}{via} dev {interface}")
        }
        Err(errno) => {
            std::io::Error::from_raw_os_error(*errno).to_string().split(" (").take(1).collect()
        }
    }
}

fn at(sighting: &Sighting) -> String {
    format!("{} {}", sighting.interface, if sighting.outgoing { "out" } else { "in" })
}

/// Without the port where there is none.
fn end(address: SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::probe::Answer;
    use super::super::{Facts, Sighting};
    use super::*;
    use std::time::Duration;

    /// A probe from 192.0.2.20 to 192.0.2.10:8080 of which nothing was heard.
    fn silence() -> Observation {
        let (facts, answer) = (Facts::default(), Answer::Silence);
        Observation { sightings: Vec::new(), events: Vec::new(), answer, source: None, facts }
    }

    fn verdict(seen: &Observation) -> (bool, String) {
        let request = TraceRequest {
            source: Source::Outside([192, 0, 2, 20].into()),
            destination: [192, 0, 2, 10].into(),
            sought: Sought::Tcp(8080),
            target: None,
            table: "rcnt",
            internal: None,
            patience: Duration::ZERO,
        };
        let report = explain(&request, seen);
        (report.reached, report.verdict)
    }

    fn passed(stations: &[(Station, bool)]) -> Observation {
        let mut seen = silence();
        let event =
            |(station, first): &(_, _)| (Place::Host, false, Event::Passed(*station, *first));
        seen.events = stations.iter().map(event).collect();
        seen.sightings.push(Sighting {
            place: Place::Host,
            interface: "eth0".into(),
            outgoing: false,
            what: Seen::Probe,
            from: "192.0.2.20:50000".parse().unwrap(),
            to: "192.0.2.10:8080".parse().unwrap(),
        });
        seen
    }

    #[test]
    fn where_it_was_last_seen_tells_who_has_it() {
        use Station::{Forward, Input, Prerouting};
        let before = "the host drops it behind eth0, before its firewall: a bridge's rule or \
                      setting, or traffic control";
        assert_eq!(verdict(&passed(&[])), (false, before.into()));
        let mut seen = passed(&[(Prerouting, true), (Prerouting, false), (Forward, true)]);
        let hook = "it is lost at the host's FORWARD hook, in no chain of nftables";
        assert_eq!(verdict(&seen), (false, hook.into()));
        seen.facts.legacy = vec!["filter".into()];
        assert!(verdict(&seen).1.starts_with("dropped in host by iptables-legacy, at FORWARD"));
        let mut seen = passed(&[(Prerouting, true), (Prerouting, false)]);
        seen.facts.not_forwarding = Some("net/ipv4/ip_forward".into());
        assert_eq!(verdict(&seen).1, "the host does not forward: net.ipv4.ip_forward is 0");
        let seen =
            passed(&[(Prerouting, true), (Prerouting, false), (Input, true), (Input, false)]);
        assert_eq!(verdict(&seen), (false, "it arrives at the host, but nothing answers".into()));
    }

    #[test]
    fn a_drop_names_its_rule_or_policy() {
        let mut seen = silence();
        let mut event = |rule, comment: Option<&str>, answer| {
            let (table, chain) = ("filter".into(), "FORWARD".into());
            let (comment, verdict) = (comment.map(str::to_owned), Verdict::Drop);
            let family = "ip";
            let decided = Event::Decided { family, table, chain, rule, comment, verdict };
            seen.events = vec![(Place::Host, answer, decided)];
            verdict_of(&seen)
        };
        let chain = "of chain FORWARD, table ip filter";
        assert_eq!(event(None, None, false), format!("dropped in host by the policy {chain}"));
        assert_eq!(
            event(Some(7), None, false),
            format!("dropped in host by rule handle 7 {chain}")
        );
        assert_eq!(
            event(Some(7), Some("no"), true),
            format!("the answer is dropped in host by rule \"no\" {chain}")
        );
    }

    fn verdict_of(seen: &Observation) -> String {
        verdict(seen).1
    }
}
