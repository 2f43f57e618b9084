//! What /proc says of a process, and of the machine.

use std::fs::read_to_string;

use rustix::param::{clock_ticks_per_second, page_size};
use time::{OffsetDateTime, UtcOffset};

use crate::state::user_in;

/// proc_pid_stat(5) and proc_pid_status(5), as far as ps(1) shows them.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) ppid: i64,
    pub(crate) pgrp: i64,
    pub(crate) session: i64,
    pub(crate) terminal: i64,
    pub(crate) foreground: i64,
    pub(crate) state: char,
    pub(crate) priority: i64,
    pub(crate) nice: i64,
    pub(crate) threads: i64,
    /// Seconds of CPU time.
    pub(crate) seconds: u64,
    /// Seconds after boot.
    pub(crate) started: u64,
    /// Bytes.
    pub(crate) virtual_size: u64,
    /// Bytes.
    pub(crate) resident: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) name: String,
    pub(crate) command: String,
}

impl Process {
    /// `None` when it has ended.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let file = |name: &str| std::fs::read(format!("/proc/{pid}/{name}"));
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let status = lossy(file("status").ok()?);
        let command = lossy(file("cmdline").unwrap_or_default());
        Self::parse(pid, &lossy(file("stat").ok()?), &status, &command)
    }

    fn parse(pid: i32, stat: &str, status: &str, command: &str) -> Option<Self> {
        let (start, rest) = stat.rsplit_once(')')?;
        let name = printable(start.split_once('(')?.1);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Numbered as in proc_pid_stat(5), of which the first two are off.
        let text = |field: usize| fields.get(field.checked_sub(3)?).copied();
        let number = |field| text(field)?.parse::<i64>().ok();
        let size = |field| text(field)?.parse::<u64>().ok();
        let effective = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let ticks = clock_ticks_per_second().max(1);
        let words = command.trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            state: text(3)?.chars().next()?,
            ppid: number(4)?,
            pgrp: number(5)?,
            session: number(6)?,
            terminal: number(7)?,
            foreground: number(8)?,
            priority: number(18)?,
            nice: number(19)?,
            threads: number(20)?,
            seconds: size(14)?.saturating_add(size(15)?) / ticks,
            started: size(22)? / ticks,
            virtual_size: size(23)?,
            resident: size(24)?.saturating_mul(u64::try_from(page_size()).unwrap_or(4096)),
            uid: effective("Uid:")?,
            gid: effective("Gid:")?,
            command: if words.is_empty() { format!("[{name}]") } else { printable(&words) },
            name,
        })
    }
}

/// What a process calls itself must not steer the reader's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What the figures of a process relate to.
#[derive(Debug)]
pub(crate) struct Host {
    passwd: String,
    group: String,
    /// Bytes.
    pub(crate) memory: u64,
    /// Seconds since boot.
    pub(crate) uptime: u64,
    pub(crate) now: OffsetDateTime,
}

impl Host {
    pub(crate) fn read() -> Self {
        let text = |path: &str| read_to_string(path).unwrap_or_default();
        let first = |text: &str| text.split(['.', ' ']).next().and_then(|it| it.parse().ok());
        let memory = text("/proc/meminfo").lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
        Self {
            passwd: text("/etc/passwd"),
            group: text("/etc/group"),
            memory: memory.map_or(1, |kib| kib.saturating_mul(1024)).max(1),
            uptime: first(&text("/proc/uptime")).unwrap_or(0),
            now: OffsetDateTime::now_utc().to_offset(offset),
        }
    }

    /// A user's name, or the number.
    pub(crate) fn user(&self, uid: u32) -> String {
        user_in(&self.passwd, uid).unwrap_or_else(|| uid.to_string())
    }

    /// A group's name, or the number.
    pub(crate) fn group(&self, gid: u32) -> String {
        user_in(&self.group, gid).unwrap_or_else(|| gid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let stat = "7 (a) b\u{1b}) S 1 7 7 34816 7 0 0 0 0 0 250 50 0 0 20 0 2 0 1000 4096 3";
        let status = "Name:\ta\nUid:\t0\t5\t0\t0\nGid:\t0\t6\t0\t0\n";
        let it = Process::parse(7, stat, status, "sh\0-c\0x\ny\0").unwrap();
        assert_eq!((it.name.as_str(), it.command.as_str()), ("a) b?", "sh -c x?y"));
        assert_eq!((it.state, it.ppid, it.uid, it.gid, it.threads), ('S', 1, 5, 6, 2));
        assert_eq!(it.virtual_size, 4096);
        assert_eq!(Process::parse(7, stat, status, "").unwrap().command, "[a) b?]");
        assert!(Process::parse(7, "7 (a", status, "").is_none());
    }
}
