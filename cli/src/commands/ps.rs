//! `ps`.

use std::time::Duration;

use rcnt_base::ids::ContainerId;
use rcnt_engine::images::{Reference, Store};
use rcnt_engine::netstack::ports::{ContainerPort, listing};
use rcnt_engine::request::MountSource;
use rcnt_engine::{Container, Engine, Status};
use time::OffsetDateTime;

use super::disk;
use crate::args::container::PsFlags;
use crate::failure::Failure;
use crate::render::filter::{Filters, label_matches, pattern_matches};
use crate::render::listing::{Column, Listing};
use crate::render::template::quoted;
use crate::render::{self, ellipsis, human, time::go_string};

const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "expose", "id", "label", "name", "network", "publish", "since",
    "status", "volume",
];
/// docker's states; those that containers here never are in match none.
const STATES: &[&str] =
    &["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// `ps`.
///
/// # Errors
/// A wrong filter or template.
pub(super) fn ps(engine: &Engine, flags: &PsFlags) -> Result<u8, Failure> {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let wanted = Wanted::new(engine, &filters)?;
    let last = match flags.last {
        _ if flags.latest => Some(1),
        Some(n) => usize::try_from(n).ok().filter(|n| *n > 0),
        None => None,
    };
    // A filter by state says itself which states to show.
    let all = flags.all || last.is_some() || filters.has("status") || filters.has("exited");
    let bare = flags.quiet && flags.format.is_none();
    let short = |id: &ContainerId| match flags.no_trunc {
        true => format!("{id}\n"),
        false => format!("{}\n", id.short()),
    };
    if bare && filters.is_empty() {
        let mut sketches = engine.sketches()?;
        sketches.retain(|sketch| all || sketch.status == Status::Running);
        sketches.truncate(last.unwrap_or(usize::MAX));
        render::out(&sketches.iter().map(|sketch| short(&sketch.id)).collect::<String>())?;
        return Ok(0);
    }
    let mut containers = engine.list()?;
    let order: Vec<String> = containers.iter().map(|c| c.id.to_string()).collect();
    containers.retain(|c| (all || c.state.status == Status::Running) && wanted.holds(c, &order));
    containers.truncate(last.unwrap_or(usize::MAX));
    if bare {
        render::out(&containers.iter().map(|c| short(&c.id)).collect::<String>())?;
        return Ok(0);
    }
    let now = OffsetDateTime::now_utc();
    // Sizes are looked up only for those who ask: that walks file trees.
    let sized = flags.size || flags.format.as_deref().is_some_and(|f| f.contains(".Size"));
    let named =
        flags.format.as_deref().is_some_and(|f| f.contains("Networks") || f.contains("json"));
    let rows: Vec<Row> = containers
        .into_iter()
        .map(|container| Row {
            size: sized.then(|| disk::sizes(engine, &container)),
            networks: if named { engine.networks_of(&container) } else { Vec::new() },
            container,
            now,
            full: flags.no_trunc,
        })
        .collect();
    let listing = if flags.size { &SIZED } else { &PLAIN };
    render::out(&listing.render(&rows, flags.format.as_deref())?)?;
    Ok(0)
}

/// The filters, with all that must be looked up looked up.
struct Wanted<'a> {
    engine: &'a Engine,
    filters: &'a Filters,
    /// Image ids of the `ancestor`s that are here.
    ancestors: Vec<String>,
    /// Ids of the containers `before` and `since` name.
    before: Vec<String>,
    since: Vec<String>,
}

impl<'a> Wanted<'a> {
    fn new(engine: &'a Engine, filters: &'a Filters) -> Result<Self, Failure> {
        for state in filters.values("status") {
            if !STATES.contains(&state) {
                return Err(Failure::general(format!("invalid filter 'status={state}'"))
                    .hint(format!("the states are: {}", STATES.join(", "))));
            }
        }
        for code in filters.values("exited") {
            if code.parse::<i32>().is_err() {
                return Err(Failure::general(format!("invalid filter 'exited={code}'")));
            }
        }
        let ids = |key: &str| -> Result<Vec<String>, Failure> {
            filters.values(key).map(|name| Ok(engine.find(name)?.id.to_string())).collect()
        };
        let image = |store: &Store, name: &str| store.resolve(name).ok().map(|i| i.id.to_string());
        let ancestors = match filters.has("ancestor") {
            true => {
                let store = engine.store()?;
                filters.values("ancestor").filter_map(|name| image(&store, name)).collect()
            }
            false => Vec::new(),
        };
        Ok(Self { engine, filters, ancestors, before: ids("before")?, since: ids("since")? })
    }

    /// Whether the container is wanted; `order` are all ids, newest first.
    fn holds(&self, container: &Container, order: &[String]) -> bool {
        let Container { id, name, record, state } = container;
        let filters = self.filters;
        let age = |id: &str| order.iter().position(|known| known == id);
        // Looked up for who asks: each is a walk through all of them.
        let (ours, older) = (|| age(id.as_str()), |id: &String| age(id));
        filters.any("id", |v| pattern_matches(&format!("^(?:{v})"), id.as_str()))
            && filters.any("name", |v| pattern_matches(v.trim_start_matches('/'), name.as_str()))
            && filters.any("status", |v| v == state.status.as_str())
            && filters.any("exited", |v| {
                state.status == Status::Exited && v.parse() == Ok(state.exit_code)
            })
            && filters.all("label", |v| label_matches(v, record.config.labels.iter()))
            && (!filters.has("ancestor") || self.descends(container))
            && (!filters.has("network") || self.is_connected(container))
            && filters.any("publish", |v| {
                let is = |p: &rcnt_engine::netstack::ports::PublishedPort| {
                    port_matches(v, p.container_port, p.protocol.as_str())
                        || port_matches(v, p.host_port, p.protocol.as_str())
                };
                state.ports.iter().any(is)
            })
            && filters.any("expose", |v| {
                let is = |p: &ContainerPort| port_matches(v, p.port, p.protocol.as_str());
                record.config.exposed.iter().any(is)
            })
            && filters.any("volume", |v| mounts(container).iter().any(|(s, d)| s == v || d == v))
            && self.before.iter().all(|other| ours() > older(other))
            && self.since.iter().all(|other| ours() < older(other))
    }

    fn is_connected(&self, container: &Container) -> bool {
        let names = self.engine.networks_of(container);
        let id = |v: &str| container.state.endpoints.iter().any(|e| e.network_id.starts_with(v));
        self.filters.any("network", |v| names.iter().any(|n| n == v) || v.len() >= 12 && id(v))
    }

    fn descends(&self, container: &Container) -> bool {
        let record = &container.record;
        let name = |text: &str| text.parse::<Reference>().ok();
        self.ancestors.iter().any(|id| id == record.image_id.as_str())
            || self.filters.values("ancestor").any(|typed| {
                record.image_id.hex().starts_with(typed)
                    || (name(typed).is_some() && name(typed) == name(&record.request.image))
            })
    }
}

/// `80`, `80/tcp` or `80-90/udp` against a port.
fn port_matches(filter: &str, port: u16, protocol: &str) -> bool {
    let (range, wanted) = filter.split_once('/').unwrap_or((filter, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    wanted == protocol
        && matches!((first.parse::<u16>(), last.parse::<u16>()),
            (Ok(first), Ok(last)) if (first..=last).contains(&port))
}

/// One line of `ps`.
pub(super) struct Row {
    container: Container,
    now: OffsetDateTime,
    /// The names of its networks, where they are shown.
    networks: Vec<String>,
    /// Bytes written, and with the image's.
    size: Option<(u64, u64)>,
    /// `--no-trunc`.
    full: bool,
}

impl Row {
    fn image(&self) -> String {
        let image = &self.container.record.request.image;
        match image.strip_prefix("sha256:") {
            Some(hex) if !self.full => hex.chars().take(12).collect(),
            _ => image.clone(),
        }
    }

    fn command(&self) -> String {
        let command = self.container.record.config.args().join(" ");
        quoted(&if self.full { command } else { ellipsis(&command, 20) })
    }

    fn ago(&self, then: OffsetDateTime) -> String {
        // A clock that was set back must not make an age of centuries.
        human::duration(Duration::try_from(self.now - then).unwrap_or_default())
    }

    fn status(&self) -> String {
        let state = &self.container.state;
        match state.status {
            Status::Created => "Created".to_owned(),
            Status::Running => match state.started {
                Some(started) => format!("Up {}", self.ago(started)),
                None => "Up".to_owned(),
            },
            Status::Exited => match state.finished {
                Some(at) => format!("Exited ({}) {} ago", state.exit_code, self.ago(at)),
                None => format!("Exited ({})", state.exit_code),
            },
        }
    }

    fn ports(&self) -> String {
        let Container { record, state, .. } = &self.container;
        match state.status {
            Status::Running => listing(&state.ports, &record.config.exposed),
            _ => String::new(),
        }
    }

    fn size(&self) -> String {
        let (written, all) = self.size.unwrap_or_default();
        match all {
            0 => human::size(written),
            _ => format!("{} (virtual {})", human::size(written), human::size(all)),
        }
    }

    fn mounts(&self) -> String {
        let names = mounts(&self.container).into_iter().map(|(source, _)| match self.full {
            true => source,
            false => ellipsis(&source, 15),
        });
        names.collect::<Vec<_>>().join(",")
    }
}

/// Sources (paths or volume names) and destinations.
fn mounts(container: &Container) -> Vec<(String, String)> {
    let record = &container.record;
    let volumes = record.volumes.iter();
    let volumes = volumes.map(|v| (v.name.to_string(), v.destination.display().to_string()));
    let binds = record.request.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path, .. } => {
            Some((path.display().to_string(), mount.destination.display().to_string()))
        }
        _ => None,
    });
    volumes.chain(binds).collect()
}

const COLUMNS: &[Column<Row>] = &[
    Column { field: "Command", title: "COMMAND", cell: Row::command },
    Column {
        field: "CreatedAt",
        title: "CREATED AT",
        cell: |row| go_string(row.container.record.created),
    },
    Column {
        field: "ID",
        title: "CONTAINER ID",
        cell: |row| match row.full {
            true => row.container.id.to_string(),
            false => row.container.id.short().to_owned(),
        },
    },
    Column { field: "Image", title: "IMAGE", cell: Row::image },
    Column {
        field: "Labels",
        title: "LABELS",
        cell: |row| {
            let labels = row.container.record.config.labels.iter();
            labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        },
    },
    Column {
        field: "LocalVolumes",
        title: "LOCAL VOLUMES",
        cell: |row| row.container.record.volumes.len().to_string(),
    },
    Column { field: "Mounts", title: "MOUNTS", cell: Row::mounts },
    Column { field: "Names", title: "NAMES", cell: |row| row.container.name.to_string() },
    Column { field: "Networks", title: "NETWORKS", cell: |row| row.networks.join(",") },
    Column { field: "Ports", title: "PORTS", cell: Row::ports },
    Column {
        field: "RunningFor",
        title: "CREATED",
        cell: |row| row.ago(row.container.record.created) + " ago",
    },
    Column { field: "Size", title: "SIZE", cell: Row::size },
    Column {
        field: "State",
        title: "STATE",
        cell: |row| row.container.state.status.as_str().to_owned(),
    },
    Column { field: "Status", title: "STATUS", cell: Row::status },
];

fn label(row: &Row, key: &str) -> Option<String> {
    row.container.record.config.labels.get(key).cloned()
}

const PLAIN: Listing<Row> = Listing {
    columns: COLUMNS,
    default: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
    label,
};
const SIZED: Listing<Row> = Listing {
    columns: COLUMNS,
    default: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"],
    label,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_matched_with_protocol_and_range() {
        assert!(port_matches("80", 80, "tcp"));
        assert!(!port_matches("80", 80, "udp"));
        assert!(port_matches("50-60/udp", 53, "udp"));
        assert!(!port_matches("x", 80, "tcp"));
    }

    #[test]
    fn columns_are_in_dockers_json_order() {
        assert!(COLUMNS.is_sorted_by_key(|column| column.field));
        for listing in [&PLAIN, &SIZED] {
            let known = |field: &&str| COLUMNS.iter().any(|column| column.field == *field);
            assert!(listing.default.iter().all(known));
        }
    }
}
