//! `linux.netDevices`: interfaces move into containers, and stay where they were
//! when a container does not come to be. Each test is a network namespace of its
//! own that plays the host. Needs root, busybox-static, iproute2.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::process::{Command, Output, Stdio};

use bundle::{Bundle, text};
use serde_json::{Value, json};

/// A bundle with these `netDevices`, whose command is `script`.
fn bundle(devices: &Value, script: &str) -> Option<Bundle> {
    let bundle = Bundle::new(script)?;
    bundle.configure(|config| config["linux"]["netDevices"] = devices.clone());
    Some(bundle)
}

/// Runs `script` as the host, with `$OCI` before a command of rcnt-oci's.
fn host(bundle: &Bundle, script: &str) -> Output {
    let oci = bundle.command(&[]);
    let words = std::iter::once(oci.get_program()).chain(oci.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-euc", script]).env("OCI", words.join(" "));
    command.current_dir(bundle.path("")).stdin(Stdio::null()).output().unwrap()
}

/// A veth whose one end, `d0`, has all that is to be kept.
const DEVICE: &str = "ip link set lo up
    ip link add d0 type veth peer name peer0
    ip link set d0 mtu 1420 address 00:16:3e:11:22:33 up
    ip link set peer0 up
    ip addr add 10.9.8.7/24 broadcast 10.9.8.255 dev d0
    ip addr add 169.254.3.4/16 scope link dev d0
    ip addr add 10.9.8.8/24 dev d0 valid_lft 1000 preferred_lft 1000
    ip addr add fd00:9::7/64 dev d0 nodad\n";

#[test]
fn a_device_moves_with_all_it_has_and_is_up() {
    let Some(bundle) =
        bundle(&json!({"d0": {"name": "inner0"}}), "busybox ip -o addr; busybox ip -o link")
    else {
        return;
    };
    let id = bundle.id("a");
    let output = host(&bundle, &format!("{DEVICE} $OCI run {id}; ip -o link show d0 || true"));
    let got = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for wanted in [
        "lo    inet 127.0.0.1/8",
        "inner0    inet 10.9.8.7/24 brd 10.9.8.255 scope global",
        "inner0    inet6 fd00:9::7/64 scope global",
        "00:16:3e:11:22:33",
        "mtu 1420",
    ] {
        assert!(got.contains(wanted), "{wanted}: {got}");
    }
    let link = got.lines().find(|l| l.contains("inner0@") && l.contains("mtu")).unwrap();
    assert!(link.contains(",UP"), "{link}");
    for unwanted in ["169.254.3.4", "10.9.8.8", " d0"] {
        assert!(!got.contains(unwanted), "{unwanted}: {got}");
    }
}

#[test]
fn several_devices_and_templates_find_their_names() {
    let devices = json!({"d0": {"name": "net%d"}, "d1": {"name": "net%d"}, "m0": {}});
    let Some(bundle) =
        bundle(&devices, "busybox ip -o link | busybox cut -d: -f2 | busybox cut -d@ -f1")
    else {
        return;
    };
    let id = bundle.id("b");
    let script = format!(
        "{DEVICE} ip link add d1 type veth peer name peer1
         ip link add m0 link peer1 type macvlan mode bridge
         $OCI run {id}"
    );
    let output = host(&bundle, &script);
    let mut names: Vec<_> = text(&output.stdout).split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["lo", "m0", "net0", "net1"], "{output:?}");
}

#[test]
fn a_namespace_that_was_there_keeps_the_device() {
    let Some(bundle) = bundle(&json!({"d0": {}}), "busybox ip -o addr show d0") else { return };
    let id = bundle.id("c");
    let space = bundle.path("netns");
    bundle.configure(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = space.to_str().unwrap().into();
            }
        }
    });
    let script = format!(
        "{DEVICE} touch {space}; unshare --net={space} true
         $OCI run {id}
         nsenter --net={space} ip -o addr show d0",
        space = space.display()
    );
    let output = host(&bundle, &script);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).matches("inet 10.9.8.7/24").count(), 2, "{output:?}");
}

/// Runs with `devices` after `prepare`; the reason, and what `d0` is afterwards.
fn refused(devices: &Value, change: impl FnOnce(&mut Value), prepare: &str) -> Option<[String; 2]> {
    let bundle = bundle(devices, "true")?;
    bundle.configure(change);
    let id = bundle.id("d");
    let script = format!(
        "{DEVICE} {prepare}
         ip -o addr show d0 >before; ip -o link show d0 >>before
         if $OCI run {id}; then exit 9; fi
         ip -o addr show d0 >after; ip -o link show d0 >>after
         cat after; test -z \"$($OCI list -q)\""
    );
    let output = host(&bundle, &script);
    assert!(output.status.success(), "{output:?}");
    Some([text(&output.stderr).to_owned(), text(&output.stdout).to_owned()])
}

/// As it was: addresses, name, up.
fn whole(device: &str) {
    for wanted in ["inet 10.9.8.7/24 brd", "inet6 fd00:9::7/64", "mtu 1420", ",UP"] {
        assert!(device.contains(wanted), "{wanted}: {device}");
    }
}

#[test]
fn what_cannot_move_leaves_everything_where_it_was() {
    let missing = json!({"d0": {"name": "x"}, "nothing0": {}});
    let Some([why, device]) = refused(&missing, |_| {}, "") else { return };
    assert!(why.contains("linux.netDevices.nothing0: there is no network device"), "{why}");
    whole(&device);
    // One that the kernel ties to its namespace.
    let bridge = json!({"d0": {}, "e0": {}});
    let [why, device] = refused(&bridge, |_| {}, "ip link add e0 type bridge").unwrap();
    assert!(why.contains("linux.netDevices.e0: cannot move it to the container as e0"), "{why}");
    whole(&device);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let devices = json!({"d0": {}, "d1": {"name": "d0x"}, "d2": {"name": "d1"}});
    let prepare =
        "ip link add d1 type veth peer name peer1; ip link add d2 type veth peer name peer2";
    // Fine: a name is free in the container whatever it is on the host.
    let Some(bundle) = bundle(&devices, "busybox ip -o link | busybox wc -l") else { return };
    let output = host(&bundle, &format!("{DEVICE} {prepare}; $OCI run {}", bundle.id("e")));
    assert_eq!(text(&output.stdout), "4\n", "{output:?}");
    // Shared with somebody who has one of the name.
    let space = bundle.path("netns");
    let joined = |config: &mut Value| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = space.to_str().unwrap().into();
            }
        }
    };
    let prepare = format!(
        "touch {0}; unshare --net={0} ip link add taken type veth peer name other",
        space.display()
    );
    let [why, device] = refused(&json!({"d0": {"name": "taken"}}), joined, &prepare).unwrap();
    assert!(why.contains("the container's network has a device taken already"), "{why}");
    whole(&device);
}

#[test]
fn a_container_that_fails_later_gives_the_device_back() {
    let missing = |config: &mut Value| config["process"]["args"] = json!(["/nothing"]);
    let Some([why, device]) = refused(&json!({"d0": {"name": "x"}}), missing, "") else { return };
    assert!(why.contains("/nothing"), "{why}");
    whole(&device);
}
