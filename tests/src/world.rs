//! One test's machine: see [`World`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::leaks::{self, Baseline};
use crate::{Args, Job, Lan, Output, Running, Space, Terminal, fixtures, http};

/// Where things are inside every world; outside it is an empty directory.
const BASE: &str = "/srv";

/// Runs in the new namespaces. $1: rcnt, $2: what /etc/resolv.conf says.
/// A tmpfs holds both roots: it is quick, allows overlays where / itself is an
/// overlay, and is gone with the mount namespace.
const SETUP: &str = r#"
base=$(mktemp -d); mount -t tmpfs -o mode=755 rcnt-test "$base"
mkdir -p "$base"/{bin,etc,home,cgroup,tmp}; touch "$base/bin/rcnt"
mount --bind "$1" "$base/bin/rcnt"
printf '%s' "$2" >"$base/etc/resolv.conf"
mount --bind "$base/etc/resolv.conf" "$(readlink -f /etc/resolv.conf)"
mount --rbind /sys/fs/cgroup "$base/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$base/cgroup" /sys/fs/cgroup; umount -l "$base/cgroup"; rmdir "$base/cgroup"
mount --move "$base" /srv; rmdir "$base"
"#;

/// A "host" of its own for one test: network, mount and pid namespaces, empty
/// roots, a private cgroup parent, `eth0` to a LAN. Tests run side by side.
///
/// Dropping it removes the containers that are left, then fails the test if
/// anything else is: links, rules, mounts, cgroups, processes, claims.
#[derive(Debug)]
pub struct World {
    // Fields drop in order: the host's processes end before the LAN goes.
    space: Space,
    lan: Lan,
    helpers: Mutex<Vec<Running>>,
    cgroup_parent: String,
    baseline: Mutex<Baseline>,
    checked: bool,
}

impl World {
    /// The host's address on the LAN.
    pub const V4: &str = "192.0.2.10";
    /// The host's IPv6 address on the LAN.
    pub const V6: &str = "2001:db8::10";
    /// The data root, inside.
    pub const DATA: &str = "/srv/data";
    /// The exec root, inside.
    pub const EXEC: &str = "/srv/run";
    /// The configuration file, inside.
    pub const CONFIG: &str = "/srv/etc/config.toml";

    /// A world without images.
    #[track_caller]
    pub fn empty() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let nth = COUNTER.fetch_add(1, Ordering::Relaxed);
        let binary = binary();
        let resolv = "nameserver 192.0.2.53\nsearch lan.test\n";
        let lan = Lan::new();
        let space = Space::new(SETUP, &[&binary.to_string_lossy(), resolv]);
        space.ip(&format!(
            "link set lo up\n\
             link add eth0 type veth peer name eth0 netns {}\n\
             link set eth0 up\n\
             addr add {}/24 dev eth0\n\
             addr add {}/64 dev eth0 nodad\n",
            lan.space().init(),
            Self::V4,
            Self::V6
        ));
        lan.space().ip(&format!(
            "link set lo up\nlink set eth0 up\n\
             addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n",
            Lan::V4,
            Lan::V6
        ));
        space.ip(&format!(
            "route add default via {}\nroute add default via {}\n",
            Lan::V4,
            Lan::V6
        ));
        let cgroup_parent = format!("rcnt-test-{}-{nth}", std::process::id());
        let baseline = Mutex::default();
        let world =
            Self { space, lan, helpers: Mutex::default(), cgroup_parent, baseline, checked: false };
        world.configure("");
        world.rebase();
        world
    }

    /// A world that has the image `busybox`.
    #[track_caller]
    pub fn new() -> Self {
        let world = Self::empty();
        world.load(&fixtures::busybox());
        world
    }

    /// A world that has the image `web` and `probe` too.
    #[track_caller]
    pub fn with_servers() -> Self {
        let world = Self::new();
        world.load(&fixtures::web());
        world.load(&fixtures::probe());
        world
    }

    /// The namespaces of the host.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The other machine on the network.
    pub fn lan(&self) -> &Lan {
        &self.lan
    }

    /// The name of the cgroup that the containers of this world are below.
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// What is there now was not left behind by rcnt.
    pub fn rebase(&self) {
        *self.baseline.lock().unwrap() = Baseline::of(&self.space);
    }

    /// Writes the configuration file: the cgroup parent, then `lines`.
    pub fn configure(&self, lines: &str) {
        let text = format!("cgroup-parent = \"{}\"\n{lines}", self.cgroup_parent);
        self.write(Self::CONFIG, text);
    }

    /// Changes what the host's /etc/resolv.conf says.
    pub fn write_resolv_conf(&self, text: &str) {
        self.write("/srv/etc/resolv.conf", text);
    }

    /// Writes a file of the world's own (below `/srv`), with its directories.
    #[track_caller]
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let outside = self.outside(path);
        std::fs::create_dir_all(outside.parent().unwrap()).unwrap();
        std::fs::write(outside, bytes).unwrap();
    }

    /// Reads a file of the host.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        match std::fs::read(self.outside(path)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => panic!("cannot read {path}: {error}"),
        }
    }

    /// Whether the host has this path; a symbolic link counts, wherever it leads.
    pub fn exists(&self, path: &str) -> bool {
        self.outside(path).symlink_metadata().is_ok()
    }

    /// How the machine sees a path of the host.
    pub fn outside(&self, path: &str) -> PathBuf {
        assert!(path.starts_with(BASE) || path.starts_with("/proc") || path.starts_with("/sys"));
        self.space.outside(path)
    }

    /// A command on the host with the instance's roots in its environment.
    pub fn job(&self, program: &str, args: impl Args) -> Job<'_> {
        Job::new(&self.space, program, args)
            .cwd("/srv/home")
            .env("RCNT_DATA_ROOT", Self::DATA)
            .env("RCNT_EXEC_ROOT", Self::EXEC)
            .env("RCNT_CONFIG", Self::CONFIG)
    }

    /// Runs `rcnt` with these arguments to its end.
    #[track_caller]
    pub fn rcnt(&self, args: impl Args) -> Output {
        self.job("rcnt", args).run()
    }

    /// Runs `rcnt`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ok(&self, args: impl Args) -> String {
        self.rcnt(args).success().text()
    }

    /// Starts `rcnt` and returns at once.
    #[track_caller]
    pub fn start(&self, args: impl Args) -> Running {
        self.job("rcnt", args).start()
    }

    /// Runs `rcnt` on a terminal of 24 by 80.
    #[track_caller]
    pub fn terminal(&self, args: impl Args) -> Terminal {
        let words = [vec!["--ctty".to_owned(), "rcnt".to_owned()], args.words()].concat();
        Terminal::new(self.job("setsid", words), 24, 80)
    }

    /// Runs any program on a terminal of 24 by 80.
    #[track_caller]
    pub fn terminal_of(&self, args: impl Args) -> Terminal {
        let words = [vec!["--ctty".to_owned()], args.words()].concat();
        Terminal::new(self.job("setsid", words), 24, 80)
    }

    /// Runs `rcnt` with faults injected into it and its children, the supervisor
    /// included: `inject` is what strace(1) takes, "mount:error=ENOMEM:when=2".
    #[track_caller]
    pub fn injected(&self, inject: &str, args: &str) -> Output {
        // -D: the tracer is nobody's parent, so we see rcnt end although the
        // supervisor goes on being traced. It must not hold our pipes meanwhile.
        let script = format!(
            "exec strace -D -f -qq -o /dev/null -e inject={inject} \
             rcnt {args} </dev/null >/srv/tmp/out 2>/srv/tmp/err"
        );
        let job = self.job("sh", ["-c", script.as_str()]).limit(Duration::from_secs(15));
        let mut output = job.run();
        output.command = format!("strace -f -e inject={inject} rcnt {args}");
        output.stdout = self.read("/srv/tmp/out");
        output.stderr = self.read("/srv/tmp/err");
        output
    }

    /// Runs a shell script on the host; `rcnt` is in its path.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        self.job("sh", ["-c", script]).run()
    }

    /// Runs a shell script, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ok_sh(&self, script: &str) -> String {
        self.sh(script).success().text()
    }

    /// Starts a program that runs until the end of the test.
    #[track_caller]
    pub fn helper(&self, program: &str, args: impl Args) {
        let running = self.job(program, args).start();
        self.helpers.lock().unwrap().push(running);
    }

    /// Puts a docker-archive through `rcnt load`.
    #[track_caller]
    pub fn load(&self, archive: &[u8]) -> Output {
        self.job("rcnt", "load").stdin(archive).run().success()
    }

    /// Fetches a page from the host: "127.0.0.1:8080".
    ///
    /// # Errors
    /// As [`http::get`].
    #[track_caller]
    pub fn fetch(&self, address: &str) -> io::Result<String> {
        self.space.inside_network(|| http::get(address.parse().unwrap(), "/"))
    }

    /// Fetches a page from the host, waiting a moment for its server to start.
    #[track_caller]
    pub fn page(&self, address: &str) -> String {
        http::patiently(address, || self.fetch(address))
    }

    /// What a `probe` says over TCP, waiting a moment for it to start.
    #[track_caller]
    pub fn page_tcp(&self, address: &str) -> String {
        http::patiently(address, || self.tcp(address, ""))
    }

    /// Sends `text` over TCP from the host and returns the whole answer.
    ///
    /// # Errors
    /// As [`http::tcp`].
    #[track_caller]
    pub fn tcp(&self, address: &str, text: &str) -> io::Result<String> {
        self.space.inside_network(|| http::tcp(address.parse().unwrap(), text))
    }

    /// Sends a datagram from the host and returns the answer.
    ///
    /// # Errors
    /// As [`http::udp`].
    #[track_caller]
    pub fn udp(&self, address: &str, text: &str) -> io::Result<String> {
        self.space.inside_network(|| http::udp(address.parse().unwrap(), text))
    }

    /// One field of `rcnt inspect`, as a JSON pointer: "/State/Pid".
    #[track_caller]
    pub fn inspect(&self, container: &str, pointer: &str) -> serde_json::Value {
        let output = self.rcnt(["inspect", container]).success();
        let all = output.json();
        match all.pointer(&format!("/0{pointer}")) {
            Some(value) => value.clone(),
            None => panic!("inspect shows no {pointer}\n{output}"),
        }
    }

    /// The container's first address on a bridge.
    #[track_caller]
    pub fn address_of(&self, container: &str) -> String {
        let networks = self.inspect(container, "/NetworkSettings/Networks");
        let first = networks.as_object().and_then(|all| all.values().next());
        let address = first.and_then(|n| n.get("IPAddress")).and_then(|a| a.as_str());
        address.unwrap_or_else(|| panic!("{container} has no address: {networks:#}")).to_owned()
    }

    /// The container's PID 1 as the host sees it.
    #[track_caller]
    pub fn pid_of(&self, container: &str) -> u32 {
        let pid = self.inspect(container, "/State/Pid");
        u32::try_from(pid.as_u64().unwrap_or_default()).unwrap()
    }

    /// What a cgroup of the container says: `v1` is "controller/file" of a
    /// version 1 hierarchy, `v2` the file of the unified one.
    #[track_caller]
    pub fn cgroup_of(&self, container: &str, v1: &str, v2: &str) -> String {
        self.cgroup_of_pid(self.pid_of(container), v1, v2)
    }

    /// What the cgroup of a process of the host says, named as in [`World::cgroup_of`].
    #[track_caller]
    pub fn cgroup_of_pid(&self, pid: u32, v1: &str, v2: &str) -> String {
        let lines = self.read(&format!("/proc/{pid}/cgroup"));
        let (controller, file) = v1.split_once('/').expect("controller/file");
        let find = |wanted: &str| {
            lines.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (names, path) = rest.split_once(':')?;
                names.split(',').any(|name| name == wanted).then(|| path.to_owned())
            })
        };
        let path = match find(controller) {
            Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{file}"),
            None => format!("/sys/fs/cgroup{}/{v2}", find("").unwrap_or_default()),
        };
        self.read(&path).trim().to_owned()
    }

    /// Sends signal `name` to pids as the host sees them.
    #[track_caller]
    pub fn kill(&self, name: &str, pid: u32) {
        self.sh(&format!("kill -s {name} {pid}")).success();
    }

    /// Processes of the host whose command line contains `text`.
    pub fn pids_with(&self, text: &str) -> Vec<u32> {
        let all = self.space.processes().into_iter();
        all.filter(|(_, line)| line.contains(text)).map(|(pid, _)| pid).collect()
    }

    fn end_helpers(&self) {
        // A failed test may have poisoned the lock; the helpers end all the same.
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Removes what containers are left and lists what else is.
    fn leftovers(&self) -> Vec<String> {
        self.end_helpers();
        let mut found = Vec::new();
        if self.exists(Self::DATA) {
            let listed = self.rcnt("ps -aq");
            let ids: Vec<&str> = listed.stdout.split_whitespace().collect();
            if listed.code != 0 {
                found.push(format!("ps -aq does not work:\n{listed}"));
            } else if !ids.is_empty() {
                let removed = self.rcnt([&["rm", "-f"], &ids[..]].concat().as_slice());
                if removed.code != 0 {
                    found.push(format!("containers cannot be removed:\n{removed}"));
                }
            }
            // Networks stay until somebody removes them.
            let pruned = self.rcnt("network prune -f");
            if pruned.code != 0 {
                found.push(format!("networks cannot be removed:\n{pruned}"));
            }
        }
        // The kernel takes namespaces apart after their last process is gone.
        let mut rest = Vec::new();
        let baseline = self.baseline.lock().unwrap();
        let gone = wait_for(Duration::from_secs(15), || {
            rest = leaks::find(&self.space, &baseline, &self.cgroup_parent);
            rest.is_empty()
        });
        if !gone {
            found.extend(rest);
        }
        found
    }

    /// Drops it without a check, after a failure that was already noted.
    pub fn abandon(mut self) {
        self.pardon();
    }

    /// Does not check when it is dropped.
    pub(crate) fn pardon(&mut self) {
        self.checked = true;
    }

    /// Checks now what dropping would check, for tests that go on afterwards.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        let found = self.leftovers();
        assert!(found.is_empty(), "left behind:\n  {}", found.join("\n  "));
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed && std::env::var_os("RCNT_TEST_KEEP").is_some() {
            eprintln!(
                "this test's world stays until you end the test. To look around:\n  \
                 nsenter -t {} -a env RCNT_DATA_ROOT={} RCNT_EXEC_ROOT={} RCNT_CONFIG={} \
                 PATH=/srv/bin:$PATH bash",
                self.space.init(),
                Self::DATA,
                Self::EXEC,
                Self::CONFIG
            );
            loop {
                std::thread::park();
            }
        }
        let found = if failed || self.checked { Vec::new() } else { self.leftovers() };
        self.checked = true;
        self.end_helpers();
        self.space.end();
        leaks::remove_cgroups(&self.cgroup_parent);
        assert!(found.is_empty(), "left behind:\n  {}", found.join("\n  "));
    }
}

/// A limit as it is on this machine: `RCNT_TEST_SLOWNESS` times as long, for
/// machines that are emulated. Nothing that is waited for takes longer for it.
pub(crate) fn patience(limit: Duration) -> Duration {
    static TIMES: OnceLock<u32> = OnceLock::new();
    let told = || std::env::var("RCNT_TEST_SLOWNESS").ok()?.parse().ok();
    limit * *TIMES.get_or_init(|| told().unwrap_or(1))
}

/// Polls `done` until it holds or `limit` has passed.
pub(crate) fn wait_for(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience(limit);
    loop {
        if done() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits at most ten seconds until `done` holds; fails with `what` otherwise.
#[track_caller]
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    assert!(wait_for(Duration::from_secs(10), done), "never happened: {what}");
}

/// The binary under test: `RCNT_BINARY`, or the one cargo built beside us.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RCNT_BINARY") {
        let path = PathBuf::from(path);
        return path.canonicalize().unwrap_or_else(|e| panic!("RCNT_BINARY {path:?}: {e}"));
    }
    let beside = beside_the_tests("rcnt");
    assert!(
        beside.exists(),
        "no {}: run `cargo build -p rcnt` or set RCNT_BINARY",
        beside.display()
    );
    beside
}

/// A binary in the directory cargo put this workspace's binaries in.
pub(crate) fn beside_the_tests(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let debug = test.parent().and_then(Path::parent).unwrap();
    debug.join(name)
}
