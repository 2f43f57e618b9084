//! Capabilities as docker's flags name them, and the sets a container gets.
//!
//! Names and numbers are facts of linux/capability.h; which ones a container has
//! by default, and how `--cap-add` and `--cap-drop` combine, follow docker.
//! [`CapabilityRequest::plan`] is pure: what the caller holds ([`caller_bounding`])
//! is an argument, so that defaults shrink to it and explicit wishes beyond it
//! are refused in words instead of by EPERM in the middle of the start.

use crate::plan::CapabilitySets;

/// Every capability Linux knows, in the order of its bit (linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said: docker's fourteen.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Why a set of capabilities cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// Not a capability's name, in docker's words.
    #[error("invalid {list}: unknown capability: \"{name}\"")]
    Unknown {
        /// docker's name of the list it was found in: `CapAdd` or `CapDrop`.
        list: &'static str,
        /// The name as docker repeats it: upper case, with `CAP_`.
        name: String,
    },
    /// `--cap-add` of something the caller may not pass on, in docker's words.
    #[error(
        "invalid CapAdd: capability not supported by your kernel or not available in the current \
         environment: \"{0}\""
    )]
    NotHeld(&'static str),
}

/// The flags, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilityRequest {
    /// `--cap-add`, in the order typed.
    pub add: Vec<String>,
    /// `--cap-drop`, in the order typed.
    pub drop: Vec<String>,
    /// `--privileged`: everything the caller has.
    pub privileged: bool,
}

/// The bit (`1 << CAP_x`) of `name`: any case, with or without `CAP_`.
pub fn parse(name: &str) -> Option<u64> {
    let full = canonical(name);
    NAMES.iter().position(|known| *known == full).map(|bit| 1 << bit)
}

/// `name` in upper case and with its prefix, whether it is known or not.
fn canonical(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

/// The names of the bits of `set`, in the order of their numbers. Bits this
/// version has no name for are left out.
pub fn names(set: u64) -> Vec<&'static str> {
    NAMES.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0).map(|(_, n)| *n).collect()
}

/// The bits of [`DEFAULT`].
pub fn default_set() -> u64 {
    DEFAULT.iter().filter_map(|name| parse(name)).fold(0, |set, bit| set | bit)
}

/// A `--cap-add`/`--cap-drop` list: its bits, and whether `ALL` is in it.
fn parse_list(list: &'static str, typed: &[String]) -> Result<(u64, bool), CapabilityError> {
    let mut bits = 0;
    let mut all = false;
    for name in typed {
        if name.eq_ignore_ascii_case("all") {
            all = true;
        } else {
            let unknown = || CapabilityError::Unknown { list, name: canonical(name) };
            bits |= parse(name).ok_or_else(unknown)?;
        }
    }
    Ok((bits, all))
}

impl CapabilityRequest {
    /// Decides the sets of a container's first process. `held` is the caller's
    /// bounding set. docker's precedence: `--cap-add ALL` is everything except
    /// what `--cap-drop` names, and wins over `--cap-drop ALL`; `--cap-drop ALL`
    /// leaves what `--cap-add` names; else the default, minus the dropped, plus
    /// the added (a capability in both lists is added).
    ///
    /// Inheritable and ambient stay empty (CVE-2022-24769); exec recomputes the
    /// effective set from them and the user id (capabilities(7)).
    ///
    /// # Errors
    /// A name is unknown, or one named in `add` is not in `held`. Defaults and
    /// `ALL` shrink to `held` silently.
    pub fn plan(&self, held: u64) -> Result<CapabilitySets, CapabilityError> {
        let (added, add_all) = parse_list("CapAdd", &self.add)?;
        let (dropped, drop_all) = parse_list("CapDrop", &self.drop)?;
        let every = (1 << NAMES.len()) - 1;
        let wanted = match (self.privileged, add_all, drop_all) {
            (true, _, _) => every,
            (false, true, _) => every & !dropped,
            (false, false, true) => added,
            (false, false, false) => (default_set() & !dropped) | added,
        };
        if let Some(name) = names(added & wanted & !held).first()
            && !self.privileged
        {
            return Err(CapabilityError::NotHeld(name));
        }
        Ok(sets(wanted & held))
    }
}

/// The sets in which exactly `bits` can be used and nothing is inherited.
pub fn sets(bits: u64) -> CapabilitySets {
    CapabilitySets { bounding: bits, effective: bits, permitted: bits, inheritable: 0, ambient: 0 }
}

/// The calling thread's bounding set: what it can pass on to a container.
///
/// # Errors
/// procfs is not mounted, or says nothing of it.
pub fn caller_bounding() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    bounding_of(&status)
        .ok_or_else(|| std::io::Error::other("no CapBnd in /proc/thread-self/status"))
}

/// `CapBnd` of a proc_pid_status(5) text.
fn bounding_of(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVERY: u64 = (1 << NAMES.len()) - 1;

    fn plan(add: &[&str], drop: &[&str]) -> Result<Vec<&'static str>, CapabilityError> {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let request = CapabilityRequest { add: own(add), drop: own(drop), privileged: false };
        request.plan(EVERY).map(|sets| names(sets.bounding))
    }

    #[test]
    fn names_are_known_in_any_spelling() {
        for spelling in ["CAP_NET_ADMIN", "NET_ADMIN", "net_admin", "cap_Net_Admin"] {
            assert_eq!(parse(spelling), Some(1 << 12), "{spelling}");
        }
        for bad in ["", "CAP_", "CAP_CAP_KILL", "NET ADMIN", "ALL", "NET_ADMIN "] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse("CHECKPOINT_RESTORE"), Some(1 << 40));
    }

    #[test]
    fn the_default_is_dockers() {
        // What docker's containers show in /proc/self/status.
        assert_eq!(default_set(), 0x0000_0000_a804_25fb);
        assert_eq!(plan(&[], &[]).unwrap().len(), 14);
    }

    #[test]
    fn lists_combine_as_in_docker() {
        assert_eq!(plan(&["SYS_ADMIN"], &[]).unwrap().len(), 15);
        assert_eq!(plan(&[], &["CHOWN", "kill"]).unwrap().len(), 12);
        assert_eq!(plan(&["SYS_TIME", "KILL"], &["ALL"]).unwrap(), ["CAP_KILL", "CAP_SYS_TIME"]);
        assert_eq!(plan(&[], &["all"]).unwrap().len(), 0);
        assert_eq!(plan(&["ALL"], &["SYS_ADMIN"]).unwrap().len(), 40);
        // In both lists: added, unless everything is.
        assert!(plan(&["CHOWN"], &["CHOWN"]).unwrap().contains(&"CAP_CHOWN"));
        assert_eq!(plan(&["ALL"], &["ALL"]).unwrap().len(), 41);
    }

    #[test]
    fn unknown_names_get_dockers_words() {
        assert_eq!(
            plan(&["foo"], &[]).unwrap_err().to_string(),
            "invalid CapAdd: unknown capability: \"CAP_FOO\""
        );
        assert!(plan(&[], &["CAP_BAR"]).unwrap_err().to_string().contains("CapDrop"));
    }

    #[test]
    fn defaults_shrink_to_what_the_caller_has_and_wishes_do_not() {
        let held = EVERY & !parse("SYS_RESOURCE").unwrap() & !parse("MKNOD").unwrap();
        let with = |add: &[&str], privileged| {
            let add = add.iter().map(|s| (*s).to_owned()).collect();
            CapabilityRequest { add, drop: vec![], privileged }.plan(held)
        };
        assert_eq!(with(&[], false).unwrap().bounding, default_set() & held);
        assert_eq!(with(&["ALL"], false).unwrap().bounding, held);
        assert_eq!(with(&[], true).unwrap().bounding, held);
        let error = with(&["SYS_RESOURCE"], false).unwrap_err();
        assert_eq!(error, CapabilityError::NotHeld("CAP_SYS_RESOURCE"));
    }

    #[test]
    fn the_callers_own_set_is_read() {
        let status = "Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\n";
        assert_eq!(bounding_of(status), Some(0x01ff_feff_ffff));
        assert_eq!(bounding_of("CapBnd:\tzz\n"), None);
        assert!(caller_bounding().is_ok());
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_caller_has(
            add in prop::collection::vec(0usize..42, 0..5),
            drop in prop::collection::vec(0usize..42, 0..5),
            privileged in any::<bool>(), held in any::<u64>(),
        ) {
            let name = |at: &usize| NAMES.get(*at).copied().unwrap_or("ALL").to_owned();
            let request = CapabilityRequest {
                add: add.iter().map(name).collect(),
                drop: drop.iter().map(name).collect(),
                privileged,
            };
            if let Ok(sets) = request.plan(held) {
                prop_assert_eq!(sets.bounding & !held, 0);
                prop_assert_eq!((sets.inheritable, sets.ambient), (0, 0));
                prop_assert_eq!(sets.effective, sets.bounding);
            }
        }

        #[test]
        fn names_and_bits_are_each_others_inverse(set in 0u64..1 << 41) {
            let back = names(set).iter().filter_map(|name| parse(name)).fold(0, |s, b| s | b);
            prop_assert_eq!(back, set);
        }
    }
}
