//! A session in the foreground: what `run`, `start -a`, `attach` and `exec` have
//! in common once there is one.

use std::io::{self, IsTerminal};

use rcnt_engine::{Session, WindowSize};

use crate::failure::{Failure, reason};
use crate::terminal::attach::{Caught, Ended, Ends, attach, own};
use crate::terminal::keys::{DetachKeys, Watch};
use crate::terminal::size;

/// What takes part, checked before anything is pulled, created or started.
#[derive(Debug)]
pub(super) struct Foreground {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
    keys: DetachKeys,
    proxy: bool,
}

/// What the flags say.
pub(super) struct Wanted<'a> {
    /// Our stdin is the command's.
    pub(super) stdin: bool,
    /// Its stdout is ours.
    pub(super) stdout: bool,
    /// Its stderr is ours.
    pub(super) stderr: bool,
    /// It has a terminal.
    pub(super) tty: bool,
    /// `--detach-keys`.
    pub(super) keys: Option<&'a str>,
    /// `--sig-proxy`, where it applies.
    pub(super) proxy: bool,
}

impl Foreground {
    /// Checks what can be checked beforehand.
    ///
    /// # Errors
    /// `-it` without a terminal; wrong detach keys.
    pub(super) fn prepare(wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let Wanted { stdin, stdout, stderr, tty, keys, proxy } = *wanted;
        if stdin && tty && !io::stdin().is_terminal() {
            return Err(Failure::general("the input device is not a TTY")
                .hint("leave out -t when the input is a file or a pipe"));
        }
        let keys = DetachKeys::parse(keys).map_err(Failure::runtime)?;
        // In a raw terminal keys reach the container as bytes; signals that
        // still come are for us.
        let proxy = proxy && !(tty && stdin);
        Ok(Self { stdin, stdout, stderr, tty, keys, proxy })
    }

    /// Starts something and stays with it until it ends or is left; the exit
    /// code. Signals are caught first: one that comes during the start is for
    /// what is started.
    ///
    /// # Errors
    /// That of `start`; the connection broke; our output failed.
    pub(super) fn run(
        self,
        start: impl FnOnce(Option<WindowSize>) -> Result<Session, Failure>,
    ) -> Result<u8, Failure> {
        let caught = Caught::new(self.proxy)
            .map_err(|e| Failure::runtime(format!("cannot catch signals: {}", reason(&e))))?;
        let mut session = start(self.size())?;
        let [stdin, stdout, stderr] = own();
        let ends = Ends {
            stdin: self.stdin.then_some(stdin),
            stdout: self.stdout.then_some(stdout),
            stderr: self.stderr.then_some(stderr),
            tty: self.tty,
        };
        let watch = Watch::new(self.keys);
        let ended = attach(&mut session, &ends, Some(watch), &caught);
        drop(caught);
        match ended.map_err(|e| Failure::of(&e).code(125))? {
            Ended::Exited(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Ended::Detached => {
                // The prompt must not stand behind what the container printed.
                let _ = io::Write::write_all(&mut io::stderr(), b"\nread escape sequence\n");
                Ok(0)
            }
            Ended::Lost => Err(Failure::runtime("lost the connection to the container")
                .hint("see 'rcnt ps -a' and 'rcnt logs' for what became of it")),
            Ended::OutputGone => Ok(0),
            Ended::Signalled(signal) => {
                // As if we had never caught it: the caller sees what ended us.
                let _ = rcnt_base::sys::signals::act_by_default(signal);
                Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX))
            }
        }
    }
    /// Whether nothing of the command's output is shown.
    pub(super) fn is_mute(&self) -> bool {
        !self.stdout && !self.stderr
    }

    /// Our terminal's size.
    fn size(&self) -> Option<WindowSize> {
        let [stdin, stdout, _] = own();
        let (rows, columns) = size(stdout).or_else(|| size(stdin)).filter(|_| self.tty)?;
        Some(WindowSize { rows, columns })
    }
}
