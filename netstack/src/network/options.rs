//! The values that driver options take, under docker's words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that an option does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} \"{word}\": {known}")]
pub struct UnknownWord {
    /// What it should be: `gateway mode`.
    pub what: &'static str,
    /// As typed.
    pub word: String,
    /// The words there are.
    pub known: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $known:literal,
     $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// docker's word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok($name::$variant),)+
                    _ => Err(UnknownWord { what: $what, word: word.to_owned(), known: $known }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownWord;
            fn try_from(word: String) -> Result<Self, UnknownWord> {
                word.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How a bridge's containers are reached from outside (docker 28's gateway modes).
    GatewayMode, "gateway mode", "it is nat, nat-unprotected, routed or isolated",
    /// Through published ports only; what leaves is masqueraded.
    Nat = "nat",
    /// As `nat`, but every port of a container's own address may be reached.
    NatUnprotected = "nat-unprotected",
    /// No translation: published ports are opened on the container's own address.
    Routed = "routed",
    /// The bridge has no address: the host cannot be reached either. Internal networks only.
    Isolated = "isolated",
}

words! {
    /// `macvlan_mode`: how containers on one parent see each other.
    MacvlanMode, "macvlan mode", "it is bridge, private, vepa or passthru",
    /// Directly.
    Bridge = "bridge",
    /// Not at all.
    Private = "private",
    /// By way of the switch outside, if it sends packets back (802.1Qbg).
    Vepa = "vepa",
    /// One container, which has the parent to itself.
    Passthru = "passthru",
}

words! {
    /// `ipvlan_mode`: what the parent does for its containers.
    IpvlanMode, "ipvlan mode", "it is l2, l3 or l3s",
    /// Switching: containers answer ARP themselves.
    L2 = "l2",
    /// Routing: no broadcast reaches the containers.
    L3 = "l3",
    /// As `l3`, through the host's netfilter and connection tracking.
    L3s = "l3s",
}

words! {
    /// `ipvlan_flag`: whether containers on one parent see each other.
    IpvlanFlag, "ipvlan flag", "it is bridge, private or vepa",
    /// Directly.
    Bridge = "bridge",
    /// Not at all.
    Private = "private",
    /// By way of the switch outside.
    Vepa = "vepa",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_dockers_and_print_as_they_parse() {
        for word in ["nat", "nat-unprotected", "routed", "isolated"] {
            assert_eq!(word.parse::<GatewayMode>().unwrap().as_str(), word);
        }
        for word in ["bridge", "private", "vepa", "passthru"] {
            assert_eq!(word.parse::<MacvlanMode>().unwrap().to_string(), word);
        }
        let error = "l4".parse::<IpvlanMode>().unwrap_err().to_string();
        assert_eq!(error, "unknown ipvlan mode \"l4\": it is l2, l3 or l3s");
    }
}
