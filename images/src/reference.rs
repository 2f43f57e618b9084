//! Image references as people type them and as docker understands them:
//! `nginx`, `localhost/x`, `host:5000/team/app:1.2@sha256:…`.
//!
//! Pure: text in, [`Reference`] out. A value of this type is always canonical
//! (registry, repository and at least a tag or a digest are there) and valid by
//! the grammar of the Distribution project, so its parts may become paths of
//! URLs and files without a further check.
//!
//! ```text
//! reference := [ registry "/" ] path { "/" path } [ ":" tag ] [ "@" digest ]
//! registry  := ( name | IPv4 | "[" IPv6 "]" ) [ ":" port ]
//! path      := [a-z0-9]+ { ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ }
//! tag       := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
//! ```

use std::fmt;
use std::str::FromStr;

use rcnt_base::ids::Digest;
use serde::{Deserialize, Serialize};

/// The registry that a name without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// docker's old name for [`DEFAULT_REGISTRY`].
const LEGACY_REGISTRY: &str = "index.docker.io";
/// Where Docker Hub keeps names without a slash.
const OFFICIAL: &str = "library/";
/// The tag that a name without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";
/// The longest repository path, in bytes (distribution/reference: NameTotalLengthMax).
const REPOSITORY_MAX: usize = 255;
/// The longest tag, in bytes.
const TAG_MAX: usize = 128;

/// Why a text is no image reference. The words are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The grammar does not know it.
    #[error("invalid reference format: \"{0}\"")]
    Format(String),
    /// It would be right in lower case.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Over 255 bytes of repository path.
    #[error("repository name must not be more than 255 characters (it has {0})")]
    TooLong(usize),
    /// 64 hex digits are an image id and would be ambiguous as a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// An algorithm we do not check, or not the digits it needs.
    #[error("invalid reference format: \"{0}\" is not a digest (sha256: and 64 hex digits)")]
    Digest(String),
}

/// A checked, canonical image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry as written, e.g. `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository path below the registry, e.g. `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference names one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest if there is one, else the tag.
    pub fn target(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// `nginx`, `team/app` or `host:5000/app`: the name without what docker
    /// leaves out, and without tag and digest.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = self.repository.strip_prefix(OFFICIAL).unwrap_or(&self.repository);
        // `library/a/b` is no official name: shortened, it would mean `a/b`.
        let short = if short.contains('/') { &self.repository } else { short };
        // Nor may `docker.io/localhost/x` become what means another registry.
        if split_registry(short).0 == DEFAULT_REGISTRY { short.to_owned() } else { self.name() }
    }

    /// [`Self::familiar_name`] with tag and digest, as docker prints it.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// `docker.io/library/nginx`: registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at `digest`, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

/// The canonical form, `docker.io/library/nginx:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let format = || ReferenceError::Format(text.to_owned());
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| ReferenceError::Digest(digest.to_owned()))?))
            }
            None => (text, None),
        };
        let (registry, path) = split_registry(rest);
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) && is_repository(&path.to_ascii_lowercase())
        {
            return Err(ReferenceError::Uppercase(path.to_owned()));
        }
        let bad_tag = tag.is_some_and(|tag| !is_tag(tag));
        if !is_registry(registry) || !is_repository(path) || bad_tag {
            return Err(format());
        }
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
        if repository.len() > REPOSITORY_MAX {
            return Err(ReferenceError::TooLong(repository.len()));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// docker's rule: what stands before the first slash is a registry only if it
/// could be nothing else (a dot, a colon, an upper-case letter, or `localhost`).
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_REGISTRY, path)) => (DEFAULT_REGISTRY, path),
        Some((first, path))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|p| p.parse::<u16>().is_err() || p.starts_with('+') || p == "0") {
        return false;
    }
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_repository(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

fn is_path_component(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let mut bytes = text.bytes();
    edge(bytes.next())
        && (text.len() == 1 || edge(bytes.next_back()))
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && text
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Reference {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn short_names_become_canonical_ones() {
        for (typed, canonical, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("team/app", "docker.io/team/app:latest", "team/app:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
            ("Host/x", "Host/x:latest", "Host/x:latest"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("[fe80::1]/a", "[fe80::1]/a:latest", "[fe80::1]/a:latest"),
            ("a__b/c--d/e.f_g", "docker.io/a__b/c--d/e.f_g:latest", "a__b/c--d/e.f_g:latest"),
            ("x:_A.b-C", "docker.io/library/x:_A.b-C", "x:_A.b-C"),
        ] {
            let reference = parse(typed);
            assert_eq!(reference.to_string(), canonical, "{typed}");
            assert_eq!(reference.familiar(), familiar, "{typed}");
        }
    }

    #[test]
    fn a_digest_needs_no_tag_and_a_tag_stays_beside_it() {
        let both = parse(&format!("host:5000/name:tag@{DIGEST}"));
        assert_eq!((both.registry(), both.repository()), ("host:5000", "name"));
        assert_eq!((both.tag(), both.target()), (Some("tag"), DIGEST));
        let alone = parse(&format!("nginx@{DIGEST}"));
        assert_eq!((alone.tag(), alone.familiar()), (None, format!("nginx@{DIGEST}")));
    }

    #[test]
    fn what_docker_refuses_is_refused_in_its_words() {
        for bad in [
            "",
            ":",
            "/",
            "a/",
            "/a",
            "a//b",
            "-a",
            "a-",
            "a._b",
            "a___b",
            "a..b",
            "a b",
            "ä",
            "a:",
            "a:-x",
            "a:b:c",
            "a@",
            "a@b",
            "host:port/a",
            "host:99999/a",
            "host:0/a",
            "[::g]:1/a",
            "ho..st:1/a",
            "-host.x/a",
            "https://host/a",
            "a/../b",
            "host.x/%2e%2e/b",
            "a\0",
            "a\n",
        ] {
            let error = bad.parse::<Reference>().unwrap_err().to_string();
            assert!(error.starts_with("invalid reference format"), "{bad:?}: {error}");
        }
        for upper in ["Nginx", "docker.io/Foo/bar:x", "host:5000/A"] {
            let error = upper.parse::<Reference>().unwrap_err().to_string();
            assert!(error.ends_with("must be lowercase"), "{upper}: {error}");
        }
        let error = "a".repeat(64).parse::<Reference>().unwrap_err();
        assert!(matches!(error, ReferenceError::LooksLikeId(_)));
    }

    #[test]
    fn lengths_are_bounded_where_docker_bounds_them() {
        assert!(format!("h.x/{}", "g".repeat(255)).parse::<Reference>().is_ok());
        let error = format!("h.x/{}", "g".repeat(256)).parse::<Reference>().unwrap_err();
        assert_eq!(error, ReferenceError::TooLong(256));
        assert!(format!("x:{}", "t".repeat(128)).parse::<Reference>().is_ok());
        assert!(format!("x:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(
            name in "([a-z0-9]{1,5}(\\.x)?(:[1-9][0-9]{0,3})?/)?[a-z0-9]{1,4}((_|__|\\.|-{1,3})[a-z0-9]{1,3}){0,2}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,9})?",
            digest in proptest::bool::ANY,
        ) {
            let suffix = if digest { format!("@{DIGEST}") } else { String::new() };
            let reference: Reference = format!("{name}{tag}{suffix}").parse().unwrap();
            prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        }

        #[test]
        fn any_text_is_refused_or_safe_in_paths_and_urls(text in "\\PC{0,40}|[a-z./:@_A-Z0-9%\\-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let name = reference.to_string();
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@[]".contains(&b)));
                prop_assert!(!name.split('/').any(|part| part.is_empty() || part.starts_with('.')));
                prop_assert!(reference.tag().is_some() || reference.digest().is_some());
                prop_assert_eq!(name.parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
