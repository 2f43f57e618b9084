//! `--security-opt`: what it says as plain data, what this host can do of it,
//! and AppArmor's one write before exec.
//!
//! [`parse`] is pure and keeps docker's error texts. [`SecurityOptions::check`]
//! refuses a profile that was asked for by name and cannot be given: a user who
//! names one believes to be confined by it. Defaults are simply left out on
//! hosts without the security module.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// Neither `key=value` nor `key:value`; docker's words.
    #[error("invalid --security-opt 1: \"{0}\"")]
    Form(String),
    /// No such key, or not its kind of value; docker's words.
    #[error("invalid --security-opt 2: \"{0}\"")]
    Meaning(String),
    /// A profile was named that cannot be given.
    #[error("cannot apply apparmor={0}: AppArmor is not enabled on this host")]
    NoAppArmor(String),
    /// A label was given that cannot be set.
    #[error("cannot apply label={0}: containers are not labelled here; label=disable says so")]
    NoLabels(String),
}

/// Which system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// Ours; none with `--privileged`.
    #[default]
    Default,
    /// None at all.
    Unconfined,
    /// A docker profile file.
    File(PathBuf),
}

/// Which AppArmor profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AppArmorChoice {
    /// The caller's own confinement goes on.
    #[default]
    Default,
    /// `unconfined`.
    Unconfined,
    /// A profile that is loaded on the host.
    Profile(String),
}

/// The options, checked for form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// `no-new-privileges[=true]`
    pub no_new_privileges: bool,
    /// `seccomp=unconfined|builtin|FILE`
    pub seccomp: SeccompChoice,
    /// `apparmor=unconfined|PROFILE`
    pub apparmor: AppArmorChoice,
    /// `label=type:…` and so on, without `disable`.
    pub labels: Vec<String>,
    /// `systempaths=unconfined` or `unmask=ALL`: no default is masked or read-only.
    pub unmask_all: bool,
    /// `unmask=/a:/b`: these defaults are not; `/a/*` means all below.
    pub unmask: Vec<PathBuf>,
    /// `mask=/a:/b`: these are masked as well.
    pub mask: Vec<PathBuf>,
}

/// Reads `--security-opt` values in the order typed; of a key that may come once
/// the last counts. `key:value` is docker's old spelling.
///
/// # Errors
/// [`SecurityError::Form`] or [`SecurityError::Meaning`]
pub fn parse(options: &[String]) -> Result<SecurityOptions, SecurityError> {
    let mut parsed = SecurityOptions::default();
    for option in options {
        parse_one(option, &mut parsed)?;
    }
    Ok(parsed)
}

fn parse_one(option: &str, parsed: &mut SecurityOptions) -> Result<(), SecurityError> {
    let wrong = || SecurityError::Meaning(option.to_owned());
    match option {
        "no-new-privileges" => {
            parsed.no_new_privileges = true;
            return Ok(());
        }
        "disable" => return Ok(()), // label=disable, older still
        _ => {}
    }
    let pair = option.split_once('=').or_else(|| option.split_once(':'));
    let (key, value) = pair.ok_or_else(|| SecurityError::Form(option.to_owned()))?;
    match (key, value) {
        ("no-new-privileges", value) => {
            parsed.no_new_privileges = boolean(value).ok_or_else(wrong)?;
        }
        (_, "") => return Err(wrong()),
        ("seccomp", "unconfined") => parsed.seccomp = SeccompChoice::Unconfined,
        ("seccomp", "builtin") => parsed.seccomp = SeccompChoice::Default,
        ("seccomp", file) => parsed.seccomp = SeccompChoice::File(file.into()),
        ("apparmor", "unconfined") => parsed.apparmor = AppArmorChoice::Unconfined,
        ("apparmor", profile) => parsed.apparmor = AppArmorChoice::Profile(profile.to_owned()),
        ("label", "disable") => parsed.labels.clear(),
        ("label", label) => parsed.labels.push(label.to_owned()),
        ("systempaths", "unconfined") | ("unmask", "ALL" | "all") => parsed.unmask_all = true,
        ("unmask", list) => parsed.unmask.extend(paths(list).ok_or_else(wrong)?),
        ("mask", list) => parsed.mask.extend(paths(list).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    }
    Ok(())
}

/// What Go's `strconv.ParseBool` takes, and thus docker.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `/a:/b`: absolute and without `..`, since they are taken inside the container.
fn paths(list: &str) -> Option<Vec<PathBuf>> {
    let plain = |path: &Path| {
        path.is_absolute() && !path.components().any(|c| c == std::path::Component::ParentDir)
    };
    list.split(':').map(|path| Some(PathBuf::from(path)).filter(|p| plain(p))).collect()
}

impl SecurityOptions {
    /// The paths to mask, given the defaults.
    pub fn masked_paths(&self, defaults: &[&str]) -> Vec<PathBuf> {
        let mut masked = self.readonly_paths(defaults);
        for path in &self.mask {
            if !masked.contains(path) {
                masked.push(path.clone());
            }
        }
        masked
    }

    /// The paths to make read-only, given the defaults.
    pub fn readonly_paths(&self, defaults: &[&str]) -> Vec<PathBuf> {
        if self.unmask_all {
            return Vec::new();
        }
        let freed = |path: &Path| {
            self.unmask.iter().any(|free| {
                let below = free.file_name().is_some_and(|name| name == "*");
                path == free || (below && free.parent().is_some_and(|dir| path.starts_with(dir)))
            })
        };
        defaults.iter().map(PathBuf::from).filter(|path| !freed(path)).collect()
    }

    /// Refuses what was asked for by name and this host cannot do.
    ///
    /// # Errors
    /// [`SecurityError::NoAppArmor`] or [`SecurityError::NoLabels`]
    pub fn check(&self, host: HostSecurity) -> Result<(), SecurityError> {
        if let (AppArmorChoice::Profile(profile), false) = (&self.apparmor, host.apparmor) {
            return Err(SecurityError::NoAppArmor(profile.clone()));
        }
        match self.labels.first() {
            Some(label) => Err(SecurityError::NoLabels(label.clone())),
            None => Ok(()),
        }
    }

    /// The profile init must change to, `None` where there is nothing to do.
    pub fn apparmor_profile(&self, host: HostSecurity) -> Option<&str> {
        match &self.apparmor {
            AppArmorChoice::Profile(profile) if host.apparmor => Some(profile),
            AppArmorChoice::Unconfined if host.apparmor => Some("unconfined"),
            _ => None,
        }
    }
}

/// linux/magic.h
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// Whether SELinux labels files on this host: its file system is where it always
/// is (selinux(8)).
pub(crate) fn selinux_is_on() -> bool {
    let found = rustix::fs::statfs("/sys/fs/selinux");
    found.is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(SELINUX_MAGIC))
}

/// Security modules of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostSecurity {
    /// AppArmor is compiled in and switched on.
    pub apparmor: bool,
}

impl HostSecurity {
    /// Asks the kernel. A file that is not there says no.
    pub fn read() -> Self {
        let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
        Self { apparmor: enabled.is_ok_and(|text| text.starts_with(b"Y")) }
    }
}

/// Asks AppArmor to confine the calling process by `profile` from its next
/// execve(2) on. `proc_self` is the process's own directory in a procfs that can
/// be trusted (CVE-2019-16884, CVE-2025-52881: never the container's `/proc`).
///
/// # Errors
/// ENOENT when no such profile is loaded, else the kernel's reason.
pub fn change_apparmor_on_exec(proc_self: BorrowedFd<'_>, profile: &str) -> io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let open = |path| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        openat2(proc_self, path, flags, Mode::empty(), resolve)
    };
    // Its own directory since Linux 5.8; before, one file for all modules.
    let file = match open("attr/apparmor/exec") {
        Err(Errno::NOENT) => open("attr/exec")?,
        opened => opened?,
    };
    rustix::io::write(&file, format!("exec {profile}").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    fn parsed(options: &[&str]) -> Result<SecurityOptions, SecurityError> {
        parse(&options.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_option_is_understood_in_both_spellings() {
        let options = parsed(&[
            "no-new-privileges",
            "seccomp=/tmp/a=b.json",
            "apparmor:my-profile",
            "label=type:x_t",
            "mask=/a:/b",
            "unmask=/proc/acpi",
        ])
        .unwrap();
        assert!(options.no_new_privileges && !options.unmask_all);
        assert_eq!(options.seccomp, SeccompChoice::File("/tmp/a=b.json".into()));
        assert_eq!(options.apparmor, AppArmorChoice::Profile("my-profile".into()));
        assert_eq!(options.labels, ["type:x_t"]);
        assert_eq!(options.mask, [Path::new("/a"), Path::new("/b")]);
        assert!(
            !parsed(&["no-new-privileges", "no-new-privileges:false"]).unwrap().no_new_privileges
        );
        assert!(parsed(&["systempaths=unconfined"]).unwrap().unmask_all);
        assert!(parsed(&["unmask=ALL"]).unwrap().unmask_all);
        let last = parsed(&["seccomp=unconfined", "seccomp=builtin", "label=disable", "disable"]);
        assert_eq!(last.unwrap(), SecurityOptions::default());
    }

    #[test]
    fn nonsense_gets_dockers_words() {
        let error = |option: &str| parsed(&[option]).unwrap_err().to_string();
        assert_eq!(error("nonsense"), "invalid --security-opt 1: \"nonsense\"");
        for bad in [
            "colour=red",
            "no-new-privileges=maybe",
            "seccomp=",
            "systempaths=some",
            "mask=relative",
            "unmask=/a:/../b",
            "mask=/a::/b",
        ] {
            assert_eq!(error(bad), format!("invalid --security-opt 2: \"{bad}\""));
        }
    }

    #[test]
    fn paths_are_masked_and_freed() {
        let masked = ["/proc/acpi", "/proc/keys", "/sys/firmware"];
        let shown = |options: &[&str]| {
            let paths = parsed(options).unwrap().masked_paths(&masked);
            paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&[]), "/proc/acpi /proc/keys /sys/firmware");
        assert_eq!(shown(&["unmask=/proc/keys:/nowhere"]), "/proc/acpi /sys/firmware");
        assert_eq!(shown(&["unmask=/proc/*", "mask=/etc/secret"]), "/sys/firmware /etc/secret");
        assert_eq!(shown(&["unmask=ALL", "mask=/proc/acpi"]), "/proc/acpi");
    }

    #[test]
    fn what_the_host_cannot_do_is_refused_only_when_named() {
        let none = HostSecurity::default();
        let some = HostSecurity { apparmor: true };
        let options = |option: &str| parsed(&[option]).unwrap();
        assert_eq!(SecurityOptions::default().check(none), Ok(()));
        assert_eq!(options("apparmor=unconfined").check(none), Ok(()));
        assert_eq!(options("apparmor=unconfined").apparmor_profile(none), None);
        assert_eq!(options("apparmor=unconfined").apparmor_profile(some), Some("unconfined"));
        assert_eq!(options("apparmor=p").check(some), Ok(()));
        assert_eq!(options("apparmor=p").apparmor_profile(some), Some("p"));
        assert_eq!(
            options("apparmor=p").check(none).unwrap_err().to_string(),
            "cannot apply apparmor=p: AppArmor is not enabled on this host"
        );
        assert!(options("label=level:s0").check(some).is_err());
        let _ = HostSecurity::read();
    }

    #[test]
    fn the_wish_is_written_where_the_kernel_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        assert!(change_apparmor_on_exec(root.as_fd(), "p").is_err());
        std::fs::create_dir(dir.path().join("attr")).unwrap();
        for file in ["attr/exec", "attr/apparmor/exec"] {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::File::create(&file).unwrap();
            change_apparmor_on_exec(root.as_fd(), "p").unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "exec p");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(option in "\\PC{0,40}") {
            if let Err(error) = parsed(&[&option]) {
                prop_assert!(error.to_string().starts_with("invalid --security-opt"));
            }
        }
    }
}
