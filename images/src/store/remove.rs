//! Naming and removing images, with docker's rules of what is only untagged and
//! what is deleted, and docker's words for a refusal.

use rcnt_base::ids::Digest;

use super::names::NameFile;
use super::resolve::{Found, ResolveError};
use super::{Paths, Store, StoreError};
use crate::reference::Reference;

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Its short id, for the message.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// One line of `rmi`'s output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// `Untagged: x:latest`
    Untagged(Reference),
    /// `Deleted: sha256:…`
    Deleted(Digest),
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untagged(name) => write!(f, "Untagged: {}", name.familiar()),
            Self::Deleted(id) => write!(f, "Deleted: {id}"),
        }
    }
}

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It is not there, or the name is none.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The last name of an image that a container uses.
    #[error(
        "conflict: unable to remove repository reference \"{name}\" (must force) - \
         container {container} is using its referenced image {image}"
    )]
    NameInUse {
        /// As typed.
        name: String,
        /// Its short id.
        container: String,
        /// The image's short id.
        image: String,
    },
    /// By id, and something speaks against it.
    #[error("conflict: unable to delete {image} ({}) - {why}",
        if *.forcible { "must be forced" } else { "cannot be forced" })]
    Conflict {
        /// The image's short id.
        image: String,
        /// Whether `--force` overrides it.
        forcible: bool,
        /// docker's words.
        why: String,
    },
}

impl From<StoreError> for RemoveError {
    fn from(error: StoreError) -> Self {
        Self::Resolve(error.into())
    }
}

/// Tells which container uses an image, a running one first.
pub type InUse<'a> = &'a dyn Fn(&Digest) -> Option<Use>;

impl Store {
    /// `tag SOURCE NAME`: gives an image one more name.
    ///
    /// # Errors
    /// No such image; the store; a name with a digest (that is not ours to give).
    pub fn tag(&self, source: &str, name: &Reference) -> Result<(), ResolveError> {
        let _lock = self.exclusive()?;
        let found = self.find(source)?;
        if name.digest().is_some() {
            let text = name.to_string();
            return Err(crate::reference::ReferenceError::Format(text).into());
        }
        Ok(self.paths.set_name(name, &found.id)?)
    }

    /// `rmi`: by name, removes the name and, when it was the last, the image; by
    /// id, all names and the image. Content no image needs any more is freed
    /// unless a pull or load is going on; then by the next [`Store::gc`].
    ///
    /// # Errors
    /// [`RemoveError`]; nothing is changed then.
    pub fn remove(
        &self,
        text: &str,
        force: bool,
        in_use: InUse<'_>,
    ) -> Result<Vec<Removed>, RemoveError> {
        let removed = {
            let _lock = self.exclusive()?;
            let found = self.find(text)?;
            let paths = self.paths();
            let mut ours = paths.all_names()?;
            ours.retain(|name| name.image == found.id);
            let removal = plan_removal(text, &found, &ours, force, in_use(&found.id))?;
            paths.apply_removal(&removal)?;
            removal
        };
        if removed.iter().any(|r| matches!(r, Removed::Deleted(_))) {
            self.try_gc(in_use)?;
        }
        Ok(removed)
    }
}

impl Paths {
    fn apply_removal(&self, removal: &[Removed]) -> Result<(), StoreError> {
        for step in removal {
            match step {
                Removed::Untagged(name) => self.drop_name(name)?,
                Removed::Deleted(id) => self.bury_record(id)?,
            }
        }
        Ok(())
    }
}

/// docker's decision (its imageDelete), as data: the lines it prints are what is done.
fn plan_removal(
    text: &str,
    found: &Found,
    ours: &[NameFile],
    force: bool,
    user: Option<Use>,
) -> Result<Vec<Removed>, RemoveError> {
    let image = found.id.short().to_owned();
    let untag = |names: &mut dyn Iterator<Item = &NameFile>| -> Vec<Removed> {
        names.map(|n| Removed::Untagged(n.name.clone())).collect()
    };
    if let Some(name) = &found.name {
        // Digests of a repository go with its last tag.
        let last_tag = name.digest().is_none()
            && !ours.iter().any(|n| {
                n.name != *name && n.name.name() == name.name() && n.name.digest().is_none()
            });
        let goes = |n: &Reference| {
            n == name || (last_tag && n.digest().is_some() && n.name() == name.name())
        };
        let mut removal = untag(&mut ours.iter().filter(|n| goes(&n.name)));
        if ours.iter().any(|n| !goes(&n.name)) {
            return Ok(removal);
        }
        match user {
            Some(user) if !force => {
                let (name, container) = (text.to_owned(), user.container);
                return Err(RemoveError::NameInUse { name, container, image });
            }
            // Forced: the name goes, the image stays for its running container.
            Some(user) if user.running => {}
            _ => removal.push(Removed::Deleted(found.id.clone())),
        }
        return Ok(removal);
    }
    let conflict =
        |forcible, why: String| Err(RemoveError::Conflict { image: image.clone(), forcible, why });
    match user {
        Some(Use { container, running: true }) => {
            return conflict(
                false,
                format!("image is being used by running container {container}"),
            );
        }
        Some(Use { container, .. }) if !force => {
            return conflict(true, format!("image is being used by stopped container {container}"));
        }
        _ => {}
    }
    let mut repositories: Vec<String> = ours.iter().map(|n| n.name.name()).collect();
    repositories.dedup();
    let tags = ours.iter().filter(|n| n.name.digest().is_none()).count();
    if !force && (repositories.len() > 1 || tags > 1) {
        return conflict(true, "image is referenced in multiple repositories".to_owned());
    }
    let mut removal = untag(&mut ours.iter());
    removal.push(Removed::Deleted(found.id.clone()));
    Ok(removal)
}
