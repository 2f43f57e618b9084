//! Giving memory back: a supervisor lives as long as its container and sleeps
//! nearly all of that time, so what start-up needed must not stay resident.

use std::ffi::c_void;
use std::io;

use rustix::event::{PollFd, poll};
use rustix::mm::{Advice, madvise};

/// Gives back what can be done without, then waits for one of `fds`, however
/// long: free heap pages (malloc_trim(3)), the stack that deeper calls have left
/// behind, and the program's own clean pages. Those come back from the page
/// cache, 64 KiB around each one that is needed: hence they go last, right
/// before the system call in which the process then sleeps.
///
/// # Errors
/// As poll(2).
#[inline(never)]
pub fn sleep_small(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    // SAFETY: malloc_trim only walks glibc's own arenas under its own locks; it
    // takes no pointer from us. 0 asks it to keep no slack at the top.
    unsafe { libc::malloc_trim(0) };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let here = 0u8;
    if let Some((start, length)) = unused_stack(&maps, &raw const here as usize) {
        // SAFETY: the range ends two pages below a variable of this frame, so it
        // holds neither this frame, its callers nor the red zone; nothing lives
        // below the stack pointer, and fresh pages appear when the stack grows
        // there again. Failing only means that nothing is given back.
        let _ = unsafe { madvise(start as *mut c_void, length, Advice::LinuxDontNeed) };
    }
    let text = program_text(&maps);
    drop(maps);
    for (start, length) in text.into_iter().flatten() {
        // SAFETY: this drops the page table entries of a private, never written
        // file mapping (text, and constants mapped before it; see
        // `program_text`); the next access reads the same bytes from the file
        // (madvise(2)). Nothing that only memory holds is in these ranges.
        let _ = unsafe { madvise(start as *mut c_void, length, Advice::LinuxDontNeed) };
    }
    poll(fds, None)?;
    Ok(())
}

/// The range (address, bytes) of the stack below the frame that holds `here`,
/// two pages away from it.
fn unused_stack(maps: &str, here: usize) -> Option<(usize, usize)> {
    const PAGE: usize = 4096;
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (start, _) = line.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = (here & !(PAGE - 1)).checked_sub(2 * PAGE)?;
    let length = end.checked_sub(start).filter(|length| *length > 0)?;
    Some((start, length))
}

/// The ranges (address, bytes) of the program's text and of the constants mapped
/// before it. What is mapped after the text may have been relocated, which
/// only memory knows, and is left alone.
fn program_text(maps: &str) -> [Option<(usize, usize)>; 2] {
    let mut ranges = [None; 2];
    let mut program = None;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(rights), Some(file)) = (fields.next(), fields.next(), fields.nth(3))
        else {
            continue;
        };
        // The heap lies below a position-independent program. A static program
        // maps no file but itself, and the part with the text last.
        if !file.starts_with('/') {
            continue;
        }
        let slot = match rights {
            "r--p" if ranges[0].is_none() => 0,
            "r-xp" => 1,
            _ => break,
        };
        let Some((start, end)) = range.split_once('-') else { break };
        let number = |hex| usize::from_str_radix(hex, 16).ok();
        let (Some(start), Some(end)) = (number(start), number(end)) else { break };
        if file != *program.get_or_insert(file) {
            break;
        }
        ranges[slot] = Some((start, end.saturating_sub(start)));
        if slot == 1 {
            break;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00400000-00455000 r--p 00000000 fe:00 12 /usr/bin/rcnt
00455000-00700000 r-xp 00055000 fe:00 12 /usr/bin/rcnt
00700000-00710000 r--p 00300000 fe:00 12 /usr/bin/rcnt
00710000-00712000 rw-p 00310000 fe:00 12 /usr/bin/rcnt
01000000-01021000 rw-p 00000000 00:00 0 [heap]
";
    const PIE: &str = "\
5555575a9000-5555575c0000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 r--p 00000000 fe:00 12 /usr/bin/rcnt
7f0000001000-7f0000003000 r-xp 00001000 fe:00 12 /usr/bin/rcnt
7f0000003000-7f0000004000 r--p 00003000 fe:00 12 /usr/bin/rcnt
";

    #[test]
    fn only_text_and_what_lies_before_it_is_let_go() {
        assert_eq!(program_text(MAPS), [Some((0x400000, 0x55000)), Some((0x455000, 0x2ab000))]);
        let both = [Some((0x7f0000000000, 0x1000)), Some((0x7f0000001000, 0x2000))];
        assert_eq!(program_text(PIE), both);
        assert_eq!(program_text(""), [None, None]);
        assert_eq!(program_text("7f00-7f01 rw-p 0 0:0 0 [stack]\n"), [None, None]);
    }

    #[test]
    fn only_the_stack_below_the_caller_is_dropped() {
        let maps = "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n";
        assert_eq!(unused_stack(maps, 0x7ffc0001f123), Some((0x7ffc00000000, 0x1d000)));
        // A thread's stack is elsewhere.
        assert_eq!(unused_stack(maps, 0x7f0000001000), None);
        assert_eq!(unused_stack("", 0x7ffc0001f123), None);
    }

    #[test]
    fn the_program_still_runs_afterwards() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let mut fds = [PollFd::new(&reader, rustix::event::PollFlags::IN)];
        sleep_small(&mut fds).unwrap();
        assert!(fds[0].revents().contains(rustix::event::PollFlags::HUP));
    }
}
