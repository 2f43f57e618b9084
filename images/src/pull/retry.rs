//! How often, and how long apart, a broken download is continued.

use std::time::Duration;

use crate::registry::RegistryError;

/// An attempt that brought at least this much counts as a new beginning: a bad
/// line makes progress, a server that gives a byte at a time does not.
const PROGRESS: u64 = 1 << 20;
/// Never wait longer than this on our own account.
const WAIT_MAX: Duration = Duration::from_secs(8);

/// The policy for connections that break and servers that are busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Failures in a row, without a MiB between them, that are forgiven.
    pub forgiven: u32,
    /// The wait before the second attempt; it doubles each time.
    pub wait: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { forgiven: 5, wait: Duration::from_millis(250) }
    }
}

impl Retries {
    /// For a download.
    pub(super) fn begin(self) -> Patience {
        Patience { left: self.forgiven, failures: 0, policy: self }
    }

    /// For the first request, where a user waits for any sign of life.
    pub(super) fn first_contact(self) -> Patience {
        Patience { left: self.forgiven.min(2), failures: 0, policy: self }
    }
}

/// What is left of the patience with one download.
#[derive(Debug)]
pub(super) struct Patience {
    policy: Retries,
    left: u32,
    failures: u32,
}

impl Patience {
    /// Whether to try again after `error`, which came after `progress` bytes;
    /// if so, has waited.
    pub(super) fn again(&mut self, error: &RegistryError, progress: u64) -> bool {
        let Some(wait) = self.next(error, progress) else { return false };
        log::debug!("trying again in {wait:?}: {}", rcnt_base::report::chain(error));
        std::thread::sleep(wait);
        true
    }

    fn next(&mut self, error: &RegistryError, progress: u64) -> Option<Duration> {
        if !error.is_transient() {
            return None;
        }
        if progress >= PROGRESS {
            (self.left, self.failures) = (self.policy.forgiven, 0);
        }
        self.left = self.left.checked_sub(1)?;
        let wait = self.policy.wait.saturating_mul(1 << self.failures.min(16)).min(WAIT_MAX);
        self.failures += 1;
        // A registry that says how long it needs is believed, within its bound.
        let asked = match error {
            RegistryError::Status { retry_after: Some(seconds), .. } => {
                Duration::from_secs(*seconds)
            }
            _ => Duration::ZERO,
        };
        Some(wait.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Said;

    fn broken() -> RegistryError {
        let source = std::io::ErrorKind::UnexpectedEof.into();
        RegistryError::Broken { object: "blob x".into(), registry: "r".into(), source }
    }

    #[test]
    fn waits_double_and_end_unless_there_is_progress() {
        let policy = Retries { forgiven: 3, wait: Duration::from_millis(100) };
        let mut patience = policy.begin();
        let waits: Vec<_> = (0..4).map(|_| patience.next(&broken(), 10)).collect();
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(waits, [ms(100), ms(200), ms(400), None]);
        let mut patience = policy.begin();
        assert!((0..100).all(|_| patience.next(&broken(), PROGRESS) == ms(100)));
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_servers_are_believed() {
        let status = |status, retry_after| RegistryError::Status {
            registry: "r".into(),
            status,
            object: "x".into(),
            said: Said::default(),
            retry_after,
        };
        let mut patience = Retries::default().begin();
        assert_eq!(patience.next(&status(400, None), 0), None);
        assert_eq!(patience.next(&status(429, Some(7)), 0), Some(Duration::from_secs(7)));
    }
}
