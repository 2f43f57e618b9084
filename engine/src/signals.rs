//! Signal names as docker's users type them.

/// A word that is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(pub String);

/// Linux numbers are the same on x86_64 and aarch64 (signal(7)).
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `SIGTERM`, `term`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
///
/// # Errors
/// Docker's `invalid signal: …`.
pub fn parse(text: &str) -> Result<i32, SignalError> {
    let invalid = || SignalError(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(RTMIN),
        (_, Some("")) => Some(RTMAX),
        (Some(plus), _) => {
            plus.strip_prefix('+').and_then(|n| n.parse::<u8>().ok()).map(|n| RTMIN + i32::from(n))
        }
        (_, Some(minus)) => {
            minus.strip_prefix('-').and_then(|n| n.parse::<u8>().ok()).map(|n| RTMAX - i32::from(n))
        }
        (None, None) => None,
    };
    real_time.filter(|n| (RTMIN..=RTMAX).contains(n)).ok_or_else(invalid)
}

/// `SIGTERM` for 15; a number the kernel has no name for stays one.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("kill", 9),
            ("9", 9),
            ("RTMIN+3", 37),
            ("sigrtmax", 64),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIGNOPE", "RTMIN+31", "RTMIN-1", "TERM "] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
