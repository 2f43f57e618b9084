//! Networks as objects: made, listed, inspected, removed, in docker's forms;
//! whatever cannot be is one line and leaves nothing.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use rcnt_tests::World;
use serde_json::{Value, json};

/// `network inspect` of one network.
#[track_caller]
fn inspect(world: &World, network: &str) -> Value {
    let text = world.ok(["network", "inspect", network]);
    let all: Value = serde_json::from_str(&text).unwrap();
    all[0].clone()
}

/// The IPv4 subnet of a network.
#[track_caller]
fn subnet(world: &World, network: &str) -> String {
    inspect(world, network)["IPAM"]["Config"][0]["Subnet"].as_str().unwrap().to_owned()
}

#[test]
fn a_network_is_made_listed_inspected_and_removed_as_docker_does() {
    let world = World::empty();
    let id = world.ok(
        "network create --subnet 10.5.0.0/24 --gateway 10.5.0.254 --ip-range 10.5.0.128/25 \
         --aux-address router=10.5.0.129 --ipv6 --subnet fd00:5::/64 --label tier=db -o icc=false \
         -o bridge=br-lab -o mtu=1400 lab",
    );
    assert_eq!(id.len(), 64);
    let shown = inspect(&world, "lab");
    assert_eq!(inspect(&world, &id[..10]), shown);
    let expected = json!({
        "Name": "lab", "Id": id, "Scope": "local", "Driver": "bridge", "EnableIPv4": true,
        "EnableIPv6": true, "Internal": false, "Attachable": false, "Ingress": false,
        "ConfigFrom": { "Network": "" }, "ConfigOnly": false, "Containers": {},
        "Labels": { "tier": "db" },
        "Options": {
            "com.docker.network.bridge.name": "br-lab",
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.driver.mtu": "1400",
        },
        "IPAM": { "Driver": "default", "Options": {}, "Config": [
            {
                "Subnet": "10.5.0.0/24", "Gateway": "10.5.0.254", "IPRange": "10.5.0.128/25",
                "AuxiliaryAddresses": { "router": "10.5.0.129" },
            },
            { "Subnet": "fd00:5::/64", "Gateway": "fd00:5::fe" },
        ]},
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    // Visible at once, as docker's.
    let link = world.ok_sh("ip -o addr show dev br-lab; ip link show br-lab");
    assert!(link.contains("10.5.0.254/24") && link.contains("fd00:5::fe/64"), "{link}");
    assert!(link.contains("mtu 1400"), "{link}");
    let table = world.ok("network ls");
    let words: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    assert_eq!(words[1][1..], ["bridge", "bridge", "local"]);
    assert_eq!(words[3], [&id[..12], "lab", "bridge", "local"]);
    assert_eq!(words.len(), 5);
    world.rcnt("network rm lab").success().prints("lab\n");
    world.rcnt("network inspect lab").fails(1, &["network lab not found"]);
    world.rcnt("network inspect lab").prints("[]\n");
    world.sh("ip link show br-lab").exits(1);
    world.rcnt("network rm lab").fails(1, &["network lab not found"]);
    world.rcnt("network rm -f lab").success().prints("");
    world.nothing_is_left();
}

#[test]
fn lists_are_filtered_and_formatted_as_dockers() {
    let world = World::empty();
    let id = world.ok("network create --label tier=db --internal alpha");
    world.ok("network create --label tier=web beta");
    let names = |flags: &str| {
        let text = world.ok(format!("network ls --format {{{{.Name}}}} {flags}"));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["alpha", "beta", "bridge", "host", "none"]);
    assert_eq!(names("-f type=custom"), ["alpha", "beta"]);
    assert_eq!(names("-f type=builtin"), ["bridge", "host", "none"]);
    assert_eq!(names("-f driver=bridge -f label=tier"), ["alpha", "beta"]);
    assert_eq!(names("-f label=tier=web"), ["beta"]);
    assert_eq!(names("-f name=alp"), ["alpha"]);
    assert_eq!(names(&format!("-f id={}", &id[..12])), ["alpha"]);
    assert_eq!(names("-f dangling=true"), ["alpha", "beta"]);
    assert_eq!(names("-f driver=null"), ["none"]);
    assert_eq!(names("-f scope=swarm"), [""; 0]);
    assert_eq!(world.ok("network ls -q --no-trunc -f name=alpha"), id);
    assert_eq!(world.ok("network ls -q -f name=alpha"), id[..12]);
    let row: Value =
        serde_json::from_str(&world.ok("network ls --format json -f name=alpha")).unwrap();
    for (field, value) in [
        ("Driver", "bridge"),
        ("ID", &id[..12]),
        ("IPv4", "true"),
        ("IPv6", "false"),
        ("Internal", "true"),
        ("Labels", "tier=db"),
        ("Name", "alpha"),
        ("Scope", "local"),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
    let format = "{{.Driver}} {{range .IPAM.Config}}{{.Subnet}}{{end}} {{.Labels.tier}}";
    let text = world.ok(["network", "inspect", "-f", format, "alpha"]);
    assert_eq!(text, format!("bridge {} db", subnet(&world, "alpha")));
    world.rcnt("network ls -f type=x").fails(1, &["invalid filter: 'type'='x'"]);
    world.rcnt("network rm alpha beta").success().prints("alpha\nbeta\n");
}

#[test]
fn prune_asks_and_keeps_what_is_in_use() {
    let world = World::empty();
    world.ok("network create --label keep used");
    world.ok("network create old");
    let question = "Are you sure you want to continue? [y/N]";
    let prune = world.job("rcnt", "network prune").stdin("n\n").run();
    prune.success().has(question);
    world
        .rcnt("network prune -f --filter label!=keep")
        .success()
        .prints("Deleted Networks:\nold\n\n");
    world.rcnt("network prune -f --filter until=1h").success().prints("");
    world
        .job("rcnt", "network prune")
        .stdin("y\n")
        .run()
        .success()
        .has("Deleted Networks:\nused\n");
    assert_eq!(world.ok("network ls -q -f type=custom"), "");
}

#[test]
fn what_cannot_be_is_one_line_and_leaves_nothing() {
    let world = World::empty();
    world.sh("ip link add dev plain type veth peer name plain2");
    world.rebase();
    world.ok("network create --subnet 10.5.0.0/24 -o bridge=br-lab lab");
    let before = world.ok("network ls --no-trunc");
    let links = world.ok_sh("ip -o link | cut -d: -f2");
    for (flags, want) in [
        ("lab", "network with name lab already exists"),
        ("bridge", "operation is not permitted on predefined bridge network"),
        ("a/b", "invalid name \"a/b\""),
        ("-d overlay net", "unknown network driver \"overlay\""),
        ("-d host net", "only one instance of \"host\" network is allowed"),
        ("-o colour=red net", "unknown option \"colour\" of network driver bridge"),
        ("-o icc=maybe net", "\"maybe\" is not true or false"),
        ("--subnet 10.6.0.1/24 net", "invalid subnet 10.6.0.1/24: it should be 10.6.0.0/24"),
        ("--subnet 10.6.0.0 net", "invalid CIDR address: 10.6.0.0"),
        ("--subnet 10.6.0.0/33 net", "invalid CIDR address: 10.6.0.0/33"),
        ("--subnet 10.6.0.0/31 net", "no room for a gateway and a container"),
        ("--subnet 127.5.0.0/24 net", "no addresses that a container can have"),
        ("--subnet 10.5.0.128/25 net", "10.5.0.128/25 overlaps network lab (10.5.0.0/24)"),
        ("--subnet 192.0.2.0/25 net", "Pool overlaps with other one on this address space"),
        ("--subnet fd00::/64 net", "IPv6 has not been enabled for this network"),
        ("--ipv6 --subnet fe80::/64 net", "no addresses that a container can have"),
        ("--gateway 10.6.0.1 net", "every ip-range or gateway must have a corresponding subnet"),
        ("--subnet 10.6.0.0/24 --gateway 10.7.0.1 net", "no matching subnet for gateway 10.7.0.1"),
        ("--subnet 10.6.0.0/24 --gateway 10.6.0.0 net", "invalid gateway 10.6.0.0"),
        ("--subnet 10.6.0.0/24 --ip-range 10.7.0.0/25 net", "no matching subnet for range"),
        ("--subnet 10.6.0.0/24 --aux-address r=10.7.0.1 net", "no matching subnet for aux-address"),
        (
            "--subnet 10.6.0.0/24 --gateway 10.6.0.9 --aux-address r=10.6.0.9 net",
            "failed to allocate gateway (10.6.0.9): Address already in use",
        ),
        ("--subnet 10.6.0.0/24 --subnet 10.6.0.0/25 net", "multiple overlapping subnet"),
        ("--subnet 10.6.0.0/24 --subnet 10.7.0.0/24 net", "one subnet of each address family"),
        ("-o bridge=a-very-long-bridge-name net", "invalid interface name"),
        ("-o bridge=plain net", "interface plain is no bridge"),
        ("-o bridge=br-lab net", "networks have same bridge name"),
        ("-o gateway-mode=isolated net", "can only be used for an internal network"),
        ("-o mtu=10 net", "mtu 10 is out of range"),
        ("-d macvlan -o parent=eth9 net", "parent interface eth9 does not exist"),
        ("-d macvlan -o parent=eth0.4095 net", "invalid VLAN number 4095"),
        ("-d macvlan -o parent=lo net", "parent interface lo is the loopback"),
        ("--config-only net", "--config-only is not supported"),
        ("--ipv4=false net", "--ipv4=false is not supported"),
    ] {
        let output = world.rcnt(format!("network create {flags}")).fails(1, &[want]);
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
    }
    assert_eq!(world.ok("network ls --no-trunc"), before);
    assert_eq!(world.ok_sh("ip -o link | cut -d: -f2"), links);
    for name in ["bridge", "host", "none"] {
        let words = ["is a pre-defined network and cannot be removed"];
        world.rcnt(["network", "rm", name]).fails(1, &words);
    }
    world.ok("network rm lab");
}

#[test]
fn twenty_four_networks_made_at_once_never_overlap() {
    let world = World::empty();
    let names: Vec<String> = (0..24).map(|n| format!("net{n}")).collect();
    let running: Vec<_> =
        names.iter().map(|name| world.start(["network", "create", name])).collect();
    for create in running {
        create.wait(Duration::from_secs(20)).success();
    }
    let subnets: BTreeSet<String> = names.iter().map(|name| subnet(&world, name)).collect();
    assert_eq!(subnets.len(), 24, "{subnets:?}");
    assert!(!subnets.contains(&subnet(&world, "bridge")));
    let bridges = world.ok_sh("ip -o link show type bridge | wc -l");
    assert_eq!(bridges.trim(), "24");
    // The same name at once: one wins.
    let running: Vec<_> = (0..6).map(|_| world.start("network create same")).collect();
    let codes: Vec<bool> =
        running.into_iter().map(|r| r.wait(Duration::from_secs(20)).code == 0).collect();
    assert_eq!(codes.iter().filter(|won| **won).count(), 1);
    world.rcnt("network prune -f").success();
    world.nothing_is_left();
}

#[test]
fn a_create_killed_anywhere_leaves_a_network_or_none() {
    let world = World::empty();
    world.ok("network create first");
    for (nth, inject) in [
        "fsync:signal=KILL:when=1",
        "fsync:signal=KILL:when=2",
        "rename:signal=KILL:when=1",
        "sendto:signal=KILL:when=1",
        "sendto:signal=KILL:when=4",
        "sendto:signal=KILL:when=5",
        "sendto:signal=KILL:when=6",
    ]
    .into_iter()
    .enumerate()
    {
        world.injected(inject, &format!("network create n{nth}"));
        let known = world.ok("network ls --format {{.Name}} -f type=custom");
        if known.contains(&format!("n{nth}")) {
            world.ok(format!("network rm n{nth}"));
        }
        world.ok(format!("network create n{nth}"));
        world.ok(format!("network rm n{nth}"));
    }
    for inject in ["unlink:signal=KILL:when=1", "sendto:signal=KILL:when=2"] {
        world.ok("network create gone");
        world.injected(inject, "network rm gone");
        world.rcnt("network rm -f gone").success();
    }
    world.ok("network rm first");
    world.nothing_is_left();
}
