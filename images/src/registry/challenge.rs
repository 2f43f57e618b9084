//! What a registry asks for with `WWW-Authenticate` (RFC 9110, 11.6.1;
//! Distribution token specification), and whom we would tell a password.
//!
//! Pure: header text in, decisions out.

use super::lookup;

/// The longest header looked at.
const HEADER_MAX: usize = 8 << 10;

/// One way to prove who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token, to be fetched from `realm`.
    Bearer {
        /// The address of the token service, unchecked.
        realm: String,
        /// What the token service knows the registry as.
        service: Option<String>,
    },
}

/// The challenges of one header that we can answer. Its `scope` is not read: we
/// ask for what we need, not for what we are told to need.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.get(..header.len().min(HEADER_MAX)).unwrap_or_default();
    while let Some((scheme, parameters, next)) = take_challenge(rest) {
        rest = next;
        let get = |key: &str| {
            parameters.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service") });
        }
    }
    found
}

type Parameters = Vec<(String, String)>;

/// `scheme key=value, key="value"` and what follows it.
fn take_challenge(text: &str) -> Option<(&str, Parameters, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (scheme, mut rest) = take_token(text)?;
    let mut parameters = Vec::new();
    loop {
        let next = rest.trim_start_matches([' ', '\t', ',']);
        let Some((key, after)) = take_token(next) else { break };
        // A token without `=` is the next challenge's scheme.
        let Some(value) = after.trim_start().strip_prefix('=') else { break };
        let (value, after) = take_value(value.trim_start())?;
        parameters.push((key.to_owned(), value));
        rest = after;
    }
    Some((scheme, parameters, rest))
}

fn take_token(text: &str) -> Option<(&str, &str)> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn take_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Not only RFC tokens: unquoted addresses are seen in the wild.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Whether the password kept for a registry on `host` may go to a token service
/// on `realm`. Token services on another host are common (`registry.gitlab.com`
/// and `gitlab.com`, `registry-1.docker.io` and `auth.docker.io`), but a
/// registry must not be able to send a password anywhere it likes
/// (CVE-2026-33540): the two must share the domain one level up.
pub(super) fn may_hear_password(realm: &str, host: &str) -> bool {
    let (realm, host) = (realm.to_ascii_lowercase(), host.to_ascii_lowercase());
    if realm == host {
        return true;
    }
    if lookup::literal(&realm).is_some() || lookup::literal(&host).is_some() {
        return false;
    }
    let below = |domain: &str| realm == domain || realm.ends_with(&format!(".{domain}"));
    let shared = host.split_once('.').is_some_and(|(_, up)| !is_public(up) && below(up));
    shared || (host.contains('.') && below(&host))
}

/// Whether strangers may register names below `domain`: a top-level domain, or
/// one of the `co.uk` kind.
fn is_public(domain: &str) -> bool {
    match domain.split_once('.') {
        None => true,
        Some((second, top)) => !top.contains('.') && top.len() == 2 && second.len() <= 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) }
    }

    #[test]
    fn headers_as_registries_send_them_are_read() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let expected = bearer("https://auth.docker.io/token", Some("registry.docker.io"));
        assert_eq!(parse(docker), [expected]);
        assert_eq!(parse("Basic realm=\"x, y\""), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, bearer  REALM = "a\"b" , Basic realm=x"#),
            [bearer("a\"b", None), Challenge::Basic]
        );
        assert_eq!(parse("Bearer realm=https://h/t,service=s"), [bearer("https://h/t", Some("s"))]);
        for nothing in ["", ",,,", "Bearer", "Bearer realm=\"open", "Digest a=b", "\"", "="] {
            assert_eq!(parse(nothing), [], "{nothing:?}");
        }
    }

    #[test]
    fn passwords_stay_in_the_family() {
        for (realm, host) in [
            ("reg.test", "reg.test"),
            ("gitlab.com", "registry.gitlab.com"),
            ("auth.docker.io", "registry-1.docker.io"),
            ("auth.reg.test", "reg.test"),
            ("10.0.0.1", "10.0.0.1"),
            ("login.corp.co.uk", "reg.corp.co.uk"),
        ] {
            assert!(may_hear_password(realm, host), "{realm} {host}");
        }
        for (realm, host) in [
            ("evil.test", "reg.test"),
            ("evilgitlab.com", "registry.gitlab.com"),
            ("evil.co.uk", "corp.co.uk"),
            ("10.0.0.2", "10.0.0.1"),
            ("1.0.0.1", "10.0.0.1"),
            ("x.localhost", "localhost"),
            ("com", "registry.com"),
        ] {
            assert!(!may_hear_password(realm, host), "{realm} {host}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(text in "\\PC{0,60}|(Basic|Bearer|realm|[=,\" \\\\a]){0,20}") {
            parse(&text);
        }
    }
}
