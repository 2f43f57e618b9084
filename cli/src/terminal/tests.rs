//! The loop, between pipes or ptys on our side and a script on the other.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rcnt_engine::session::Event;
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::pipe;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::attach::{Caught, Ended, Ends, Streams, attach};
use super::keys::{DetachKeys, Watch};

/// A container that answers a script: each input (or nothing) yields events.
struct Script {
    wake: (OwnedFd, OwnedFd),
    events: VecDeque<Event>,
    got: Vec<u8>,
    said: Vec<String>,
    /// Runs when input, a signal or a size arrives.
    react: fn(&mut Script),
}

impl Script {
    fn new(events: impl IntoIterator<Item = Event>, react: fn(&mut Script)) -> Self {
        let mut script = Self {
            wake: pipe().unwrap(),
            events: VecDeque::new(),
            got: Vec::new(),
            said: Vec::new(),
            react,
        };
        events.into_iter().for_each(|event| script.happen(event));
        script
    }

    fn happen(&mut self, event: Event) {
        self.events.push_back(event);
        rustix::io::write(&self.wake.1, b"x").unwrap();
    }

    fn told(&mut self, what: String) {
        self.said.push(what);
        (self.react)(self);
    }
}

impl Streams for Script {
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        vec![PollFd::new(&self.wake.0, PollFlags::IN)]
    }
    fn accepts_input(&self) -> bool {
        true
    }
    fn read(&mut self) -> io::Result<Vec<Event>> {
        // One at a time, as from a slow command.
        let Some(event) = self.events.pop_front() else { return Ok(Vec::new()) };
        rustix::io::read(&self.wake.0, &mut [0]).unwrap();
        Ok(vec![event])
    }
    fn write_input(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.got.extend_from_slice(bytes);
        (self.react)(self);
        Ok(())
    }
    fn close_input(&mut self) {
        self.told("eof".into());
    }
    fn resize(&mut self, rows: u16, columns: u16) {
        self.told(format!("{rows}x{columns}"));
    }
    fn signal(&mut self, signal: i32) {
        self.told(format!("signal {signal}"));
    }
}

fn exit_on_eof(script: &mut Script) {
    if script.said.last().is_some_and(|said| said == "eof") {
        script.happen(Event::Exited(7));
    }
}

fn nothing(_: &mut Script) {}

fn pty() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    (master, slave)
}

fn read_all(fd: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn input_and_output_pass_and_the_exit_code_comes_back() {
    let (stdin, mut typing) = (pipe().unwrap(), Script::new([], exit_on_eof));
    let (out, err) = (pipe().unwrap(), pipe().unwrap());
    std::fs::File::from(stdin.1).write_all(b"hello").unwrap();
    typing.happen(Event::Stdout(b"out".to_vec()));
    typing.happen(Event::Stderr(b"err".to_vec()));
    let ends = Ends {
        stdin: Some(stdin.0.as_fd()),
        stdout: Some(out.1.as_fd()),
        stderr: Some(err.1.as_fd()),
        tty: false,
    };
    let caught = Caught::new(true).unwrap();
    let ended = attach(&mut typing, &ends, None, &caught).unwrap();
    assert_eq!(ended, Ended::Exited(7));
    assert_eq!(typing.got, b"hello");
    drop((out.1, err.1));
    assert_eq!((read_all(out.0), read_all(err.0)), (b"out".to_vec(), b"err".to_vec()));
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let out = pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&out.1, 4096).unwrap();
    let text: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
    let events = text.chunks(50_000).map(|part| Event::Stdout(part.to_vec()));
    let mut script = Script::new(events.chain([Event::Exited(0)]), nothing);
    let reader = std::thread::spawn(move || {
        let mut file = std::fs::File::from(out.0);
        let (mut all, mut chunk) = (Vec::new(), [0; 1000]);
        loop {
            match file.read(&mut chunk).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&chunk[..n]),
            }
        }
    });
    let ends = Ends { stdin: None, stdout: Some(out.1.as_fd()), stderr: None, tty: false };
    let ended = attach(&mut script, &ends, None, &Caught::new(false).unwrap()).unwrap();
    assert_eq!(ended, Ended::Exited(0));
    drop(out.1);
    assert!(reader.join().unwrap() == text, "bytes were lost");
}

#[test]
fn a_non_blocking_stdout_loses_nothing() {
    let out = pipe().unwrap();
    rustix::io::ioctl_fionbio(&out.1, true).unwrap();
    let text = vec![b'x'; 300_000];
    let mut script = Script::new([Event::Stdout(text.clone()), Event::Exited(0)], nothing);
    let reader = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        read_all(out.0)
    });
    let ends = Ends { stdin: None, stdout: Some(out.1.as_fd()), stderr: None, tty: false };
    attach(&mut script, &ends, None, &Caught::new(false).unwrap()).unwrap();
    drop(out.1);
    assert_eq!(reader.join().unwrap().len(), text.len());
}

#[test]
fn a_reader_that_is_gone_ends_it_quietly() {
    let out = pipe().unwrap();
    drop(out.0);
    let mut script = Script::new([Event::Stdout(b"x".to_vec())], nothing);
    let ends = Ends { stdin: None, stdout: Some(out.1.as_fd()), stderr: None, tty: false };
    let ended = attach(&mut script, &ends, None, &Caught::new(false).unwrap()).unwrap();
    assert_eq!(ended, Ended::OutputGone);
}

#[test]
fn a_supervisor_that_dies_is_noticed() {
    let mut script = Script::new([Event::Closed], nothing);
    let ends = Ends { stdin: None, stdout: None, stderr: None, tty: false };
    let ended = attach(&mut script, &ends, None, &Caught::new(false).unwrap()).unwrap();
    assert_eq!(ended, Ended::Lost);
}

#[test]
fn a_terminal_is_raw_while_attached_and_whole_afterwards() {
    let (master, slave) = pty();
    let size = Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let before = tcgetattr(&slave).unwrap();
    assert!(before.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    // Typed ahead: a ^C that must reach the container as a byte, then the keys
    // that detach, once the first byte has arrived.
    fn keys(script: &mut Script) {
        if script.said.len() == 1 && script.got.is_empty() {
            script.happen(Event::Stdout(b"ready".to_vec()));
        }
    }
    let mut script = Script::new([], keys);
    let typist = std::thread::spawn(move || {
        let mut master = std::fs::File::from(master);
        let mut ready = [0; 5];
        master.read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready");
        master.write_all(b"\x03a\x10\x11").unwrap();
        master
    });
    let ends =
        Ends { stdin: Some(slave.as_fd()), stdout: Some(slave.as_fd()), stderr: None, tty: true };
    let watch = || Some(Watch::new(DetachKeys::default()));
    let ended = attach(&mut script, &ends, watch(), &Caught::new(false).unwrap()).unwrap();
    assert_eq!(ended, Ended::Detached);
    assert_eq!(
        (script.got.as_slice(), script.said.as_slice()),
        (b"\x03a".as_slice(), ["33x99".to_owned()].as_slice())
    );
    let after = tcgetattr(&slave).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    drop(typist.join().unwrap());
}
