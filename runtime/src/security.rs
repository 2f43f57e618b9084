//! `--security-opt`. (being written)

/// The options, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// `no-new-privileges`
    pub no_new_privileges: bool,
}
