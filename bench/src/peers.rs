//! The contestants: how each is prepared, and which of the words of docker's
//! command line it takes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcnt_tests::archive::{Image, Layer};

use crate::Result;
use crate::child::{quiet, timed};
use crate::host::{Host, Namespace};
use crate::place::{CGROUP, Place, program};

/// The image's archive, in the place.
const IMAGE: &str = "busybox.tar";

/// One contestant.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name, the column's head.
    pub(crate) name: &'static str,
    /// What it says its version is.
    pub(crate) version: String,
    /// Program and flags before the verb.
    prefix: Vec<String>,
    /// Flags that every `run` needs here.
    run_flags: Vec<String>,
    /// Names of the processes it keeps per container (`comm`, 15 characters).
    helpers: &'static [&'static str],
    daemon: Option<Child>,
    /// Where it and its containers live.
    pub(crate) host: Host,
}

impl Peer {
    /// `verb` and `args`, ready to run.
    pub(crate) fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]).arg(verb);
        if verb == "run" {
            command.args(&self.run_flags);
        }
        command.args(args);
        command
    }

    /// Runs `verb`; returns what it printed.
    pub(crate) fn ask(&self, verb: &str, args: &[&str]) -> Result<String> {
        self.host.network.inside(|| quiet(&mut self.command(verb, args)))
    }

    /// Runs `verb`; returns how many milliseconds it took.
    pub(crate) fn time(&self, verb: &str, args: &[&str]) -> Result<f64> {
        self.host.network.inside(|| timed(&mut self.command(verb, args)))
    }

    /// Removes running containers at once.
    pub(crate) fn remove(&self, names: &[&str]) -> Result<f64> {
        // podman asks first and waits ten seconds unless told.
        let flags: &[&str] = if self.name == "podman" { &["-f", "-t", "0"] } else { &["-f"] };
        self.time("rm", &[flags, names].concat())
    }

    /// The network namespace of a running container.
    pub(crate) fn inside_of(&self, container: &str) -> Result<Namespace> {
        Namespace::of(self.pid_of(container)?)
    }

    /// The first process of a running container.
    pub(crate) fn pid_of(&self, container: &str) -> Result<u32> {
        let text = self.ask("inspect", &["-f", "{{.State.Pid}}", container])?;
        text.trim().parse().map_err(|_| format!("no pid: {text}"))
    }

    /// Memory of its helper processes in KiB: each page divided by its users.
    pub(crate) fn helpers_kib(&self) -> f64 {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let sum = all.filter_map(|entry| {
            let dir = entry.path();
            let name = std::fs::read_to_string(dir.join("comm")).ok()?;
            // Our supervisors carry their container's name: "rcnt: web".
            let name = name.split(':').next().unwrap_or_default().trim();
            if !self.helpers.contains(&name) {
                return None;
            }
            let smaps = std::fs::read_to_string(dir.join("smaps_rollup")).ok()?;
            let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        });
        sum.sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // SIGTERM would wait for its containers; everything here is thrown away.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// rcnt and every peer that is installed, each with the image `busybox`, which
/// has this program as well.
pub(crate) fn all(rcnt: &Path, place: &Place) -> Result<Vec<Peer>> {
    let image = place.dir.join(IMAGE);
    let own = std::env::current_exe().and_then(std::fs::read).map_err(|e| e.to_string())?;
    let layers = [
        rcnt_tests::fixtures::busybox_layer(),
        Layer::new().dir("bin", 0o755).file("bin/rcnt-bench", 0o755, own),
    ];
    std::fs::write(&image, Image::new(&layers).docker_archive("busybox"))
        .map_err(|e| e.to_string())?;
    let mut peers = vec![prepare_rcnt(rcnt, place, "rcnt", &image)?];
    type Prepare = fn(&Path, &Place, &Path) -> Result<Peer>;
    let known: [(&str, &str, Prepare); 2] =
        [("docker", "dockerd", prepare_docker), ("podman", "podman", prepare_podman)];
    for (name, needed, prepare) in known {
        let Some(path) = program(needed) else { continue };
        match prepare(&path, place, &image) {
            Ok(peer) => peers.push(peer),
            Err(reason) => eprintln!("rcnt-bench: without {name}: {reason}"),
        }
    }
    Ok(peers)
}

/// One more instance of ours, below `name`.
pub(crate) fn another(rcnt: &Path, place: &Place, name: &str) -> Result<Peer> {
    prepare_rcnt(rcnt, place, name, &place.dir.join(IMAGE))
}

fn prepare_rcnt(path: &Path, place: &Place, name: &str, image: &Path) -> Result<Peer> {
    let config = place.dir.join("rcnt.toml");
    std::fs::write(&config, format!("cgroup-parent = \"{CGROUP}\"\n"))
        .map_err(|e| e.to_string())?;
    let dir = |suffix: &str| place.dir.join(format!("{name}-{suffix}")).display().to_string();
    let prefix = vec![
        path.display().to_string(),
        format!("--data-root={}", dir("data")),
        format!("--exec-root={}", dir("run")),
        format!("--config={}", config.display()),
    ];
    let peer = Peer {
        name: "rcnt",
        version: first_line(Command::new(path).arg("--version"))?,
        prefix,
        run_flags: Vec::new(),
        helpers: &["rcnt"],
        daemon: None,
        host: Host::new()?,
    };
    load(peer, image)
}

fn prepare_docker(dockerd: &Path, place: &Place, image: &Path) -> Result<Peer> {
    let client = program("docker").ok_or("no docker command")?;
    let dir = place.dir.join("docker");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let log = std::fs::File::create(dir.join("log")).map_err(|e| e.to_string())?;
    let socket = format!("unix://{}", dir.join("socket").display());
    let host = Host::new()?;
    let mut daemon = Command::new(dockerd);
    daemon.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("run"));
    daemon.arg("--pidfile").arg(dir.join("pid")).args(["-H", &socket]);
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let daemon = host.network.inside(|| daemon.spawn().map_err(|e| e.to_string()))?;
    let mut peer = Peer {
        name: "docker",
        version: first_line(Command::new(dockerd).arg("--version"))?,
        prefix: vec![client.display().to_string(), "-H".to_owned(), socket],
        run_flags: Vec::new(),
        helpers: &["containerd-shim", "docker-proxy"],
        daemon: Some(daemon),
        host,
    };
    let until = Instant::now() + Duration::from_secs(30);
    while peer.ask("version", &[]).is_err() {
        let ended = peer.daemon.as_mut().is_some_and(|d| !matches!(d.try_wait(), Ok(None)));
        if ended || Instant::now() > until {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            return Err(format!("dockerd does not come up: {}", log.lines().last().unwrap_or("")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    load(peer, image)
}

fn prepare_podman(path: &Path, place: &Place, image: &Path) -> Result<Peer> {
    let dir = |name: &str| place.dir.join("podman").join(name).display().to_string();
    std::fs::create_dir_all(place.dir.join("podman/tmp")).map_err(|e| e.to_string())?;
    let prefix = [
        path.display().to_string(),
        "--root".into(),
        dir("data"),
        "--runroot".into(),
        dir("run"),
        "--tmpdir".into(),
        dir("tmp"),
        "--network-config-dir".into(),
        dir("networks"),
        "--cgroup-manager".into(),
        "cgroupfs".into(),
        "--events-backend".into(),
        "none".into(),
    ];
    // Its defaults ask for more than a caller without CAP_SYS_RESOURCE may give.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=2048:2048"];
    let peer = Peer {
        name: "podman",
        version: first_line(Command::new(path).arg("--version"))?,
        prefix: prefix.to_vec(),
        run_flags: limits.map(str::to_owned).to_vec(),
        helpers: &["conmon"],
        daemon: None,
        host: Host::new()?,
    };
    load(peer, image)
}

/// Gives it the image, and sees that it can run something.
fn load(peer: Peer, image: &Path) -> Result<Peer> {
    peer.ask("load", &["-i", &image.display().to_string()])?;
    peer.ask("run", &["--rm", "--net=none", "busybox", "true"])?;
    Ok(peer)
}

pub(crate) fn first_line(command: &mut Command) -> Result<String> {
    Ok(quiet(command)?.lines().next().unwrap_or_default().to_owned())
}
