//! One command in a space: how it is started, fed, waited for and, when it
//! does not end, ended.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::patience;
use crate::{Output, Space};

/// A command line: one string with a shell's quotes, or ready words.
pub trait Args {
    /// The words.
    fn words(self) -> Vec<String>;
}

impl Args for &str {
    fn words(self) -> Vec<String> {
        split(self)
    }
}
impl Args for &String {
    fn words(self) -> Vec<String> {
        split(self)
    }
}
impl Args for String {
    fn words(self) -> Vec<String> {
        split(&self)
    }
}
impl Args for Vec<String> {
    fn words(self) -> Vec<String> {
        self
    }
}
impl Args for &[&str] {
    fn words(self) -> Vec<String> {
        self.iter().map(|w| (*w).to_owned()).collect()
    }
}
impl<const N: usize> Args for [&str; N] {
    fn words(self) -> Vec<String> {
        self.map(str::to_owned).to_vec()
    }
}

/// Splits at white space; '…' and "…" hold words together, \ takes the next
/// character as it is. No variables, no globs.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut open, mut quote) = (Vec::new(), String::new(), false, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => (quote, open) = (Some(c), true),
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => word.extend(chars.next()),
            (c, None) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, _) => word.push(c),
        }
    }
    assert!(quote.is_none(), "open quote in {line:?}");
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// How a word looks when typed.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%{}^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command about to run in a [`Space`].
#[derive(Debug)]
#[must_use = "a job runs when told to"]
pub struct Job<'a> {
    space: &'a Space,
    pub(crate) command: Command,
    shown: String,
    stdin: Vec<u8>,
    limit: Duration,
}

impl<'a> Job<'a> {
    /// `program` with `args`; nothing of the test's own environment reaches it.
    pub fn new(space: &'a Space, program: &str, args: impl Args) -> Self {
        let args = args.words();
        let mut command = Command::new(program);
        command
            .args(&args)
            .env_clear()
            .env("PATH", "/srv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/srv/home")
            .env("LC_ALL", "C")
            .env("TERM", "xterm");
        let words = std::iter::once(program).chain(args.iter().map(String::as_str));
        let shown = words.map(quoted).collect::<Vec<_>>().join(" ");
        Self { space, command, shown, stdin: Vec::new(), limit: Duration::from_secs(60) }
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads on standard input, which is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Its working directory, inside.
    pub fn cwd(mut self, dir: &str) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// How long it may take (60 s unless told); after that it is killed and the test fails.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        let (limit, input) = (self.limit, self.stdin.clone());
        let mut running = self.start();
        let mut stdin = running.child.stdin.take().unwrap();
        // A command that does not read must not stop us: the pipe may fill.
        let feeder = spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = running.wait(limit);
        let _ = feeder.join();
        output
    }

    /// Starts it with the descriptors its command already has.
    #[track_caller]
    pub(crate) fn spawn_plain(&mut self) -> Child {
        self.space.spawn(&mut self.command)
    }

    /// Starts it and returns at once; its standard input stays open.
    #[track_caller]
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.space.spawn(&mut self.command);
        let stdout = Collector::new(child.stdout.take().unwrap());
        let stderr = Collector::new(child.stderr.take().unwrap());
        Running { child, stdout, stderr, shown: self.shown, since: Instant::now(), ended: None }
    }
}

/// Reads a stream to its end on a thread, so that no pipe ever fills.
#[derive(Debug)]
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    end: Receiver<()>,
}

impl Collector {
    fn new(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (done, end) = channel();
        let thread = spawn({
            let bytes = Arc::clone(&bytes);
            move || {
                let mut buffer = [0; 65536];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    bytes.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
                let _ = done.send(());
            }
        });
        Self { bytes, thread: Some(thread), end }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Waits for end of file; false when somebody still holds the other end.
    fn ends(&mut self, limit: Duration) -> bool {
        if self.thread.is_some() && self.end.recv_timeout(limit).is_ok() {
            let _ = self.thread.take().unwrap().join();
        }
        self.thread.is_none()
    }
}

/// A command under way. Killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Collector,
    stderr: Collector,
    shown: String,
    since: Instant,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Its pid as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Types into its standard input.
    pub fn send(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// What it has printed until now.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// What it has complained about until now.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let limit = Instant::now() + patience(Duration::from_secs(15));
        while !self.stdout().contains(text) {
            assert!(
                Instant::now() < limit,
                "expected {text:?} from $ {}\n--- stdout ---\n{}\n--- stderr ---\n{}",
                self.shown,
                self.stdout(),
                self.stderr()
            );
            sleep(Duration::from_millis(5));
        }
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Output {
        let until = Instant::now() + patience(limit);
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.poll() {
                break Some(status);
            }
            if Instant::now() > until {
                break None;
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let took = self.since.elapsed();
        let code = status.map_or(-1, |s| s.code().unwrap_or(128 + s.signal().unwrap_or(0)));
        let closed = status.is_some()
            && self.stdout.ends(Duration::from_secs(3))
            && self.stderr.ends(Duration::from_secs(3));
        let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
        let output = Output { command: self.shown.clone(), code, stdout, stderr, took };
        assert!(status.is_some(), "still running after {limit:?}; killed\n{output}");
        // $(rcnt run -d …) would hang if the supervisor kept the pipe.
        assert!(closed, "ended, but something it left behind holds its stdout or stderr\n{output}");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.poll().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_splits_as_a_shell_would() {
        let line = r#"run -e A='b c' busybox sh -c "echo \"x\"; exit 3" ''"#;
        let words = ["run", "-e", "A=b c", "busybox", "sh", "-c", "echo \"x\"; exit 3", ""];
        assert_eq!(line.words(), words);
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("8080:80"), "8080:80");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
