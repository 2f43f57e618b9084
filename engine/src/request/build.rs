//! The checks and defaults of `run` and `create`.

use std::collections::{BTreeMap, BTreeSet};

use rcnt_netstack::bandwidth::Bandwidth;
use rcnt_netstack::egress::EgressList;
use rcnt_netstack::names::{self, ExtraHost};
use rcnt_netstack::plan::Mac;
use rcnt_netstack::ports;
use rcnt_runtime::{capabilities, security};

use super::mounts::{self, MountRequest};
use super::network;
use super::{NetworkMode, RequestError, RunArgs, RunRequest, Ulimit, sizes};
use crate::signals;

/// Docker's size of /dev/shm.
const DEFAULT_SHM: u64 = 64 << 20;
/// Docker refuses less: the kernel could not even start the process.
const MINIMUM_MEMORY: u64 = 6 << 20;

/// Checks `args` and fills in defaults. `lookup` reads rcnt's own environment,
/// for `-e NAME` without a value.
///
/// # Errors
/// The first flag that is wrong, in one line.
pub fn build(
    args: &RunArgs,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<RunRequest, RequestError> {
    let (network, endpoints) = network::networks(args)?;
    network::check_conflicts(args, &network)?;
    if args.rm && args.image.is_empty() {
        return Err(RequestError::Conflict("--rm and no image"));
    }
    capability_names(args)?;
    security::parse(&args.security_opt).map_err(|e| RequestError::source("--security-opt", e))?;
    let memory = memory(args.memory.as_deref())?;
    Ok(RunRequest {
        image: args.image.clone(),
        command: args.command.clone(),
        entrypoint: args.entrypoint.as_ref().map(|e| match e.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        interactive: args.interactive,
        tty: args.tty,
        attached: !args.detach,
        auto_remove: args.rm,
        publish: publish(&args.publish, &network)?,
        publish_all: args.publish_all && network != NetworkMode::Host,
        expose: expose(&args.expose)?,
        network,
        env: environment(&args.env_file_lines, &args.env, lookup)?,
        user: args.user.clone().filter(|u| !u.is_empty()),
        workdir: workdir(args.workdir.as_deref())?,
        mounts: all_mounts(args)?,
        read_only: args.read_only,
        hostname: hostname("--hostname", args.hostname.as_deref())?,
        domainname: hostname("--domainname", args.domainname.as_deref())?,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        privileged: args.privileged,
        security_opt: args.security_opt.clone(),
        memory,
        memory_swap: memory_swap(args.memory_swap.as_deref(), memory)?,
        nano_cpus: args.cpus.as_deref().map(sizes::nano_cpus).transpose()?.filter(|n| *n > 0),
        pids_limit: args.pids_limit.filter(|n| *n > 0),
        bandwidth: bandwidth(args.bandwidth.as_deref())?,
        egress: egress(&args.egress_allow)?,
        shm_size: args
            .shm_size
            .as_deref()
            .map(|s| sizes::bytes("--shm-size", s))
            .transpose()?
            .unwrap_or(DEFAULT_SHM),
        ulimits: args.ulimit.iter().map(|u| ulimit(u)).collect::<Result<_, _>>()?,
        labels: labels(&args.label_file_lines, &args.label)?,
        dns: addresses("--dns", &args.dns)?,
        dns_search: args.dns_search.clone(),
        dns_option: args.dns_option.clone(),
        add_host: add_host(&args.add_host)?,
        ip: endpoints.first().and_then(|first| first.ip),
        mac_address: endpoints.first().and_then(|first| first.mac).map(|Mac(bytes)| bytes),
        links: network::links(&args.link, &endpoints)?,
        endpoints,
        sysctls: sysctls(&args.sysctl)?,
        init: args.init,
        stop_signal: stop_signal(args.stop_signal.as_deref())?,
        stop_timeout: args.stop_timeout,
        cgroup_parent: args.cgroup_parent.clone(),
        group_add: args.group_add.clone(),
        oom_score_adj: oom_score_adj(args.oom_score_adj)?,
    })
}

/// Whether the names are known; what the caller may pass on is decided when the
/// container starts.
fn capability_names(args: &RunArgs) -> Result<(), RequestError> {
    let request = capabilities::CapabilityRequest {
        add: args.cap_add.clone(),
        drop: args.cap_drop.clone(),
        privileged: false,
    };
    request.plan(u64::MAX).map(drop).map_err(|e| RequestError::source("--cap-add/--cap-drop", e))
}

fn publish(specs: &[String], network: &NetworkMode) -> Result<Vec<ports::PortSpec>, RequestError> {
    let parsed = specs
        .iter()
        .map(|s| s.parse::<ports::PortSpec>().map_err(|e| RequestError::source("--publish", e)))
        .collect::<Result<Vec<_>, _>>()?;
    // As docker: with the host's own network there is nothing to publish.
    Ok(if matches!(network, NetworkMode::Bridge(_)) { parsed } else { Vec::new() })
}

fn expose(specs: &[String]) -> Result<BTreeSet<ports::ContainerPort>, RequestError> {
    let mut all = BTreeSet::new();
    for spec in specs {
        all.extend(ports::parse_expose(spec).map_err(|e| RequestError::source("--expose", e))?);
    }
    Ok(all)
}

/// Files first, then flags; a later value of a name replaces the earlier one.
fn environment(
    file_lines: &[String],
    flags: &[String],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, RequestError> {
    let mut merged: Vec<String> = Vec::new();
    let lines =
        file_lines.iter().map(|l| l.trim_start()).filter(|l| !l.is_empty() && !l.starts_with('#'));
    for (entry, flag) in
        lines.map(|l| (l, "--env-file")).chain(flags.iter().map(|f| (f.as_str(), "--env")))
    {
        let name = entry.split('=').next().unwrap_or_default();
        let blank = flag == "--env-file" && name.contains(char::is_whitespace);
        if name.is_empty() || blank || entry.contains('\0') {
            return Err(RequestError::Value { flag, value: entry.to_owned(), hint: "NAME=value" });
        }
        let value = match entry.contains('=') {
            true => Some(entry.to_owned()),
            // docker: a name alone copies our value, and is left out when we have none.
            false => lookup(name).map(|v| format!("{name}={v}")),
        };
        merged.retain(|e| e.split('=').next() != Some(name));
        merged.extend(value);
    }
    Ok(merged)
}

fn labels(
    file_lines: &[String],
    flags: &[String],
) -> Result<BTreeMap<String, String>, RequestError> {
    let lines =
        file_lines.iter().map(|l| l.trim()).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .chain(flags.iter().map(String::as_str))
        .map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if key.is_empty() {
                return Err(RequestError::Value {
                    flag: "--label",
                    value: text.to_owned(),
                    hint: "key=value",
                });
            }
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn workdir(text: Option<&str>) -> Result<Option<String>, RequestError> {
    match text {
        Some(path) if !path.starts_with('/') => Err(RequestError::Workdir(path.to_owned())),
        other => Ok(other.map(str::to_owned)),
    }
}

fn all_mounts(args: &RunArgs) -> Result<Vec<MountRequest>, RequestError> {
    let mut all = Vec::new();
    for text in &args.volume {
        all.push(mounts::volume(text)?);
    }
    for text in &args.mount {
        all.push(mounts::mount(text)?);
    }
    for text in &args.tmpfs {
        all.push(mounts::tmpfs(text)?);
    }
    // Parents before what lies below them.
    all.sort_by(|a, b| a.destination.cmp(&b.destination));
    if let Some(pair) = all.windows(2).find(|p| p[0].destination == p[1].destination) {
        return Err(RequestError::DuplicateMount(pair[0].destination.clone()));
    }
    Ok(all)
}

fn hostname(flag: &'static str, text: Option<&str>) -> Result<Option<String>, RequestError> {
    let Some(text) = text else { return Ok(None) };
    names::check_hostname(text).map_err(|e| RequestError::source(flag, e))?;
    Ok(Some(text.to_owned()))
}

fn add_host(entries: &[String]) -> Result<Vec<String>, RequestError> {
    for entry in entries {
        entry.parse::<ExtraHost>().map_err(|e| RequestError::source("--add-host", e))?;
    }
    Ok(entries.to_vec())
}

fn memory(text: Option<&str>) -> Result<Option<u64>, RequestError> {
    let Some(bytes) = text.map(|t| sizes::bytes("--memory", t)).transpose()? else {
        return Ok(None);
    };
    match bytes {
        0 => Ok(None),
        few if few < MINIMUM_MEMORY => Err(RequestError::TooLittleMemory),
        enough => Ok(Some(enough)),
    }
}

fn memory_swap(text: Option<&str>, memory: Option<u64>) -> Result<Option<i64>, RequestError> {
    match (text, memory) {
        (None, _) => Ok(None),
        (Some("-1"), _) => Ok(Some(-1)),
        (Some(_), None) => Err(RequestError::SwapWithoutMemory),
        (Some(text), Some(memory)) => {
            let total = sizes::bytes("--memory-swap", text)?;
            if total != 0 && total < memory {
                return Err(RequestError::SwapBelowMemory);
            }
            Ok(i64::try_from(total).ok().filter(|t| *t != 0))
        }
    }
}

fn ulimit(text: &str) -> Result<Ulimit, RequestError> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let invalid = || RequestError::Value {
        flag: "--ulimit",
        value: text.to_owned(),
        hint: "name=soft[:hard], such as nofile=1024:2048",
    };
    let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
    if !NAMES.contains(&name) {
        return Err(RequestError::UlimitName(name.to_owned()));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |s: &str| match s {
        "unlimited" => Ok(-1),
        s => s.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(invalid),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(RequestError::UlimitOrder { name: name.to_owned(), soft, hard });
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

fn addresses(flag: &'static str, texts: &[String]) -> Result<Vec<std::net::IpAddr>, RequestError> {
    texts
        .iter()
        .map(|t| {
            t.parse().map_err(|_| RequestError::Value {
                flag,
                value: t.clone(),
                hint: "an IP address",
            })
        })
        .collect()
}

fn sysctls(entries: &[String]) -> Result<BTreeMap<String, String>, RequestError> {
    entries
        .iter()
        .map(|entry| {
            let (key, value) = entry.split_once('=').ok_or_else(|| RequestError::Value {
                flag: "--sysctl",
                value: entry.clone(),
                hint: "name=value",
            })?;
            Ok((key.replace('/', "."), value.to_owned()))
        })
        .collect()
}

fn stop_signal(text: Option<&str>) -> Result<Option<String>, RequestError> {
    if let Some(text) = text {
        signals::parse(text).map_err(|e| RequestError::source("--stop-signal", e))?;
    }
    Ok(text.map(str::to_owned))
}

fn oom_score_adj(value: Option<i32>) -> Result<Option<i32>, RequestError> {
    match value {
        Some(v) if !(-1000..=1000).contains(&v) => Err(RequestError::OomScoreAdj(v)),
        other => Ok(other),
    }
}

/// `--egress-allow`.
fn egress(texts: &[String]) -> Result<Option<EgressList>, RequestError> {
    match texts {
        [] => Ok(None),
        texts => EgressList::parse(texts).map(Some).map_err(RequestError::Egress),
    }
}

/// `--bandwidth`.
fn bandwidth(text: Option<&str>) -> Result<Bandwidth, RequestError> {
    let hint = "IN/OUT, with rates such as 500kbit, 10mbit, 1.5gbit";
    let wrong =
        |value: &str| RequestError::Value { flag: "--bandwidth", value: value.to_owned(), hint };
    text.map(|text| text.parse().map_err(|_| wrong(text)))
        .transpose()
        .map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> RunArgs {
        RunArgs { image: "web".into(), ..RunArgs::default() }
    }

    fn built(args: &RunArgs) -> Result<RunRequest, RequestError> {
        build(args, &|name| (name == "HOME_OF_TEST").then(|| "/home/t".to_owned()))
    }

    #[test]
    fn defaults_are_dockers() {
        let request = built(&args()).unwrap();
        assert_eq!(request.network, NetworkMode::Bridge("bridge".into()));
        assert_eq!(request.shm_size, 64 << 20);
        assert_eq!((request.memory, request.pids_limit, request.nano_cpus), (None, None, None));
    }

    #[test]
    fn later_environment_wins_and_bare_names_are_copied() {
        let request = built(&RunArgs {
            env_file_lines: vec!["# comment".into(), "A=1".into(), "B=2".into()],
            env: vec!["A=3".into(), "HOME_OF_TEST".into(), "NOT_SET".into(), "E=".into()],
            ..args()
        })
        .unwrap();
        assert_eq!(request.env, ["B=2", "A=3", "HOME_OF_TEST=/home/t", "E="]);
        assert!(built(&RunArgs { env: vec!["=x".into()], ..args() }).is_err());
    }

    #[test]
    fn flags_that_contradict_the_network_are_named() {
        let joined = || RunArgs { network: vec!["container:web".into()], ..args() };
        let cases: [(RunArgs, &str); 4] = [
            (RunArgs { hostname: Some("h".into()), ..joined() }, "hostname and the network mode"),
            (RunArgs { dns: vec!["1.1.1.1".into()], ..joined() }, "dns and the network mode"),
            (RunArgs { publish: vec!["80:80".into()], ..joined() }, "port publishing"),
            (RunArgs { expose: vec!["80".into()], ..joined() }, "port exposing"),
        ];
        for (args, words) in cases {
            let error = built(&args).unwrap_err().to_string();
            assert!(error.contains("conflicting options") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn limits_are_checked() {
        assert!(built(&RunArgs { memory: Some("5m".into()), ..args() }).is_err());
        assert!(built(&RunArgs { memory_swap: Some("1g".into()), ..args() }).is_err());
        let both =
            RunArgs { memory: Some("1g".into()), memory_swap: Some("512m".into()), ..args() };
        assert!(built(&both).is_err());
        for bad in ["nofile", "files=1", "nofile=2:1", "nofile=-2", "nofile=a"] {
            assert!(built(&RunArgs { ulimit: vec![bad.into()], ..args() }).is_err(), "{bad}");
        }
        let good = built(&RunArgs { ulimit: vec!["nofile=10:20".into()], ..args() }).unwrap();
        assert_eq!((good.ulimits[0].soft, good.ulimits[0].hard), (10, 20));
    }

    #[test]
    fn two_mounts_cannot_share_a_destination() {
        let twice = RunArgs { volume: vec!["/a:/d".into()], tmpfs: vec!["/d".into()], ..args() };
        assert!(built(&twice).unwrap_err().to_string().contains("/d"));
    }
}
