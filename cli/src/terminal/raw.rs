//! Raw mode. Whoever makes the terminal raw must undo it at every way out: the
//! guard does it when dropped, the panic hook when the process is about to
//! abort. (Signals do not kill an attached command: its loop reads them.)

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal as it was, for whoever has to give it back.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

fn saved() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A terminal in raw mode until this is dropped.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Makes the terminal raw: every key goes to the container, none to us.
    /// `None` if this is no terminal.
    pub(crate) fn enter(terminal: impl AsFd) -> Option<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned().ok()?;
        let before = tcgetattr(&terminal).ok()?;
        make_raw(&terminal, &before)?;
        *saved() = Some((terminal, before));
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                previous(panic);
            }));
        });
        Some(Self(()))
    }

    /// Makes it raw again, after a stop and continue in which the shell may
    /// have changed it.
    pub(crate) fn again(&self) {
        if let Some((terminal, before)) = &*saved() {
            let _ = make_raw(terminal, before);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn make_raw(terminal: &OwnedFd, before: &Termios) -> Option<()> {
    let mut raw = before.clone();
    raw.make_raw();
    // docker leaves output processing to the container's own terminal, too.
    tcsetattr(terminal, OptionalActions::Now, &raw).ok()
}

fn restore() {
    if let Some((terminal, before)) = saved().take() {
        // Gone terminals need no restoring.
        let _ = tcsetattr(terminal, OptionalActions::Now, &before);
    }
}
