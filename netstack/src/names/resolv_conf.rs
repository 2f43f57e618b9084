//! `resolv.conf`: read the host's, keep what a container can reach, print it.
//!
//! A name server on the host's loopback is none inside a container. Where the
//! host's file names only systemd-resolved's stub (127.0.0.53), the file that
//! resolved keeps for this very purpose is read instead. No public server is
//! ever put in: no name server beats asking a stranger (moby#541 and its kin).

use std::fmt::Write as _;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Bytes read of a host's file; more is none.
const MAX_FILE: u64 = 64 * 1024;
/// Name servers, search domains and options kept of a host's file. glibc uses 3 servers.
const MAX_ENTRIES: usize = 64;
/// A domain name's length (RFC 1035, section 2.3.4), in text.
const MAX_DOMAIN: usize = 253;

const NDOTS: &str = "ndots:";

/// A resolver's configuration (resolv.conf(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver`, in order. Addresses with a zone (`fe80::1%eth0`) are left out: the zone is
    /// an interface of the host. [`host_servers`] has them.
    pub name_servers: Vec<IpAddr>,
    /// `search`, in order; a `domain` line counts as one.
    pub search: Vec<String>,
    /// `options`, in order.
    pub options: Vec<String>,
}

/// What flags or configuration put in place of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsOverrides {
    /// `--dns`; the host's when empty.
    pub name_servers: Vec<IpAddr>,
    /// `--dns-search`; the host's when empty, none at all when it is `.`.
    pub search: Vec<String>,
    /// `--dns-option`; the host's when empty.
    pub options: Vec<String>,
}

/// A `--dns…` flag that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// `--dns` without an address.
    #[error("IP address is not correctly formatted: {0}")]
    Address(String),
    /// `--dns-search` without a domain.
    #[error("{0} is not a valid domain")]
    Domain(String),
    /// `--dns-option` that would be more than one word.
    #[error("invalid DNS option \"{0}\": a word without spaces")]
    Option(String),
}

impl ResolvConf {
    /// Reads the text of a `resolv.conf`. Lines that make no sense are skipped, as resolvers do.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for (keyword, words) in lines(text) {
            match keyword {
                "nameserver" => {
                    conf.name_servers.extend(words.take(1).filter_map(|w| w.parse::<IpAddr>().ok()))
                }
                // The last of several search or domain lines counts.
                "search" => conf.search = words.filter_map(domain).collect(),
                "domain" => conf.search = words.take(1).filter_map(domain).collect(),
                "options" => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf.name_servers.truncate(MAX_ENTRIES);
        conf.search.truncate(MAX_ENTRIES);
        conf.options.truncate(MAX_ENTRIES);
        conf
    }

    /// Whether systemd-resolved's stub is the only name server.
    pub fn is_resolved_stub(&self) -> bool {
        const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
        !self.name_servers.is_empty() && self.name_servers.iter().all(|ip| *ip == STUB)
    }

    /// This host's configuration as a container on a bridge can use it: `overrides` first, then
    /// what of the host's is reachable from there. May end up without a name server.
    pub fn for_container(&self, overrides: &DnsOverrides, ipv6: bool) -> Self {
        let DnsOverrides { name_servers, search, options } = overrides;
        let reachable = |ip: &IpAddr| {
            let ip = ip.to_canonical();
            !ip.is_loopback() && !ip.is_unspecified() && (ip.is_ipv4() || ipv6)
        };
        let or_hosts = |given: &[String], hosts: &[String]| {
            if given.is_empty() { hosts.to_vec() } else { given.to_vec() }
        };
        let mut search = or_hosts(search, &self.search);
        search.retain(|domain| domain != ".");
        Self {
            // What the user names is used as it is, loopback too: it may be the container's own.
            name_servers: if name_servers.is_empty() {
                self.name_servers.iter().copied().filter(reachable).collect()
            } else {
                name_servers.clone()
            },
            search,
            options: or_hosts(options, &self.options),
        }
    }

    /// The configuration of a container with a resolver of its own at `resolver`. Options
    /// are the host's, or `overrides`', but for `ndots`: a name without dots is a
    /// container's first and gets search domains only when nobody has it, unless
    /// somebody says otherwise.
    pub fn for_resolver(&self, overrides: &DnsOverrides, resolver: IpAddr) -> Self {
        let own = DnsOverrides { name_servers: vec![resolver], ..overrides.clone() };
        let mut conf = self.for_container(&own, true);
        if conf.given_ndots().is_none() {
            conf.options.retain(|option| !option.starts_with(NDOTS));
            conf.options.push(format!("{NDOTS}0"));
        }
        conf
    }

    /// How many dots a name needs to be tried as it is before search domains are put
    /// behind it.
    pub fn ndots(&self) -> u32 {
        self.given_ndots().unwrap_or(1)
    }

    fn given_ndots(&self) -> Option<u32> {
        let last = self.options.iter().rev().find_map(|option| option.strip_prefix(NDOTS))?;
        last.parse().ok()
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for server in &self.name_servers {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "nameserver {server}");
        }
        for (keyword, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                let _ = writeln!(text, "{keyword} {}", words.join(" "));
            }
        }
        text
    }
}

/// Keywords, and the words behind each up to a comment.
fn lines(text: &str) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
    let lines = text.lines().filter(|line| !line.starts_with([';', '#']));
    lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        Some((words.next()?, words.take_while(|word| !word.starts_with([';', '#']))))
    })
}

/// A name server as the host asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostServer {
    /// Its address.
    pub address: IpAddr,
    /// The host's interface that a link-local address is behind (RFC 4007, section 11).
    pub zone: Option<String>,
}

/// The name servers of a `resolv.conf`, those with a zone (`fe80::1%eth0`) too: whoever
/// asks from the host can ask them.
pub fn host_servers(text: &str) -> Vec<HostServer> {
    let server = |word: &str| {
        let (address, zone) = match word.split_once('%') {
            Some((address, zone)) if !zone.is_empty() => (address, Some(zone.to_owned())),
            _ => (word, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let fits = zone.is_none() || matches!(address, IpAddr::V6(v6) if !v6.is_loopback());
        fits.then_some(HostServer { address, zone })
    };
    let servers = lines(text).filter(|(keyword, _)| *keyword == "nameserver");
    servers.filter_map(|(_, mut words)| server(words.next()?)).take(MAX_ENTRIES).collect()
}

/// The host's configuration below `root` (`/`): `/etc/resolv.conf`, or where that names only
/// systemd-resolved's stub, resolved's own list of the servers behind it. No file: no name server.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read_host_resolv_conf(root: &Path) -> io::Result<ResolvConf> {
    let conf = read(&root.join("etc/resolv.conf"))?.unwrap_or_default();
    if conf.is_resolved_stub()
        && let Some(behind) = read(&root.join("run/systemd/resolve/resolv.conf"))?
    {
        return Ok(behind);
    }
    Ok(conf)
}

fn read(path: &Path) -> io::Result<Option<ResolvConf>> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
        Ok(file) => file.take(MAX_FILE).read_to_end(&mut bytes)?,
    };
    Ok(Some(ResolvConf::parse(&String::from_utf8_lossy(&bytes))))
}

/// `--dns`.
///
/// # Errors
/// docker's words.
pub fn parse_dns(s: &str) -> Result<IpAddr, DnsError> {
    s.trim().parse().map_err(|_| DnsError::Address(s.to_owned()))
}

/// `--dns-search`; `.` means no search domain.
///
/// # Errors
/// docker's words.
pub fn parse_dns_search(s: &str) -> Result<String, DnsError> {
    domain(s.trim_matches(' ')).ok_or_else(|| DnsError::Domain(s.to_owned()))
}

/// `--dns-option`: any one word; resolvers differ in what they know.
///
/// # Errors
/// More or less than one word.
pub fn parse_dns_option(s: &str) -> Result<String, DnsError> {
    let word = !s.is_empty() && s.len() <= MAX_DOMAIN && s.bytes().all(|b| b.is_ascii_graphic());
    if word { Ok(s.to_owned()) } else { Err(DnsError::Option(s.to_owned())) }
}

/// A search domain: `.`, or dotted labels of letters, digits, `-` and `_`.
fn domain(s: &str) -> Option<String> {
    let name = s.strip_suffix('.').unwrap_or(s);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let valid = s == "." || name.len() <= MAX_DOMAIN && name.split('.').all(label);
    valid.then(|| s.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn for_container(text: &str) -> String {
        ResolvConf::parse(text).for_container(&DnsOverrides::default(), false).render()
    }

    #[test]
    fn the_hosts_file_is_copied_without_loopback_servers() {
        let text = "# made by hand\nnameserver 127.0.0.1\nnameserver 192.0.2.53 # office\n\
                    nameserver 2001:db8::53\nnameserver fe80::1%eth0\nnameserver ::1\n\
                    ; old\ndomain old.example\nsearch example.com lan\noptions ndots:2 edns0\n\
                    sortlist 10.0.0.0\nnameserver\nnameserver x\n";
        assert_eq!(
            for_container(text),
            "nameserver 192.0.2.53\nsearch example.com lan\noptions ndots:2 edns0\n"
        );
        let dual = ResolvConf::parse(text).for_container(&DnsOverrides::default(), true);
        assert_eq!(dual.name_servers.len(), 2);
    }

    #[test]
    fn the_host_can_ask_servers_behind_an_interface() {
        let text = "nameserver fe80::1%eth0 # router\nnameserver 192.0.2.1\nsearch lan\n\
                    nameserver fe80::2%3\nnameserver 192.0.2.2%eth0\nnameserver fe80::3%\n\
                    # nameserver 192.0.2.3\nnameserver ::1%lo\nnameserver\nnameserver x%y\n";
        let shown = |s: &HostServer| (s.address.to_string(), s.zone.clone().unwrap_or_default());
        assert_eq!(
            host_servers(text).iter().map(shown).collect::<Vec<_>>(),
            [("fe80::1", "eth0"), ("192.0.2.1", ""), ("fe80::2", "3")]
                .map(|(address, zone)| (address.to_owned(), zone.to_owned()))
        );
    }

    #[test]
    fn no_public_server_is_ever_put_in() {
        assert_eq!(for_container("nameserver 127.0.0.1\n"), "");
        assert_eq!(for_container(""), "");
    }

    #[test]
    fn flags_take_the_place_of_the_hosts() {
        let host = ResolvConf::parse("nameserver 192.0.2.1\nsearch lan\noptions edns0\n");
        let overrides = DnsOverrides {
            name_servers: vec!["127.0.0.1".parse().unwrap()],
            search: vec!["example.org".into()],
            options: vec!["ndots:1".into()],
        };
        assert_eq!(
            host.for_container(&overrides, false).render(),
            "nameserver 127.0.0.1\nsearch example.org\noptions ndots:1\n"
        );
        let none = DnsOverrides { search: vec![".".into()], ..Default::default() };
        assert_eq!(
            host.for_container(&none, false).render(),
            "nameserver 192.0.2.1\noptions edns0\n"
        );
    }

    #[test]
    fn a_resolver_of_its_own_comes_with_ndots_0_unless_told_otherwise() {
        let resolver = "127.0.0.11".parse().unwrap();
        let show = |text: &str, options: &[&str]| {
            let options = options.iter().map(|o| (*o).to_owned()).collect();
            let overrides = DnsOverrides { options, ..Default::default() };
            let conf = ResolvConf::parse(text).for_resolver(&overrides, resolver);
            (conf.ndots(), conf.render())
        };
        let host = "nameserver 127.0.0.53\nsearch lan\noptions edns0\n";
        let text = "nameserver 127.0.0.11\nsearch lan\noptions edns0 ndots:0\n";
        assert_eq!(show(host, &[]), (0, text.into()));
        let text = "nameserver 127.0.0.11\nsearch lan\noptions ndots:5\n";
        assert_eq!(show(host, &["ndots:5"]), (5, text.into()));
        let text = "nameserver 127.0.0.11\noptions ndots:2\n";
        assert_eq!(show("options ndots:2\n", &[]), (2, text.into()));
        assert_eq!(show("options ndots:x\n", &[]).0, 0);
    }

    #[test]
    fn the_stub_of_systemd_resolved_is_looked_behind() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            rcnt_base::files::create_dirs(path.parent().unwrap()).unwrap();
            rcnt_base::files::write_atomic(
                &path,
                text.as_bytes(),
                rcnt_base::files::Durability::Volatile,
            )
            .unwrap();
        };
        let servers = || read_host_resolv_conf(root.path()).unwrap().name_servers;
        assert!(servers().is_empty());
        write("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
        assert_eq!(servers(), ["127.0.0.53".parse::<IpAddr>().unwrap()]);
        write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.9\n");
        assert_eq!(servers(), ["192.0.2.9".parse::<IpAddr>().unwrap()]);
        write("etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 192.0.2.1\n");
        assert_eq!(servers().len(), 2);
        write("etc/resolv.conf", &"nameserver 192.0.2.1\n".repeat(100_000));
        assert_eq!(servers().len(), MAX_ENTRIES);
    }

    #[test]
    fn flags_are_checked_in_dockers_words() {
        assert_eq!(
            parse_dns("foo").unwrap_err().to_string(),
            "IP address is not correctly formatted: foo"
        );
        assert!(parse_dns("2001:db8::1").is_ok());
        assert_eq!(
            parse_dns_search("bad/name").unwrap_err().to_string(),
            "bad/name is not a valid domain"
        );
        for good in [".", "lan", "example.com", "example.com.", "_tcp.x-y.z"] {
            assert_eq!(parse_dns_search(good).unwrap(), good);
        }
        for bad in ["", "..", "a..b", "a b", "a\nnameserver 1.2.3.4", &"a".repeat(64)] {
            assert!(parse_dns_search(bad).is_err(), "{bad:?}");
        }
        assert!(parse_dns_option("ndots:2").is_ok() && parse_dns_option("a\nb").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_is_printed_reads_back(text in "(?s).{0,300}") {
            let _ = host_servers(&text);
            let conf = ResolvConf::parse(&text);
            prop_assert_eq!(ResolvConf::parse(&conf.render()), conf);
        }

        #[test]
        fn likely_text_too(lines in proptest::collection::vec(
            "(nameserver|search|domain|options|;|#)[ \t][a-z0-9.:#; ]{0,20}", 0..10)
        ) {
            let conf = ResolvConf::parse(&lines.join("\n"));
            prop_assert_eq!(ResolvConf::parse(&conf.render()), conf.clone());
            let inside = conf.for_container(&DnsOverrides::default(), true);
            prop_assert!(inside.name_servers.iter().all(|ip| !ip.to_canonical().is_loopback()));
        }
    }
}
