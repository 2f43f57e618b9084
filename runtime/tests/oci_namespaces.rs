//! Namespaces and hooks of OCI bundles, by `rcnt-oci`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use bundle::{Bundle, text};
use serde_json::{Value, json};

const USER: u32 = 300_000;
const GROUP: u32 = 400_000;

/// A bundle in a user namespace of its own, whose root owns the root file system.
fn mapped(script: &str) -> Option<Bundle> {
    let bundle = Bundle::new(script)?;
    bundle.configure(|config| {
        let map = |host| json!([{"containerID": 0, "hostID": host, "size": 65_536}]);
        add(config, "/linux/namespaces", json!({"type": "user"}));
        config["linux"]["uidMappings"] = map(USER);
        config["linux"]["gidMappings"] = map(GROUP);
    });
    bundle.own_rootfs(USER, GROUP);
    Some(bundle)
}

fn add(config: &mut Value, pointer: &str, item: Value) {
    config.pointer_mut(pointer).unwrap().as_array_mut().unwrap().push(item);
}

#[test]
fn a_user_namespace_maps_ids_and_has_its_own_root() {
    let script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; echo x > /made; \
                  cat /dev/null && echo devices; \
                  cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/tasks 2>/dev/null | grep -q . && echo cgroups";
    let Some(bundle) = mapped(script) else { return };
    bundle.configure(|config| config["root"]["readonly"] = false.into());
    let output = bundle.oci(&["run", &bundle.id("u")]);
    assert!(output.status.success(), "{output:?}");
    let words: Vec<&str> = text(&output.stdout).split_whitespace().collect();
    let (user, group) = (USER.to_string(), GROUP.to_string());
    let maps = ["0", "0", &user, "65536", "0", &group, "65536", "devices"];
    assert_eq!(words[..8], maps, "{output:?}");
    use std::os::unix::fs::MetadataExt;
    let made = std::fs::metadata(bundle.path("rootfs/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (USER, GROUP));
}

#[test]
fn exec_enters_the_user_namespace_and_a_second_container_can_share_it() {
    let Some(bundle) = mapped("exec sleep 60") else { return };
    let first = bundle.id("first");
    bundle.detached(&first);
    let pid = bundle.pid(&first);
    let output = bundle.oci(&["exec", &first, "cat", "/proc/self/uid_map"]);
    assert!(text(&output.stdout).contains(&USER.to_string()), "{output:?}");
    bundle.configure(|config| {
        config["process"]["args"] = json!(["cat", "/proc/self/gid_map"]);
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "user" {
                namespace["path"] = format!("/proc/{pid}/ns/user").into();
            }
        }
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    let output = bundle.oci(&["run", &bundle.id("second")]);
    assert!(text(&output.stdout).contains(&GROUP.to_string()), "{output:?}");
    assert!(bundle.oci(&["delete", "-f", &first]).status.success());
}

#[test]
fn a_directory_only_the_hosts_root_may_enter_can_be_mounted_in_a_user_namespace() {
    let Some(bundle) = mapped("cat /mnt/secret") else { return };
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(bundle.path("closed/dir")).unwrap();
    std::fs::write(bundle.path("closed/dir/secret"), "told\n").unwrap();
    let shut = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(bundle.path("closed"), shut).unwrap();
    bundle.configure(|config| {
        let mount = json!({"source": "closed/dir", "destination": "/mnt", "options": ["bind"]});
        add(config, "/mounts", mount);
    });
    std::fs::create_dir_all(bundle.path("rootfs/mnt")).unwrap();
    let output = bundle.oci(&["run", &bundle.id("m")]);
    assert_eq!(text(&output.stdout), "told\n", "{output:?}");
}

#[test]
fn a_time_namespace_has_its_own_clocks() {
    let Some(bundle) = Bundle::new("cat /proc/self/timens_offsets; exec sleep 60") else { return };
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        println!("skipped: this kernel has no time namespaces");
        assert!(std::env::var_os("RCNT_TESTS_MUST_WORK").is_none());
        return;
    }
    bundle.configure(|config| {
        add(config, "/linux/namespaces", json!({"type": "time"}));
        config["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 7881, "nanosecs": 2_718_281}, "boottime": {"secs": 1337}});
    });
    let id = bundle.id("t");
    bundle.detached(&id);
    let output = bundle.oci(&["exec", &id, "cat", "/proc/self/timens_offsets"]);
    let words: Vec<&str> = text(&output.stdout).split_whitespace().collect();
    assert_eq!(words, ["monotonic", "7881", "2718281", "boottime", "1337", "0"], "{output:?}");
    assert!(bundle.oci(&["delete", "-f", &id]).status.success());
}

/// A hook that writes what it is told, and what it sees of itself, to a file.
fn told(path: &std::path::Path, more: &str) -> Value {
    let script = format!("{{ cat; echo; {more}; }} > {}", path.display());
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

#[test]
fn each_kind_of_hook_runs_at_its_moment_and_place() {
    let Some(bundle) = Bundle::new("cat /hooked; echo command") else { return };
    bundle.configure(|config| {
        config["root"]["readonly"] = false.into();
        config["process"]["env"] = json!(["PATH=/bin", "MARK=here"]);
        let path = |name: &str| bundle.path(name);
        // What the container's mount namespace has at the bundle's rootfs.
        let seen = format!("grep -c {} /proc/$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' {})/mounts", bundle.path("rootfs/proc").display(), path("prestart").display());
        config["hooks"] = json!({
            "prestart": told(&path("prestart"), ":"),
            "createRuntime": told(&path("createRuntime"), &seen),
            "createContainer": told(&path("createContainer"), "readlink /proc/self/ns/uts"),
            "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /hooked; echo $MARK >> /hooked"]}],
        });
    });
    let id = bundle.id("h");
    let output = bundle.oci(&["run", &id]);
    let stdout = text(&output.stdout);
    assert!(output.status.success() && stdout.ends_with("here\ncommand\n"), "{output:?}");
    let state: Value =
        serde_json::from_str(stdout.split('\n').next().unwrap().trim_end_matches("here")).unwrap();
    assert_eq!(
        (&state["pid"], &state["status"], &state["id"]),
        (&json!(1), &json!("created"), &json!(id))
    );
    let outside = std::fs::read_to_string(bundle.path("createRuntime")).unwrap();
    assert!(outside.contains("\"creating\"") && outside.trim_end().ends_with("\n1"), "{outside}");
    let inside = std::fs::read_to_string(bundle.path("createContainer")).unwrap();
    let hosts = std::fs::read_link("/proc/self/ns/uts").unwrap();
    assert!(!inside.contains(hosts.to_str().unwrap()) && inside.contains("uts:["), "{inside}");
}

#[test]
fn a_failing_hook_of_any_kind_fails_the_run_and_leaves_nothing() {
    let Some(bundle) = Bundle::new("echo never; exec sleep 60") else { return };
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"];
    for kind in kinds {
        bundle.configure(|config| {
            config["hooks"] = json!({kind: [{"path": "/bin/true"}, {"path": "/bin/false"}]});
        });
        let output = bundle.oci(&["run", &bundle.id(kind)]);
        assert!(!output.status.success(), "{kind}: {output:?}");
        let want = format!("error running {kind} hook #1: /bin/false");
        assert!(text(&output.stderr).contains(&want), "{kind}: {output:?}");
        assert!(kind == "poststart" || text(&output.stdout).is_empty(), "{kind}: {output:?}");
        assert_eq!(text(&bundle.oci(&["list", "-q"]).stdout), "", "{kind}");
    }
}

#[test]
fn without_a_mount_namespace_the_hosts_is_used_and_left_clean() {
    let Some(bundle) = Bundle::new("echo shared") else { return };
    bundle.configure(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "mount");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    // In a mount namespace of the test's own, which stands for the host's.
    let output = bundle.oci_in_private_mounts("run", &bundle.id("n"));
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).starts_with("shared\n"), "{output:?}");
    assert!(text(&output.stdout).ends_with("\n0\n"), "mounts are left: {output:?}");
}

#[test]
fn no_pivot_moves_the_root_and_takes_the_hosts_procfs_away() {
    let Some(bundle) = Bundle::new("cat /proc/1/comm; cat /proc/self/mounts") else { return };
    let output = bundle.oci(&["run", "--no-pivot", &bundle.id("p")]);
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    assert_eq!(stdout.matches(" /proc proc ").count(), 1, "{stdout}");
}
