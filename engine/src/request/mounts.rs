//! `-v`, `--mount` and `--tmpfs` → one list of mounts by destination.

use std::path::{Component, Path, PathBuf};

use rcnt_base::ids::Name;
use serde::{Deserialize, Serialize};

use super::{RequestError, sizes};

/// One mount the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// Where, absolute, inside the container.
    pub destination: PathBuf,
    /// What.
    pub source: MountSource,
    /// Whether the container may not write to it.
    pub read_only: bool,
    /// Mount propagation as typed (`rprivate`, `rslave`, `shared`…); binds only.
    pub propagation: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// `-v` makes a missing directory, `--mount` refuses it.
        create: bool,
        /// Whether mounts below it come along.
        recursive: bool,
    },
    /// A named or anonymous volume.
    Volume {
        /// `None`: a new one, named by the engine.
        name: Option<Name>,
        /// `nocopy`: a fresh volume stays empty instead of taking the image's content.
        copy: bool,
    },
    /// A memory file system.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: Option<u32>,
        /// Mount flags: `noexec`, `nosuid`…
        flags: Vec<String>,
    },
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

fn destination(flag: &'static str, text: &str) -> Result<PathBuf, RequestError> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(RequestError::Mount {
            flag,
            value: text.to_owned(),
            why: "the path inside the container must be absolute".into(),
        });
    }
    let clean: PathBuf = path.components().filter(|c| !matches!(c, Component::CurDir)).collect();
    if clean == Path::new("/") || clean.components().any(|c| c == Component::ParentDir) {
        return Err(RequestError::Mount {
            flag,
            value: text.to_owned(),
            why: "the path inside the container cannot be \"/\" or contain \"..\"".into(),
        });
    }
    Ok(clean)
}

/// One `-v [SOURCE:]DESTINATION[:OPTIONS]`.
///
/// # Errors
/// What is wrong with the value, in one line.
pub(super) fn volume(text: &str) -> Result<MountRequest, RequestError> {
    let invalid = |why: &str| RequestError::Mount {
        flag: "--volume",
        value: text.to_owned(),
        why: why.into(),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, dest, options) = match parts.as_slice() {
        [dest] => (None, *dest, ""),
        [source, dest] => (Some(*source), *dest, ""),
        [source, dest, options] => (Some(*source), *dest, *options),
        _ => return Err(invalid("too many colons; use --mount for such paths")),
    };
    if dest.is_empty() || source == Some("") {
        return Err(invalid("empty section between colons"));
    }
    let mut mount = MountRequest {
        destination: destination("--volume", dest)?,
        source: volume_source(source, &invalid)?,
        read_only: false,
        propagation: None,
    };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match (option, &mut mount.source) {
            ("ro", _) => mount.read_only = true,
            // z and Z relabel for SELinux; the rest are hints of Docker Desktop.
            ("rw" | "z" | "Z" | "cached" | "delegated" | "consistent", _) => {}
            ("nocopy", MountSource::Volume { copy, .. }) => *copy = false,
            (p, MountSource::Bind { .. }) if PROPAGATIONS.contains(&p) => {
                mount.propagation = Some(p.to_owned());
            }
            (other, _) => return Err(invalid(&format!("invalid mode \"{other}\""))),
        }
    }
    Ok(mount)
}

fn volume_source(
    source: Option<&str>,
    invalid: &dyn Fn(&str) -> RequestError,
) -> Result<MountSource, RequestError> {
    match source {
        None => Ok(MountSource::Volume { name: None, copy: true }),
        Some(path) if path.starts_with('/') => {
            Ok(MountSource::Bind { path: path.into(), create: true, recursive: true })
        }
        Some(path)
            if path == "." || path == ".." || path.starts_with("./") || path.starts_with("../") =>
        {
            let path = std::path::absolute(path)
                .map_err(|e| invalid(&format!("cannot make the path absolute: {e}")))?;
            Ok(MountSource::Bind { path, create: true, recursive: true })
        }
        Some(name) => {
            let name = name.parse().map_err(|_| {
                invalid(&format!(
                    "\"{name}\" includes invalid characters for a local volume name, \
                     only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host \
                     directory, use absolute path"
                ))
            })?;
            Ok(MountSource::Volume { name: Some(name), copy: true })
        }
    }
}

/// One `--tmpfs DESTINATION[:OPTIONS]`.
///
/// # Errors
/// What is wrong with the value, in one line.
pub(super) fn tmpfs(text: &str) -> Result<MountRequest, RequestError> {
    let (dest, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut flags) = (None, None, Vec::new());
    let mut read_only = false;
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(sizes::bytes("--tmpfs", value)?),
            Some(("mode", value)) => mode = Some(octal("--tmpfs", text, value)?),
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks", _)) => flags.push(option.to_owned()),
            None if option == "ro" => read_only = true,
            None if matches!(
                option,
                "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev"
            ) =>
            {
                flags.push(option.to_owned());
            }
            _ => {
                return Err(RequestError::Mount {
                    flag: "--tmpfs",
                    value: text.to_owned(),
                    why: format!("invalid tmpfs option [\"{option}\"]"),
                });
            }
        }
    }
    Ok(MountRequest {
        destination: destination("--tmpfs", dest)?,
        source: MountSource::Tmpfs { size, mode, flags },
        read_only,
        propagation: None,
    })
}

fn octal(flag: &'static str, whole: &str, digits: &str) -> Result<u32, RequestError> {
    u32::from_str_radix(digits, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(|| {
        RequestError::Mount {
            flag,
            value: whole.to_owned(),
            why: format!("\"{digits}\" is not an octal mode"),
        }
    })
}

/// The `key=value` words of one `--mount`, collected before they are judged.
#[derive(Default)]
struct MountWords {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    non_recursive: bool,
    no_copy: bool,
    size: Option<u64>,
    mode: Option<u32>,
}

/// One `--mount type=…,source=…,target=…`.
///
/// # Errors
/// What is wrong with the value, in one line.
pub(super) fn mount(text: &str) -> Result<MountRequest, RequestError> {
    let invalid =
        |why: String| RequestError::Mount { flag: "--mount", value: text.to_owned(), why };
    let words = mount_words(text, &invalid)?;
    let target = words.target.clone().ok_or_else(|| invalid("target is required".into()))?;
    let source = match words.kind.as_deref().unwrap_or("volume") {
        "bind" => bind_source(&words, &invalid)?,
        "volume" => {
            let name = words.source.as_deref().map(str::parse).transpose();
            let name = name.map_err(|e: rcnt_base::ids::IdError| invalid(e.to_string()))?;
            MountSource::Volume { name, copy: !words.no_copy }
        }
        "tmpfs" => match words.source {
            Some(_) => return Err(invalid("a tmpfs mount has no source".into())),
            None => MountSource::Tmpfs { size: words.size, mode: words.mode, flags: Vec::new() },
        },
        other => return Err(invalid(format!("mount type unknown: \"{other}\""))),
    };
    Ok(MountRequest {
        destination: destination("--mount", &target)?,
        source,
        read_only: words.read_only,
        propagation: words.propagation,
    })
}

fn bind_source(
    words: &MountWords,
    invalid: &dyn Fn(String) -> RequestError,
) -> Result<MountSource, RequestError> {
    let source = words.source.as_deref().ok_or_else(|| invalid("source is required".into()))?;
    if !source.starts_with('/') {
        return Err(invalid(format!(
            "invalid mount path: \"{source}\" mount path must be absolute"
        )));
    }
    Ok(MountSource::Bind { path: source.into(), create: false, recursive: !words.non_recursive })
}

fn mount_words(
    text: &str,
    invalid: &dyn Fn(String) -> RequestError,
) -> Result<MountWords, RequestError> {
    let mut words = MountWords::default();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field, None),
        };
        let truth = || match value.as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(invalid(format!("invalid value for {key}: {other}"))),
        };
        let needed = || value.clone().ok_or_else(|| invalid(format!("{key} needs a value")));
        match key.to_ascii_lowercase().as_str() {
            "type" => words.kind = Some(needed()?.to_ascii_lowercase()),
            "source" | "src" => words.source = Some(needed()?),
            "target" | "dst" | "destination" => words.target = Some(needed()?),
            "readonly" | "ro" => words.read_only = truth()?,
            "bind-propagation" => {
                let p = needed()?;
                if !PROPAGATIONS.contains(&p.as_str()) {
                    return Err(invalid(format!("invalid propagation \"{p}\"")));
                }
                words.propagation = Some(p);
            }
            "bind-nonrecursive" => words.non_recursive = truth()?,
            "bind-recursive" => words.non_recursive = needed()? == "disabled",
            "volume-nocopy" => words.no_copy = truth()?,
            "tmpfs-size" => words.size = Some(sizes::bytes("--mount", &needed()?)?),
            "tmpfs-mode" => words.mode = Some(octal("--mount", text, &needed()?)?),
            "consistency" => {}
            _ => return Err(invalid(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn volumes_in_dockers_forms() {
        let bind = volume("/srv:/data:ro").unwrap();
        assert_eq!(
            bind.source,
            MountSource::Bind { path: "/srv".into(), create: true, recursive: true }
        );
        assert!(bind.read_only);
        assert!(matches!(
            volume("/data").unwrap().source,
            MountSource::Volume { name: None, copy: true }
        ));
        assert!(matches!(
            volume("pages:/data:nocopy").unwrap().source,
            MountSource::Volume { name: Some(_), copy: false }
        ));
        assert_eq!(volume("/a:/b:rslave").unwrap().propagation.as_deref(), Some("rslave"));
        for bad in ["", ":", "a:b", "/a:/b:xx", "/a:/b:ro:x", "a/b:/c", "/x:/", "/x:/../etc", "x:"]
        {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_by_keywords() {
        let bind = mount("type=bind,src=/a,dst=/b,readonly").unwrap();
        assert_eq!(
            bind.source,
            MountSource::Bind { path: "/a".into(), create: false, recursive: true }
        );
        assert!(bind.read_only);
        let memory = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777").unwrap();
        assert_eq!(
            memory.source,
            MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o1777), flags: vec![] }
        );
        for bad in [
            "",
            "type=bind,dst=/b",
            "type=bind,src=a,dst=/b",
            "type=x,dst=/b",
            "dst=b",
            "bogus=1,dst=/b",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_options() {
        let t = tmpfs("/run:size=64k,mode=755,noexec").unwrap();
        assert_eq!(
            t.source,
            MountSource::Tmpfs {
                size: Some(65536),
                mode: Some(0o755),
                flags: vec!["noexec".into()]
            }
        );
        assert!(tmpfs("run").is_err() && tmpfs("/run:bogus").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z/:,=.]{0,30}") {
            let _ = volume(&text);
            let _ = mount(&text);
            let _ = tmpfs(&text);
        }
    }
}
