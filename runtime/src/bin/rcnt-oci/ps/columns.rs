//! The columns of ps(1).

use super::process::{Host, Process};

/// How one column is headed, laid out and filled.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) head: &'static str,
    pub(crate) width: usize,
    pub(crate) right: bool,
    pub(crate) value: fn(&Process, &Host) -> String,
}

/// `-ef`
pub(crate) const FULL: &str = "uid_hack,pid,ppid,c,stime,tname,time,cmd";
/// `-e`
pub(crate) const SHORT: &str = "pid,tname,time,ucmd";
/// `x`
pub(crate) const BSD: &str = "pid,tname,stat,bsdtime,args";
/// `u`
pub(crate) const USER: &str = "user,pid,%cpu,%mem,vsz,rss,tname,stat,start,bsdtime,args";
/// All that can be asked for by `-o`.
#[cfg(test)]
pub(crate) const EVERY: &str = "pid,ppid,pgid,sess,uid,uid_hack,user,gid,group,comm,ucmd,args,cmd,\
     s,stat,tty,tname,time,bsdtime,etime,stime,start,c,%cpu,%mem,vsz,rss,ni,pri,nlwp";

const TABLE: &[Column] = &[
    right("pid", "PID", 7, |it, _| it.pid.to_string()),
    right("ppid", "PPID", 7, |it, _| it.ppid.to_string()),
    right("pgid", "PGID", 7, |it, _| it.pgrp.to_string()),
    right("sess", "SESS", 7, |it, _| it.session.to_string()),
    right("uid", "UID", 5, |it, _| it.uid.to_string()),
    left("uid_hack", "UID", 8, |it, host| host.user(it.uid)),
    left("user", "USER", 8, |it, host| host.user(it.uid)),
    right("gid", "GID", 5, |it, _| it.gid.to_string()),
    left("group", "GROUP", 8, |it, host| host.group(it.gid)),
    left("comm", "COMMAND", 15, |it, _| it.name.clone()),
    left("ucmd", "CMD", 15, |it, _| it.name.clone()),
    left("args", "COMMAND", 27, |it, _| it.command.clone()),
    left("cmd", "CMD", 27, |it, _| it.command.clone()),
    left("s", "S", 1, |it, _| it.state.to_string()),
    left("stat", "STAT", 4, |it, _| state(it)),
    left("tty", "TT", 8, |it, _| terminal(it.terminal)),
    left("tname", "TTY", 8, |it, _| terminal(it.terminal)),
    right("time", "TIME", 8, |it, _| clock(it.seconds, true)),
    right("bsdtime", "TIME", 6, |it, _| format!("{}:{:02}", it.seconds / 60, it.seconds % 60)),
    right("etime", "ELAPSED", 11, |it, host| clock(age(it, host), false)),
    left("stime", "STIME", 5, started),
    left("start", "START", 5, started),
    right("c", "C", 2, |it, host| (per_mille(it, host) / 10).min(99).to_string()),
    right("%cpu", "%CPU", 4, |it, host| tenths(per_mille(it, host))),
    right("%mem", "%MEM", 4, |it, host| tenths(it.resident.saturating_mul(1000) / host.memory)),
    right("vsz", "VSZ", 6, |it, _| (it.virtual_size / 1024).to_string()),
    right("rss", "RSS", 5, |it, _| (it.resident / 1024).to_string()),
    right("ni", "NI", 3, |it, _| it.nice.to_string()),
    right("pri", "PRI", 3, |it, _| (39 - it.priority).to_string()),
    right("nlwp", "NLWP", 4, |it, _| it.threads.to_string()),
];

/// Further names of the same.
const ALIASES: &[(&str, &str)] = &[
    ("command", "args"),
    ("ucomm", "comm"),
    ("euser", "user"),
    ("uname", "user"),
    ("egroup", "group"),
    ("euid", "uid"),
    ("egid", "gid"),
    ("state", "s"),
    ("tt", "tty"),
    ("pgrp", "pgid"),
    ("session", "sess"),
    ("sid", "sess"),
    ("cputime", "time"),
    ("pcpu", "%cpu"),
    ("pmem", "%mem"),
    ("vsize", "vsz"),
    ("rssize", "rss"),
    ("nice", "ni"),
    ("start_time", "stime"),
    ("thcount", "nlwp"),
];

const fn right(
    name: &'static str,
    head: &'static str,
    width: usize,
    value: fn(&Process, &Host) -> String,
) -> Column {
    Column { name, head, width, right: true, value }
}

const fn left(
    name: &'static str,
    head: &'static str,
    width: usize,
    value: fn(&Process, &Host) -> String,
) -> Column {
    Column { name, head, width, right: false, value }
}

/// The columns of a list with commas or blanks between the names.
pub(crate) fn named(list: &str) -> Result<Vec<&'static Column>, String> {
    let names = list.split([',', ' ']).filter(|name| !name.is_empty());
    let columns = names.map(|name| {
        let alias = ALIASES.iter().find(|(other, _)| *other == name);
        let wanted = alias.map_or(name, |(_, name)| name);
        let found = TABLE.iter().find(|column| column.name == wanted);
        found.ok_or_else(|| format!("ps: there is no column {name:?}"))
    });
    let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
    if columns.is_empty() { Err("ps: -o names no column".into()) } else { Ok(columns) }
}

/// The state's letter with ps(1)'s marks.
fn state(it: &Process) -> String {
    let marks = [
        (it.nice < 0, '<'),
        (it.nice > 0, 'N'),
        (it.session == i64::from(it.pid), 's'),
        (it.threads > 1, 'l'),
        (it.foreground > 0 && it.foreground == it.pgrp, '+'),
    ];
    let marks = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark));
    std::iter::once(it.state).chain(marks).collect()
}

/// The controlling terminal's name by its number (linux/major.h).
fn terminal(number: i64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        229 => format!("hvc{minor}"),
        _ => "?".into(),
    }
}

/// `[days-]hours:minutes:seconds`; hours only if needed unless `long`.
fn clock(seconds: u64, long: bool) -> String {
    let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3600 % 24, seconds / 86400);
    let seconds = seconds % 60;
    match (days, hours) {
        (0, 0) if !long => format!("{minutes:02}:{seconds:02}"),
        (0, _) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

fn age(it: &Process, host: &Host) -> u64 {
    host.uptime.saturating_sub(it.started)
}

/// CPU time per time since the start, in thousandths.
fn per_mille(it: &Process, host: &Host) -> u64 {
    it.seconds.saturating_mul(1000) / age(it, host).max(1)
}

fn tenths(per_mille: u64) -> String {
    format!("{}.{}", per_mille / 10, per_mille % 10)
}

/// The time of day, the date once that is another, the year once that is.
fn started(it: &Process, host: &Host) -> String {
    let age = i64::try_from(age(it, host)).unwrap_or(0);
    let then = host.now - time::Duration::seconds(age);
    if then.date() == host.now.date() {
        format!("{:02}:{:02}", then.hour(), then.minute())
    } else if then.year() == host.now.year() {
        let month = then.month().to_string();
        format!("{}{:02}", month.get(..3).unwrap_or(&month), then.day())
    } else {
        then.year().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_their_names() {
        let names = [0, 34816, (137 << 8) | 3, (4 << 8) | 1, (4 << 8) | 64].map(terminal);
        assert_eq!(names, ["?", "pts/0", "pts/259", "tty1", "ttyS0"]);
    }

    #[test]
    fn times_are_ps_s() {
        assert_eq!(clock(59, true), "00:00:59");
        assert_eq!((clock(59, false), clock(3661, false)), ("00:59".into(), "01:01:01".into()));
        assert_eq!(clock(90_061, true), "1-01:01:01");
        assert_eq!(tenths(1234), "123.4");
    }
}
