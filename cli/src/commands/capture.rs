//! `capture`: packets to a terminal, a pipe or a file, until it is told to stop.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rcnt_base::sys::signals::{self, SignalFd};
use rcnt_engine::capture::{CaptureArgs, ContainerCapture};
use rcnt_engine::netstack::capture::packet::Packet;
use rcnt_engine::netstack::capture::pcapng::Writer;
use rcnt_engine::netstack::capture::{Capture, Counters, Frame, WHOLE, is_outgoing};
use rcnt_engine::{Container, Engine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::args::look::CaptureFlags;
use crate::failure::Failure;

/// Bytes of output that are kept back while more packets wait.
const BUFFER: usize = 64 << 10;

/// `capture`.
///
/// # Errors
/// No such container, or it does not run; a wrong filter; a file that cannot be written.
pub(super) fn capture(engine: &Engine, flags: &CaptureFlags) -> Result<u8, Failure> {
    let container = engine.find(&flags.container)?;
    let snapshot = if flags.snaplen == 0 { WHOLE } else { flags.snaplen.min(WHOLE) };
    let args = CaptureArgs {
        interface: flags.interface.clone().filter(|name| name != "any"),
        filter: flags.filter.join(" "),
        snapshot,
    };
    let stop = [Signal::INT, Signal::TERM, Signal::HUP].map(Signal::as_raw);
    let signals = signals::block(&stop).and_then(|_| SignalFd::new(&stop))?;
    // The file last: a mistyped filter must not empty it.
    let mut source = engine.capture(&container, &args)?;
    let mut sink = Sink::open(flags.write.as_deref(), snapshot)?;
    let names: Vec<String> = match args.interface {
        Some(name) => vec![name],
        None => source.packets.interfaces().values().cloned().collect(),
    };
    announce(&container, &source, &names);
    sink.begin(&container, &source.packets, &names);
    let limits = Limits {
        until: flags.duration.map(|d| Instant::now() + d.unsigned_abs()),
        count: flags.count.unwrap_or(u64::MAX),
    };
    let (taken, end) = run(&mut source, &mut sink, &signals, &limits);
    let counters = source.packets.counters()?;
    if end.is_ok() {
        sink.end(&counters)?;
    }
    let ended = matches!(end, Ok(End::Container));
    summary(&container, taken, &counters, ended);
    match end {
        Ok(_) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error.into()),
        Err(error) => Err(Failure::of(&error)),
    }
}

/// When to stop of ourselves.
struct Limits {
    until: Option<Instant>,
    count: u64,
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Asked,
    Limit,
    Container,
}

fn announce(container: &Container, source: &ContainerCapture, names: &[String]) {
    let host = if source.of_host { ", which shares the host's network" } else { "" };
    say(&format!(
        "capturing packets of {}{host} on {}; stop with Ctrl-C\n",
        container.name,
        names.join(", ")
    ));
}

/// As tcpdump tells it, so that what reads that can read this.
fn summary(container: &Container, taken: u64, counters: &Counters, ended: bool) {
    if ended {
        say(&format!("container {} has ended\n", container.name));
    }
    let Counters { received, dropped } = counters;
    say(&format!(
        "{taken} packets captured\n{received} packets received by filter\n\
         {dropped} packets dropped by kernel\n"
    ));
}

/// Nothing sensible can be done when stderr is gone.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The loop; how many packets were taken, and why it ended.
fn run(
    source: &mut ContainerCapture,
    sink: &mut Sink,
    signals: &SignalFd,
    limits: &Limits,
) -> (u64, io::Result<End>) {
    let mut taken = 0;
    loop {
        match step(source, sink, signals, limits, &mut taken) {
            Ok(None) => {}
            Ok(Some(end)) => return (taken, sink.flush().map(|()| end)),
            Err(error) => return (taken, Err(error)),
        }
    }
}

/// Waits for something to happen and sees to it.
fn step(
    source: &mut ContainerCapture,
    sink: &mut Sink,
    signals: &SignalFd,
    limits: &Limits,
    taken: &mut u64,
) -> io::Result<Option<End>> {
    let left = limits.until.map(|until| until.saturating_duration_since(Instant::now()));
    // With something to be written it is only asked whether more waits.
    let pause = if sink.buffer.is_empty() { left } else { Some(Duration::ZERO) };
    let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
    let ready = {
        let fd = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = [fd(signals.as_fd()), fd(source.end.as_fd()), fd(source.packets.as_fd())];
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(None),
            done => done?,
        };
        fds.map(|fd| !fd.revents().is_empty())
    };
    let [asked, ended, _] = ready;
    if asked {
        signals.read()?;
        return Ok(Some(End::Asked));
    }
    let count = take(&mut source.packets, sink, limits.count, taken)?;
    if *taken >= limits.count {
        return Ok(Some(End::Limit));
    }
    // What came before the end of the container or of the time is taken first.
    if count == 0 && ended {
        return Ok(Some(End::Container));
    }
    if left.is_some_and(|left| left.is_zero()) && (count == 0 || sink.is_full()) {
        return Ok(Some(End::Limit));
    }
    if count == 0 || sink.is_full() {
        sink.flush()?;
    }
    Ok(None)
}

/// One batch of packets; how many waited.
fn take(packets: &mut Capture, sink: &mut Sink, limit: u64, taken: &mut u64) -> io::Result<usize> {
    let mut fresh = Vec::new();
    let count = packets.read(|frame| {
        if *taken < limit {
            *taken += 1;
            if !sink.frame(frame) {
                fresh.push(Kept::of(frame));
            }
        }
        Ok(())
    })?;
    // Of interfaces that came since: their names must be asked for first.
    for kept in fresh {
        let name = packets.interface(kept.frame().interface);
        sink.interface(kept.frame().interface, &name);
        sink.frame(&kept.frame());
    }
    Ok(count)
}

/// A frame that outlives its buffer.
struct Kept {
    bytes: Vec<u8>,
    rest: Frame<'static>,
}

impl Kept {
    fn of(frame: &Frame<'_>) -> Self {
        let Frame { interface, direction, hardware, time, length, vlan, bytes } = *frame;
        let rest = Frame { interface, direction, hardware, time, length, vlan, bytes: &[] };
        Self { bytes: bytes.to_vec(), rest }
    }

    fn frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes, ..self.rest }
    }
}

/// Where packets go.
struct Sink {
    form: Form,
    /// Not written yet.
    buffer: Vec<u8>,
    out: Box<dyn Write>,
    /// "-w FILE", for complaints.
    name: String,
    /// Names, and the number that the file has for each.
    interfaces: BTreeMap<u32, (u32, String)>,
}

/// What they become.
enum Form {
    Lines(UtcOffset),
    Blocks { snapshot: u32 },
}

impl Sink {
    fn open(file: Option<&str>, snapshot: u32) -> Result<Self, Failure> {
        let (form, out, name): (_, Box<dyn Write>, _) = match file {
            None => {
                let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
                (Form::Lines(offset), Box::new(io::stdout()), "the output")
            }
            Some("-") if io::stdout().is_terminal() => {
                return Err(Failure::general("will not write packets to a terminal")
                    .hint("send them on: rcnt capture -w - CONTAINER | wireshark -k -i -"));
            }
            Some("-") => (Form::Blocks { snapshot }, Box::new(io::stdout()), "the output"),
            Some(path) => {
                let file = File::create(path).map_err(|error| {
                    let reason = crate::failure::reason(&error);
                    Failure::general(format!("cannot write {path}: {reason}"))
                })?;
                (Form::Blocks { snapshot }, Box::new(file), path)
            }
        };
        let (buffer, interfaces) = (Vec::new(), BTreeMap::new());
        Ok(Self { form, buffer, out, name: name.to_owned(), interfaces })
    }

    /// The head of a file, and the interfaces that are there.
    fn begin(&mut self, container: &Container, packets: &Capture, names: &[String]) {
        if let Form::Blocks { .. } = self.form {
            let comment = format!("packets of container {} ({})", container.name, container.id);
            let uname = rustix::system::uname();
            let machine = uname.machine().to_string_lossy();
            let mut writer = Writer::default();
            writer.section(
                &comment,
                &format!("Linux {} {machine}", uname.release().to_string_lossy()),
            );
            self.buffer.append(&mut writer.bytes);
        }
        for (index, name) in packets.interfaces().iter().filter(|(_, name)| names.contains(name)) {
            self.interface(*index, name);
        }
    }

    fn interface(&mut self, index: u32, name: &str) {
        if self.interfaces.contains_key(&index) {
            return;
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        if let Form::Blocks { snapshot } = self.form {
            let mut writer = Writer::default();
            writer.interface(name, snapshot);
            self.buffer.append(&mut writer.bytes);
        }
        self.interfaces.insert(index, (number, name.to_owned()));
    }

    /// Takes a packet; false when its interface is not known.
    fn frame(&mut self, frame: &Frame<'_>) -> bool {
        let Some((number, name)) = self.interfaces.get(&frame.interface) else { return false };
        match self.form {
            Form::Blocks { .. } => {
                let mut writer = Writer::default();
                writer.packet(*number, frame, is_outgoing(frame));
                self.buffer.append(&mut writer.bytes);
            }
            Form::Lines(offset) => {
                self.buffer.extend_from_slice(line(frame, name, offset).as_bytes());
            }
        }
        true
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    /// Each time nothing more waits, so that who reads along sees everything.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => error,
            kind => io::Error::new(
                kind,
                format!("cannot write {}: {}", self.name, crate::failure::reason(&error)),
            ),
        })
    }

    /// The counters, for whoever opens the file.
    fn end(&mut self, counters: &Counters) -> io::Result<()> {
        if let Form::Blocks { .. } = self.form {
            let now = OffsetDateTime::now_utc() - OffsetDateTime::UNIX_EPOCH;
            let mut writer = Writer::default();
            writer.statistics(now.unsigned_abs(), counters.received, counters.dropped);
            self.buffer.append(&mut writer.bytes);
        }
        self.flush()
    }
}

/// `14:02:03.123456 eth0 out IP 10.88.0.2:40000 > 10.88.0.3:80 TCP SYN length 0`.
fn line(frame: &Frame<'_>, interface: &str, offset: UtcOffset) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:6]");
    let time = OffsetDateTime::UNIX_EPOCH.to_offset(offset) + frame.time;
    let time = time.format(format).unwrap_or_default();
    let way = if is_outgoing(frame) { "out" } else { "in " };
    let tag = frame.vlan.map(|(tag, _)| format!("vlan {} ", tag & 0xfff)).unwrap_or_default();
    format!("{time} {interface} {way} {tag}{}\n", Packet::read(frame.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_time_interface_and_direction() {
        let mut bytes = vec![2; 12];
        bytes.extend([0x88, 0xcc]);
        let frame = Frame {
            interface: 2,
            direction: 4,
            hardware: 1,
            time: Duration::new(3600, 5_000),
            length: 14,
            vlan: Some((0x2005, 0x8100)),
            bytes: &bytes,
        };
        assert_eq!(
            line(&frame, "eth0", UtcOffset::UTC),
            "01:00:00.000005 eth0 out vlan 5 ethertype 0x88cc\n"
        );
        assert_eq!(Kept::of(&frame).frame(), frame);
    }
}
