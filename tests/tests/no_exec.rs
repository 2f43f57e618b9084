//! No helper program on the way: everything is done by system calls.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::World;

/// Programs executed under `strace -f`, in order, without rcnt itself.
#[track_caller]
fn executed(world: &World, args: &str) -> Vec<String> {
    // -D: the tracer, not rcnt, stays behind with the supervisor.
    let line = format!(
        "exec strace -D -f -qq -e trace=execve,execveat -e signal=none -o /srv/tmp/trace \
         rcnt {args} </dev/null >/dev/null 2>/srv/tmp/err"
    );
    world.sh(&line).success();
    let trace = world.read("/srv/tmp/trace");
    let calls = trace.lines().filter(|l| l.contains("exec") && l.contains("= 0"));
    let programs = calls.filter_map(|l| Some(l.split_once('(')?.1.to_owned()));
    programs
        .filter(|call| !call.starts_with("\"/srv/bin/rcnt\"") && !call.contains("AT_EMPTY_PATH"))
        .collect()
}

#[test]
fn run_with_a_published_port_executes_nothing_but_the_command() {
    let world = World::with_servers();
    let programs = executed(&world, "run --rm -p 18080:80 --net=bridge busybox true");
    assert_eq!(programs.len(), 1, "{programs:#?}");
    assert!(programs[0].starts_with("\"/bin/true\""), "{programs:?}");
}

#[test]
fn living_with_a_container_executes_nothing_else_either() {
    let world = World::with_servers();
    assert_eq!(executed(&world, "run -d --name cc -p 18080:80 busybox sleep 1000").len(), 1);
    let programs = executed(&world, "exec cc true");
    assert_eq!(programs.len(), 1, "{programs:#?}");
    for command in ["ps", "inspect cc", "logs cc", "port cc", "images", "stop -t 0 cc", "rm cc"] {
        assert_eq!(executed(&world, command), Vec::<String>::new(), "{command}");
    }
}

#[test]
fn the_binary_is_static() {
    let world = World::empty();
    let headers =
        world.sh("readelf -lW /srv/bin/rcnt 2>/dev/null || objdump -p /srv/bin/rcnt").success();
    headers.has_not("INTERP").has_not("interpreter").has_not("NEEDED");
}

#[test]
fn it_works_where_no_program_is_installed() {
    let world = World::with_servers();
    // A root with nothing in it but the kernel's file systems and rcnt's own roots.
    let script = "mkdir -p /srv/root/proc /srv/root/sys /srv/root/dev /srv/root/srv /srv/root/etc /srv/root/tmp
        mount --bind /srv/root /srv/root
        for d in proc sys dev srv; do mount --rbind /$d /srv/root/$d; done
        cp /etc/resolv.conf /srv/root/etc/
        unshare --mount chroot /srv/root /srv/bin/rcnt run --rm -p 18080:80 busybox echo alone
        for d in srv dev sys proc; do umount -lR /srv/root/$d; done";
    world
        .sh(&format!("unshare --mount --propagation private sh -c '{script}'"))
        .success()
        .prints("alone");
}
