//! `cargo test --release -p rcnt-runtime --test containers -- --measure [N]`:
//! how long a container takes from spawn to the reaped exit of `true`.

use std::time::{Duration, Instant};

use rcnt_runtime::plan::NamespaceKind;

use crate::container::Container;

/// Least and median, in milliseconds.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    format!("{:.2} (median {:.2}) ms", ms(0), ms(times.len() / 2))
}

/// Prints medians of `rounds` containers each.
pub fn measure(rounds: usize) {
    let show = |name: &str, container: &Container| {
        let (mut whole, mut started) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let since = Instant::now();
            let live = container.start().unwrap();
            started.push(since.elapsed());
            assert_eq!(live.finish_timed(&since, &mut whole), 0);
        }
        println!("{name:32} exec {}, reaped {}", summary(started), summary(whole));
    };
    let container = || Container::with_args(&["/bin/true"]);
    show("all namespaces, new network", &container());
    let mut host = container();
    host.plan.namespaces.new.remove(&NamespaceKind::Network);
    show("all namespaces but network", &host);
    let mut bare = container();
    bare.plan.namespaces.new.remove(&NamespaceKind::Network);
    bare.plan.cgroup.path = "".into();
    bare.plan.mounts.retain(|m| !m.destination.starts_with("/sys"));
    show("… without cgroup and /sys", &bare);
    let live = Container::new("echo up; sleep 600");
    let live = live.start().unwrap();
    live.wait_for("up");
    let mut process = container().plan.process.clone();
    process.args = vec!["/bin/true".into()];
    let mut whole = Vec::new();
    for _ in 0..rounds {
        let since = Instant::now();
        assert_eq!(live.exec(&process).unwrap().code, 0);
        whole.push(since.elapsed());
    }
    println!("{:32} reaped {}", "exec true", summary(whole));
    live.kill();
}
