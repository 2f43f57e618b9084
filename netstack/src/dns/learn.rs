//! What a container with an egress list learns from its resolver: the addresses of a
//! name on the list are opened before the answer is told, for as long as the answer
//! may be used; questions about other names do not leave, being a way out as well.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use domain::base::iana::Rcode;
use domain::base::name::ToName;
use domain::base::{Message, Name, Rtype};
use domain::rdata::{A, Aaaa, Cname};
use serde::{Deserialize, Serialize};

use super::message;
use crate::apply;
use crate::egress::EgressList;
use crate::ports::Protocol;
use crate::rules::{self, Entry};

/// An egress list, as a resolver applies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The instance's nftables table.
    pub table: String,
    /// The container's addresses.
    pub sources: Vec<IpAddr>,
    /// The list.
    pub list: EgressList,
    /// Whose it is, as elements say it.
    pub comment: String,
}

/// Shorter times to live are lengthened to this.
const LEAST: u32 = 60;
/// Longer ones are cut to this.
const MOST: u32 = 86_400;
/// Programs use an answer for some time longer than it says.
const GRACE: u32 = 300;
/// An answer like the last one changes nothing for so long.
const FRESH: Duration = Duration::from_secs(5);
/// Addresses and ports known at the same time: a name below a wildcard is cheap.
const KNOWN: usize = 1024;
/// Names that lead to names.
const CHAIN: usize = 16;

/// What was learned.
#[derive(Debug, Default)]
pub(super) struct Learner {
    listed: Option<Listed>,
    known: BTreeMap<Opened, Known>,
}

/// An address, and what may be reached at it.
type Opened = (IpAddr, Option<(Protocol, u16)>);

#[derive(Debug)]
struct Known {
    name: String,
    told: Instant,
    until: Instant,
}

impl Learner {
    pub(super) fn new(listed: Option<Listed>) -> Self {
        Self { listed, known: BTreeMap::new() }
    }

    /// The container has other addresses from now on; what was learned holds for them.
    pub(super) fn change(&mut self, listed: Option<Listed>, now: Instant) {
        self.listed = listed;
        self.open_again(now);
    }

    /// Opens all that is known once more.
    pub(super) fn open_again(&mut self, now: Instant) {
        self.known.retain(|_, known| known.until > now);
        self.open(&self.known.keys().copied().collect::<Vec<_>>(), now);
    }

    /// Whether others may be asked about this name.
    pub(super) fn may_ask(&self, name: Option<&str>) -> bool {
        let Some(listed) = &self.listed else { return true };
        name.is_some_and(|name| listed.list.has_name(name))
    }

    /// Opens what an answer leads to.
    pub(super) fn learn(&mut self, answer: &[u8], now: Instant) {
        let Some(listed) = &self.listed else { return };
        let Some((name, addresses)) = addresses(answer) else { return };
        let services = listed.list.services_of(&name);
        let mut news: Vec<Opened> = Vec::new();
        for (address, seconds) in addresses {
            let until = now
                + Duration::from_secs(seconds.clamp(LEAST, MOST).into())
                + Duration::from_secs(GRACE.into());
            for service in &services {
                let key = (address, *service);
                let is_fresh =
                    |known: &Known| now < known.told + FRESH && known.until + FRESH >= until;
                if self.known.get(&key).is_some_and(is_fresh) {
                    continue;
                }
                if self.known.len() >= KNOWN && !self.known.contains_key(&key) {
                    self.known.retain(|_, known| known.until > now);
                    if self.known.len() >= KNOWN {
                        log::warn!("too many addresses of names on the egress list: {address}");
                        continue;
                    }
                }
                let known = Known { name: name.clone(), told: now, until };
                self.known.insert(key, known);
                news.push(key);
            }
        }
        self.open(&news, now);
    }

    fn open(&mut self, opened: &[Opened], now: Instant) {
        let Some(listed) = &self.listed else { return };
        let mut entries: Vec<Entry> = Vec::new();
        for key in opened {
            let Some(known) = self.known.get(key) else { continue };
            let left = known.until.saturating_duration_since(now).as_millis();
            let comment = format!("{} {}", listed.comment, known.name);
            for source in listed.sources.iter().filter(|s| s.is_ipv4() == key.0.is_ipv4()) {
                let left = u64::try_from(left).unwrap_or(u64::MAX).max(1);
                entries.push(rules::learned_entry(*source, key.0, key.1, left, &comment));
            }
        }
        if entries.is_empty() {
            return;
        }
        if let Err(error) = apply::egress::learn(&listed.table, &entries) {
            log::warn!("cannot open what the egress list names: {error}");
            // The next answer tries again.
            opened.iter().for_each(|key| drop(self.known.remove(key)));
        }
    }
}

/// The name that was asked for (small letters), and its addresses with their times to
/// live. Only what the question leads to, name by name: a server adds what it likes.
fn addresses(answer: &[u8]) -> Option<(String, Vec<(IpAddr, u32)>)> {
    let message = Message::from_slice(answer).ok()?;
    let question = message.sole_question().ok()?;
    let kind = question.qtype();
    if message.header().rcode() != Rcode::NOERROR || !matches!(kind, Rtype::A | Rtype::AAAA) {
        return None;
    }
    let asked = message::text(question.qname())?;
    let mut name: Name<Vec<u8>> = question.qname().to_name();
    let mut longest = u32::MAX;
    let records = message.answer().ok()?;
    for _ in 0..CHAIN {
        let next = records.limit_to::<Cname<_>>().flatten().find(|r| r.owner().name_eq(&name));
        let Some(next) = next else { break };
        longest = longest.min(next.ttl().as_secs());
        name = next.data().cname().to_name();
    }
    let mut found: Vec<(IpAddr, u32)> = Vec::new();
    let mut add = |address: IpAddr, ttl: u32| {
        // Never the container itself, nor everybody.
        if !address.is_loopback() && !address.is_unspecified() && !address.is_multicast() {
            found.push((address, ttl.min(longest)));
        }
    };
    if kind == Rtype::A {
        for record in records.limit_to::<A>().flatten().filter(|r| r.owner().name_eq(&name)) {
            add(record.data().addr().into(), record.ttl().as_secs());
        }
    } else {
        for record in records.limit_to::<Aaaa>().flatten().filter(|r| r.owner().name_eq(&name)) {
            add(record.data().addr().into(), record.ttl().as_secs());
        }
    }
    Some((asked, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::iana::Class;
    use domain::base::{MessageBuilder, Ttl};
    use proptest::prelude::*;

    fn name(text: &str) -> Name<Vec<u8>> {
        Name::vec_from_str(text).unwrap()
    }

    #[test]
    fn only_what_the_question_leads_to_is_learned() {
        let mut builder = MessageBuilder::new_vec().question();
        builder.push((name("WWW.example.test"), Rtype::A, Class::IN)).unwrap();
        let mut builder = builder.answer();
        let ttl = Ttl::from_secs;
        let cname = |to: &str| Cname::new(name(to));
        let a = |last: u8| A::new([192, 0, 2, last].into());
        builder.push((name("www.example.test"), Class::IN, ttl(900), cname("cdn.test"))).unwrap();
        builder.push((name("other.test"), Class::IN, ttl(300), a(66))).unwrap();
        builder.push((name("CDN.test"), Class::IN, ttl(300), cname("edge.test"))).unwrap();
        builder.push((name("edge.test"), Class::IN, ttl(1200), a(7))).unwrap();
        builder.push((name("edge.test"), Class::IN, ttl(20), a(8))).unwrap();
        builder
            .push((name("edge.test"), Class::IN, ttl(20), A::new([127, 0, 0, 1].into())))
            .unwrap();
        let answer = builder.finish();
        let (asked, found) = addresses(&answer).unwrap();
        assert_eq!(asked, "www.example.test");
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        assert_eq!(found, [(ip(7), 300), (ip(8), 20)]);
    }

    #[test]
    fn names_that_lead_in_circles_lead_nowhere() {
        let mut builder = MessageBuilder::new_vec().question();
        builder.push((name("a.test"), Rtype::AAAA, Class::IN)).unwrap();
        let mut builder = builder.answer();
        for (from, to) in [("a.test", "b.test"), ("b.test", "a.test")] {
            let cname = Cname::new(name(to));
            builder.push((name(from), Class::IN, Ttl::from_secs(9), cname)).unwrap();
        }
        assert_eq!(addresses(&builder.finish()).unwrap().1, []);
    }

    #[test]
    fn only_names_on_the_list_are_asked_about() {
        let list = EgressList::parse(&["a.test:80"]).unwrap();
        let (table, comment) = (String::new(), String::new());
        let learner = Learner::new(Some(Listed { table, sources: Vec::new(), list, comment }));
        assert!(learner.may_ask(Some("a.test")));
        assert!(!learner.may_ask(Some("b.test")) && !learner.may_ask(None));
        assert!(Learner::new(None).may_ask(None));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = addresses(&bytes);
        }
    }
}
