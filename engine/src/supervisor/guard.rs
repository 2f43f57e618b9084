//! What a supervisor does about its container's rules while it runs: somebody may
//! take them away with everybody's (`nft flush ruleset`, a firewall's restart), and
//! then they are back in a moment, without waiting for the next command.

use std::time::{Duration, Instant};

use rcnt_base::report;
use rcnt_netstack::guard::RulesWatch;
use rcnt_netstack::plan::table_name;
use rustix::event::{PollFd, PollFlags};

use crate::container::Container;
use crate::paths::Paths;
use crate::{network, repair};

/// A container that ends sooner costs nothing.
const AFTER_START: Duration = Duration::from_millis(500);
/// Between two repairs: somebody may take rules away again and again.
const PAUSE: Duration = Duration::from_millis(100);
/// Supervisors that all have something to bring back do not do so at one moment.
const SPREAD: u32 = 16;

#[derive(Debug)]
enum Watch {
    /// It begins then.
    Later(Instant),
    On(RulesWatch),
    /// There are no rules of this container.
    Off,
}

/// The rules of one running container.
#[derive(Debug)]
pub(super) struct Guard {
    watch: Watch,
    /// When to bring them back.
    at: Option<Instant>,
    last: Option<Instant>,
}

impl Guard {
    /// For a container that has just been started.
    pub(super) fn new() -> Self {
        Self { watch: Watch::Later(Instant::now() + AFTER_START), at: None, last: None }
    }

    /// When it wants to be served, whatever happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// What to poll.
    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        match &self.watch {
            Watch::On(watch) => Some(PollFd::new(watch, PollFlags::IN)),
            Watch::Later(_) | Watch::Off => None,
        }
    }

    /// The container may be on a bridge now, and was not.
    pub(super) fn networks_changed(&mut self) {
        if matches!(self.watch, Watch::Off) {
            self.watch = Watch::Later(Instant::now());
        }
    }

    /// Begins to watch when it is time; looks at what was `told`; brings back what is
    /// lost, and says so.
    pub(super) fn serve(&mut self, paths: &Paths, container: &Container, told: bool) -> bool {
        let now = Instant::now();
        if matches!(self.watch, Watch::Later(at) if at <= now) {
            self.begin(paths, container);
        }
        if told && self.has_lost() {
            let spread = Duration::from_millis(u64::from(std::process::id() % SPREAD));
            let soonest = self.last.map_or(now, |last| last + PAUSE);
            self.at = self.at.or(Some(soonest.max(now + spread)));
        }
        if self.at.is_some_and(|at| at <= now) {
            let done = repair::publish_own(paths, &container.id);
            self.last = Some(now);
            self.at = (!done).then(|| now + PAUSE);
            return done;
        }
        false
    }

    fn begin(&mut self, paths: &Paths, container: &Container) {
        let ruled = network::plans(paths, &container.id)
            .iter()
            .any(|plan| plan.host.firewall && plan.wire.bridge().is_some());
        self.watch = Watch::Off;
        if !ruled {
            return;
        }
        match RulesWatch::begin(&table_name(&paths.roots.instance())) {
            // They may have gone between the start and this moment.
            Ok(watch) => (self.watch, self.at) = (Watch::On(watch), Some(Instant::now())),
            Err(error) => log::warn!("cannot watch the firewall: {}", report::chain(&error)),
        }
    }

    fn has_lost(&mut self) -> bool {
        let Watch::On(watch) = &mut self.watch else { return false };
        watch.has_lost().unwrap_or_else(|error| {
            log::warn!("cannot watch the firewall any more: {}", report::chain(&error));
            self.watch = Watch::Off;
            true
        })
    }
}
