//! What can go wrong between us and a registry. The words for what users know
//! from docker are docker's; everything else names registry, object and cause.

use std::fmt;
use std::io;

use super::credentials::CredentialsError;

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke before the answer's head was complete.
    #[error("cannot reach registry {registry} at {origin}")]
    Unreachable {
        /// The registry as the user named it.
        registry: String,
        /// Scheme, host and port that were tried.
        origin: String,
        /// The network's reason.
        #[source]
        source: io::Error,
    },
    /// No CA that we trust vouches for the server.
    #[error("cannot trust registry {registry} at {origin}")]
    Untrusted {
        /// The registry as the user named it.
        registry: String,
        /// Scheme, host and port that were tried.
        origin: String,
        /// What is wrong with the certificate.
        #[source]
        source: io::Error,
    },
    /// The connection broke while a body was coming.
    #[error("the download of {object} from {registry} broke off")]
    Broken {
        /// The manifest or blob.
        object: String,
        /// The registry.
        registry: String,
        /// The network's reason.
        #[source]
        source: io::Error,
    },
    /// 401 after all we could prove, or 403. docker's words.
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login'{said}"
    )]
    Denied {
        /// The repository as docker shows it.
        name: String,
        /// The registry's own words.
        said: Said,
    },
    /// The repository has no such tag or digest. docker's words.
    #[error("manifest for {reference} not found: manifest unknown{said}")]
    ManifestUnknown {
        /// What was asked for.
        reference: String,
        /// The registry's own words.
        said: Said,
    },
    /// The registry knows no such repository. docker's words.
    #[error("repository {name} not found{said}")]
    NameUnknown {
        /// The repository as docker shows it.
        name: String,
        /// The registry's own words.
        said: Said,
    },
    /// The registry's manifest names a blob that it does not have.
    #[error("{registry} does not have {object}, which its own manifest names")]
    BlobUnknown {
        /// The blob's digest.
        object: String,
        /// The registry.
        registry: String,
    },
    /// Any other status.
    #[error("{registry} answered {status} when asked for {object}{said}")]
    Status {
        /// The registry.
        registry: String,
        /// The HTTP status code.
        status: u16,
        /// The manifest or blob.
        object: String,
        /// The registry's own words.
        said: Said,
        /// How long it asks us to wait before trying again, in seconds.
        retry_after: Option<u64>,
    },
    /// A redirect we do not follow, or too many.
    #[error("{registry} redirects {object} {why}")]
    Redirect {
        /// The registry.
        registry: String,
        /// The manifest or blob.
        object: String,
        /// Where to, or how often.
        why: String,
    },
    /// The token service refused or answered nonsense.
    #[error("cannot get a token for {registry} from {realm}: {why}")]
    Token {
        /// The registry.
        registry: String,
        /// The token service.
        realm: String,
        /// What happened.
        why: String,
    },
    /// The registry wants our password told to a stranger.
    #[error("{registry} wants its password sent to {realm}, which is not its own host: not sent")]
    ForeignRealm {
        /// The registry.
        registry: String,
        /// The token service it named.
        realm: String,
    },
    /// More bytes than any honest document has.
    #[error("{object} from {registry} is larger than {limit} bytes")]
    TooLarge {
        /// The manifest or token.
        object: String,
        /// The registry.
        registry: String,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not those the digest names.
    #[error("{object} from {registry} has the wrong digest: expected {expected}, got {actual}")]
    WrongDigest {
        /// The manifest or blob.
        object: String,
        /// The registry.
        registry: String,
        /// The digest asked for or announced.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// A login page, a proxy's message: not what a registry says.
    #[error("{registry} answered with {media_type} when asked for {object}")]
    WrongType {
        /// The manifest.
        object: String,
        /// The registry.
        registry: String,
        /// Its `Content-Type`.
        media_type: String,
    },
    /// The blob's length is not the one its descriptor gives.
    #[error("{object} from {registry} has the wrong size: expected {expected} bytes, got {actual}")]
    WrongSize {
        /// The blob.
        object: String,
        /// The registry.
        registry: String,
        /// Bytes that the manifest promised.
        expected: u64,
        /// Bytes that the registry sends.
        actual: u64,
    },
    /// The stored password cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl RegistryError {
    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } => true,
            // A refused connection or an unknown name is a fact; these may pass.
            Self::Unreachable { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
            ),
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether a server was waited for in vain: the user has waited long enough.
    pub(crate) fn is_silence(&self) -> bool {
        let silent =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        matches!(self, Self::Unreachable { source, .. } if silent(source))
    }

    /// What the user could do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { registry, source, .. } => Some(match source.kind() {
                io::ErrorKind::ConnectionRefused => {
                    format!(
                        "nothing listens there: is the registry running, is the port in \"{registry}\" right?"
                    )
                }
                _ => "check the name, the network and HTTPS_PROXY".to_owned(),
            }),
            Self::Untrusted { registry, .. } => Some(format!(
                "add its CA to the system's certificates (or SSL_CERT_FILE), or list \"{registry}\" in insecure-registries"
            )),
            Self::ForeignRealm { realm, .. } => {
                Some(format!("if that is right, list \"{realm}\" in trusted-realms"))
            }
            Self::WrongType { registry, .. } => Some(format!(
                "is \"{registry}\" a registry, or is a proxy or login page in between?"
            )),
            Self::Denied { .. } => Some("log in with: docker login".to_owned()),
            Self::Status { status: 429, .. } => {
                Some("the registry limits how often it may be asked: log in or wait".to_owned())
            }
            _ => None,
        }
    }
}

/// The registry's own words about an error, cut short and made one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The error code, e.g. `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The message beside it.
    pub message: String,
}

impl Said {
    /// The most of a stranger's text that is repeated to the user.
    const MAX: usize = 200;

    /// Reads the error document of the Distribution specification ("Error codes").
    pub(super) fn from_body(body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Document {
            errors: Vec<One>,
        }
        #[derive(serde::Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let first =
            serde_json::from_slice::<Document>(body).ok().and_then(|d| d.errors.into_iter().next());
        first.map_or_else(Self::default, |one| Self {
            code: one.code.chars().take(Self::MAX).filter(|c| !c.is_control()).collect(),
            message: one.message.chars().take(Self::MAX).filter(|c| !c.is_control()).collect(),
        })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_words_are_short_and_one_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{}}]}"#;
        let said = Said::from_body(body);
        assert_eq!((said.code.as_str(), said.to_string().as_str()), ("DENIED", ": noway"));
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(5000));
        assert!(Said::from_body(long.as_bytes()).to_string().len() < 300);
        for junk in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":{}}"#] {
            assert_eq!(Said::from_body(junk.as_bytes()), Said::default());
        }
    }
}
