//! Entry names as paths below the layer's root. Pure.

use super::error::{UnpackError, printable};

/// What the kernel takes for one component and for a whole path.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4095;

/// A path below the root: no empty, `.` or `..` component, no leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// Reads a name as docker does: `/` at the start and `.` mean nothing, `..`
    /// takes back the component before it. Leaving the root is refused.
    pub(crate) fn clean(name: &[u8]) -> Result<Self, UnpackError> {
        let refuse = |what| Err(UnpackError::Entry { name: printable(name), what });
        if name.is_empty() {
            return refuse("it has no name");
        }
        if name.contains(&0) {
            return refuse("its name contains a NUL byte");
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." if parts.pop().is_none() => {
                    return refuse("its name leads outside the layer");
                }
                b".." => {}
                _ if part.len() > NAME_MAX => return refuse("its name is too long"),
                _ => parts.push(part),
            }
        }
        let path = parts.join(&b'/');
        if path.len() > PATH_MAX { refuse("its name is too long") } else { Ok(Self(path)) }
    }

    /// Parent (empty: the root) and last component; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => Some((self.0.get(..at)?, self.0.get(at + 1..)?)),
            None if self.0.is_empty() => None,
            None => Some((b"", &self.0)),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(name: &str) -> Option<String> {
        LayerPath::clean(name.as_bytes()).ok().map(|p| String::from_utf8(p.0).unwrap())
    }

    #[test]
    fn names_are_cleaned_as_docker_does() {
        for (name, path) in [
            ("a/b", "a/b"),
            ("./a", "a"),
            ("/a", "a"),
            ("a//b/", "a/b"),
            ("a/./b", "a/b"),
            ("a/../b", "b"),
            ("./", ""),
            ("/", ""),
            ("a/..", ""),
            ("..a", "..a"),
            ("a/...", "a/..."),
        ] {
            assert_eq!(clean(name).as_deref(), Some(path), "{name}");
        }
        for bad in ["..", "../a", "a/../../b", "/..", "./../a", "", "a\0b"] {
            assert_eq!(clean(bad), None, "{bad:?}");
        }
        assert!(clean(&"a".repeat(256)).is_none() && clean(&"a".repeat(255)).is_some());
        assert!(clean(&"a/".repeat(3000)).is_none());
    }

    proptest! {
        #[test]
        fn a_clean_path_stays_below_the_root(name in "[a./\\x00]{0,30}") {
            if let Some(path) = clean(&name) {
                prop_assert!(path.is_empty() || path.split('/').all(|p| !matches!(p, "" | "." | "..")));
                let joined = std::path::Path::new("/root").join(&path);
                prop_assert!(joined.starts_with("/root"));
            }
        }
    }
}
