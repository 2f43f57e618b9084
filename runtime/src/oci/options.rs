//! Mount option words (mount(8), runtime-spec config.md "Linux mount options").

use crate::plan::{MountAttributes, MountKind, Propagation};

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
    pub(crate) attributes: MountAttributes,
    pub(crate) bind: Option<Depth>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) copy_up: bool,
    /// What only the file system understands.
    pub(crate) data: Vec<String>,
}

/// Sorts `words`; later ones win.
pub(crate) fn parse(words: &[String]) -> Options {
    let mut options = Options::default();
    for word in words {
        if !flag(&mut options, word) {
            options.data.push(word.clone());
        }
    }
    options
}

fn flag(options: &mut Options, word: &str) -> bool {
    let attributes = &mut options.attributes;
    match word {
        "ro" => attributes.readonly = true,
        "rro" => (attributes.readonly, attributes.recursive) = (true, true),
        "rw" => attributes.readonly = false,
        "nosuid" => attributes.nosuid = true,
        "suid" => attributes.nosuid = false,
        "nodev" => attributes.nodev = true,
        "dev" => attributes.nodev = false,
        "noexec" => attributes.noexec = true,
        "exec" => attributes.noexec = false,
        "noatime" => attributes.noatime = true,
        // How exactly access times are kept is the kernel's default, relatime.
        "atime" | "relatime" | "norelatime" | "strictatime" | "nostrictatime" => {
            attributes.noatime = false;
        }
        "nodiratime" => attributes.nodiratime = true,
        "diratime" => attributes.nodiratime = false,
        "nosymfollow" => attributes.nosymfollow = true,
        "symfollow" => attributes.nosymfollow = false,
        "bind" => options.bind = Some(Depth::Single),
        "rbind" => options.bind = Some(Depth::Recursive),
        "private" | "rprivate" => options.propagation = Some(Propagation::Private),
        "slave" | "rslave" => options.propagation = Some(Propagation::Slave),
        "shared" | "rshared" => options.propagation = Some(Propagation::Shared),
        "unbindable" | "runbindable" => options.propagation = Some(Propagation::Unbindable),
        "tmpcopyup" => options.copy_up = true,
        "defaults" | "async" | "nofail" => {}
        _ => return false,
    }
    true
}

/// A tmpfs from its own options; an unknown one is named in the error.
pub(crate) fn tmpfs(data: &[String]) -> Result<MountKind, String> {
    let (mut size, mut mode, mut uid, mut gid, mut inodes) = (None, None, None, None, None);
    for word in data {
        let bad = || format!("tmpfs option {word:?}");
        let (key, value) = word.split_once('=').ok_or_else(bad)?;
        match key {
            "size" => size = Some(bytes(value).ok_or_else(bad)?),
            "mode" => mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad())?),
            "uid" => uid = Some(value.parse().map_err(|_| bad())?),
            "gid" => gid = Some(value.parse().map_err(|_| bad())?),
            "nr_inodes" => inodes = Some(bytes(value).ok_or_else(bad)?),
            _ => return Err(bad()),
        }
    }
    Ok(MountKind::Tmpfs { size, mode, uid, gid, inodes })
}

/// `65536k` (tmpfs(5): k, m, g, powers of 1024).
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn later_words_win_and_data_is_kept() {
        let options = parse(&words("rbind,ro,nosuid,rw,rslave,mode=755"));
        assert!(!options.attributes.readonly && options.attributes.nosuid);
        assert_eq!(options.bind, Some(Depth::Recursive));
        assert_eq!(options.propagation, Some(Propagation::Slave));
        assert_eq!(options.data, ["mode=755"]);
    }

    #[test]
    fn tmpfs_sizes_have_units() {
        let MountKind::Tmpfs { size, mode, .. } = tmpfs(&words("mode=755,size=65536k")).unwrap()
        else {
            panic!("not a tmpfs");
        };
        assert_eq!((size, mode), (Some(64 << 20), Some(0o755)));
        for bad in ["size=1x", "size=-1", "what=ever", "huge"] {
            assert!(tmpfs(&words(bad)).is_err(), "{bad}");
        }
    }
}
