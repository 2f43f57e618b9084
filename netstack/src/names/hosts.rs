//! The container's `hosts` and `hostname` files, and `--add-host`.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub target: HostTarget,
}

/// What an extra name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostTarget {
    /// An address.
    Address(IpAddr),
    /// `host-gateway`: the host, as the container reaches it.
    Gateway,
}

/// An `--add-host` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddHostError {
    /// No name, no separator, or a name that would break the file.
    #[error("bad format for add-host: {0:?}")]
    Format(String),
    /// Neither an address nor `host-gateway`.
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
}

/// docker's word for the host's address.
const HOST_GATEWAY: &str = "host-gateway";

impl FromStr for ExtraHost {
    type Err = AddHostError;

    /// `name:ip`, `name=ip`, an IPv6 address with or without brackets, `name:host-gateway`.
    fn from_str(s: &str) -> Result<Self, AddHostError> {
        let format = || AddHostError::Format(s.to_owned());
        let (name, value) = s.split_once('=').or_else(|| s.split_once(':')).ok_or_else(format)?;
        let breaks = |c: char| c == ':' || c == '#' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > 253 || name.contains(breaks) {
            return Err(format());
        }
        let target = if value == HOST_GATEWAY {
            HostTarget::Gateway
        } else {
            let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
            let address = inner.trim().parse();
            HostTarget::Address(address.map_err(|_| AddHostError::Address(inner.to_owned()))?)
        };
        Ok(Self { name: name.to_owned(), target })
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // '=' because a name could hold none, and an IPv6 address is full of ':'.
        match self.target {
            HostTarget::Address(ip) => write!(f, "{}={ip}", self.name),
            HostTarget::Gateway => write!(f, "{}={HOST_GATEWAY}", self.name),
        }
    }
}

impl TryFrom<String> for ExtraHost {
    type Error = AddHostError;
    fn try_from(s: String) -> Result<Self, AddHostError> {
        s.parse()
    }
}

impl From<ExtraHost> for String {
    fn from(host: ExtraHost) -> String {
        host.to_string()
    }
}

/// A hostname the kernel or the `hosts` file could not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid hostname format: {0}")]
pub struct HostnameError(pub String);

/// Checks `--hostname` or `--domainname`: dotted labels of letters, digits, `-` and `_`, at most
/// 64 bytes in all (__NEW_UTS_LEN, linux/utsname.h).
///
/// # Errors
/// docker's words.
pub fn check_hostname(name: &str) -> Result<(), HostnameError> {
    let label = |label: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let bytes = label.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.len() <= 63
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_')
    };
    let valid = name.len() <= 64 && name.split('.').all(label);
    if valid { Ok(()) } else { Err(HostnameError(name.to_owned())) }
}

/// The text of a hosts file after its container's addresses have changed: lines that
/// give one of `gone` to `names`, as [`HostsFile::render`] writes them, are left out;
/// lines for those in `come` are put at the end. All others stay as they are.
pub fn readdressed(text: &str, names: &str, gone: &[IpAddr], come: &[IpAddr]) -> String {
    let ours = |line: &str| {
        let fields = line.split_once('\t');
        fields.is_some_and(|(ip, rest)| {
            rest == names && ip.parse::<IpAddr>().is_ok_and(|ip| gone.contains(&ip))
        })
    };
    let mut out = String::new();
    for line in text.lines().filter(|line| !ours(line)) {
        out.push_str(line);
        out.push('\n');
    }
    for ip in come {
        out.push_str(&format!("{ip}\t{names}\n"));
    }
    out
}

/// The text of `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// What goes into a container's `/etc/hosts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsFile<'a> {
    /// The container's hostname, perhaps with a domain in it.
    pub hostname: &'a str,
    /// `--domainname`.
    pub domainname: Option<&'a str>,
    /// The container's addresses; none without a network of its own.
    pub addresses: &'a [IpAddr],
    /// `--add-host`, in order.
    pub extra: &'a [ExtraHost],
    /// What `host-gateway` stands for: the configured address, or the bridge's.
    pub gateway: &'a [IpAddr],
    /// Whether IPv6 works inside; without it names must not lead to `::1`.
    pub ipv6: bool,
}

impl HostsFile<'_> {
    /// The text of the file, in docker's order: localhost, `--add-host`, the container itself.
    pub fn render(&self) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n");
        if self.ipv6 {
            text.push_str(
                "::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::\tip6-localnet\n\
                 ff00::\tip6-mcastprefix\n\
                 ff02::1\tip6-allnodes\n\
                 ff02::2\tip6-allrouters\n",
            );
        }
        // Writing to a String cannot fail.
        let mut line = |ip: &IpAddr, names: &str| _ = writeln!(text, "{ip}\t{names}");
        for ExtraHost { name, target } in self.extra {
            match target {
                HostTarget::Address(ip) => line(ip, name),
                HostTarget::Gateway => self.gateway.iter().for_each(|ip| line(ip, name)),
            }
        }
        let names = self.own_names();
        self.addresses.iter().for_each(|ip| line(ip, &names));
        text
    }

    /// Full name first, then the bare one: `web.example.com web`.
    pub fn own_names(&self) -> String {
        let domain = self.domainname.filter(|d| !d.is_empty()).map(|d| format!(".{d}"));
        let full = format!("{}{}", self.hostname, domain.unwrap_or_default());
        match full.split_once('.') {
            Some((bare, _)) => format!("{full} {bare}"),
            None => full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_file_is_in_dockers_order() {
        let extra: Vec<ExtraHost> =
            ["db:192.0.2.7", "host.docker.internal:host-gateway", "six=[2001:db8::1]"]
                .iter()
                .map(|s| s.parse().unwrap())
                .collect();
        let file = HostsFile {
            hostname: "web",
            domainname: Some("example.com"),
            addresses: &[ip("10.90.0.2")],
            extra: &extra,
            gateway: &[ip("10.90.0.1")],
            ipv6: false,
        };
        assert_eq!(
            file.render(),
            "127.0.0.1\tlocalhost\n192.0.2.7\tdb\n10.90.0.1\thost.docker.internal\n\
             2001:db8::1\tsix\n10.90.0.2\tweb.example.com web\n"
        );
        let dual = HostsFile {
            hostname: "a1b2",
            addresses: &[ip("10.90.0.2"), ip("fd00::2")],
            ipv6: true,
            ..Default::default()
        };
        let text = dual.render();
        assert!(text.contains("\n::1\tlocalhost ip6-localhost ip6-loopback\n"));
        assert!(text.ends_with("10.90.0.2\ta1b2\nfd00::2\ta1b2\n"));
    }

    #[test]
    fn add_host_takes_dockers_forms_and_words() {
        let target = |s: &str| s.parse::<ExtraHost>().unwrap().target;
        for text in ["x:::1", "x:[::1]", "x=::1", "x=[::1]"] {
            assert_eq!(target(text), HostTarget::Address(ip("::1")), "{text}");
        }
        assert_eq!(target("x:192.0.2.1"), HostTarget::Address(ip("192.0.2.1")));
        assert_eq!(target("x=host-gateway"), HostTarget::Gateway);
        for (text, want) in [
            ("x", "bad format for add-host: \"x\""),
            ("=1.2.3.4", "bad format for add-host: \"=1.2.3.4\""),
            ("a:b=1.2.3.4", "bad format for add-host: \"a:b=1.2.3.4\""),
            ("x:abc", "invalid IP address in add-host: \"abc\""),
            ("x=[::1", "invalid IP address in add-host: \"[::1\""),
            ("a b:1.2.3.4", "bad format for add-host: \"a b:1.2.3.4\""),
            ("a\n1.1.1.1 b:1.2.3.4", "bad format for add-host: \"a\\n1.1.1.1 b:1.2.3.4\""),
            ("x:", "invalid IP address in add-host: \"\""),
        ] {
            assert_eq!(text.parse::<ExtraHost>().unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn hostnames_are_what_the_kernel_and_the_file_can_hold() {
        for good in ["web", "a", "web-1.example.com", "WEB_2", &"a".repeat(63)] {
            assert!(check_hostname(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "a..b", ".a", "ä", "a\nb", &"a".repeat(65)] {
            assert_eq!(
                check_hostname(bad).unwrap_err().to_string(),
                format!("invalid hostname format: {bad}")
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_itself(name in "[a-z][a-z0-9.-]{0,20}", ip: IpAddr, gw: bool) {
            let target = if gw { HostTarget::Gateway } else { HostTarget::Address(ip) };
            let host = ExtraHost { name, target };
            prop_assert_eq!(host.to_string().parse::<ExtraHost>().unwrap(), host);
        }

        #[test]
        fn no_flag_adds_a_line_of_its_own(s in "(?s).{0,30}", t in "(?s)[a\n#:= ]{0,6}[:=]::1") {
            for text in [s, t] {
                if let Ok(host) = text.parse::<ExtraHost>() {
                    let extra = [host];
                    let file = HostsFile { hostname: "h", extra: &extra, ..Default::default() };
                    prop_assert!(file.render().lines().count() <= 2);
                }
            }
        }
    }
}
