//! A pseudo-terminal with somebody at it: types, reads, resizes, hangs up.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Job;
use crate::world::patience;

/// How long [`Terminal::expect`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Screen {
    text: Mutex<String>,
    changed: Condvar,
    closed: AtomicBool,
}

/// A command running on a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    master: Option<File>,
    screen: Arc<Screen>,
    reader: Option<JoinHandle<()>>,
    child: Child,
    /// How much of the screen earlier `expect`s have used up.
    seen: usize,
}

impl Terminal {
    /// Runs `job` as the leader of a new session whose controlling terminal has
    /// `rows` and `columns`. Its program must have been started through setsid(1).
    #[track_caller]
    pub(crate) fn new(mut job: Job<'_>, rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let peer = || -> OwnedFd { ioctl_tiocgptpeer(&master, flags).unwrap() };
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        job.command.stdin(peer()).stdout(peer()).stderr(peer());
        let child = job.spawn_plain();
        drop(job);
        let master = File::from(master);
        let screen = Arc::new(Screen::default());
        let reader = std::thread::spawn({
            let (mut master, screen) = (master.try_clone().unwrap(), Arc::clone(&screen));
            move || copy(&mut master, &screen)
        });
        Self { master: Some(master), screen, reader: Some(reader), child, seen: 0 }
    }

    /// Types `text` as it is: end a line with `\r`, Ctrl-C is `\x03`.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        let master = self.master.as_mut().expect("not hung up");
        master.write_all(text.as_bytes()).unwrap();
    }

    /// Types `text` and Return.
    #[track_caller]
    pub fn line(&mut self, text: &str) {
        self.send(&format!("{text}\r"));
    }

    /// Waits until `text` appears after what earlier calls have seen, and
    /// returns what came before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        match self.find(text, patience(PATIENCE)) {
            Some(before) => before,
            None => panic!("expected {text:?} on the terminal, which shows:\n{}", self.shows()),
        }
    }

    /// `text` does not appear within `patience`.
    #[track_caller]
    pub fn expect_not(&mut self, text: &str, patience: Duration) {
        if self.find(text, patience).is_some() {
            panic!("unexpected {text:?} on the terminal, which shows:\n{}", self.shows());
        }
    }

    fn find(&mut self, text: &str, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        let mut screen = self.screen.text.lock().unwrap();
        loop {
            let fresh = &screen[self.seen..];
            if let Some(at) = fresh.find(text) {
                let before = fresh[..at].to_owned();
                self.seen += at + text.len();
                return Some(before);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.screen.closed.load(Ordering::Acquire) {
                return None;
            }
            (screen, _) = self.screen.changed.wait_timeout(screen, left).unwrap();
        }
    }

    /// Everything that has appeared.
    pub fn shows(&self) -> String {
        self.screen.text.lock().unwrap().clone()
    }

    /// Changes the size; the kernel sends SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        let master = self.master.as_ref().expect("not hung up");
        tcsetwinsize(master, size(rows, columns)).unwrap();
    }

    /// The command's exit code, once it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let until = Instant::now() + patience(Duration::from_secs(20));
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(128 + status.signal().unwrap_or(0));
            }
            assert!(Instant::now() < until, "still running; the terminal shows:\n{}", self.shows());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Closes our end: the line drops, the kernel sends SIGHUP.
    pub fn hang_up(&mut self) {
        drop(self.master.take());
        self.screen.closed.store(true, Ordering::Release);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    /// The pid of the command, as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Copies from the master until it closes (EIO) or we hang up.
fn copy(master: &mut File, screen: &Screen) {
    let mut buffer = [0; 4096];
    let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !screen.closed.load(Ordering::Acquire) {
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&tick)), Ok(1)) {
            continue;
        }
        let Ok(count @ 1..) = master.read(&mut buffer) else { break };
        let text = String::from_utf8_lossy(&buffer[..count]);
        screen.text.lock().unwrap().push_str(&text);
        screen.changed.notify_all();
    }
    screen.closed.store(true, Ordering::Release);
    screen.changed.notify_all();
}
