//! Firewalls of others on the same host, each as its own program leaves it: what is
//! forwarded for containers passes, or the chain that drops it is named at once, and
//! what the line advises helps.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{Output, World, eventually};

/// Starts `probe` and waits until it serves; what was said on the way.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) -> Output {
    let output = world.rcnt(format!("run -d --name {name} {flags} probe")).success();
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
    output
}

/// Whether the LAN gets an answer at a published port.
fn reached(world: &World, port: u16) -> bool {
    let answer = world.lan().tcp(&format!("{}:{port}", World::V4), "");
    answer.is_ok_and(|answer| !answer.is_empty())
}

/// A ruleset such as ufw loads with iptables-restore: everything is asked in chains of
/// its own, what the user allows last, and the policy drops the rest.
const UFW: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
:ufw-reject-forward - [0:0]
:ufw-user-forward - [0:0]
:ufw-before-input - [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp --icmp-type echo-request -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
COMMIT
";

/// What `ufw route allow in on rcnt0` and `… out on rcnt0` add.
const UFW_ALLOWS: [&str; 2] =
    ["-A ufw-user-forward -i rcnt0 -j ACCEPT", "-A ufw-user-forward -o rcnt0 -j ACCEPT"];

#[track_caller]
fn ufw_closes_and_opens(iptables: &str, chain: &str) {
    let world = World::with_servers();
    world.write("/srv/tmp/ufw", UFW);
    world.ok_sh(&format!("{iptables}-restore </srv/tmp/ufw"));
    let told = format!(
        "rcnt: warning: {chain} has policy drop: it drops what containers send and get; \
         let rcnt0 through there, in and out\n"
    );
    let said = serve(&world, "web", "-p 8080:80");
    assert_eq!(said.stderr, told);
    assert!(!reached(&world, 8080));
    let lost = world.rcnt("network trace --timeout 300ms 192.0.2.20 192.0.2.10:8080").exits(1);
    let named = match iptables {
        "iptables-legacy" => format!("dropped in host by iptables-legacy: {chain} has policy drop"),
        _ => "dropped in host by the policy of chain FORWARD, table ip filter".to_owned(),
    };
    assert!(lost.stdout.contains(&named), "{lost}");
    world.rcnt("network check").exits(1).has(&format!("host: {chain} has policy drop"));
    // One direction is not enough.
    world.ok_sh(&format!("{iptables} {}", UFW_ALLOWS[0]));
    world.rcnt("network check").exits(1).has("let rcnt0 through");
    world.ok_sh(&format!("{iptables} {}", UFW_ALLOWS[1]));
    world.rcnt("network check").success().prints("");
    assert!(reached(&world, 8080));
    world.rcnt("exec web ping -c1 -W2 192.0.2.20").success();
    // The second container of a bridge, and one made where all is open, say nothing.
    assert_eq!(serve(&world, "more", "").stderr, "");
    world.ok("rm -f web more");
    world.ok_sh("ip link del rcnt0");
    assert_eq!(serve(&world, "web", "-p 8080:80").stderr, "");
    world.ok_sh(&format!(
        "{iptables} -P FORWARD ACCEPT; {iptables} -P INPUT ACCEPT; {iptables} -F; {iptables} -X; \
         nft delete table ip filter || true"
    ));
}

#[test]
fn ufw_by_iptables_nft_is_named_and_its_route_rules_open_it() {
    ufw_closes_and_opens("iptables-nft", "chain FORWARD of nftables table ip filter");
}

#[test]
fn ufw_by_iptables_legacy_is_named_and_its_route_rules_open_it() {
    ufw_closes_and_opens("iptables-legacy", "chain FORWARD of iptables-legacy");
}

#[test]
fn a_chain_that_rejects_the_rest_is_named_whatever_its_policy() {
    let world = World::with_servers();
    // As iptables-services comes: policy accept, and a last rule.
    world.ok_sh(
        "iptables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
         iptables-legacy -A FORWARD -j REJECT --reject-with icmp-host-prohibited; \
         iptables-nft -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
    );
    let said = serve(&world, "web", "-p 8080:80").stderr;
    for chain in ["FORWARD of iptables-legacy", "FORWARD of nftables table ip filter"] {
        assert!(said.contains(&format!("chain {chain} drops the rest: ")), "{said}");
    }
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(!reached(&world, 8080));
    for iptables in ["iptables-legacy", "iptables-nft"] {
        world.ok_sh(&format!("{iptables} -I FORWARD -i rcnt0 -j ACCEPT"));
        world.ok_sh(&format!("{iptables} -I FORWARD -o rcnt0 -j ACCEPT"));
    }
    assert!(reached(&world, 8080));
    world.rcnt("network check").success().prints("");
    world.ok_sh("iptables-legacy -F; iptables-nft -F; nft delete table ip filter");
}

/// As firewalld lays it out: a chain after everybody else's, zones by interface, and at
/// the end a reject of what no policy let through.
const FIREWALLD: &str = "
table inet firewalld {
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        ct state invalid drop
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        jump filter_FORWARD_POLICIES
        ct state invalid drop
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD_POLICIES {
        iifname eth0 jump filter_FWD_public
    }
    chain filter_FWD_public {
        oifname eth0 accept
    }
}
";

#[test]
fn firewalld_is_named_and_a_trusted_bridge_passes() {
    let world = World::with_servers();
    world.write("/srv/tmp/firewalld", FIREWALLD);
    world.ok_sh("nft -f /srv/tmp/firewalld");
    let said = serve(&world, "web", "-p 8080:80").stderr;
    let chain = "chain filter_FORWARD of nftables table inet firewalld drops the rest: ";
    assert!(said.starts_with(&format!("rcnt: warning: {chain}")), "{said}");
    // What is translated passes it, what containers begin does not.
    assert!(reached(&world, 8080));
    world.rcnt("exec web ping -c1 -W1 192.0.2.20").exits(1);
    let lost = world.rcnt("network trace web 192.0.2.20:9").exits(1);
    assert!(lost.stdout.contains("of chain filter_FORWARD, table inet firewalld"), "{lost}");
    // What `firewall-cmd --zone=trusted --add-interface=rcnt0` amounts to.
    world.ok_sh(
        "nft 'insert rule inet firewalld filter_FORWARD_POLICIES iifname rcnt0 accept; \
         insert rule inet firewalld filter_FORWARD_POLICIES oifname rcnt0 accept'",
    );
    world.rcnt("exec web ping -c1 -W2 192.0.2.20").success();
    world.rcnt("network check").success().prints("");
    world.ok_sh("nft delete table inet firewalld");
}

#[test]
fn dockers_drop_lets_bridges_through_whether_or_not_they_are_filtered() {
    for filtered in ["0", "1"] {
        let world = World::with_servers();
        world.ok_sh(&format!("sysctl -qw net.bridge.bridge-nf-call-iptables={filtered}"));
        world.ok_sh(
            "iptables-nft -N DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN; \
             iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -P FORWARD DROP",
        );
        assert_eq!(serve(&world, "web", "-p 8080:80").stderr, "");
        assert_eq!(serve(&world, "peer", "").stderr, "");
        assert!(reached(&world, 8080));
        let to = format!("timeout 2 probe ask tcp {}:80", world.address_of("web"));
        world.rcnt(["exec", "peer", "sh", "-c", &to]).success();
        world.rcnt("exec peer ping -c1 -W2 192.0.2.20").success();
        world.ok_sh(
            "iptables-nft -P FORWARD ACCEPT; iptables-nft -F; iptables-nft -X; \
             nft delete table ip filter",
        );
    }
}

#[test]
fn a_door_behind_a_drop_is_no_way_in() {
    let world = World::with_servers();
    world.ok_sh(
        "iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DROP; \
         iptables-nft -A FORWARD -j DOCKER-USER",
    );
    let said = serve(&world, "web", "-p 8080:80").stderr;
    assert!(said.contains("chain FORWARD of nftables table ip filter drops the rest"), "{said}");
    let check = world.rcnt("network check --repair").exits(1);
    assert!(check.stdout.contains("before it comes to DOCKER-USER"), "{check}");
    world.ok_sh("iptables-nft -F; iptables-nft -X; nft delete table ip filter");
}

#[test]
fn what_somebody_flushed_comes_back_with_the_next_start_for_all() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80 -p 127.0.0.1:8081:80");
    world.ok_sh("nft flush ruleset");
    assert_eq!(serve(&world, "more", "-p 8090:80").stderr, "");
    for port in [8080, 8090] {
        // Translated, not relayed: it knows who calls.
        let answer = world.lan().tcp(&format!("{}:{port}", World::V4), "").unwrap();
        assert!(answer.contains("192.0.2.20"), "{answer}");
    }
    world.page_tcp("127.0.0.1:8081");
    // iptables-legacy's flush concerns only its own.
    world.ok_sh("iptables-legacy -t nat -F; iptables-legacy -F; iptables-legacy -P FORWARD ACCEPT");
    assert!(reached(&world, 8080));
    world.rcnt("network check").success().prints("");
    world.ok("rm -f web more");
}
