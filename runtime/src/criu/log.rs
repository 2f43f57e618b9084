//! The reason of a failure, from CRIU's log.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// As much of a log as is looked at.
const MOST: u64 = 64 << 20;

/// The first error in the log `path` that says more than that it has failed:
/// those after it follow from it.
pub(super) fn first_error(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let lines = BufReader::new(file.take(MOST)).split(b'\n').map_while(Result::ok);
    first_error_of(lines.map(|line| String::from_utf8_lossy(&line).into_owned()))
}

/// The same of an answer's text, which quotes the log.
pub(super) fn first_error_in(text: &str) -> Option<String> {
    first_error_of(text.lines().map(str::to_owned))
}

/// `(00.041275)      1: Error (criu/files-reg.c:2143): Can't open file x: …`
fn first_error_of(lines: impl Iterator<Item = String>) -> Option<String> {
    let mut any = None;
    for line in lines {
        let Some((_, said)) = line.split_once("Error (") else { continue };
        // Where in its source it was said is for its log.
        let text = said.split_once("): ").map_or(said, |(_, text)| text);
        let text = text.trim().chars().filter(|c| !c.is_control()).take(400).collect();
        if !is_consequence(said) {
            return Some(text);
        }
        any = Some(text);
    }
    any
}

/// Said after every failure, whatever it was, or before everything.
fn is_consequence(text: &str) -> bool {
    let usual =
        ["FAILED", "Killing processes because", "Can't setup RLIMIT", ".criu.mntns", "tun: Unable"];
    usual.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_telling_error_is_found() {
        let lines = |log: &'static str| log.lines().map(str::to_owned);
        let log = "\
(00.001) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: no
(00.003) 1: Error (criu/files.c:2): Can't open file /x: No such file or directory
(00.003) 1: Error (criu/mount.c:1): mnt: second
(00.004) Warn  (criu/cr-restore.c:3): Error handling is fine
(00.005) Error (criu/cr-restore.c:2324): Restoring FAILED.
";
        let expected = "Can't open file /x: No such file or directory";
        assert_eq!(first_error_of(lines(log)).as_deref(), Some(expected));
        let only = "(00.005) Error (criu/cr-dump.c:1): Dumping FAILED.\n";
        assert_eq!(first_error_of(lines(only)).as_deref(), Some("Dumping FAILED."));
        assert_eq!(first_error_of(lines("nothing\n")), None);
    }
}
