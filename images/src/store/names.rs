//! Names of images: one small file per name, whose own name cannot escape the
//! directory and whose content says the name in full.

use std::io;

use rcnt_base::files::{Durability, read_json, remove_if_exists, write_json};
use rcnt_base::ids::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Paths, StoreError};
use crate::reference::Reference;

/// A file name may have 255 bytes; a temporary name adds some.
const PLAIN_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameFile {
    pub(crate) schema: u32,
    pub(crate) name: Reference,
    pub(crate) image: Digest,
}

/// The file name for `name`: `/` becomes `+`, anything unusual `%xx`; a name too
/// long for that becomes its hash.
pub(crate) fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => out.push('+'),
            b'.' if at == 0 => out.push_str("%2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b':' | b'@' => {
                out.push(byte as char);
            }
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    if out.len() <= PLAIN_MAX {
        return out;
    }
    format!("={}", Digest::from_sha256(Sha256::digest(name).into()).hex())
}

impl Paths {
    /// The image that `name` stands for.
    pub(crate) fn named(&self, name: &Reference) -> Result<Option<Digest>, StoreError> {
        let full = name.to_string();
        let path = self.refs().join(file_name(&full));
        match read_json::<NameFile>(&path) {
            Ok(file) if file.name == *name => Ok(Some(file.image)),
            Ok(_) => Err(StoreError::Damaged { path, what: format!("it is not about {full}") }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error("read", &path, e)),
        }
    }

    /// Every name. Files that are being replaced or are damaged are skipped:
    /// one bad name must not hide the others.
    pub(crate) fn all_names(&self) -> Result<Vec<NameFile>, StoreError> {
        let dir = self.refs();
        let entries = std::fs::read_dir(&dir).map_err(|e| self.error("read", &dir, e))?;
        let mut names: Vec<NameFile> = entries
            .filter_map(Result::ok)
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| read_json(&entry.path()).ok())
            .collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Sets `name`, replacing what it stood for. Under the exclusive lock.
    pub(crate) fn set_name(&self, name: &Reference, image: &Digest) -> Result<(), StoreError> {
        let path = self.refs().join(file_name(&name.to_string()));
        let file = NameFile { schema: 1, name: name.clone(), image: image.clone() };
        write_json(&path, &file, Durability::Durable).map_err(|e| self.error("write", &path, e))
    }

    /// Forgets `name`. Under the exclusive lock.
    pub(crate) fn drop_name(&self, name: &Reference) -> Result<(), StoreError> {
        let path = self.refs().join(file_name(&name.to_string()));
        remove_if_exists(&path).map_err(|e| self.error("remove", &path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_stay_readable_while_they_fit() {
        assert_eq!(file_name("docker.io/library/x:1.0"), "docker.io+library+x:1.0");
        assert_eq!(file_name("[::1]:5000/x:y"), "%5b::1%5d:5000+x:y");
        assert_eq!(file_name(&"a".repeat(300)).len(), 65);
    }

    proptest! {
        #[test]
        fn a_file_name_is_one_safe_component(name in "\\PC{1,400}") {
            let file = file_name(&name);
            prop_assert!(!file.contains('/') && !file.starts_with('.') && !file.is_empty());
            prop_assert!(file.len() <= PLAIN_MAX);
        }

        #[test]
        fn different_names_have_different_files(a in "[a-z./:@%+=\\[]{1,250}", b in "[a-z./:@%+=\\[]{1,250}") {
            prop_assert_eq!(a == b, file_name(&a) == file_name(&b));
        }
    }
}
