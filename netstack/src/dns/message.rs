//! DNS messages as they arrive: whether one is a question we take, which one,
//! and whether an answer belongs to it. The wire format is the library's.
//!
//! Nothing is copied but the name. What is forwarded is forwarded as it came,
//! with another id: options, records and types that we do not know pass through.

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{ParsedName, ToLabelIter, ToName};
use domain::base::{Message, Question, Rtype};

/// Bytes of a header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// What a UDP answer may hold without EDNS (RFC 1035, section 4.2.1).
pub(super) const UDP_PLAIN: u16 = 512;
/// The longest name in text (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// A query for one thing, whole enough to be answered or forwarded.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) message: &'a Message<[u8]>,
    pub(super) question: Question<ParsedName<&'a [u8]>>,
    /// The name in small letters, without the last dot; `None` when it holds what no
    /// container's name can (escaped dots, spaces, other bytes).
    pub(super) name: Option<String>,
    pub(super) edns: Option<Edns>,
}

/// What of a query's OPT record (RFC 6891) matters to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edns {
    pub(super) size: u16,
    pub(super) version: u8,
    pub(super) dnssec: bool,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Received<'a> {
    Query(Query<'a>),
    /// No query we take: this is the answer that says so.
    Refused(Vec<u8>),
    /// Nothing that may be answered: an answer itself, or no message at all. Two
    /// servers that answer answers would talk for ever.
    Ignored,
}

/// Reads what a client sent.
pub(super) fn read(bytes: &[u8]) -> Received<'_> {
    let Ok(message) = Message::from_slice(bytes) else { return Received::Ignored };
    let header = message.header();
    if header.qr() {
        return Received::Ignored;
    }
    if header.opcode() != Opcode::QUERY {
        return Received::Refused(bare(message, Rcode::NOTIMP));
    }
    let Ok(question) = message.sole_question() else {
        return Received::Refused(bare(message, Rcode::FORMERR));
    };
    let edns = message.opt().map(|opt| Edns {
        size: opt.udp_payload_size(),
        version: opt.version(),
        dnssec: opt.dnssec_ok(),
    });
    let name = text(question.qname());
    Received::Query(Query { message, question, name, edns })
}

/// What is answered to a query of which nothing but its header can be believed.
pub(super) fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_slice(bytes).ok().filter(|message| !message.header().qr())?;
    Some(bare(message, Rcode::FORMERR))
}

/// A header that refuses, without the question that could not be read.
fn bare(message: &Message<[u8]>, rcode: Rcode) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    let asked = message.header();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_ra(true);
    header.set_rcode(rcode);
    builder.finish()
}

/// A name as it is looked up.
pub(super) fn text(name: &ParsedName<&[u8]>) -> Option<String> {
    let mut text = String::with_capacity(usize::from(name.compose_len()));
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label.iter() {
            let plain = byte.is_ascii_graphic() && byte != b'.' && byte != b'\\';
            text.push(char::from(Some(byte).filter(|_| plain)?.to_ascii_lowercase()));
        }
    }
    (text.len() <= MAX_NAME).then_some(text)
}

impl Query<'_> {
    pub(super) fn is_internet(&self) -> bool {
        matches!(self.question.qclass(), Class::IN | Class::ANY)
    }

    pub(super) fn kind(&self) -> Rtype {
        self.question.qtype()
    }

    /// Bytes that an answer over UDP may have.
    pub(super) fn udp_limit(&self) -> usize {
        udp_limit(self.edns)
    }
}

fn udp_limit(edns: Option<Edns>) -> usize {
    usize::from(edns.map_or(UDP_PLAIN, |edns| edns.size.max(UDP_PLAIN)))
}

/// Whether `answer` is the answer to `asked`, sent with `id` (RFC 5452, section 9.1:
/// the id and the whole question; the server's address is the socket's to check).
pub(super) fn is_answer_to(answer: &[u8], asked: &[u8], id: u16) -> bool {
    let (Ok(answer), Ok(asked)) = (Message::from_slice(answer), Message::from_slice(asked)) else {
        return false;
    };
    let header = answer.header();
    let (Ok(theirs), Ok(ours)) = (answer.sole_question(), asked.sole_question()) else {
        // Some servers refuse without saying what.
        let empty = answer.header_counts().qdcount() == 0;
        return header.qr() && header.id() == id && empty && header.rcode() != Rcode::NOERROR;
    };
    header.qr()
        && header.id() == id
        && theirs.qtype() == ours.qtype()
        && theirs.qclass() == ours.qclass()
        && theirs.qname().name_eq(ours.qname())
}

/// Whether the server of this answer had better not been asked: another may know.
pub(super) fn is_failure(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|message| {
        let rcode = message.header().rcode();
        !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
    })
}

/// Whether the answer was cut (TC).
pub(super) fn is_cut(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|message| message.header().tc())
}

/// The message's id; 0 when it has none.
pub(super) fn id_of(message: &[u8]) -> u16 {
    Message::from_slice(message).map_or(0, |message| message.header().id())
}

/// Gives the message another id.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    if let Some(bytes) = message.get_mut(..2) {
        bytes.copy_from_slice(&id.to_be_bytes());
    }
}

/// Makes an answer fit a client that takes fewer bytes over UDP: its header and
/// question with TC set.
pub(super) fn cut_to_fit(answer: Vec<u8>, asked: &[u8]) -> Vec<u8> {
    let Received::Query(query) = read(asked) else { return answer };
    if answer.len() <= query.udp_limit() {
        return answer;
    }
    let mut cut = answer;
    // Whoever refuses may do so without the question.
    let asked = Message::from_slice(&cut).is_ok_and(|cut| cut.header_counts().qdcount() > 0);
    let question = usize::from(query.question.qname().compose_len()) + 4;
    let end = HEADER + if asked { question } else { 0 };
    cut.truncate(end);
    for (at, byte) in cut.iter_mut().enumerate() {
        match at {
            2 => *byte |= 0b10, // TC
            6..12 => *byte = 0, // no records
            _ => {}
        }
    }
    cut
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use domain::base::Name;
    use proptest::prelude::*;

    /// A query as a client sends it.
    pub(in super::super) fn query(name: &str, kind: Rtype, edns: Option<u16>) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(0x1234);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
        builder.push((name, kind, Class::IN)).unwrap();
        let mut builder = builder.additional();
        if let Some(size) = edns {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(size);
                    Ok(())
                })
                .unwrap();
        }
        builder.finish()
    }

    #[test]
    fn a_query_is_read() {
        let bytes = query("Web.Front.", Rtype::AAAA, Some(1232));
        let Received::Query(query) = read(&bytes) else { panic!("no query") };
        assert_eq!(query.name.as_deref(), Some("web.front"));
        assert_eq!((query.kind(), query.udp_limit()), (Rtype::AAAA, 1232));
        assert!(query.is_internet());
    }

    #[test]
    fn small_or_missing_edns_sizes_mean_512() {
        for edns in [None, Some(100)] {
            let bytes = query("web", Rtype::A, edns);
            let Received::Query(query) = read(&bytes) else { panic!("no query") };
            assert_eq!(query.udp_limit(), 512);
        }
    }

    #[test]
    fn answers_are_never_answered_and_what_is_not_a_query_is_refused() {
        let mut answer = query("web", Rtype::A, None);
        answer[2] |= 0x80;
        assert!(matches!(read(&answer), Received::Ignored));
        assert!(matches!(read(&answer[..11]), Received::Ignored));
        let mut notify = query("web", Rtype::SOA, None);
        notify[2] = 4 << 3;
        let Received::Refused(refusal) = read(&notify) else { panic!("not refused") };
        assert_eq!((refusal.len(), refusal[2] & 0xf8, refusal[3] & 15), (12, 0xa0, 4));
        let cut = query("web", Rtype::A, None);
        let Received::Refused(refusal) = read(&cut[..14]) else { panic!("not refused") };
        assert_eq!((&refusal[..2], refusal[3] & 15), (&[0x12, 0x34][..], 1));
    }

    #[test]
    fn an_answer_is_known_by_its_id_and_question() {
        let asked = query("web.example", Rtype::A, None);
        let mut answer = query("WEB.example", Rtype::A, None);
        answer[2] |= 0x80;
        assert!(is_answer_to(&answer, &asked, 0x1234));
        assert!(!is_answer_to(&answer, &asked, 0x1235));
        assert!(!is_answer_to(&asked, &asked, 0x1234), "a query is no answer");
        for (name, kind) in [("web.example", Rtype::AAAA), ("wex.example", Rtype::A)] {
            let mut other = query(name, kind, None);
            other[2] |= 0x80;
            assert!(!is_answer_to(&other, &asked, 0x1234));
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_is_cut_after_the_question() {
        let asked = query("web.example", Rtype::TXT, None);
        let mut long = asked.clone();
        long[2] |= 0x80;
        long[7] = 9;
        let whole = long.len();
        assert_eq!(cut_to_fit(long.clone(), &asked), long);
        long.resize(600, 1);
        let cut = cut_to_fit(long, &asked);
        assert_eq!((cut.len(), cut[2] & 0b10, cut[7]), (whole, 0b10, 0));
        assert!(is_cut(&cut) && is_answer_to(&cut, &asked, 0x1234));
        let mut refusal = [&cut[..], &[1; 600]].concat();
        refusal[3] |= 5;
        refusal[5] = 0;
        let cut = cut_to_fit(refusal, &asked);
        assert!(cut.len() == 12 && is_cut(&cut) && is_answer_to(&cut, &asked, 0x1234));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            asked in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = read(&bytes);
            let _ = is_answer_to(&bytes, &asked, 1);
            let _ = cut_to_fit(bytes, &asked);
        }

        /// Nearly right: a query with some bytes changed, pointers among them.
        #[test]
        fn no_damaged_query_panics(
            at in 0usize..60, byte in any::<u8>(), other in 12usize..30, pointer in any::<u8>(),
        ) {
            let mut bytes = query("some.name.in.front", Rtype::A, Some(4096));
            if let Some(b) = bytes.get_mut(at) { *b = byte; }
            bytes[other] = 0xc0;
            bytes[other + 1] = pointer;
            match read(&bytes) {
                Received::Refused(answer) => prop_assert!(answer.len() <= bytes.len()),
                Received::Query(query) => prop_assert!(query.name.is_none_or(|n| n.len() <= 253)),
                Received::Ignored => {}
            }
        }
    }
}
