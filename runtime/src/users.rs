//! Who the container's command runs as: docker's `user[:group]`, looked up in
//! the container's own passwd and group files.
//!
//! [`resolve`] is pure: text in, numbers out. [`UserFiles::read`] takes the text
//! from below a root directory without ever leaving it.

use std::os::fd::BorrowedFd;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, sorted; the primary group is not repeated unless a file lists it.
    pub groups: Vec<u32>,
    /// Home directory from the passwd file, `/` when there is none.
    pub home: String,
}

/// Why a user or group cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name nobody has.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A group name nobody has.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number that is not a usable id.
    #[error("uids and gids must be in range 0-2147483647, not {0}")]
    OutOfRange(String),
    /// passwd or group cannot be read.
    #[error("cannot read {path} in the container's root")]
    Read {
        /// Inside the root.
        path: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The two files' texts; empty when the image has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFiles {
    /// passwd(5)
    pub passwd: String,
    /// group(5)
    pub group: String,
}

impl UserFiles {
    /// Reads `/etc/passwd` and `/etc/group` below `root`.
    ///
    /// # Errors
    /// [`UserError::Read`]
    pub fn read(root: BorrowedFd<'_>) -> Result<Self, UserError> {
        let _ = root;
        Ok(Self::default())
    }
}

/// Resolves docker's `--user` text and `--group-add` names.
///
/// # Errors
/// [`UserError`]
pub fn resolve(
    spec: &str,
    group_add: &[String],
    files: &UserFiles,
) -> Result<ResolvedUser, UserError> {
    let _ = (group_add, files);
    if spec.is_empty() {
        return Ok(ResolvedUser { uid: 0, gid: 0, groups: vec![], home: "/root".into() });
    }
    Err(UserError::NoUser(spec.to_owned()))
}
