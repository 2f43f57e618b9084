//! `--link`, as docker's legacy links on the default network, as names on others.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{World, eventually};
use serde_json::json;

/// Starts a page server `name` that says so in its environment.
#[track_caller]
fn source(world: &World, name: &str, flags: &str) -> String {
    world.ok(format!("run -d --name {name} -e ROLE=db {flags} --expose 80-81 --expose 53/udp web"))
}

#[track_caller]
fn inside(world: &World, container: &str, script: &str) -> String {
    world.ok(["exec", container, "sh", "-c", script])
}

/// The page at `host`, as a container sees it; empty when it does not answer.
#[track_caller]
fn page(world: &World, container: &str, host: &str) -> String {
    inside(world, container, &format!("timeout 3 wget -qO- http://{host}/ 2>/dev/null || true"))
}

#[test]
fn a_link_gives_variables_and_a_name() {
    let world = World::with_servers();
    let id = source(&world, "db", "");
    let ip = world.address_of("db");
    let env = world.ok("run --rm --name app --link db:my-store busybox env");
    for line in [
        format!("MY_STORE_PORT=tcp://{ip}:80"),
        format!("MY_STORE_PORT_80_TCP=tcp://{ip}:80"),
        format!("MY_STORE_PORT_80_TCP_ADDR={ip}"),
        "MY_STORE_PORT_80_TCP_PORT=80".into(),
        "MY_STORE_PORT_80_TCP_PROTO=tcp".into(),
        format!("MY_STORE_PORT_80_TCP_START=tcp://{ip}:80"),
        format!("MY_STORE_PORT_80_TCP_END=tcp://{ip}:81"),
        format!("MY_STORE_PORT_53_UDP=udp://{ip}:53"),
        "MY_STORE_NAME=/app/my-store".into(),
        "MY_STORE_ENV_ROLE=db".into(),
    ] {
        assert!(env.lines().any(|l| l == line), "{line}\n{env}");
    }
    world.ok("run -d --name two --link db:my-store --link db busybox sleep 1000");
    let hosts = inside(&world, "two", "cat /etc/hosts");
    let short = &id[..12];
    assert!(hosts.contains(&format!("{ip}\tmy-store {short} db\n")), "{hosts}");
    assert!(hosts.contains(&format!("{ip}\tdb {short}\n")), "{hosts}");
    assert_eq!(page(&world, "two", "my-store"), PAGE.trim_end());
    assert!(inside(&world, "two", "env").contains("DB_PORT_80_TCP_ADDR="), "exec has them too");
    assert_eq!(
        world.inspect("two", "/HostConfig/Links"),
        json!(["/db:/two/my-store", "/db:/two/db"])
    );
}

#[test]
fn recipients_follow_a_source_to_its_new_address() {
    let world = World::with_servers();
    source(&world, "db", "");
    world.ok("run -d --name app --link db:store busybox sleep 1000");
    world.ok("run -d --name other --link db busybox sleep 1000");
    let old = world.address_of("db");
    world.ok("stop -t 0 db");
    world.ok("run -d --name squatter busybox sleep 1000");
    world.ok("start db");
    let new = world.address_of("db");
    assert_ne!(old, new);
    for (container, name) in [("app", "store"), ("other", "db")] {
        let hosts = inside(&world, container, "cat /etc/hosts");
        assert!(hosts.contains(&format!("{new}\t{name} ")) && !hosts.contains(&old), "{hosts}");
        assert_eq!(page(&world, container, name), PAGE.trim_end());
    }
    // A source of the same name is as good.
    world.ok("rm -f db");
    source(&world, "db", "");
    assert_eq!(page(&world, "app", "store"), PAGE.trim_end());
    // The recipient's restart needs the source.
    world.ok("stop -t 0 db");
    world.ok("stop -t 0 app");
    world
        .rcnt("start app")
        .fails(1, &["Cannot link to a non running container: /db AS /app/store"]);
}

#[test]
fn without_icc_a_link_opens_the_exposed_ports_between_the_two() {
    let world = World::with_servers();
    world.configure("icc = false");
    source(&world, "db", "");
    let ip = world.address_of("db");
    world.ok("run -d --name stranger busybox sleep 1000");
    world.ok("run -d --name app --link db:store busybox sleep 1000");
    assert_eq!(page(&world, "stranger", &ip), "");
    assert_eq!(page(&world, "app", "store"), PAGE.trim_end());
    // Nothing else of the source, and nothing back.
    assert_eq!(page(&world, "app", "store:99"), "");
    world.ok("stop -t 0 db");
    world.ok("run -d --name squatter web");
    world.ok("start db");
    assert_eq!(page(&world, "app", "store"), PAGE.trim_end());
    let squatter = world.address_of("squatter");
    assert_eq!(page(&world, "app", &squatter), "", "what was the source's address is closed");
    world.ok("rm -f app");
    let rules = world.ok_sh("nft list ruleset");
    assert!(!rules.contains("app"), "{rules}");
}

#[test]
fn on_user_defined_networks_links_are_names_of_ones_own() {
    let world = World::with_servers();
    world.ok("network create --subnet 10.5.0.0/24 front");
    source(&world, "db", "--network front");
    world.ok("run -d --name app --network front --link db:store busybox sleep 1000");
    world.ok("run -d --name other --network front busybox sleep 1000");
    assert_eq!(page(&world, "app", "store"), PAGE.trim_end());
    assert_eq!(page(&world, "other", "store"), "");
    world.ok("network disconnect front other");
    world.ok("network connect --link db:mine front other");
    eventually("the name is known", || page(&world, "other", "mine") == PAGE.trim_end());
    assert_eq!(world.inspect("app", "/NetworkSettings/Networks/front/Links"), json!(["db:store"]));
    // A source that is made anew is known by the same name.
    world.ok("rm -f db");
    source(&world, "db", "--network front --ip 10.5.0.77");
    eventually("the new one is known", || page(&world, "app", "store") == PAGE.trim_end());
    world.ok("rm -f app other db");
    world.ok("network rm front");
}

#[test]
fn links_in_a_circle_are_refused() {
    let world = World::new();
    world.ok("create --name one busybox true");
    world.ok("create --name two --link one busybox true");
    world.ok("create --name three --link two:x busybox true");
    world.ok("rm one");
    for (link, way) in [("three", "one -> three -> two -> one"), ("two", "one -> two -> one")] {
        let line = format!("create --name one --link {link} busybox true");
        world.rcnt(line).fails(125, &[&format!("cannot link in a circle: {way}")]);
    }
    // Those that lead to one from two sides are no circle.
    world.ok("create --name one busybox true");
    world.ok("create --name four --link three --link two --link one busybox true");
    world.ok("rm one two three four");
}

#[test]
fn what_docker_refuses_is_refused() {
    let world = World::with_servers();
    world.ok("network create --subnet 10.5.0.0/24 front");
    source(&world, "db", "");
    source(&world, "away", "--network front");
    world.ok("create --name idle busybox true");
    world.ok("run -d --name hosted --net host busybox sleep 1000");
    let cases = [
        ("--link nobody", "could not get container for nobody: No such container: nobody"),
        ("--link db:a:b", "bad format for links: db:a:b"),
        ("--link idle:x --name rr", "Cannot link to a non running container: /idle AS /rr/x"),
        ("--link away", "not attached to default bridge network"),
        ("--link hosted", "host type networking can't be used with links"),
        ("--link db --net host", "host type networking can't be used with links"),
        ("--link db --net container:db", "container type network can't be used with links"),
    ];
    for (flags, words) in cases {
        world.rcnt(format!("run --rm {flags} busybox true")).fails(125, &[words]);
    }
    world.ok("rm -f db away idle hosted");
    world.ok("network rm front");
    world.nothing_is_left();
}
