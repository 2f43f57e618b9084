//! Containers without a daemon: their lifecycle, supervisor and state. The
//! state is files, the locks are flock(2), the watch over each container is a
//! small process of its own.
//!
//! - [`request`] flags → what is wanted (pure); [`plan`] → what is done (pure)
//! - [`mod@create`], [`mod@start`], [`mod@stop`], [`mod@exec`], [`logs`], [`inspect`]  the verbs
//! - [`mod@capture`]  packets of a container; [`mod@graph`] a picture of the network;
//!   [`mod@trace`] a probe through it
//! - [`container`], [`records`], [`paths`]  what is stored, and where
//! - [`journal`] the undo list; [`repair`] what a crash left
//! - [`supervisor`] the process beside each container; [`session`] its clients
//!
//! The engine joins `runtime`, `netstack` and `images`, which do not know each
//! other. It is a library with a typed API: the CLI is one front end.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use rcnt_base::sys::child::{self, Rest};
use rcnt_base::sys::sealed;

pub use rcnt_base::roots::Roots;
pub use rcnt_images as images;
pub use rcnt_netstack as netstack;

pub mod capture;
pub mod config;
pub mod container;
pub mod create;
pub mod drift;
mod error;
mod etc_files;
pub mod exec;
mod facts;
pub mod graph;
mod input;
pub mod inspect;
pub mod journal;
mod links;
pub mod logs;
mod names;
mod network;
mod networks;
pub mod paths;
pub mod plan;
mod ports;
pub mod pull;
pub mod records;
mod removal;
pub mod repair;
pub mod request;
pub mod resolver;
pub mod session;
pub mod signals;
pub mod start;
pub mod stop;
pub mod supervisor;
pub mod trace;
mod volumes;

pub use config::{Config, ConfigSource};
pub use container::{Container, Endpoint, Record, State, Status};
pub use error::{EngineError, Result};
pub use exec::ExecArgs;
pub use logs::{LogLine, LogOptions, LogReader};
pub use pull::{PullOptions, PullPolicy};
pub use rcnt_runtime::spawn::WindowSize;
pub use records::Sketch;
pub use request::{RunArgs, RunRequest};
pub use session::{Event, Session};
pub use start::StartMode;

use images::progress::Progress;
use paths::Paths;

/// One instance of rcnt: its files and its configuration.
#[derive(Debug)]
pub struct Engine {
    /// Where its files are.
    pub paths: Paths,
    /// Its defaults.
    pub config: Config,
}

/// Makes the calling process safe to have containers as children: closes every
/// descriptor it inherited above stderr, and executes itself once more from a
/// sealed mount of its own file, so that nothing a container finds in
/// `/proc/<pid>/exe` can be written to (CVE-2019-5736). To be called first by
/// every command that starts or enters a container, before it opens anything.
///
/// # Errors
/// The kernel is too old.
pub fn seal() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        // Told, better, by Engine::open.
        return Ok(());
    }
    let sealed = child::inherit_only(2, Rest::Close).and_then(|()| sealed::seal_self());
    let old =
        |e: &std::io::Error| e.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error());
    match sealed {
        Err(e) if old(&e) => Err(EngineError::Unsupported(
            "this kernel is too old: rcnt needs Linux 5.12 or later (mount_setattr)".into(),
        )),
        sealed => sealed.map_err(EngineError::state("cannot seal rcnt's own file")),
    }?;
    // Older kernels name a process executed by descriptor after its number.
    rustix::thread::set_name(c"rcnt").map_err(|e| EngineError::state("cannot name rcnt")(e.into()))
}

impl Engine {
    /// Opens an instance; makes its directories; cleans up after crashes.
    ///
    /// # Errors
    /// Not root, a wrong configuration, a full or read-only disk.
    pub fn open(roots: Roots, config: &ConfigSource) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(EngineError::NotRoot);
        }
        let config = Config::read(config)?;
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(EngineError::state("cannot find the current directory"))
        };
        let roots = Roots { data: absolute(&roots.data)?, exec: absolute(&roots.exec)? };
        roots.create().map_err(EngineError::state("cannot use the data and exec roots"))?;
        let engine = Self { paths: Paths { roots }, config };
        repair::repair(&engine.paths)?;
        network::mend(&engine);
        Ok(engine)
    }

    /// The image store.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn store(&self) -> Result<images::Store> {
        images::Store::open(&self.paths.images()).map_err(|e| EngineError::Image(Box::new(e)))
    }

    fn image_by_id(&self, id: &rcnt_base::ids::Digest) -> Result<images::Image> {
        let image = self.store()?.resolve(id.as_str());
        image.map_err(|e| EngineError::Resolve(Box::new(e)))
    }

    /// Below which cgroup a container's own is made.
    fn cgroup_parent(&self, request: &RunRequest) -> PathBuf {
        let parent = request.cgroup_parent.as_ref().or(self.config.cgroup_parent.as_ref());
        match parent {
            Some(parent) => PathBuf::from(parent.trim_matches('/')),
            None => PathBuf::from(rcnt_netstack::plan::table_name(&self.paths.roots.instance())),
        }
    }

    /// Finds a container by full id, name or unique id prefix.
    ///
    /// # Errors
    /// Nobody, or several.
    pub fn find(&self, reference: &str) -> Result<Container> {
        let container = records::find(&self.paths, reference)?;
        let gone = || EngineError::NoSuchContainer(reference.to_owned());
        repair::settle(&self.paths, container, false)?.ok_or_else(gone)
    }

    /// Every container, newest first.
    ///
    /// # Errors
    /// The directory of containers cannot be read.
    pub fn list(&self) -> Result<Vec<Container>> {
        let living = repair::Living::open(&self.paths);
        let mut all = Vec::new();
        for container in records::list(&self.paths)? {
            if container.state.status == container::Status::Running && living.has(&container.id) {
                all.push(container);
            } else {
                all.extend(repair::settle(&self.paths, container, false)?);
            }
        }
        Ok(all)
    }

    /// Every container in outline, newest first.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn sketches(&self) -> Result<Vec<Sketch>> {
        let living = repair::Living::open(&self.paths);
        let mut all = Vec::new();
        for sketch in records::sketches(&self.paths)? {
            if sketch.status != Status::Running || living.has(&sketch.id) {
                all.push(sketch);
                continue;
            }
            let Some(container) = records::load(&self.paths, &sketch.id)? else { continue };
            let settled = repair::settle(&self.paths, container, false)?;
            all.extend(settled.map(|c| Sketch { status: c.state.status, ..sketch }));
        }
        Ok(all)
    }

    fn reload(&self, container: &Container) -> Result<Container> {
        self.load_settled(container, false)
    }

    /// [`Self::reload`] for who holds the right to change the container.
    fn reload_locked(&self, container: &Container) -> Result<Container> {
        self.load_settled(container, true)
    }

    fn load_settled(&self, container: &Container, locked: bool) -> Result<Container> {
        let gone = || EngineError::NoSuchContainer(container.name.to_string());
        let now = records::load(&self.paths, &container.id)?.ok_or_else(gone)?;
        repair::settle(&self.paths, now, locked)?.ok_or_else(gone)
    }

    /// Stores a new container. See [`create::create`].
    ///
    /// # Errors
    /// Anything wrong with the arguments, the image or the name.
    pub fn create(
        &self,
        args: &RunArgs,
        pull: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Container> {
        create::create(self, args, pull, progress)
    }

    /// Starts a stored container. See [`start::start`].
    ///
    /// # Errors
    /// Why it does not run.
    pub fn start(&self, container: &Container, mode: StartMode) -> Result<Session> {
        start::start(self, container, mode)
    }

    /// Creates and starts; a container that does not start is removed again.
    ///
    /// # Errors
    /// As [`Engine::create`] and [`Engine::start`].
    pub fn run(&self, container: &Container, mode: StartMode) -> Result<Session> {
        self.start(container, mode).inspect_err(|_| {
            // Its own error is what the user should read.
            let _ = removal::remove_files(&self.paths, container, true);
        })
    }

    /// Connects to a running container.
    ///
    /// # Errors
    /// It does not run.
    pub fn attach(&self, container: &Container, stdin: bool, output: bool) -> Result<Session> {
        session::Remote::connect(&self.paths.run(&container.id), stdin, output)
            .map(Session::Remote)
            .map_err(|_| EngineError::NotRunning(container.name.to_string()))
    }

    /// Runs one more process in a container, its streams in the caller's hands.
    ///
    /// # Errors
    /// The container does not run, or the process does not start.
    pub fn exec(&self, container: &Container, args: &ExecArgs) -> Result<Session> {
        exec::exec(self, container, args)
    }

    /// Runs one more process in a container and leaves it there.
    ///
    /// # Errors
    /// As [`Engine::exec`].
    pub fn exec_detached(&self, container: &Container, args: &ExecArgs) -> Result<()> {
        exec::exec_detached(self, container, args)
    }

    /// Stops a container. See [`stop::stop`].
    ///
    /// # Errors
    /// As [`stop::stop`].
    pub fn stop(&self, c: &Container, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        stop::stop(self, c, signal, timeout)
    }

    /// Stops and starts a container. See [`stop::restart`].
    ///
    /// # Errors
    /// As [`stop::restart`].
    pub fn restart(&self, c: &Container, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        stop::restart(self, c, signal, timeout)
    }

    /// The names of the networks a container is on, or shall be on when it runs.
    pub fn networks_of(&self, container: &Container) -> Vec<String> {
        network::names_of(&self.paths, container)
    }

    /// Puts a container on one more network, whether it runs or not.
    ///
    /// # Errors
    /// It is on it already, or cannot be.
    pub fn connect(&self, container: &Container, args: &request::EndpointArgs) -> Result<()> {
        network::connect(self, container, args)
    }

    /// Takes a container off a network, whether it runs or not.
    ///
    /// # Errors
    /// It is not on it.
    pub fn disconnect(&self, container: &Container, network: &str) -> Result<()> {
        network::disconnect(self, container, network)
    }

    /// Signals a container. See [`stop::kill`].
    ///
    /// # Errors
    /// As [`stop::kill`].
    pub fn kill(&self, container: &Container, signal: &str) -> Result<()> {
        stop::kill(self, container, signal)
    }

    /// Removes a container. See [`stop::remove`].
    ///
    /// # Errors
    /// As [`stop::remove`].
    pub fn remove(&self, container: &Container, force: bool, volumes: bool) -> Result<()> {
        stop::remove(self, container, force, volumes)
    }

    /// Waits for a container's end. See [`stop::wait`].
    ///
    /// # Errors
    /// As [`stop::wait`].
    pub fn wait(&self, container: &Container) -> Result<i32> {
        stop::wait(self, container)
    }

    /// The container in docker's JSON. See [`inspect::container`].
    pub fn inspect(&self, container: &Container) -> serde_json::Value {
        inspect::container(self, container)
    }

    /// Begins to capture a container's packets. See [`capture::capture`].
    ///
    /// # Errors
    /// As [`capture::capture`].
    pub fn capture(
        &self,
        container: &Container,
        args: &capture::CaptureArgs,
    ) -> Result<capture::ContainerCapture> {
        capture::capture(self, container, args)
    }

    /// The facts of a picture of the network. See [`graph::graph`].
    ///
    /// # Errors
    /// As [`graph::graph`].
    pub fn graph(&self) -> Result<netstack::graph::Graph> {
        graph::graph(self)
    }

    /// Sends a probe and follows it. See [`trace::trace`].
    ///
    /// # Errors
    /// As [`trace::trace`].
    pub fn trace(&self, args: &trace::TraceArgs) -> Result<netstack::trace::Report> {
        trace::trace(self, args)
    }

    /// Opens a container's log. See [`logs::open`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn logs(&self, container: &Container, options: &LogOptions) -> Result<LogReader> {
        logs::open(self, container, options)
    }
}
