//! Real input: a Debian with nginx, made by debootstrap, pushed to a real
//! registry, pulled, served and lived in.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::{Registry, World, eventually, fixtures};
use serde_json::json;

/// A world with `127.0.0.1:5000/debian-nginx` pulled from its registry.
fn debian() -> World {
    let archive = fixtures::debian_nginx();
    let world = World::new();
    let registry = Registry::start(&world);
    registry.push(&format!("docker-archive:{}", archive.display()), "debian-nginx:1");
    let pull = world.job("rcnt", "pull 127.0.0.1:5000/debian-nginx:1");
    pull.limit(Duration::from_secs(300)).run().success();
    world
}

#[test]
fn a_debian_nginx_is_pulled_published_and_lived_in() {
    let world = debian();
    let image = "127.0.0.1:5000/debian-nginx:1";
    world.ok(["run", "-d", "--name", "web", "-p", "8080:80", "--net=bridge", image]);

    // The page from everywhere.
    let page = world.page("127.0.0.1:8080");
    assert!(page.contains("nginx"), "{page}");
    assert_eq!(world.lan().page(&format!("{}:8080", World::V4)), page);
    let fetch = format!("timeout 5 wget -qO- http://{}:8080/", World::V4);
    world.rcnt(["run", "--rm", "busybox", "sh", "-c", &fetch]).success().prints(&page);

    // nginx sees the caller's own address.
    let access = "tail -n20 /var/log/nginx/access.log";
    world.rcnt(["exec", "web", "sh", "-c", access]).success().has("192.0.2.20 - ");

    // Its users, its files, its package manager are whole.
    world.rcnt("exec web ps -o user= -C nginx").exits_any();
    world.rcnt("exec -u www-data web id -un").success().prints("www-data");
    // Every file of every package has its checksum; the fixture left out the documentation.
    world.rcnt("exec web sh -c 'dpkg --verify | grep -v -e /usr/share/doc -e /var/cache/apt -e /var/lib/apt'").exits(1).prints("");
    world.rcnt("exec web dpkg -s nginx").success().has("Status: install ok installed");
    world.rcnt("exec web sh -c 'stat -c %a /usr/bin/passwd /tmp'").success().prints("4755\n1777");

    // An interactive bash, with job control and line editing.
    let mut terminal = world.terminal("exec -it web bash --norc");
    terminal.line("PS1='deb''ian> '");
    terminal.expect("debian> ");
    terminal.line("cat /etc/os-release | head -n1; tty");
    terminal.expect("/dev/pts/");
    terminal.expect("debian> ");
    terminal.line("sleep 300 & jobs");
    terminal.expect("Running");
    terminal.expect("debian> ");
    terminal.line("fg");
    terminal.expect("sleep 300");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect("debian> ");
    terminal.line("kill %1; echo edix\x7ft | tr t T");
    terminal.expect("ediT");
    terminal.line("exit 9");
    assert_eq!(terminal.wait(), 9);

    // It stops by the image's signal, quickly, and says so.
    world.rcnt("stop web").success().within(Duration::from_secs(8));
    assert_eq!(world.inspect("web", "/State/ExitCode"), json!(0));
    world.ok("start web");
    assert_eq!(world.page("127.0.0.1:8080"), page);

    // A one-off bash, through a terminal of its own.
    let mut terminal =
        world.terminal(["run", "-it", "--rm", "--entrypoint", "bash", image, "--norc"]);
    terminal.line("PS1='deb''ian> '");
    terminal.expect("debian> ");
    terminal.line("apt-get --version | head -n1; exit 4");
    terminal.expect("apt ");
    assert_eq!(terminal.wait(), 4);
    eventually("--rm removed it", || world.ok("ps -aq").lines().count() == 1);
}
