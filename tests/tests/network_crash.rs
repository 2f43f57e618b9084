//! Commands on networks and ports, killed at every change they make, and many at once.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{Running, World};

/// What others can see, a call at a time.
const CHANGES: [&str; 6] = [
    "rename",
    "linkat,link",
    "unlink,unlinkat,rmdir",
    "mkdir",
    "sendto,sendmsg",
    "fsync,ftruncate",
];

/// Kills `command` at its first change, its second and so on, of every kind, with `check`
/// after each; how often.
#[track_caller]
fn killed_everywhere(world: &World, command: &str, mut check: impl FnMut(&str)) -> usize {
    let mut killed = 0;
    for calls in CHANGES {
        for nth in 1..60 {
            let inject = format!("{calls}:signal=KILL:when={nth}");
            let code = world.injected(&inject, command).code;
            check(&format!("{command}, killed at {calls} {nth}"));
            if code == 0 {
                break;
            }
            killed += 1;
        }
    }
    killed
}

fn networks(world: &World) -> String {
    world.ok("network ls --format {{.Name}} -f type=custom")
}

#[test]
fn a_network_is_made_whole_or_not_at_all() {
    let world = World::empty();
    let create = "network create --ipv6 --subnet 10.5.0.0/24 --subnet fd00:5::/64 front";
    let killed = killed_everywhere(&world, create, |when| {
        if networks(&world) == "front" {
            let inspect = world.ok("network inspect front");
            assert!(inspect.contains("10.5.0.0/24") && inspect.contains("fd00:5::/64"), "{when}");
            world.ok("network rm front");
        }
        // Whatever was left is in nobody's way.
        world.ok(create);
        world.ok("network rm front");
        world.rcnt("network check").success().prints("");
    });
    assert!(killed >= 5, "too few steps: {killed}");
    world.nothing_is_left();
}

#[test]
fn a_network_is_removed_whole_or_not_at_all() {
    let world = World::new();
    world.ok("network create --subnet 10.5.0.0/24 front");
    let killed = killed_everywhere(&world, "network rm front", |when| {
        let there = networks(&world) == "front";
        let ran = world.rcnt("run --rm --network front busybox ip -o addr show eth0");
        assert_eq!(ran.code == 0, there, "{when}: {ran}");
        if there {
            world.ok("network rm front");
        }
        world.rcnt("network check").success().prints("");
        world.ok("network create --subnet 10.5.0.0/24 front");
    });
    assert!(killed >= 3, "too few steps: {killed}");
    world.ok("network rm front");
    world.nothing_is_left();
}

/// `port add` or `port rm` of 8081 of a container that has 8080, too.
#[track_caller]
fn ports_killed_everywhere(add: bool) {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 web");
    let (command, back) = match add {
        true => ("port add web 8081:80", "port rm web 8081:80"),
        false => ("port rm web 8081:80", "port add web 8081:80"),
    };
    if !add {
        world.ok(back);
    }
    let killed = killed_everywhere(&world, command, |when| {
        world.ok("ps");
        let listed = world.ok("port web").contains("0.0.0.0:8081");
        let answers = world.fetch("127.0.0.1:8081").is_ok();
        assert_eq!(answers, listed, "{when}");
        assert_eq!(world.page("127.0.0.1:8080"), PAGE, "{when}");
        // Held for it as long as it is listed, and anybody's when it is not.
        let other = world.rcnt("run --rm -p 8081:80 busybox true");
        assert_eq!(other.code != 0, listed, "{when}: {other}");
        if listed == add {
            world.ok(back);
        }
        world.rcnt("network check").success().prints("");
    });
    assert!(killed >= 8, "too few steps: {killed}");
    world.ok("rm -f web");
    world.nothing_is_left();
}

#[test]
fn a_port_is_added_whole_or_not_at_all() {
    ports_killed_everywhere(true);
}

#[test]
fn a_port_is_removed_whole_or_not_at_all() {
    ports_killed_everywhere(false);
}

#[test]
fn of_twenty_four_that_want_a_port_one_gets_it() {
    let world = World::new();
    for n in 0..4 {
        world.ok(format!("run -d --name c{n} busybox sleep 1000"));
    }
    // Six ports, each wanted by all four, and two ephemeral ones for each.
    let jobs: Vec<Running> = (0..24)
        .map(|n| world.start(format!("port add c{} -p {}:80 -p 81", n % 4, 9000 + n / 4)))
        .collect();
    let won = jobs.into_iter().map(|job| job.wait(Duration::from_secs(60))).filter(|o| o.code == 0);
    assert_eq!(won.count(), 6);
    let all = || -> Vec<String> {
        let ports = (0..4).map(|n| world.ok(format!("port c{n}")));
        let text = ports.collect::<Vec<_>>().join("\n");
        let four = text.lines().filter_map(|line| line.split_once("-> 0.0.0.0:"));
        four.map(|(_, port)| port.to_owned()).collect()
    };
    let held = all();
    assert_eq!(held.len(), 12, "six fixed, six ephemeral: {held:?}");
    assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), 12, "nobody's twice: {held:?}");
    world.rcnt("network check").success().prints("");
    let jobs: Vec<Running> =
        (0..24).map(|n| world.start(format!("port rm c{} {}:80", n % 4, 9000 + n / 4))).collect();
    let gone =
        jobs.into_iter().map(|job| job.wait(Duration::from_secs(60))).filter(|o| o.code == 0);
    assert_eq!(gone.count(), 6);
    assert_eq!(all().len(), 6);
    world.rcnt("network check").success().prints("");
    world.ok("rm -f c0 c1 c2 c3");
    world.nothing_is_left();
}

#[test]
fn networks_made_used_and_removed_at_once_are_whole() {
    let world = World::new();
    let lines: Vec<String> = (0..8).map(|n| format!("network create n{n}")).collect();
    let at_once = |lines: &[String]| -> usize {
        let jobs: Vec<Running> = lines.iter().map(|line| world.start(line.as_str())).collect();
        let done = jobs.into_iter().map(|job| job.wait(Duration::from_secs(60)));
        done.filter(|output| output.code == 0).count()
    };
    assert_eq!(at_once(&lines), 8);
    world.ok("run -d --name cc busybox sleep 1000");
    // A connect and a removal of the same network: one of the two comes first.
    let races: Vec<String> = (0..8)
        .flat_map(|n| [format!("network connect n{n} cc"), format!("network rm n{n}")])
        .chain((0..8).map(|n| format!("network create m{n}")))
        .collect();
    let done = at_once(&races);
    assert!(done >= 16, "{done}");
    let shown = world.inspect("cc", "/NetworkSettings/Networks");
    let known = networks(&world);
    for n in 0..8 {
        let name = format!("n{n}");
        let on = shown.get(&name).is_some();
        assert_eq!(known.lines().any(|line| line == name), on, "{name}: {shown}\n{known}");
    }
    world.rcnt("network check").success().prints("");
    world.ok("rm -f cc");
    world.ok("network prune -f");
    world.nothing_is_left();
}
