//! `linux.sysctl`: only what belongs to a namespace of the container's own may
//! be set, or it would be set for the whole machine (CVE-2022-0811).

use std::collections::BTreeMap;
use std::path::Path;

use super::{OciError, refuse};
use crate::plan::{NamespaceKind, Namespaces};

/// System V IPC, of the IPC namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The sysctls by the names given, if each is the container's own business.
pub(super) fn sysctls(
    given: Option<&BTreeMap<String, String>>,
    domainname: Option<&str>,
    namespaces: &Namespaces,
) -> Result<BTreeMap<String, String>, OciError> {
    let all = given.cloned().unwrap_or_default();
    for (name, value) in &all {
        let at = format!("linux.sysctl[{name:?}]");
        let dotted = dotted(name);
        if dotted.split('.').any(|part| matches!(part, "" | "/" | "//")) || value.contains('\0') {
            return refuse(at, "is no name of a sysctl, or no value of one");
        }
        if let Some(problem) = foreign(&dotted, namespaces) {
            return refuse(at, problem);
        }
        if dotted == "kernel.domainname" && domainname.is_some_and(|set| set != value) {
            let problem = "sysctl \"kernel.domainname\" is not allowed as it conflicts with the \
                           OCI \"domainname\" field";
            return refuse(at, problem);
        }
    }
    Ok(all)
}

/// Why `name` must not be set from inside `namespaces`.
fn foreign(name: &str, namespaces: &Namespaces) -> Option<String> {
    use NamespaceKind::{Ipc, Network, User, Uts};
    // One that is joined may be the caller's own, by its path.
    let own = |kind, file| {
        namespaces.new.contains(&kind)
            || namespaces.join.get(&kind).is_some_and(|path| !is_ours(path, file))
    };
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        let problem = || format!("sysctl {name:?} is not allowed in the hosts ipc namespace");
        return (!own(Ipc, "ipc")).then(problem);
    }
    if name.starts_with("net.") {
        let problem = || format!("sysctl {name:?} not allowed in host network namespace");
        return (!own(Network, "net")).then(problem);
    }
    match name {
        "kernel.domainname" if own(Uts, "uts") => return None,
        "kernel.hostname" if namespaces.separate(Uts) => {
            let problem = "is not allowed as it conflicts with the OCI \"hostname\" field";
            return Some(format!("sysctl {name:?} {problem}"));
        }
        _ => {}
    }
    if name.starts_with("user.") {
        let problem = || format!("setting ucounts without a user namespace not allowed: {name}");
        return (!namespaces.separate(User)).then(problem);
    }
    Some(format!("sysctl {name:?} is not in a separate kernel namespace"))
}

/// Whether the namespace at `path` is the caller's, which is `file` in
/// /proc/self/ns. One that cannot be looked at cannot be joined either, which is
/// told then.
fn is_ours(path: &Path, file: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    matches!(
        (identity(&Path::new("/proc/self/ns").join(file)), identity(path)),
        (Ok(own), Ok(other)) if own == other
    )
}

/// sysctl(8) takes both separators; the first one decides which it is.
fn dotted(name: &str) -> String {
    let slashes = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    if slashes { name.chars().map(swap).collect() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(name: &str, kinds: &[NamespaceKind]) -> Result<(), String> {
        let namespaces =
            Namespaces { new: kinds.iter().copied().collect(), ..Namespaces::default() };
        let given = [(name.to_owned(), "1".to_owned())].into();
        sysctls(Some(&given), None, &namespaces).map(drop).map_err(|e| e.to_string())
    }

    #[test]
    fn a_sysctl_needs_its_namespace() {
        use NamespaceKind::{Ipc, Network, User, Uts};
        let cases = [
            ("kernel.shmmax", Ipc, "is not allowed in the hosts ipc namespace"),
            ("fs/mqueue/queues_max", Ipc, "\"fs.mqueue.queues_max\" is not allowed in the hosts"),
            ("net.ipv4.ip_forward", Network, "not allowed in host network namespace"),
            ("net/ipv4/conf/eth0.1/forwarding", Network, "\"net.ipv4.conf.eth0/1.forwarding\" not"),
            ("kernel.domainname", Uts, "is not in a separate kernel namespace"),
            ("user.max_user_namespaces", User, "setting ucounts without a user namespace"),
        ];
        for (name, kind, problem) in cases {
            assert_eq!(check(name, &[kind]), Ok(()), "{name}");
            let text = check(name, &[]).unwrap_err();
            assert!(text.contains(problem) && text.contains("linux.sysctl["), "{text}");
        }
    }

    #[test]
    fn what_is_the_hosts_or_told_elsewhere_is_refused() {
        use NamespaceKind::{Ipc, Network, User, Uts};
        let all = [Ipc, Network, User, Uts];
        let text = check("kernel.hostname", &all).unwrap_err();
        assert!(text.contains("conflicts with the OCI \"hostname\" field"), "{text}");
        for name in ["kernel.core_pattern", "vm.swappiness", "netx.y", "kernel.pid_max"] {
            let text = check(name, &all).unwrap_err();
            assert!(text.contains("is not in a separate kernel namespace"), "{text}");
        }
        for name in ["", "net..x", "net.", "net/../x", ".net"] {
            assert!(check(name, &all).is_err(), "{name}");
        }
    }

    #[test]
    fn two_domain_names_must_agree() {
        let namespaces = Namespaces { new: [NamespaceKind::Uts].into(), ..Namespaces::default() };
        let given = [("kernel.domainname".to_owned(), "a".to_owned())].into();
        assert!(sysctls(Some(&given), Some("a"), &namespaces).is_ok());
        let text = sysctls(Some(&given), Some("b"), &namespaces).unwrap_err().to_string();
        assert!(text.contains("conflicts with the OCI \"domainname\" field"), "{text}");
    }

    #[test]
    fn a_namespace_of_the_hosts_by_path_is_the_hosts() {
        use NamespaceKind::{Ipc, Network, Uts};
        for (kind, file, name) in [
            (Network, "net", "net.core.somaxconn"),
            (Ipc, "ipc", "kernel.shmmax"),
            (Ipc, "ipc", "fs.mqueue.msg_max"),
            (Uts, "uts", "kernel.domainname"),
        ] {
            let join = |file: &str| Namespaces {
                join: [(kind, format!("/proc/self/ns/{file}").into())].into(),
                ..Namespaces::default()
            };
            assert!(foreign(name, &join(file)).is_some(), "{name}");
            assert!(foreign(name, &join("mnt")).is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn only_names_of_a_namespace_pass(name in "[a-z./_]{0,24}") {
            if check(&name, &[NamespaceKind::Network]).is_ok() {
                prop_assert!(dotted(&name).starts_with("net."));
                prop_assert!(!name.contains(".."));
            }
        }
    }
}
