//! Mount option words (mount(8), runtime-spec config.md "Linux mount options").

use crate::plan::{AccessTime, MountAttributes, Propagation, PropagationChange};

/// How far a bind reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// `bind`
    Single,
    /// `rbind`
    Recursive,
}

/// Option words, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Words about this mount alone.
    pub(crate) flags: Flags,
    /// Words about all mounts from here downwards: `rro`…
    pub(crate) recursive: MountAttributes,
    pub(crate) bind: Option<Depth>,
    pub(crate) propagation: Vec<PropagationChange>,
    pub(crate) copy_up: bool,
    /// `idmap` (`Single`) or `ridmap`.
    pub(crate) id_map: Option<Depth>,
    /// `remount` is among them.
    pub(crate) remount: bool,
    /// What only the file system understands: the word's number and itself.
    pub(crate) data: Vec<(usize, String)>,
}

/// Sorts `words`; later ones win.
pub(crate) fn parse(words: &[String]) -> Options {
    let mut options = Options::default();
    for (at, word) in words.iter().enumerate() {
        if !options.take(word) {
            options.data.extend(split(word).map(|word| (at, word.to_owned())));
        }
    }
    options
}

impl Options {
    /// Whether `word` was understood.
    fn take(&mut self, word: &str) -> bool {
        if self.flags.take(word)
            || take_recursive(&mut self.recursive, word)
            || take_propagation(&mut self.propagation, word)
        {
            return true;
        }
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(Depth::Single)),
            "rbind" => self.bind = Some(Depth::Recursive),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.id_map = Some(Depth::Single),
            "ridmap" => self.id_map = Some(Depth::Recursive),
            "remount" => self.remount = true,
            // fstab's "nothing special".
            "defaults" | "" => {}
            _ => return false,
        }
        true
    }
}

/// One element may hold several options, as in fstab: `size=1k,mode=755`. Commas
/// in quotes belong to a value (`context="u:r:t:s0:c1,c2"`).
fn split(word: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let comma = move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    word.split(comma).filter(|part| !part.is_empty())
}

/// Flags that were raised or lowered by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    raised: u32,
    lowered: u32,
}

const READONLY: u32 = 1;
const NOSUID: u32 = 1 << 1;
const NODEV: u32 = 1 << 2;
const NOEXEC: u32 = 1 << 3;
const NOSYMFOLLOW: u32 = 1 << 4;
const NODIRATIME: u32 = 1 << 5;
const NOATIME: u32 = 1 << 6;
const RELATIME: u32 = 1 << 7;
const STRICTATIME: u32 = 1 << 8;
const ATIMES: u32 = NODIRATIME | NOATIME | RELATIME | STRICTATIME;
const SYNC: u32 = 1 << 9;
const DIRSYNC: u32 = 1 << 10;
const MAND: u32 = 1 << 11;
const LAZYTIME: u32 = 1 << 12;
const IVERSION: u32 = 1 << 13;
const SILENT: u32 = 1 << 14;

/// Each word, its flag, and whether it raises it.
const WORDS: [(&str, u32, bool); 29] = [
    ("ro", READONLY, true),
    ("rw", READONLY, false),
    ("nosuid", NOSUID, true),
    ("suid", NOSUID, false),
    ("nodev", NODEV, true),
    ("dev", NODEV, false),
    ("noexec", NOEXEC, true),
    ("exec", NOEXEC, false),
    ("nosymfollow", NOSYMFOLLOW, true),
    ("symfollow", NOSYMFOLLOW, false),
    ("nodiratime", NODIRATIME, true),
    ("diratime", NODIRATIME, false),
    ("noatime", NOATIME, true),
    ("atime", NOATIME, false),
    ("relatime", RELATIME, true),
    ("norelatime", RELATIME, false),
    ("strictatime", STRICTATIME, true),
    ("nostrictatime", STRICTATIME, false),
    ("sync", SYNC, true),
    ("async", SYNC, false),
    ("dirsync", DIRSYNC, true),
    ("mand", MAND, true),
    ("nomand", MAND, false),
    ("lazytime", LAZYTIME, true),
    ("nolazytime", LAZYTIME, false),
    ("iversion", IVERSION, true),
    ("noiversion", IVERSION, false),
    // Whether the kernel logs problems of the mount: nothing to do for us.
    ("silent", SILENT, true),
    ("loud", SILENT, false),
];

/// Superblock flags by the names fsconfig(2) knows them by.
const OF_FILESYSTEM: [(u32, &str); 5] = [
    (SYNC, "sync"),
    (DIRSYNC, "dirsync"),
    (MAND, "mand"),
    (LAZYTIME, "lazytime"),
    (IVERSION, "iversion"),
];

impl Flags {
    fn take(&mut self, word: &str) -> bool {
        let Some((_, flag, raise)) = WORDS.iter().find(|(known, ..)| *known == word) else {
            return false;
        };
        let (to, from) = match raise {
            true => (&mut self.raised, &mut self.lowered),
            false => (&mut self.lowered, &mut self.raised),
        };
        *to |= flag;
        *from &= !flag;
        true
    }

    /// Whether there were any words.
    pub(crate) fn any(self) -> bool {
        (self.raised | self.lowered) != 0
    }

    /// `ro`
    pub(crate) fn readonly(self) -> bool {
        self.raised & READONLY != 0
    }

    /// What the mount gets. The words on access times are one choice of three and
    /// `nodiratime`; as with mount(2), a choice that is only taken back changes
    /// nothing, and one that is taken takes the others back.
    pub(crate) fn attributes(self) -> MountAttributes {
        let of = |flag| match (self.raised & flag != 0, self.lowered & flag != 0) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let raised = |flag| self.raised & flag != 0;
        let atime = match () {
            () if raised(STRICTATIME) => AccessTime::Strict,
            () if raised(NOATIME) => AccessTime::Never,
            () => AccessTime::Relative,
        };
        let chosen = raised(ATIMES);
        MountAttributes {
            readonly: of(READONLY),
            nosuid: of(NOSUID),
            nodev: of(NODEV),
            noexec: of(NOEXEC),
            nosymfollow: of(NOSYMFOLLOW),
            nodiratime: chosen.then(|| raised(NODIRATIME)),
            atime: chosen.then_some(atime),
        }
    }

    /// What a new file system gets besides.
    pub(crate) fn filesystem_options(self) -> impl Iterator<Item = &'static str> {
        let raised = move |(flag, _): &(u32, &str)| self.raised & flag != 0;
        OF_FILESYSTEM.into_iter().filter(raised).map(|(_, name)| name)
    }
}

fn take_recursive(attributes: &mut MountAttributes, word: &str) -> bool {
    match word {
        "rro" => attributes.readonly = Some(true),
        "rrw" => attributes.readonly = Some(false),
        "rnosuid" => attributes.nosuid = Some(true),
        "rsuid" => attributes.nosuid = Some(false),
        "rnodev" => attributes.nodev = Some(true),
        "rdev" => attributes.nodev = Some(false),
        "rnoexec" => attributes.noexec = Some(true),
        "rexec" => attributes.noexec = Some(false),
        "rnosymfollow" => attributes.nosymfollow = Some(true),
        "rsymfollow" => attributes.nosymfollow = Some(false),
        "rnodiratime" => attributes.nodiratime = Some(true),
        "rdiratime" => attributes.nodiratime = Some(false),
        "rnoatime" => attributes.atime = Some(AccessTime::Never),
        "rstrictatime" => attributes.atime = Some(AccessTime::Strict),
        "rrelatime" => attributes.atime = Some(AccessTime::Relative),
        // Taking one choice back leaves the default, unless another was taken.
        "ratime" => not(&mut attributes.atime, AccessTime::Never),
        "rnostrictatime" => not(&mut attributes.atime, AccessTime::Strict),
        "rnorelatime" => not(&mut attributes.atime, AccessTime::Relative),
        _ => return false,
    }
    true
}

fn not(choice: &mut Option<AccessTime>, taken_back: AccessTime) {
    if choice.is_none_or(|chosen| chosen == taken_back) {
        *choice = Some(AccessTime::Relative);
    }
}

/// `shared`, `rslave`…
pub(crate) fn propagation(word: &str) -> Option<PropagationChange> {
    // No word of the four begins with an r itself.
    let (recursive, kind) = match word.strip_prefix('r') {
        Some(kind) => (true, kind),
        None => (false, word),
    };
    let to = match kind {
        "private" => Propagation::Private,
        "slave" => Propagation::Slave,
        "shared" => Propagation::Shared,
        "unbindable" => Propagation::Unbindable,
        _ => return None,
    };
    Some(PropagationChange { to, recursive })
}

fn take_propagation(changes: &mut Vec<PropagationChange>, word: &str) -> bool {
    let change = propagation(word);
    changes.extend(change);
    change.is_some()
}

/// Every word with a meaning of its own, for `features`.
pub(crate) fn known_words() -> Vec<&'static str> {
    let mut words: Vec<&str> = WORDS.iter().map(|(word, ..)| *word).collect();
    words.extend([
        "bind",
        "defaults",
        "idmap",
        "private",
        "ratime",
        "rbind",
        "rdev",
        "rdiratime",
        "remount",
        "rexec",
        "ridmap",
        "rnoatime",
        "rnodev",
        "rnodiratime",
        "rnoexec",
        "rnorelatime",
        "rnostrictatime",
        "rnosuid",
        "rnosymfollow",
        "rprivate",
        "rrelatime",
        "rro",
        "rrw",
        "rshared",
        "rslave",
        "rstrictatime",
        "rsuid",
        "rsymfollow",
        "runbindable",
        "shared",
        "slave",
        "tmpcopyup",
        "unbindable",
    ]);
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn attributes(text: &str) -> MountAttributes {
        parse(&words(text)).flags.attributes()
    }

    #[test]
    fn later_words_win_and_data_is_kept() {
        let options = parse(&words("rbind ro nosuid rw rslave mode=755"));
        let got = options.flags.attributes();
        assert_eq!((got.readonly, got.nosuid, got.nodev), (Some(false), Some(true), None));
        assert_eq!(options.bind, Some(Depth::Recursive));
        let rslave = PropagationChange { to: Propagation::Slave, recursive: true };
        assert_eq!(options.propagation, [rslave]);
        assert_eq!(options.data, [(5, "mode=755".to_owned())]);
    }

    #[test]
    fn an_element_may_hold_several_options() {
        let options = parse(&words(r#"size=1k,mode=755 context="a:b:c1,c2",huge=never"#));
        let data: Vec<_> = options.data.iter().map(|(at, word)| (*at, word.as_str())).collect();
        let context = r#"context="a:b:c1,c2""#;
        assert_eq!(data, [(0, "size=1k"), (0, "mode=755"), (1, context), (1, "huge=never")]);
    }

    #[test]
    fn access_times_are_one_choice() {
        use AccessTime::{Never, Relative, Strict};
        let of = |text| (attributes(text).atime, attributes(text).nodiratime);
        assert_eq!(of("noatime"), (Some(Never), Some(false)));
        assert_eq!(of("nodiratime"), (Some(Relative), Some(true)));
        assert_eq!(of("nodiratime strictatime"), (Some(Strict), Some(true)));
        assert_eq!(of("noatime relatime"), (Some(Never), Some(false)));
        // Only taken back: as it was.
        for text in ["atime", "norelatime", "nostrictatime", "diratime", "noatime atime"] {
            assert_eq!(of(text), (None, None), "{text}");
        }
        let recursive = |text: &str| parse(&words(text)).recursive.atime;
        assert_eq!(recursive("rnoatime"), Some(Never));
        assert_eq!(recursive("rnostrictatime"), Some(Relative));
        assert_eq!(recursive("rnoatime ratime"), Some(Relative));
        assert_eq!(recursive("rstrictatime ratime"), Some(Strict));
    }

    #[test]
    fn what_is_the_file_systems_is_said_in_its_words() {
        let flags = parse(&words("sync mand nomand lazytime loud async dirsync")).flags;
        assert_eq!(flags.filesystem_options().collect::<Vec<_>>(), ["dirsync", "lazytime"]);
        assert!(flags.any() && !flags.readonly());
    }

    #[test]
    fn every_known_word_is_known() {
        for word in known_words() {
            assert_eq!(parse(&[word.to_owned()]).data, [], "{word}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_lost(list in prop::collection::vec("[a-z]{0,12}(=[a-z0-9,\"]{0,8})?", 0..8)) {
            let options = parse(&list);
            for (at, word) in &options.data {
                prop_assert!(list[*at].contains(word.as_str()));
            }
            let known = known_words();
            for word in list.iter().filter(|w| !w.contains([',', '=']) && !w.is_empty()) {
                let kept = options.data.iter().any(|(_, data)| data == word);
                prop_assert_ne!(kept, known.contains(&word.as_str()));
            }
        }

        #[test]
        fn words_are_taken_in_order(list in prop::collection::vec(0usize..WORDS.len(), 0..12)) {
            let text: Vec<String> = list.iter().map(|n| WORDS[*n].0.to_owned()).collect();
            let got = parse(&text).flags;
            for (_, flag, _) in WORDS {
                let last = list.iter().rev().find(|n| WORDS[**n].1 == flag);
                prop_assert_eq!(got.raised & flag != 0, last.is_some_and(|n| WORDS[*n].2));
                prop_assert_eq!(got.lowered & flag != 0, last.is_some_and(|n| !WORDS[*n].2));
            }
        }
    }
}
