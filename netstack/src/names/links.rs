//! Docker's legacy links, `--link source[:alias]`: the flag, the environment
//! variables and the line of `/etc/hosts` they come to. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ports::{ContainerPort, Protocol};

/// One `--link`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Link {
    /// The container that is linked to, by name or id.
    pub source: String,
    /// What it is called here.
    pub alias: String,
}

/// A `--link` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing.
    #[error("empty string specified for links")]
    Empty,
    /// Not `source` or `source:alias`, or no name.
    #[error("bad format for links: {0}")]
    Format(String),
}

impl FromStr for Link {
    type Err = LinkError;

    /// `source`, `source:alias`, or as `inspect` shows one: `/source:/recipient/alias`.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let format = || LinkError::Format(text.to_owned());
        if text.is_empty() {
            return Err(LinkError::Empty);
        }
        let (source, alias) = text.split_once(':').unwrap_or((text, text));
        let alias = alias.rsplit_once('/').map_or(alias, |(_, last)| last);
        let source = source.strip_prefix('/').unwrap_or(source);
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let name = |name: &str| !name.is_empty() && name.len() <= 253 && name.bytes().all(good);
        match name(source) && name(alias) {
            true => Ok(Self { source: source.to_owned(), alias: alias.to_owned() }),
            false => Err(format()),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.alias)
    }
}

impl TryFrom<String> for Link {
    type Error = LinkError;
    fn try_from(text: String) -> Result<Self, LinkError> {
        text.parse()
    }
}

impl From<Link> for String {
    fn from(link: Link) -> String {
        link.to_string()
    }
}

/// The container that is linked to, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hostname; its short id unless it was given another.
    pub hostname: &'a str,
    /// Its address on the default network.
    pub address: IpAddr,
    /// What it exposes, in order.
    pub exposed: &'a [ContainerPort],
    /// Its own environment.
    pub env: &'a [String],
}

impl Source<'_> {
    /// The names on the source's line of `/etc/hosts`: alias, hostname, name.
    pub fn host_names(&self, alias: &str) -> String {
        match alias == self.name {
            true => format!("{alias} {}", self.hostname),
            false => format!("{alias} {} {}", self.hostname, self.name),
        }
    }

    /// The variables `recipient` gets for the source by the name of `alias`.
    pub fn environment(&self, recipient: &str, alias: &str) -> Vec<String> {
        let prefix = alias.to_uppercase().replace('-', "_");
        let mut env = self.port_variables(&prefix);
        env.push(format!("{prefix}_NAME=/{recipient}/{alias}"));
        for (name, value) in self.env.iter().filter_map(|entry| entry.split_once('=')) {
            // Every image has these two, and they say nothing of the source.
            if name != "HOME" && name != "PATH" {
                env.push(format!("{prefix}_ENV_{name}={value}"));
            }
        }
        env
    }

    /// TCP first, then by number: the first port is the one `ALIAS_PORT` names.
    fn port_variables(&self, prefix: &str) -> Vec<String> {
        let mut ports = self.exposed.to_vec();
        ports.sort_by_key(|p| (p.protocol != Protocol::Tcp, p.protocol.as_str(), p.port));
        let mut env = Vec::new();
        let url = |p: &ContainerPort| {
            let ip = self.address;
            format!(
                "{}://{}:{}",
                p.protocol,
                if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() },
                p.port
            )
        };
        let of = |p: &ContainerPort| {
            format!("{prefix}_PORT_{}_{}", p.port, p.protocol.as_str().to_uppercase())
        };
        if let Some(first) = ports.first() {
            env.push(format!("{prefix}_PORT={}", url(first)));
        }
        let neighbours = |a: &ContainerPort, b: &ContainerPort| {
            a.protocol == b.protocol && a.port.checked_add(1) == Some(b.port)
        };
        for range in ports.chunk_by(neighbours) {
            for port in range {
                let name = of(port);
                env.push(format!("{name}={}", url(port)));
                env.push(format!("{name}_ADDR={}", self.address));
                env.push(format!("{name}_PORT={}", port.port));
                env.push(format!("{name}_PROTO={}", port.protocol));
            }
            if let [first, .., last] = range {
                let name = of(first);
                env.push(format!("{name}_START={}", url(first)));
                env.push(format!("{name}_PORT_START={}", first.port));
                env.push(format!("{name}_END={}", url(last)));
                env.push(format!("{name}_PORT_END={}", last.port));
            }
        }
        env
    }
}

/// The text of a hosts file after a linked container got other addresses: the lines
/// whose first name is `alias` are replaced, whole words alone counting (moby#19080).
pub fn relinked(text: &str, alias: &str, names: &str, addresses: &[IpAddr]) -> String {
    let is_ours = |line: &str| {
        line.split_once('\t').is_some_and(|(ip, names)| {
            ip.parse::<IpAddr>().is_ok() && names.split(' ').next() == Some(alias)
        })
    };
    let mut out = String::new();
    let mut new: Option<String> =
        Some(addresses.iter().map(|ip| format!("{ip}\t{names}\n")).collect());
    for line in text.lines() {
        if is_ours(line) {
            out.push_str(&new.take().unwrap_or_default());
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push_str(&new.unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn port(text: &str) -> ContainerPort {
        crate::ports::parse_expose(text).unwrap()[0]
    }

    #[test]
    fn variables_are_dockers() {
        let exposed: Vec<_> = ["53/udp", "6380", "6379", "80"].iter().map(|p| port(p)).collect();
        let env: Vec<String> = ["PATH=/bin", "HOME=/", "V=1=2"].map(Into::into).into();
        let source = Source {
            name: "db",
            hostname: "0123456789ab",
            address: "10.90.0.2".parse().unwrap(),
            exposed: &exposed,
            env: &env,
        };
        let got = source.environment("web", "my-db");
        let wanted = [
            "MY_DB_PORT=tcp://10.90.0.2:80",
            "MY_DB_PORT_80_TCP=tcp://10.90.0.2:80",
            "MY_DB_PORT_80_TCP_ADDR=10.90.0.2",
            "MY_DB_PORT_80_TCP_PORT=80",
            "MY_DB_PORT_80_TCP_PROTO=tcp",
            "MY_DB_PORT_6379_TCP=tcp://10.90.0.2:6379",
            "MY_DB_PORT_6379_TCP_ADDR=10.90.0.2",
            "MY_DB_PORT_6379_TCP_PORT=6379",
            "MY_DB_PORT_6379_TCP_PROTO=tcp",
            "MY_DB_PORT_6380_TCP=tcp://10.90.0.2:6380",
            "MY_DB_PORT_6380_TCP_ADDR=10.90.0.2",
            "MY_DB_PORT_6380_TCP_PORT=6380",
            "MY_DB_PORT_6380_TCP_PROTO=tcp",
            "MY_DB_PORT_6379_TCP_START=tcp://10.90.0.2:6379",
            "MY_DB_PORT_6379_TCP_PORT_START=6379",
            "MY_DB_PORT_6379_TCP_END=tcp://10.90.0.2:6380",
            "MY_DB_PORT_6379_TCP_PORT_END=6380",
            "MY_DB_PORT_53_UDP=udp://10.90.0.2:53",
            "MY_DB_PORT_53_UDP_ADDR=10.90.0.2",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_V=1=2",
        ];
        assert_eq!(got, wanted);
        assert_eq!(source.host_names("my-db"), "my-db 0123456789ab db");
        assert_eq!(source.host_names("db"), "db 0123456789ab");
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let read = |text: &str| text.parse::<Link>().map(|l| (l.source, l.alias));
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(read("db"), pair("db", "db"));
        assert_eq!(read("db:store"), pair("db", "store"));
        assert_eq!(read("/db:/web/store"), pair("db", "store"));
        assert_eq!(read(""), Err(LinkError::Empty));
        for bad in ["a:b:c", ":", "a:", ":b", "a b", "a:b/"] {
            assert_eq!(read(bad), Err(LinkError::Format(bad.into())), "{bad}");
        }
    }

    #[test]
    fn only_the_line_of_the_alias_changes() {
        let ip = ["10.90.0.9".parse().unwrap()];
        let text = "127.0.0.1\tlocalhost\n10.90.0.2\tdb aa db1\n10.90.0.3\tdb2 bb\n10.90.0.4\tme\n";
        assert_eq!(
            relinked(text, "db", "db cc db1", &ip),
            "127.0.0.1\tlocalhost\n10.90.0.9\tdb cc db1\n10.90.0.3\tdb2 bb\n10.90.0.4\tme\n"
        );
        assert_eq!(
            relinked("127.0.0.1\tlocalhost\n", "x", "x y", &ip),
            "127.0.0.1\tlocalhost\n10.90.0.9\tx y\n"
        );
    }

    proptest! {
        #[test]
        fn a_printed_link_parses_to_itself(source in "[a-z0-9_.-]{1,9}", alias in "[a-z0-9_.-]{1,9}") {
            let link = Link { source, alias };
            prop_assert_eq!(link.to_string().parse::<Link>().unwrap(), link);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Link>();
            let _ = relinked(&text, &text, &text, &[]);
        }
    }
}
