//! The little of URLs (RFC 3986) that a registry client needs: an origin to
//! compare, and where a `Location` leads.

use std::fmt;

use ureq::http::Uri;

use super::lookup;

/// Whom a URL talks to. Credentials belong to one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) https: bool,
    /// Lower case; IPv6 addresses in brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default_port(self.https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Origin {
    /// `None` for anything but http and https with a host.
    pub(super) fn of(url: &Uri) -> Option<Self> {
        let https = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = url.host().filter(|h| !h.is_empty())?.to_ascii_lowercase();
        Some(Self { https, host, port: url.port_u16().unwrap_or(default_port(https)) })
    }

    /// Whether the packets stay on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// 127.0.0.0/8, ::1, and `localhost`.
pub(super) fn is_loopback(host: &str) -> bool {
    lookup::literal(host).map_or_else(|| lookup::is_localhost(host), |ip| ip.is_loopback())
}

/// The host of a registry name `host[:port]`.
pub(super) fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    }
}

/// Where `location`, found at `base`, leads. `None`: nowhere we would go.
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let origin = Origin::of(base)?;
    let is_absolute = location
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    let text = if is_absolute {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", if origin.https { "https" } else { "http" })
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else {
        let path = base.path();
        let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
        format!("{origin}{folder}{location}")
    };
    text.parse().ok().filter(|url| Origin::of(url).is_some())
}

/// `text` as the value of a query parameter.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_lead_where_a_browser_would_go() {
        let base: Uri = "https://Reg.test:5000/v2/a/blobs/x?y=z".parse().unwrap();
        for (location, target) in [
            ("https://cdn.test/b?sig=1#f", "https://cdn.test/b?sig=1"),
            ("//cdn.test/b", "https://cdn.test/b"),
            ("/b", "https://reg.test:5000/b"),
            ("b?u=http://x", "https://reg.test:5000/v2/a/blobs/b?u=http://x"),
        ] {
            let joined = join(&base, location).map(|u| u.to_string());
            assert_eq!(joined.as_deref(), Some(target), "{location}");
        }
        for nowhere in ["ftp://x/y", "file:///etc/passwd", "http://", "https://a b/"] {
            assert_eq!(join(&base, nowhere), None, "{nowhere}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_location_leads_to_http_or_nowhere(location in "\\PC{0,60}|[a-z:/?#.@%\\[\\]0-9]{0,40}") {
            let base: Uri = "https://reg.test/v2/a".parse().unwrap();
            if let Some(url) = join(&base, &location) {
                let origin = Origin::of(&url).unwrap();
                proptest::prop_assert!(!origin.host.is_empty());
                proptest::prop_assert!(encode(&location).is_ascii());
            }
        }
    }

    #[test]
    fn origins_compare_by_scheme_host_and_port() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap()).unwrap();
        assert_eq!(origin("https://H.test/a"), origin("https://h.test:443/b"));
        assert_ne!(origin("https://h.test"), origin("http://h.test:443"));
        assert_ne!(origin("http://h.test"), origin("http://h.test.evil"));
        assert_eq!(origin("http://h.test:80/").to_string(), "http://h.test");
    }

    #[test]
    fn loopback_is_known_by_address_and_name() {
        for host in ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "x.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["128.0.0.1", "[::2]", "localhost.evil.test", "127.0.0.1.nip.test"] {
            assert!(!is_loopback(host), "{host}");
        }
        assert_eq!(
            (host_of("[::1]:5000"), host_of("[::1]"), host_of("h:1")),
            ("[::1]", "[::1]", "h")
        );
    }
}
