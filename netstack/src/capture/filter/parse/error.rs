//! What is wrong with a filter.

use std::net::IpAddr;

/// A filter that is none; Displays the word that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A word that nothing of the language is.
    #[error("'{0}' is not understood in a filter")]
    Word(String),
    /// The end, or a word, where something else was expected.
    #[error("{expected} is missing {}", place(.before))]
    Missing {
        /// What should be there.
        expected: &'static str,
        /// The word that is there; empty at the end.
        before: String,
    },
    /// A value that is not one.
    #[error("'{word}' is not {what}")]
    Value {
        /// As typed.
        word: String,
        /// "a port".
        what: &'static str,
    },
    /// `tcp host`.
    #[error("'{protocol}' cannot stand before '{kind}': say '{protocol} and {kind} …'")]
    Qualifier {
        /// `tcp`.
        protocol: &'static str,
        /// `host`.
        kind: &'static str,
    },
    /// `ip6 host 10.0.0.1`.
    #[error("{address} is not an address of '{protocol}'")]
    Family {
        /// `ip6`.
        protocol: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// `host[1]`.
    #[error(
        "'{0}' has no bytes to look at: say ether, ip, ip6, arp, tcp, udp, sctp, icmp or icmp6"
    )]
    NoBytes(String),
    /// More brackets than anybody types.
    #[error("too many '(' and 'not' within each other")]
    TooDeep,
}

fn place(before: &str) -> String {
    if before.is_empty() { "at the end".to_owned() } else { format!("before '{before}'") }
}
