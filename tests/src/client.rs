//! Real clients on our OCI runtime: podman, dockerd and containerd, each on a
//! host of its own, with `rcnt-oci` as the runtime they are told to use.
//!
//! `RCNT_OCI_BINARY` names the runtime under test; without it, the one cargo
//! built beside the tests is taken.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::world::{beside_the_tests, wait_for};
use crate::{Args, Output, Running, Terminal, World, fixtures, leaks};

/// The runtime as every client's host sees it.
pub const RUNTIME: &str = "/srv/bin/rcnt-oci";

/// What a client's host has more than a [`World`]: nothing of the machine's own
/// clients is in sight, and every cgroup hierarchy that processes are in is
/// mounted (containerd gives up on a container's cgroup otherwise, and another
/// mount namespace may hold a hierarchy that this machine's tree lacks).
/// $1: rcnt-oci.
const SETUP: &str = r#"
set -e
touch /srv/bin/rcnt-oci; mount --bind "$1" /srv/bin/rcnt-oci
for dir in /run /dev/shm /var/lib/containers /var/lib/docker /var/lib/containerd \
    /var/lib/cni /etc/containers /etc/docker /etc/cni; do
    [ ! -d $dir ] || mount -t tmpfs -o mode=755 client $dir
done
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    new=$(mktemp -d); mount -t tmpfs -o mode=755 cgroup "$new"
    for dir in /sys/fs/cgroup/*/; do
        mountpoint -q $dir || continue
        name=$(basename $dir); mkdir "$new/$name"; mount --bind $dir "$new/$name"
    done
    while IFS=: read -r _ names _; do
        case $names in ''|name=*) continue;; esac
        for name in $(echo $names | tr , ' '); do
            if [ ! -d "$new/$name" ]; then
                mkdir "$new/$name"; mount -t cgroup -o $names cgroup "$new/$name"
            fi
        done
    done </proc/self/cgroup
    umount -R -l /sys/fs/cgroup
    mount --move "$new" /sys/fs/cgroup; rmdir "$new"
fi
"#;

/// The caller here has no `CAP_SYS_RESOURCE` on some machines, and podman asks
/// for a million descriptors unless told otherwise.
const CONTAINERS_CONF: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=2048:2048"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
init_path = "/usr/bin/docker-init"
"#;

/// The user that dockerd looks up, in files over the machine's own.
const REMAP: &str = r#"
set -e
mkdir -p /srv/remap
for file in passwd group subuid subgid; do cat /etc/$file >/srv/remap/$file 2>/dev/null || :; done
echo 'dockremap:x:200000:200000::/:/bin/false' >>/srv/remap/passwd
echo 'dockremap:x:200000:' >>/srv/remap/group
for file in subuid subgid; do echo dockremap:200000:65536 >/srv/remap/$file; done
for file in passwd group subuid subgid; do
    [ ! -e /etc/$file ] || mount --bind /srv/remap/$file /etc/$file
done
"#;

const CONTAINERD_TOML: &str = r#"
version = 2
root = "/srv/containerd/root"
state = "/srv/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.grpc.v1.cri"]
[grpc]
address = "/srv/containerd/socket"
"#;

/// Which program the user types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// podman(1), which has no daemon.
    Podman,
    /// docker(1) and a dockerd of its own.
    Docker,
    /// The same with `--userns-remap`: root in a container is user 200000.
    RemappedDocker,
    /// ctr(8) and a containerd of its own.
    Containerd,
}

/// A client on a host of its own, with the image `busybox`. The tests of one
/// program share it; the last to finish ends the daemon and checks that nothing
/// is left.
#[derive(Debug)]
pub struct Client {
    kind: Kind,
    command: Vec<String>,
    daemon: Mutex<Option<Running>>,
    failed: AtomicBool,
    world: World,
}

/// One test's share of a [`Client`].
#[derive(Debug)]
pub struct Shared(Arc<Client>);

impl Deref for Shared {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The containers of a failed test are still there: not a leak to report as well.
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Client {
    /// The client that the tests of this program share.
    #[track_caller]
    pub fn shared(kind: Kind) -> Shared {
        static CURRENT: Mutex<Weak<Client>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let client = current.upgrade().filter(|client| client.kind == kind).unwrap_or_else(|| {
            let client = Arc::new(Self::new(kind));
            *current = Arc::downgrade(&client);
            client
        });
        Shared(client)
    }

    /// A client nobody else uses.
    #[track_caller]
    pub fn new(kind: Kind) -> Self {
        let world = World::empty();
        let runtime = runtime();
        let setup = ["-c", SETUP, "setup", &runtime.to_string_lossy()];
        world.job("bash", setup).run().success();
        let command = match kind {
            Kind::Podman => {
                format!("podman --runtime {RUNTIME} --root /srv/podman --runroot /run/podman")
            }
            Kind::Docker | Kind::RemappedDocker => "docker -H unix:///srv/docker/socket".to_owned(),
            Kind::Containerd => "ctr -a /srv/containerd/socket".to_owned(),
        };
        let command = command.words();
        let failed = AtomicBool::new(false);
        let mut client = Self { kind, command, daemon: Mutex::default(), failed, world };
        client.begin();
        client
    }

    fn begin(&mut self) {
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        // These directories are the host's own, below mounts of this world.
        let world = &self.world;
        let save = |path: &str, text: &str| {
            world.job("tee", [path]).stdin(text).run().success();
        };
        world.write("/srv/busybox.tar", fixtures::busybox());
        match self.kind {
            Kind::Podman => {
                save("/etc/containers/policy.json", policy);
                save("/etc/containers/containers.conf", CONTAINERS_CONF);
                self.ok("load -q -i /srv/busybox.tar");
            }
            Kind::Docker | Kind::RemappedDocker => {
                let mut remap = "";
                if self.kind == Kind::RemappedDocker {
                    world.ok_sh(REMAP);
                    remap = "--userns-remap=dockremap";
                }
                let parent = format!("/{}", world.cgroup_parent());
                let args = format!(
                    "--data-root /srv/docker/data --exec-root /srv/docker/run \
                     -H unix:///srv/docker/socket --pidfile /srv/docker/pid \
                     --add-runtime rcnt={RUNTIME} --default-runtime rcnt \
                     --iptables=false --ip6tables=false --cgroup-parent {parent} {remap}"
                );
                self.start_daemon("dockerd", &args, "version");
                self.ok("load -q -i /srv/busybox.tar");
            }
            Kind::Containerd => {
                world.write("/srv/containerd/config.toml", CONTAINERD_TOML);
                self.start_daemon("containerd", "-c /srv/containerd/config.toml", "version");
                self.ok("image import /srv/busybox.tar");
            }
        }
        self.world.rebase();
    }

    #[track_caller]
    fn start_daemon(&mut self, program: &str, args: &str, probe: &str) {
        let daemon = self.world.job(program, args).start();
        let up = wait_for(Duration::from_secs(20), || {
            let socket = match self.kind {
                Kind::Containerd => "/srv/containerd/socket",
                _ => "/srv/docker/socket",
            };
            self.world.exists(socket) && self.run(probe).code == 0
        });
        assert!(up, "{program} does not answer\n{}", daemon.stderr());
        self.daemon = Mutex::new(Some(daemon));
    }

    /// The host it runs on.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Runs the client with these arguments to its end.
    #[track_caller]
    pub fn run(&self, args: impl Args) -> Output {
        let words = self.words(args);
        self.world.job(&words[0], words[1..].to_vec()).run()
    }

    /// Runs the client, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ok(&self, args: impl Args) -> String {
        self.run(args).success().text()
    }

    /// Starts the client and returns at once.
    #[track_caller]
    pub fn start(&self, args: impl Args) -> Running {
        let words = self.words(args);
        self.world.job(&words[0], words[1..].to_vec()).start()
    }

    /// Runs the client on a terminal of 24 by 80.
    #[track_caller]
    pub fn terminal(&self, args: impl Args) -> Terminal {
        self.world.terminal_of(self.words(args))
    }

    /// The whole command line. podman has no setting for the cgroup that new
    /// containers are below, so each is told; a pod's follow the pod.
    fn words(&self, args: impl Args) -> Vec<String> {
        let mut words = args.words();
        if self.kind == Kind::Podman && words[0] == "run" && !words.contains(&"--pod".into()) {
            words.insert(1, format!("--cgroup-parent=/{}", self.world.cgroup_parent()));
        }
        [self.command.clone(), words].concat()
    }

    /// The pid of a container's first process, as its host sees it.
    #[track_caller]
    pub fn pid_of(&self, container: &str) -> u32 {
        let text = match self.kind {
            Kind::Podman | Kind::Docker | Kind::RemappedDocker => {
                self.ok(["inspect", "--format", "{{.State.Pid}}", container])
            }
            Kind::Containerd => {
                let list = self.ok("task ls");
                let line =
                    list.lines().find(|line| line.split_whitespace().next() == Some(container));
                line.and_then(|l| l.split_whitespace().nth(1)).unwrap_or_default().to_owned()
            }
        };
        text.parse().unwrap_or_else(|_| panic!("no pid of {container}: {text}"))
    }

    /// What a cgroup of the container says: "controller/file" on version 1, `v2`
    /// on version 2.
    #[track_caller]
    pub fn cgroup_of(&self, container: &str, v1: &str, v2: &str) -> String {
        self.world.cgroup_of_pid(self.pid_of(container), v1, v2)
    }

    /// Removes a cgroup that the client made for several containers and leaves,
    /// if it is empty. podman removes a pod's from the controllers it knows, not
    /// from systemd's hierarchy nor from the unified one, whatever the runtime.
    pub fn remove_empty_cgroup(&self, name: &str) {
        leaks::remove_empty_cgroup(self.world.cgroup_parent(), name);
    }

    fn end_daemon(&mut self) {
        let daemon = self.daemon.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(daemon) = daemon else { return };
        daemon.signal(rustix::process::Signal::TERM);
        let output = daemon.wait(Duration::from_secs(30));
        if self.failed.load(Ordering::Relaxed) {
            eprintln!("{}", Tail(&output));
        }
    }
}

/// The end of a daemon's log, for the reader of a failed test.
struct Tail<'a>(&'a Output);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0.command)?;
        let lines: Vec<&str> = self.0.stderr.lines().collect();
        let tail = lines.len().saturating_sub(40);
        lines[tail..].iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end_daemon();
        // Mounts that clients make for themselves and keep: podman's own store
        // and where it puts namespaces, dockerd's namespace of the host.
        // A removed container's monitor calls podman once more, which mounts again.
        let own = "for nth in $(seq 50); do pidof conmon podman >/dev/null || break; sleep 0.1; done; \
            umount -q /srv/podman/overlay /run/netns /run/docker/netns/default; \
            umount -q /srv/docker/run/netns/default; nft flush ruleset";
        self.world.sh(own);
        if self.failed.load(Ordering::Relaxed) {
            self.world.pardon();
        }
        // podman puts its monitors in one cgroup beside the containers and leaves it.
        self.remove_empty_cgroup("conmon");
    }
}

/// The runtime under test.
fn runtime() -> PathBuf {
    let path = match std::env::var_os("RCNT_OCI_BINARY") {
        Some(path) => PathBuf::from(path),
        None => beside_the_tests("rcnt-oci"),
    };
    path.canonicalize().unwrap_or_else(|error| {
        let shown = path.display();
        panic!("{shown}: {error}: run `cargo build -p rcnt-runtime` or set RCNT_OCI_BINARY")
    })
}
