//! Answers from what we know ourselves. Pure: a query and a zone in, bytes out.

use std::net::IpAddr;

use domain::base::iana::{Class, OptRcode, Rcode};
use domain::base::message_builder::{AnswerBuilder, MessageBuilder, PushError, StaticCompressor};
use domain::base::name::Name;
use domain::base::{Rtype, Ttl};
use domain::rdata::{A, Aaaa, Ptr};
use rcnt_base::sys::batch::LONGEST;

use super::dice::Dice;
use super::message::Query;
use super::zone::{Addresses, Zone};

/// Nobody shall remember our answers: a container that is started again may have
/// another address, and asking again costs a trip over loopback.
const TTL: Ttl = Ttl::ZERO;
/// Bytes of a question over UDP that we take, said in our own OPT records.
const OUR_UDP: u16 = LONGEST as u16;
/// Bytes of an OPT record without options.
const OPT: usize = 11;
/// The most a message over TCP can have.
const TCP_MAX: usize = 65_535;

type Builder = AnswerBuilder<StaticCompressor<Vec<u8>>>;

/// What shall become of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Not ours: others may know.
    Forward,
}

/// How the query came, and with it how long an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Decides on a query.
pub(super) fn decide(
    query: &Query<'_>,
    zone: &Zone,
    via: Transport,
    dice: &mut impl Dice,
) -> Decision {
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return Decision::Answer(error(query, OptRcode::BADVERS));
    }
    let Some(name) = query.name.as_deref().filter(|_| query.is_internet()) else {
        return Decision::Forward;
    };
    if let Some(mut found) = zone.find(name) {
        shuffle(&mut found.v4, dice);
        shuffle(&mut found.v6, dice);
        return Decision::Answer(addresses(query, &found, via));
    }
    // Only PTR: other types of a name in arpa are not about a container.
    let owner = reverse(name).filter(|_| query.kind() == Rtype::PTR).and_then(|ip| zone.owner(ip));
    match owner.and_then(|owner| pointer(query, &owner, via)) {
        Some(answer) => Decision::Answer(answer),
        None => Decision::Forward,
    }
}

fn shuffle<T>(list: &mut [T], dice: &mut impl Dice) {
    // Fisher and Yates.
    for last in (1..list.len()).rev() {
        list.swap(last, dice.roll(last + 1));
    }
}

/// A name that is ours has no other records than addresses: anything else is "no
/// data", never "no such name", which would end the search for its addresses too.
fn addresses(query: &Query<'_>, found: &Addresses, via: Transport) -> Vec<u8> {
    let asks_for = |kind| query.kind() == kind || query.kind() == Rtype::ANY;
    let name = query.question.qname();
    build(query, via, |builder| {
        if asks_for(Rtype::A) {
            found.v4.iter().try_for_each(|ip| builder.push((name, Class::IN, TTL, A::new(*ip))))?;
        }
        if asks_for(Rtype::AAAA) {
            found
                .v6
                .iter()
                .try_for_each(|ip| builder.push((name, Class::IN, TTL, Aaaa::new(*ip))))?;
        }
        Ok(())
    })
}

/// `None` when the owner's name is none that DNS can say.
fn pointer(query: &Query<'_>, owner: &str, via: Transport) -> Option<Vec<u8>> {
    let owner: Name<Vec<u8>> = Name::vec_from_str(owner).ok()?;
    let name = query.question.qname();
    Some(build(query, via, |builder| builder.push((name, Class::IN, TTL, Ptr::new(&owner)))))
}

/// An answer without records.
pub(super) fn error(query: &Query<'_>, rcode: OptRcode) -> Vec<u8> {
    finish(query, rcode, start(query), false)
}

fn start(query: &Query<'_>) -> Builder {
    let target = StaticCompressor::new(Vec::with_capacity(128));
    // The limit of a Vec is memory.
    let builder = match MessageBuilder::from_target(target) {
        Ok(builder) => builder,
        Err(error) => match error {},
    };
    builder.start_error(query.message, Rcode::NOERROR)
}

fn build(
    query: &Query<'_>,
    via: Transport,
    records: impl FnOnce(&mut Builder) -> Result<(), PushError>,
) -> Vec<u8> {
    let mut builder = start(query);
    let limit = match via {
        Transport::Udp => query.udp_limit(),
        Transport::Tcp => TCP_MAX,
    };
    builder.set_push_limit(limit.saturating_sub(if query.edns.is_some() { OPT } else { 0 }));
    // What fits is sent; the rest comes over TCP.
    let cut = records(&mut builder).is_err();
    builder.header_mut().set_aa(true);
    finish(query, OptRcode::NOERROR, builder, cut)
}

fn finish(query: &Query<'_>, rcode: OptRcode, mut builder: Builder, cut: bool) -> Vec<u8> {
    let asked = query.message.header();
    let header = builder.header_mut();
    header.set_rcode(rcode.rcode());
    header.set_ra(true);
    header.set_cd(asked.cd());
    header.set_tc(cut);
    builder.clear_push_limit();
    let mut builder = builder.additional();
    if let Some(edns) = query.edns {
        // RFC 6891, section 6.1.1: who sends one gets one. Memory is the only limit.
        let _ = builder.opt(|opt| {
            opt.set_udp_payload_size(OUR_UDP);
            opt.set_dnssec_ok(edns.dnssec);
            opt.set_rcode(rcode);
            Ok(())
        });
    }
    builder.finish().into_target()
}

/// The address that a name in `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut labels = digits.split('.');
        for octet in octets.iter_mut().rev() {
            let label = labels.next()?;
            *octet = label.parse().ok().filter(|o: &u8| o.to_string() == label)?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut bits: u128 = 0;
    let mut count = 0;
    for label in digits.split('.') {
        let digit = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        bits |= digit.checked_shl(4 * count)?;
        count += 1;
    }
    (count == 32).then(|| std::net::Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests {
    use super::super::message::{self, Received, tests::query};
    use super::super::zone::{self, Network};
    use super::*;
    use domain::base::Message;
    use domain::rdata::AllRecordData;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Counts up: every order comes.
    #[derive(Default)]
    struct Counting(usize);

    impl Dice for Counting {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 += 1;
            self.0 % sides
        }
    }

    fn ask(bytes: &[u8], zone: &Zone, via: Transport) -> Decision {
        let Received::Query(query) = message::read(bytes) else { panic!("no query") };
        decide(&query, zone, via, &mut Counting::default())
    }

    /// `rcode records`, as text.
    fn show(decision: &Decision) -> String {
        let Decision::Answer(bytes) = decision else { return "forward".into() };
        let message = Message::from_slice(bytes).unwrap();
        let header = message.header();
        assert!(header.qr() && header.ra() && header.rd() && header.id() == 0x1234);
        let mut text = vec![header.rcode().to_string()];
        if header.tc() {
            text.push("cut".into());
        }
        for record in message.answer().unwrap() {
            let record = record.unwrap();
            let record = record.to_record::<AllRecordData<_, _>>().unwrap().unwrap();
            assert_eq!(record.ttl(), Ttl::ZERO);
            text.push(format!("{} {}", record.owner(), record.data()));
        }
        text.join(" | ")
    }

    fn one(name: &str, kind: Rtype) -> String {
        show(&ask(&query(name, kind, None), &zone::tests::zone(&[]), Transport::Udp))
    }

    #[test]
    fn names_have_addresses_and_the_case_of_the_question_comes_back() {
        assert_eq!(one("WwW.", Rtype::A), "NOERROR | WwW 10.90.0.2");
        assert_eq!(one("db.Front", Rtype::AAAA), "NOERROR | db.Front fd00::3");
        assert_eq!(one("db", Rtype::ANY), "NOERROR | db 10.90.0.3 | db fd00::3");
        assert_eq!(one("_My_cache-1.", Rtype::A), "NOERROR | _My_cache-1 10.90.0.13");
        assert_eq!(one("_my_cache-1", Rtype::AAAA), "NOERROR");
    }

    #[test]
    fn what_a_name_of_ours_lacks_is_no_data() {
        for kind in [Rtype::AAAA, Rtype::MX, Rtype::HTTPS, Rtype::SRV, Rtype::from_int(65_280)] {
            assert_eq!(one("www", kind), "NOERROR");
        }
    }

    #[test]
    fn everything_else_is_forwarded() {
        for name in ["nobody", "example.com", "www.example.com", "x.www", "a\\.b", "w\\032w"] {
            assert_eq!(one(name, Rtype::A), "forward", "{name}");
        }
        let mut chaos = query("www", Rtype::TXT, None);
        let last = chaos.len() - 1;
        chaos[last] = 3;
        assert_eq!(ask(&chaos, &zone::tests::zone(&[]), Transport::Udp), Decision::Forward);
    }

    #[test]
    fn addresses_lead_back_to_names() {
        assert_eq!(
            one("3.0.90.10.in-addr.arpa", Rtype::PTR),
            "NOERROR | 3.0.90.10.in-addr.arpa DB.Front."
        );
        let nibbles = "c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.f.ip6.arpa";
        assert_eq!(one(nibbles, Rtype::PTR), format!("NOERROR | {nibbles} web.back.end."));
        for other in [
            "9.0.90.10.in-addr.arpa",
            "03.0.90.10.in-addr.arpa",
            "1.3.0.90.10.in-addr.arpa",
            "90.10.in-addr.arpa",
            "x.0.0.0.ip6.arpa",
        ] {
            assert_eq!(one(other, Rtype::PTR), "forward", "{other}");
        }
    }

    #[test]
    fn several_addresses_come_in_changing_order() {
        let bytes = query("api", Rtype::A, None);
        let Received::Query(query) = message::read(&bytes) else { panic!("no query") };
        let (zone, mut dice) = (zone::tests::zone(&[]), Counting::default());
        let orders: BTreeSet<_> =
            (0..8).map(|_| show(&decide(&query, &zone, Transport::Udp, &mut dice))).collect();
        assert_eq!(orders.len(), 2, "{orders:?}");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_comes_whole_over_tcp() {
        let people = (1..=200).map(|n| zone::tests::person(n.into(), "many", n, false)).collect();
        let net = Network { name: "n".into(), people, links: Vec::new() };
        let zone = Zone::new(vec![net], &[]);
        let count = |edns, via| {
            let bytes = query("many", Rtype::A, edns);
            let decision = ask(&bytes, &zone, via);
            let Decision::Answer(answer) = &decision else { panic!("forwarded") };
            let limit = usize::from(edns.unwrap_or(512));
            assert!(via == Transport::Tcp || answer.len() <= limit, "{} bytes", answer.len());
            (show(&decision).contains("cut"), show(&decision).matches("10.90").count())
        };
        assert_eq!(count(None, Transport::Udp), (true, 30));
        assert_eq!(count(Some(4096), Transport::Udp), (false, 200));
        assert_eq!(count(Some(1232), Transport::Udp), (true, 74));
        assert_eq!(count(None, Transport::Tcp), (false, 200));
    }

    #[test]
    fn edns_is_answered_with_edns() {
        let bytes = query("web", Rtype::A, Some(1232));
        let zone = zone::tests::zone(&[]);
        let Decision::Answer(answer) = ask(&bytes, &zone, Transport::Udp) else { panic!() };
        let message = Message::from_slice(&answer).unwrap();
        assert_eq!(message.opt().unwrap().udp_payload_size(), OUR_UDP);
        let mut newer = bytes;
        let version = newer.len() - 5;
        newer[version] = 1;
        let Decision::Answer(answer) = ask(&newer, &zone, Transport::Udp) else { panic!() };
        let message = Message::from_slice(&answer).unwrap();
        assert_eq!(message.opt_rcode(), OptRcode::BADVERS);
    }

    proptest! {
        #[test]
        fn any_name_is_answered_or_forwarded(name in "[ -~]{0,40}", kind in any::<u16>()) {
            let zone = zone::tests::zone(&["lan.test".into()]);
            if Name::<Vec<u8>>::vec_from_str(&name).is_ok() {
                let bytes = query(&name, Rtype::from_int(kind), Some(512));
                if let Decision::Answer(answer) = ask(&bytes, &zone, Transport::Udp) {
                    prop_assert!(answer.len() <= 512);
                    prop_assert!(message::is_answer_to(&answer, &bytes, 0x1234));
                }
            }
        }

        #[test]
        fn an_address_reversed_is_the_address(bits in any::<u128>(), v4 in any::<u32>()) {
            let v4 = std::net::Ipv4Addr::from(v4);
            let [a, b, c, d] = v4.octets();
            prop_assert_eq!(reverse(&format!("{d}.{c}.{b}.{a}.in-addr.arpa")), Some(v4.into()));
            let nibbles: Vec<_> = (0..32).map(|n| format!("{:x}", bits >> (4 * n) & 15)).collect();
            let v6 = std::net::Ipv6Addr::from(bits);
            prop_assert_eq!(reverse(&format!("{}.ip6.arpa", nibbles.join("."))), Some(v6.into()));
        }
    }
}
