//! Giving memory back: a supervisor lives as long as its container, so what
//! start-up needed must not stay resident.

use std::ffi::c_void;

/// Returns free heap pages to the kernel (malloc_trim(3)), drops the stack that
/// deeper calls have left behind, and lets go of the program's own clean pages:
/// those still needed come back from the page cache, a few at a time.
pub fn shrink() {
    // SAFETY: malloc_trim only walks glibc's own arenas under its own locks; it
    // takes no pointer from us. 0 asks it to keep no slack at the top.
    unsafe { libc::malloc_trim(0) };
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in program_text(&maps) {
        // SAFETY: MADV_DONTNEED drops the page table entries of a private,
        // never written file mapping (text, and constants mapped before it; see
        // `program_text`); the next access reads the same bytes from the file
        // (madvise(2)). Nothing that only memory holds is in these ranges.
        unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) };
    }
    let here = 0u8;
    if let Some((start, length)) = unused_stack(&maps, &raw const here as usize) {
        // SAFETY: the range ends two pages below a variable of this frame, so it
        // holds neither this frame, its callers, madvise's own frame nor the red
        // zone; nothing lives below the stack pointer, and fresh pages appear
        // when the stack grows there again.
        unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) };
    }
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
fn program_text(maps: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
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
        if file != *program.get_or_insert(file) || !matches!(rights, "r--p" | "r-xp") {
            break;
        }
        let Some((start, end)) = range.split_once('-') else { break };
        let number = |hex| usize::from_str_radix(hex, 16).ok();
        let (Some(start), Some(end)) = (number(start), number(end)) else { break };
        ranges.push((start, end.saturating_sub(start)));
        if rights == "r-xp" {
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
        assert_eq!(program_text(MAPS), [(0x400000, 0x55000), (0x455000, 0x2ab000)]);
        assert_eq!(program_text(PIE), [(0x7f0000000000, 0x1000), (0x7f0000001000, 0x2000)]);
        assert!(program_text("").is_empty());
        assert!(program_text("7f00-7f01 rw-p 0 0:0 0 [stack]\n").is_empty());
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
        shrink();
        assert_eq!("still".to_owned() + " here", "still here");
    }
}
