//! Names on user-defined networks, asked by real resolvers: dig, glibc's getent,
//! musl's getaddrinfo, busybox; forwarded to a real server, dnsmasq.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test compiles a client")]

use std::process::Command;

use rcnt_tests::{Job, Lan, Running, World, eventually};

/// glibc's programs and libraries, which the image lacks.
const GLIBC: &str = "-v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro";

/// What dig prints, from inside the container's network.
#[track_caller]
fn dig(world: &World, container: &str, args: &str) -> String {
    let pid = world.pid_of(container);
    world.ok_sh(&format!("nsenter -t {pid} -n dig @127.0.0.11 +tries=1 +time=6 {args}"))
}

/// Its answers alone, in order.
#[track_caller]
fn short(world: &World, container: &str, args: &str) -> Vec<String> {
    let text = dig(world, container, &format!("+short {args}"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The rcode and the number of answers.
#[track_caller]
fn status(world: &World, container: &str, args: &str) -> (String, usize) {
    let text = dig(world, container, &format!("+noall +comments +answer {args}"));
    let rcode = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    let answers = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).count();
    (rcode.unwrap_or("none").to_owned(), answers)
}

/// A container that waits.
#[track_caller]
fn wait(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} busybox sleep 1000"));
}

/// A real name server, which knows `example.test` and refuses the rest.
struct NameServer(Running);

impl NameServer {
    /// On the LAN's peer, at [`Lan::V4`].
    #[track_caller]
    fn on_the_lan(world: &World) -> Self {
        Self::start(world.lan().job("dnsmasq", Self::args(Lan::V4, "192.0.2.80")))
    }

    /// On the host itself.
    #[track_caller]
    fn on_the_host(world: &World, at: &str, address: &str) -> Self {
        Self::start(world.job("dnsmasq", Self::args(at, address)))
    }

    fn args(at: &str, address: &str) -> Vec<String> {
        let text = vec!["x".repeat(250); 4].join(",");
        let mut args: Vec<String> = "--keep-in-foreground --conf-file=/dev/null --no-resolv \
             --no-hosts --bind-interfaces --port=53 --user=root --pid-file= --log-queries \
             --log-facility=-"
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        args.push(format!("--listen-address={at}"));
        args.push(format!("--address=/example.test/{address}"));
        args.push(format!("--txt-record=long.example.test,{text}"));
        args
    }

    #[track_caller]
    fn start(job: Job<'_>) -> Self {
        let server = Self(job.start());
        eventually("the name server listens", || server.0.stderr().contains("started, version"));
        server
    }

    /// What it has been asked so far.
    fn asked(&self) -> String {
        let log = self.0.stderr();
        log.lines().filter(|line| line.contains("query[")).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn containers_find_each_other_by_all_their_names() {
    let world = World::new();
    world.ok("network create front");
    world.ok("network create back");
    wait(&world, "web", "--network front --network-alias www --network-alias api.internal");
    wait(&world, "db", "--network front --network-alias www");
    wait(&world, "hidden", "--network back");
    let (web, db) = (world.address_of("web"), world.address_of("db"));
    let id = world.inspect("db", "/Id").as_str().unwrap()[..12].to_owned();
    for name in ["db", "DB", "Db.Front", "db.front.", &id, &format!("{id}.front")] {
        assert_eq!(short(&world, "web", name), [db.as_str()], "{name}");
        assert_eq!(short(&world, "web", &format!("+tcp {name}")), [db.as_str()], "{name}");
    }
    assert_eq!(short(&world, "web", "api.internal"), [web.as_str()]);
    assert_eq!(short(&world, "db", "web"), [web.as_str()]);
    let mut both = [web.clone(), db.clone()];
    both.sort();
    assert_eq!(short(&world, "web", "www"), both);
    // In changing order: whoever takes the first shares the load.
    let first = || dig(&world, "web", "+short www").lines().next().unwrap().to_owned();
    let one = first();
    eventually("another comes first", || first() != one);
    assert_eq!(short(&world, "web", &format!("-x {db}")), ["db.front."]);
    // No data, not no such name: musl would give up the A record, too.
    assert_eq!(status(&world, "web", "db AAAA"), ("NOERROR".into(), 0));
    assert_eq!(status(&world, "web", "db MX"), ("NOERROR".into(), 0));
    // Other networks' names are nobody's here: nobody else is asked in this world.
    assert_eq!(status(&world, "web", "hidden").1, 0);
    assert_eq!(short(&world, "hidden", "hidden"), [world.address_of("hidden")]);
}

#[test]
fn names_follow_their_containers() {
    let world = World::new();
    world.ok("network create front");
    wait(&world, "web", "--network front");
    wait(&world, "db", "--network front");
    assert_eq!(short(&world, "web", "db"), [world.address_of("db")]);
    world.ok("rm -f db");
    assert_eq!(short(&world, "web", "db"), Vec::<String>::new());
    wait(&world, "other", "--network front");
    wait(&world, "db", "--network front");
    assert_eq!(short(&world, "web", "db"), [world.address_of("db")]);
    let pid = world.inspect("db", "/State/Pid");
    world.ok("restart -t 0 db");
    assert_ne!(world.inspect("db", "/State/Pid"), pid);
    assert_eq!(short(&world, "db", "web"), [world.address_of("web")]);
    assert_eq!(short(&world, "web", "db"), [world.address_of("db")]);
    world.ok("rm -f web db other");
    world.ok("network rm front");
    world.nothing_is_left();
}

#[test]
fn every_libc_finds_them() {
    let world = World::new();
    world.ok("network create front");
    wait(&world, "db", "--network front --network-alias store");
    let db = world.address_of("db");
    let run = |flags: &str, command: &str| {
        // nslookup asks for every search domain, too, and here is nobody to tell.
        world.ok(format!("run --rm --network front --dns-search . {flags} busybox {command}"))
    };
    for name in ["db", "store", "db.front"] {
        let found = run(GLIBC, &format!("/usr/bin/getent ahosts {name}"));
        assert!(found.starts_with(&format!("{db} ")), "{name}: {found}");
        let found = run("", &format!("nslookup {name}"));
        assert!(found.contains(&db), "{name}: {found}");
    }
    let found = run(GLIBC, &format!("/usr/bin/getent hosts {db}"));
    assert!(found.contains("db.front"), "{found}");
    // musl asks for A and AAAA at once and takes what comes.
    let source = r#"
        #include <stdio.h>
        #include <string.h>
        #include <netdb.h>
        #include <arpa/inet.h>
        int main(int n, char **v) {
            struct addrinfo h = { .ai_socktype = SOCK_STREAM }, *r;
            char text[64];
            int e = getaddrinfo(v[1], 0, &h, &r);
            if (e) { printf("%s\n", gai_strerror(e)); return 1; }
            for (; r; r = r->ai_next) {
                getnameinfo(r->ai_addr, r->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
                puts(text);
            }
        }"#;
    world.write("/srv/tmp/lookup.c", source);
    let program = world.outside("/srv/tmp/lookup");
    let mut gcc = Command::new("musl-gcc");
    let status =
        gcc.arg("-static").arg("-o").arg(&program).arg(program.with_extension("c")).status();
    assert!(status.expect("musl-gcc is installed (scripts/setup test)").success());
    let lookup = "-v /srv/tmp/lookup:/bin/lookup:ro";
    for name in ["db", "store", "db.front"] {
        assert_eq!(run(lookup, &format!("lookup {name}")), db);
    }
}

#[test]
fn names_have_ipv6_addresses_too() {
    let world = World::new();
    world.ok("network create --ipv6 --subnet fd00:5::/64 dual");
    wait(&world, "web", "--network dual");
    wait(&world, "db", "--network dual");
    let address = world.inspect("db", "/NetworkSettings/Networks/dual/GlobalIPv6Address");
    let address = address.as_str().unwrap();
    assert_eq!(short(&world, "web", "db AAAA"), [address]);
    assert_eq!(short(&world, "web", "db A"), [world.address_of("db")]);
    assert_eq!(short(&world, "web", &format!("-x {address}")), ["db.dual."]);
}

#[test]
fn what_is_not_ours_goes_to_the_hosts_name_servers() {
    let world = World::new();
    let server = NameServer::on_the_lan(&world);
    world.write_resolv_conf(&format!("nameserver {}\nsearch lan.test\n", Lan::V4));
    world.ok("network create front");
    wait(&world, "web", "--network front");
    assert_eq!(
        world.ok("exec web cat /etc/resolv.conf"),
        "nameserver 127.0.0.11\nsearch lan.test\noptions ndots:0"
    );
    assert_eq!(short(&world, "web", "www.example.test"), ["192.0.2.80"]);
    assert_eq!(short(&world, "web", "+tcp www.example.test"), ["192.0.2.80"]);
    assert_eq!(status(&world, "web", "nobody.test").0, "REFUSED", "as the server says it");
    // Too long for UDP without EDNS: cut, then whole over TCP, all of it dig's own doing.
    let text = dig(&world, "web", "+noedns +ignore TXT long.example.test");
    assert!(text.contains(" tc "), "{text}");
    let whole = 4 * 250;
    assert!(
        dig(&world, "web", "+short +noedns TXT long.example.test").matches('x').count() == whole
    );
    assert!(
        dig(&world, "web", "+short +bufsize=4096 TXT long.example.test").matches('x').count()
            == whole
    );
    // It was the host that asked.
    assert!(server.asked().contains(&format!("from {}", World::V4)));
    // A container's name never left.
    assert!(!server.asked().contains("web"), "{}", server.asked());
}

#[test]
fn a_stub_on_the_hosts_loopback_is_asked_and_changes_are_followed() {
    let world = World::new();
    world.write_resolv_conf("nameserver 127.0.0.53\noptions edns0 trust-ad\n");
    let _stub = NameServer::on_the_host(&world, "127.0.0.53", "192.0.2.53");
    world.ok("network create front");
    wait(&world, "web", "--network front");
    assert_eq!(short(&world, "web", "a.example.test"), ["192.0.2.53"]);
    let conf = world.ok("exec web cat /etc/resolv.conf");
    assert_eq!(conf, "nameserver 127.0.0.11\noptions edns0 trust-ad ndots:0");
    // The host moves to another network.
    let _other = NameServer::on_the_lan(&world);
    world.write_resolv_conf(&format!("nameserver {}\n", Lan::V4));
    assert_eq!(short(&world, "web", "a.example.test"), ["192.0.2.80"]);
}

#[test]
fn flags_name_servers_that_are_asked_from_inside() {
    let world = World::new();
    let server = NameServer::on_the_lan(&world);
    world.ok("network create front");
    let flags =
        "--network front --dns-search corp.test --dns-option ndots:2 --dns-option timeout:3";
    wait(&world, "web", &format!("--dns {} {flags}", Lan::V4));
    assert_eq!(
        world.ok("exec web cat /etc/resolv.conf"),
        "nameserver 127.0.0.11\nsearch corp.test\noptions ndots:2 timeout:3"
    );
    assert_eq!(short(&world, "web", "a.example.test"), ["192.0.2.80"]);
    // None in the container itself.
    wait(&world, "own", "--network front --dns 127.0.0.1");
    assert_eq!(status(&world, "own", "a.example.test").0, "SERVFAIL");
    // With ndots a resolver puts search domains behind a name first: the container wins
    // over the domain's owner (CVE-2025-8283), and a bare name is no outsider's business.
    assert_eq!(short(&world, "web", "own.corp.test"), [world.address_of("own")]);
    assert_eq!(status(&world, "web", "nobody").0, "NXDOMAIN");
    assert!(!server.asked().contains("own") && !server.asked().contains("nobody"));
}

#[test]
fn nothing_is_asked_from_an_internal_network() {
    let world = World::new();
    let server = NameServer::on_the_lan(&world);
    world.write_resolv_conf(&format!("nameserver {}\n", Lan::V4));
    world.ok("network create --internal vault");
    wait(&world, "web", "--network vault");
    wait(&world, "db", &format!("--network vault --dns {}", Lan::V4));
    assert_eq!(short(&world, "web", "db"), [world.address_of("db")]);
    for container in ["web", "db"] {
        for how in ["", "+tcp"] {
            let secret = format!("{how} secret.example.test");
            assert_eq!(status(&world, container, &secret), ("SERVFAIL".into(), 0));
        }
    }
    assert_eq!(server.asked(), "");
}

#[test]
fn a_dns_server_in_a_container_may_listen_on_every_address() {
    let world = World::new();
    world.ok("network create front");
    wait(&world, "other", "--network front");
    let serve = "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
                 --user=root --pid-file= --address=/example.test/192.0.2.99";
    world.ok(format!("run -d --name dns --network front {GLIBC} busybox /usr/sbin/{serve}"));
    let address = world.address_of("dns");
    let ask = |at: &str, how: &str| {
        let pid = world.pid_of("other");
        world
            .sh(&format!("nsenter -t {pid} -n dig @{at} +short +tries=1 {how} a.example.test"))
            .text()
    };
    eventually("the container's own server answers", || ask(&address, "") == "192.0.2.99");
    assert_eq!(ask(&address, "+tcp"), "192.0.2.99");
    assert_eq!(short(&world, "dns", "other"), [world.address_of("other")]);
}

#[test]
fn the_hosts_firewall_does_not_matter() {
    let world = World::new();
    world.ok("network create front");
    world.ok_sh(
        "nft add table inet strict; \
         nft add chain inet strict in '{ type filter hook input priority 0; policy drop; }'",
    );
    wait(&world, "web", "--network front");
    wait(&world, "db", "--network front");
    assert_eq!(short(&world, "web", "db"), [world.address_of("db")]);
    world.ok_sh("nft delete table inet strict");
}

#[test]
fn the_default_bridge_has_no_resolver_and_pays_for_none() {
    let world = World::new();
    wait(&world, "web", "");
    let pid = world.pid_of("web");
    let sockets = world.ok_sh(&format!("nsenter -t {pid} -n ss -Hauntp"));
    assert_eq!(sockets, "");
    assert_eq!(world.ok_sh(&format!("nsenter -t {pid} -n nft list ruleset")), "");
    let conf = world.ok("exec web cat /etc/resolv.conf");
    assert_eq!(conf, "nameserver 192.0.2.53\nsearch lan.test");
}

#[test]
fn who_shares_a_network_shares_its_names() {
    let world = World::new();
    world.ok("network create front");
    wait(&world, "db", "--network front");
    wait(&world, "web", "--network front --dns-search .");
    let found = world.ok("run --rm --network container:web busybox nslookup db");
    assert!(found.contains(&world.address_of("db")), "{found}");
}

#[test]
fn a_running_container_learns_the_names_of_networks_it_is_connected_to() {
    let world = World::new();
    let server = NameServer::on_the_lan(&world);
    world.write_resolv_conf(&format!("nameserver {}\n", Lan::V4));
    world.ok("network create front");
    world.ok("network create --internal vault");
    wait(&world, "db", "--network front --network-alias store");
    wait(&world, "safe", "--network vault");
    wait(&world, "web", "");
    wait(&world, "edited", "");
    let conf = |name: &str| world.ok(["exec", name, "cat", "/etc/resolv.conf"]);
    let own = "nameserver 127.0.0.11\noptions ndots:0";
    assert_eq!(conf("web"), format!("nameserver {}", Lan::V4));
    world.ok(["exec", "edited", "sh", "-c", "echo '# mine' >/etc/resolv.conf"]);
    for name in ["web", "edited"] {
        world.ok(["network", "connect", "front", name]);
        assert_eq!(short(&world, name, "store"), [world.address_of("db")]);
    }
    assert_eq!((conf("web").as_str(), conf("edited").as_str()), (own, "# mine"));
    let front = world.inspect("web", "/NetworkSettings/Networks/front/IPAddress");
    assert_eq!(short(&world, "db", "web"), [front.as_str().unwrap()]);
    assert_eq!(status(&world, "web", "safe").1, 0);
    world.ok("network connect vault web");
    assert_eq!(short(&world, "web", "safe"), [world.address_of("safe")]);
    assert_eq!(short(&world, "web", "a.example.test"), ["192.0.2.80"]);
    // Off everything but the internal network: not a word leaves any more.
    world.ok("network disconnect front web");
    assert_eq!(status(&world, "web", "store").1, 0);
    assert_eq!(status(&world, "db", "web").1, 0);
    world.ok("network disconnect bridge web");
    let before = server.asked();
    assert_eq!(status(&world, "web", "b.example.test").0, "SERVFAIL");
    assert_eq!(short(&world, "web", "safe"), [world.address_of("safe")]);
    assert_eq!(server.asked(), before);
}

#[test]
fn rules_that_were_flushed_inside_come_back_with_the_next_change() {
    let world = World::new();
    world.ok("network create front");
    world.ok("network create back");
    wait(&world, "web", "--network front --dns-search .");
    let (pid, address) = (world.pid_of("web"), world.address_of("web"));
    world.ok_sh(&format!("nsenter -t {pid} -n nft flush ruleset"));
    let dead = format!("nsenter -t {pid} -n dig @127.0.0.11 +tries=1 +time=1 web");
    assert_ne!(world.sh(&dead).code, 0);
    world.ok("network connect back web");
    assert_eq!(short(&world, "web", "web"), [address.as_str()]);
    assert_eq!(short(&world, "web", "+tcp web"), [address.as_str()]);
}

#[test]
fn check_says_when_port_53_leads_nowhere_inside_and_repair_mends_it() {
    let world = World::new();
    world.ok("network create front");
    // A server of its own on every address answers instead, but not what is asked.
    let serve = "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
                 --user=root --pid-file= --address=/#/192.0.2.99";
    world.ok(format!("run -d --name dns --network front {GLIBC} busybox /usr/sbin/{serve}"));
    wait(&world, "web", "--network front --dns-search .");
    world.rcnt("network check").success().prints("");
    for name in ["web", "dns"] {
        world.ok_sh(&format!("nsenter -t {} -n nft flush ruleset", world.pid_of(name)));
    }
    let what = "port 53 of 127.0.0.11 does not lead to its resolver inside";
    let found = world.rcnt("network check web").exits(1);
    assert_eq!(found.stdout.matches(what).count(), 1, "{found}");
    let mended = world.rcnt("network check --repair").success();
    assert_eq!(mended.stdout.matches(what).count(), 2, "{mended}");
    assert_eq!(short(&world, "web", "dns"), [world.address_of("dns")]);
    assert_eq!(short(&world, "dns", "+tcp web"), [world.address_of("web")]);
    world.rcnt("network check").success().prints("");
}

#[test]
fn a_killed_supervisors_names_are_gone_with_it() {
    let world = World::new();
    world.ok("network create front");
    wait(&world, "web", "--network front --dns-search .");
    wait(&world, "db", "--network front");
    let supervisor = world
        .pids_with("rcnt")
        .into_iter()
        .find(|pid| world.read(&format!("/proc/{pid}/comm")).trim() == "rcnt: db");
    world.kill("KILL", supervisor.expect("db has a supervisor"));
    // The next command cleans up.
    eventually("db is gone", || {
        !world.ok("ps -q --filter name=db").contains(char::is_alphanumeric)
    });
    assert_eq!(short(&world, "web", "db"), Vec::<String>::new());
    world.ok("start db");
    assert_eq!(short(&world, "web", "db"), [world.address_of("db")]);
}
