//! Names that become paths, keys or interface names. Each is checked where it
//! enters; a value of one of these types needs no further check.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a string is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 64 lower-case hex digits.
    #[error("\"{0}\" is not a container id (64 hex digits)")]
    ContainerId(String),
    /// Docker's rule for names.
    #[error(
        "invalid name \"{0}\": it takes two characters or more of [a-zA-Z0-9_.-], the first a \
         letter or digit"
    )]
    Name(String),
    /// Not `sha256:` and 64 lower-case hex digits.
    #[error("\"{0}\" is not a digest (sha256: and 64 hex digits)")]
    Digest(String),
}

fn is_hex64(s: &str) -> bool {
    s.len() == 64 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! checked_string {
    ($name:ident, $error:ident, $valid:expr) => {
        impl $name {
            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(s) { Ok(Self(s.to_owned())) } else { Err(IdError::$error(s.to_owned())) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }
        impl From<$name> for String {
            fn from(v: $name) -> String {
                v.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }
    };
}

/// A container's full id: 64 lower-case hex digits, as docker's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);
checked_string!(ContainerId, ContainerId, is_hex64);

impl ContainerId {
    /// A fresh random id.
    ///
    /// # Errors
    /// The kernel's random source failed (getrandom(2)).
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0u8; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// The first twelve digits, as `ps` prints them and as the default hostname.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// A container, network or volume name: docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);
checked_string!(Name, Name, |s| {
    (2..=255).contains(&s.len())
        && s.as_bytes()[0].is_ascii_alphanumeric()
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
});

/// A content digest, `sha256:` and 64 lower-case hex digits (OCI image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);
checked_string!(Digest, Digest, |s| s.strip_prefix("sha256:").is_some_and(is_hex64));

impl Digest {
    /// The digest of these 32 sha256 bytes.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Self(format!("sha256:{hex}"))
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first twelve hex digits, as `images` prints them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn random_ids_are_valid_and_differ() {
        let (a, b) = (ContainerId::random().unwrap(), ContainerId::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<ContainerId>().unwrap(), a);
        assert_eq!(a.short().len(), 12);
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "a1", "Web_1.x-y"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "a/b", "a b", "ä1", "../x", "a\0b"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(256).parse::<Name>().is_err());
    }

    #[test]
    fn digests_know_their_parts() {
        let digest = Digest::from_sha256([0xab; 32]);
        assert_eq!(digest.short(), "abababababab");
        assert!("sha512:00".parse::<Digest>().is_err());
        assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err());
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_directory(s in "\\PC{0,20}") {
            if let Ok(name) = s.parse::<Name>() {
                prop_assert!(!name.as_str().contains('/') && name.as_str() != "." && name.as_str() != "..");
            }
        }
    }
}
