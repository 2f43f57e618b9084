//! `root` and `mounts`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::config::{Linux, Spec};
use super::options::{self, Depth, Options};
use super::{OciError, namespaces, refuse};
use crate::init::{PROC_FILES, clean};
use crate::plan::*;

pub(super) fn rootfs(bundle: &Path, spec: &Spec, linux: &Linux) -> Result<RootfsPlan, OciError> {
    let root = spec.root().as_ref().ok_or(OciError::Missing("root"))?;
    if root.path().as_os_str().is_empty() {
        return refuse("root.path", "is empty");
    }
    let path = bundle.join(root.path());
    let private = PropagationChange { to: Propagation::Private, recursive: true };
    let word = linux.rootfs_propagation().as_deref().unwrap_or_default();
    let Some(change) = options::propagation(word).or(word.is_empty().then_some(private)) else {
        let problem = format!("rootfsPropagation={word} is not supported");
        return refuse("linux.rootfsPropagation", problem);
    };
    Ok(RootfsPlan {
        source: RootfsSource::Directory(path.clone()),
        mountpoint: path,
        readonly: root.readonly().unwrap_or(false),
        propagation: change.to,
        propagation_recursive: change.recursive,
        no_pivot: false,
    })
}

/// `--no-pivot`, once there is a plan.
///
/// # Errors
/// [`OciError::Field`] when the container would see the host's mounts.
pub fn forbid_pivot(plan: &mut ContainerPlan, spec: &Spec) -> Result<(), OciError> {
    let linux = spec.linux().as_ref();
    let word = linux.and_then(|linux| linux.rootfs_propagation().as_deref()).unwrap_or_default();
    if matches!(word, "private" | "rprivate") {
        let problem = "rootfsPropagation of [r]private is not safe without pivot_root";
        return refuse("linux.rootfsPropagation", problem);
    }
    plan.rootfs.no_pivot = true;
    Ok(())
}

/// Where the paths of a bundle's mounts are taken from.
pub(super) struct Surroundings<'a> {
    pub(super) bundle: &'a Path,
    pub(super) rootfs: &'a Path,
    pub(super) namespaces: &'a Namespaces,
}

impl Surroundings<'_> {
    /// `mounts`, in order.
    pub(super) fn mounts(&self, list: &[Mount]) -> Result<Vec<MountPlan>, OciError> {
        let plan = |(at, mount)| self.mount_plan(&format!("mounts[{at}]"), mount);
        list.iter().enumerate().map(plan).collect()
    }

    fn mount_plan(&self, at: &str, mount: &Mount) -> Result<MountPlan, OciError> {
        let words = mount.options().as_deref().unwrap_or_default();
        refuse_null_bytes(at, mount, words)?;
        let options = options::parse(words);
        let destination = self.destination(at, mount.destination())?;
        let kind = match options.bind {
            Some(depth) => self.bind(at, mount, &options, depth)?,
            None => filesystem(at, mount, &options, &destination)?,
        };
        refuse_over_proc(at, &destination, &kind)?;
        Ok(MountPlan {
            destination,
            kind,
            attributes: options.flags.attributes(),
            recursive: options.recursive,
            propagation: options.propagation,
            copy_up: options.copy_up,
        })
    }

    /// Absolute and plain. A path that begins with the rootfs' own is taken for
    /// one seen from the host, as other runtimes do.
    fn destination(&self, at: &str, given: &Path) -> Result<PathBuf, OciError> {
        if !given.is_absolute() {
            log::warn!(
                "mount destination {} is not absolute. Support for non-absolute mount \
                 destinations will be removed in a future release.",
                given.display()
            );
        }
        let absolute = clean(given);
        let inside = absolute.strip_prefix(clean(self.rootfs)).unwrap_or(&absolute);
        let destination = clean(inside);
        if destination == Path::new("/") {
            let problem = format!(
                "mountpoint {:?} is on the top of rootfs {:?}: a mount must be below the root",
                given.display().to_string(),
                self.rootfs.display().to_string()
            );
            return refuse(format!("{at}.destination"), problem);
        }
        Ok(destination)
    }

    fn bind(
        &self,
        at: &str,
        mount: &Mount,
        options: &Options,
        depth: Depth,
    ) -> Result<MountKind, OciError> {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        if source.as_os_str().is_empty() {
            return refuse(format!("{at}.source"), "a bind mount needs one");
        }
        if !options.data.is_empty() {
            let data: Vec<&str> = options.data.iter().map(|(_, word)| word.as_str()).collect();
            log::warn!("{at}.options: a bind mount ignores {}", data.join(","));
        }
        Ok(MountKind::Bind {
            source: self.bundle.join(source),
            recursive: depth == Depth::Recursive,
            exact: options.flags.any(),
            id_map: self.id_map(at, mount, options)?,
        })
    }

    fn id_map(
        &self,
        at: &str,
        mount: &Mount,
        options: &Options,
    ) -> Result<Option<IdMapPlan>, OciError> {
        let (users, groups) = (mount.uid_mappings(), mount.gid_mappings());
        if options.id_map.is_none() && users.is_none() && groups.is_none() {
            return Ok(None);
        }
        let recursive = options.id_map == Some(Depth::Recursive);
        let own = self.namespaces;
        let ids = match (users, groups, own.join.get(&NamespaceKind::User)) {
            (None, None, Some(path)) => MappedIds::Namespace(path.clone()),
            (None, None, None) => MappedIds::Ranges {
                users: own.uid_mappings.clone(),
                groups: own.gid_mappings.clone(),
            },
            _ => MappedIds::Ranges {
                users: namespaces::mappings(&format!("{at}.uidMappings"), users.as_deref())?,
                groups: namespaces::mappings(&format!("{at}.gidMappings"), groups.as_deref())?,
            },
        };
        if let MappedIds::Ranges { users, groups } = &ids {
            let path = match (users.is_empty(), groups.is_empty()) {
                (false, false) => return Ok(Some(IdMapPlan { ids, recursive })),
                (true, _) => "uidMappings",
                (false, true) => "gidMappings",
            };
            let problem = "id-mapped mounts must have both uid and gid mappings specified";
            return refuse(format!("{at}.{path}"), problem);
        }
        Ok(Some(IdMapPlan { ids, recursive }))
    }
}

/// A new file system, or the view of the cgroups.
fn filesystem(
    at: &str,
    mount: &Mount,
    options: &Options,
    destination: &Path,
) -> Result<MountKind, OciError> {
    let id_mapped = options.id_map.is_some()
        || mount.uid_mappings().is_some()
        || mount.gid_mappings().is_some();
    if id_mapped {
        return refuse(at, "id-mapped mounts are only supported for bind-mounts");
    }
    if options.remount {
        return refuse(format!("{at}.options"), "\"remount\" of what is not mounted yet");
    }
    let kind = match mount.typ().as_deref().unwrap_or_default() {
        "" | "none" => {
            let problem = "is needed without the option \"bind\" or \"rbind\"";
            return refuse(format!("{at}.type"), problem);
        }
        "bind" => {
            let problem = "\"bind\" is no file system: add the option \"bind\" or \"rbind\"";
            return refuse(format!("{at}.type"), problem);
        }
        "cgroup" => return Ok(MountKind::Cgroup),
        kind => kind,
    };
    let source = mount.source().as_ref().map(|path| path.display().to_string());
    let mut plan = FilesystemPlan::new(kind);
    // Shown as the source in the mount table.
    plan.source = source.filter(|text| !text.is_empty()).unwrap_or_else(|| kind.to_owned());
    // Device nodes and further mount points come first: these two become
    // read-only as mounts, when all is done.
    let late = kind == "tmpfs" || destination == Path::new("/dev");
    if options.flags.readonly() && !late {
        plan.options.push(("ro".to_owned(), None));
    }
    plan.options.extend(options.flags.filesystem_options().map(|name| (name.to_owned(), None)));
    plan.options.extend(options.data.iter().map(|(_, word)| option(word)));
    plan.inherit_mode = kind == "tmpfs";
    Ok(plan.into())
}

/// `key=value` or a bare word. Quotes protect commas in a line of options; the
/// kernel wants the bare value.
fn option(word: &str) -> (String, Option<String>) {
    match word.split_once('=') {
        None => (word.to_owned(), None),
        Some((key, value)) => {
            let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
            (key.to_owned(), Some(bare.to_owned()))
        }
    }
}

fn refuse_null_bytes(at: &str, mount: &Mount, words: &[String]) -> Result<(), OciError> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let fields = [
        ("destination", mount.destination().as_os_str().as_bytes()),
        ("source", source.as_os_str().as_bytes()),
        ("type", mount.typ().as_deref().unwrap_or_default().as_bytes()),
    ];
    let null = |bytes: &[u8]| bytes.contains(&0);
    if let Some((field, _)) = fields.iter().find(|(_, bytes)| null(bytes)) {
        return refuse(format!("{at}.{field}"), "mount field contains null byte");
    }
    match words.iter().position(|word| null(word.as_bytes())) {
        Some(nth) => refuse(format!("{at}.options[{nth}]"), "mount field contains null byte"),
        None => Ok(()),
    }
}

/// Nothing but procfs may be `/proc`, nothing may cover parts of it but what
/// lxcfs and its kin provide (CVE-2019-16884). What a path leads to in the end is
/// checked again when it is mounted.
fn refuse_over_proc(at: &str, destination: &Path, kind: &MountKind) -> Result<(), OciError> {
    let shown = destination.display().to_string();
    let problem = if destination == Path::new("/proc") {
        let proc = matches!(kind, MountKind::Filesystem(plan) if plan.kind == "proc");
        // A bind of a procfs will do; whether it is one is seen when it is opened.
        if proc || matches!(kind, MountKind::Bind { .. }) {
            return Ok(());
        }
        format!("{shown:?} cannot be mounted because it is not of type proc")
    } else if destination.starts_with("/proc") && !PROC_FILES.contains(&shown.as_str()) {
        format!("{shown:?} cannot be mounted because it is inside /proc")
    } else {
        return Ok(());
    };
    refuse(format!("{at}.destination"), problem)
}

/// Refuses binds of what is not there before anything is made. Below the rootfs
/// an earlier mount may still bring it; what may not be looked at is left to
/// whoever opens it.
pub(super) fn refuse_missing_sources(rootfs: &Path, mounts: &[MountPlan]) -> Result<(), OciError> {
    for (at, mount) in mounts.iter().enumerate() {
        let MountKind::Bind { source, .. } = &mount.kind else { continue };
        let gone = [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory];
        match std::fs::metadata(source) {
            Err(error) if gone.contains(&error.kind()) && !clean(source).starts_with(rootfs) => {
                let problem = format!(
                    "error mounting {:?} to rootfs at {:?}: no such file or directory",
                    source.display().to_string(),
                    mount.destination.display().to_string()
                );
                return refuse(format!("mounts[{at}].source"), problem);
            }
            _ => {}
        }
    }
    Ok(())
}

/// `linux.maskedPaths` or `linux.readonlyPaths`, which are absolute.
pub(super) fn paths(at: &str, list: Option<&[String]>) -> Result<Vec<PathBuf>, OciError> {
    let absolute = |(nth, path): (usize, &String)| match Path::new(path).is_absolute() {
        true => Ok(PathBuf::from(path)),
        false => refuse(format!("{at}[{nth}]"), format!("{path:?} is not an absolute path")),
    };
    list.unwrap_or_default().iter().enumerate().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn plan_in(namespaces: &Namespaces, mount: Value) -> Result<MountPlan, String> {
        let mount: Mount = serde_json::from_value(mount).unwrap();
        let (bundle, rootfs) = (Path::new("/b"), Path::new("/b/rootfs"));
        let here = Surroundings { bundle, rootfs, namespaces };
        here.mount_plan("mounts[2]", &mount).map_err(|e| e.to_string())
    }

    fn plan(mount: Value) -> Result<MountPlan, String> {
        plan_in(&Namespaces::default(), mount)
    }

    fn filesystem(mount: Value) -> FilesystemPlan {
        match plan(mount).unwrap().kind {
            MountKind::Filesystem(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn any_file_system_is_planned_with_its_options() {
        let got = filesystem(json!({"destination": "/x", "type": "xfs", "source": "/dev/sda",
            "options": ["ro", "nodev", "sync", "logbufs=8", "wsync", "context=\"a:b,c\""]}));
        let options: Vec<_> =
            got.options.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        assert_eq!((got.kind.as_str(), got.source.as_str()), ("xfs", "/dev/sda"));
        let value = |text| Some(text);
        assert_eq!(
            options,
            [
                ("ro", None),
                ("sync", None),
                ("logbufs", value("8")),
                ("wsync", None),
                ("context", value("a:b,c"))
            ]
        );
    }

    #[test]
    fn what_is_filled_later_is_not_read_only_from_the_start() {
        for (destination, kind) in [("/x", "tmpfs"), ("/dev", "devtmpfs")] {
            let mount = json!({"destination": destination, "type": kind, "options": ["ro"]});
            let plan = plan(mount.clone()).unwrap();
            assert_eq!(plan.attributes.readonly, Some(true));
            assert_eq!(filesystem(mount).options, []);
        }
        let sysfs = filesystem(json!({"destination": "/sys", "type": "sysfs", "options": ["ro"]}));
        assert_eq!((sysfs.source.as_str(), sysfs.options.len()), ("sysfs", 1));
    }

    #[test]
    fn destinations_are_inside() {
        let at = |path: &str| {
            let mount = json!({"destination": path, "type": "tmpfs"});
            plan(mount).map(|plan| plan.destination.display().to_string())
        };
        assert_eq!(at("tmp/x"), Ok("/tmp/x".into()));
        assert_eq!(at("/b/rootfs/mnt/../x"), Ok("/x".into()));
        assert_eq!(at("/../../x"), Ok("/x".into()));
        for root in ["/", "", ".", "/x/..", "/b/rootfs", "/b/rootfs/"] {
            let text = at(root).unwrap_err();
            assert!(text.starts_with("config.json: mounts[2].destination: mountpoint"), "{text}");
            assert!(text.contains("is on the top of rootfs"), "{text}");
        }
    }

    #[test]
    fn nothing_covers_proc() {
        let at = |path: &str, kind: &str| {
            plan(json!({"destination": path, "type": kind})).map_err(|text| {
                text.split_once("cannot be").map(|(_, why)| why.to_owned()).unwrap_or_default()
            })
        };
        assert!(at("/proc", "proc").is_ok() && at("/proc/uptime", "tmpfs").is_ok());
        assert_eq!(at("/proc", "tmpfs"), Err(" mounted because it is not of type proc".into()));
        for path in ["/proc/self/attr", "/proc/../proc/sys", "proc/sys/kernel"] {
            assert_eq!(at(path, "tmpfs"), Err(" mounted because it is inside /proc".into()));
        }
    }

    #[test]
    fn binds_are_told_by_their_option() {
        let bind = |options: Value| {
            let mount = json!({"destination": "/x", "type": "ext4", "source": "s",
                "options": options});
            plan(mount).unwrap()
        };
        let MountKind::Bind { source, recursive, exact, .. } = bind(json!(["bind", "rbind"])).kind
        else {
            panic!("no bind")
        };
        assert_eq!((source.as_path(), recursive, exact), (Path::new("/b/s"), true, false));
        for word in ["ro", "dev", "async", "atime"] {
            let kind = bind(json!(["bind", word])).kind;
            assert!(matches!(kind, MountKind::Bind { exact: true, .. }), "{word}");
        }
        // What only a file system understands is no reason to fail.
        assert!(matches!(bind(json!(["bind", "mode=755"])).kind, MountKind::Bind { .. }));
        let refused = |mount| plan(mount).unwrap_err();
        let text = refused(json!({"destination": "/x", "type": "bind", "source": "/s"}));
        assert!(text.contains("mounts[2].type: \"bind\" is no file system"), "{text}");
        let text = refused(json!({"destination": "/x", "source": "/s"}));
        assert!(text.contains("mounts[2].type"), "{text}");
        let text = refused(json!({"destination": "/x", "options": ["bind"]}));
        assert!(text.contains("mounts[2].source"), "{text}");
        let text = refused(json!({"destination": "/x", "type": "tmpfs", "options": ["remount"]}));
        assert!(text.contains("mounts[2].options"), "{text}");
        let text =
            refused(json!({"destination": "/x", "type": "tmpfs", "options": ["ro", "a\0b"]}));
        assert!(text.contains("mounts[2].options[1]: mount field contains null byte"), "{text}");
    }

    #[test]
    fn id_mapped_mounts_need_both_mappings_or_a_user_namespace() {
        let range = json!([{"containerID": 0, "hostID": 1000, "size": 5}]);
        let both = json!({"destination": "/x", "source": "/s", "options": ["bind", "ridmap"],
            "uidMappings": range, "gidMappings": range});
        let MountKind::Bind { id_map: Some(map), .. } = plan(both).unwrap().kind else {
            panic!("not mapped")
        };
        let mapped = vec![IdMapping { container: 0, host: 1000, size: 5 }];
        let ids = MappedIds::Ranges { users: mapped.clone(), groups: mapped.clone() };
        assert_eq!(map, IdMapPlan { ids, recursive: true });
        let none = || json!({"destination": "/x", "source": "/s", "options": ["bind", "idmap"]});
        let text = plan(none()).unwrap_err();
        assert!(text.contains("must have both uid and gid mappings specified"), "{text}");
        let one = json!({"destination": "/x", "source": "/s", "options": ["bind"],
            "uidMappings": range});
        assert!(plan(one).unwrap_err().contains("mounts[2].gidMappings"));
        let own = Namespaces {
            uid_mappings: mapped.clone(),
            gid_mappings: mapped,
            ..Namespaces::default()
        };
        assert!(plan_in(&own, none()).is_ok());
        let join = [(NamespaceKind::User, "/ns".into())].into();
        let joined = Namespaces { join, ..Namespaces::default() };
        let MountKind::Bind { id_map: Some(map), .. } = plan_in(&joined, none()).unwrap().kind
        else {
            panic!("not mapped")
        };
        assert_eq!(map.ids, MappedIds::Namespace("/ns".into()));
        let tmpfs = json!({"destination": "/x", "type": "tmpfs", "options": ["idmap"]});
        assert!(plan(tmpfs).unwrap_err().contains("only supported for bind-mounts"));
    }

    #[test]
    fn missing_sources_are_found_early() {
        let rootfs = Path::new("/b/rootfs");
        let check = |source: &str| {
            let mounts = [MountPlan::new("/x", MountKind::bind(source, true))];
            refuse_missing_sources(rootfs, &mounts).map_err(|e| e.to_string())
        };
        assert_eq!(check("/proc/self"), Ok(()));
        assert_eq!(check("/b/rootfs/later"), Ok(()));
        let text = check("/nonexistent/x").unwrap_err();
        assert!(text.contains("mounts[0].source") && text.contains("no such file"), "{text}");
    }

    proptest! {
        #[test]
        fn no_destination_leaves_the_container(path in "(/b/rootfs)?[a-c./]{0,20}") {
            if let Ok(plan) = plan(json!({"destination": path, "type": "tmpfs"})) {
                prop_assert!(plan.destination.is_absolute());
                prop_assert_eq!(clean(&plan.destination), plan.destination);
            }
        }
    }
}
