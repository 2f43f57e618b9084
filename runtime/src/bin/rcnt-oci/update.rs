//! `update`: other limits for a container.

use std::io::{self, Read};
use std::path::Path;

use rcnt_runtime::cgroup;
use rcnt_runtime::oci::{self, LinuxResources};
use serde_json::{Map, Value, json};

use crate::Error;
use crate::args::UpdateArgs;
use crate::shares::{self, Asked};
use crate::state::{Directory, Status};

/// Puts what is asked for into force, all of it or nothing, and remembers it.
pub(crate) fn update(root: &Path, args: &UpdateArgs) -> Result<(), Error> {
    let directory = Directory::of(root, &args.id)?;
    let shares = Asked::new(&args.l3_cache_schema, &args.mem_bw_schema);
    shares.check()?;
    let asked = oci::limits(&asked(args)?)?;
    let _lock = directory.lock_to_change()?;
    let mut saved = directory.load()?;
    if matches!(directory.status(&saved), Status::Stopped | Status::Creating) {
        return Err(Error::Refused("container not running".into()));
    }
    shares::update(&saved, shares)?;
    let layout = cgroup::layout_of(&saved.cgroup)?;
    saved.cgroup.resources = cgroup::update(&layout, &saved.cgroup, &asked)?;
    Ok(directory.save(&saved)?)
}

/// What is asked for, as the part of a configuration it is.
fn asked(args: &UpdateArgs) -> Result<LinuxResources, Error> {
    let Some(path) = &args.resources else {
        let text = options(args).map_err(Error::Refused)?.to_string();
        return Ok(oci::parse(Path::new("the command line"), text.as_bytes())?);
    };
    let mut text = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().read_to_end(&mut text).map(drop),
        false => std::fs::read(path).map(|bytes| text = bytes),
    };
    read.map_err(|source| Error::File { doing: "read", path: path.clone(), source })?;
    Ok(oci::parse(path, &text)?)
}

/// The options as JSON; what is absent or empty stays as it is.
fn options(args: &UpdateArgs) -> Result<Value, String> {
    if args.kernel_memory.is_some() {
        log::warn!("Kernel memory settings are ignored and will be removed");
    }
    let memory = section(&[
        ("limit", bytes("memory", &args.memory)?),
        ("reservation", bytes("memory-reservation", &args.memory_reservation)?),
        ("swap", bytes("memory-swap", &args.memory_swap)?),
        ("kernelTCP", bytes("kernel-memory-tcp", &args.kernel_memory_tcp)?),
    ]);
    let cpu = section(&[
        ("shares", number("cpu-share", &args.cpu_share)?),
        ("quota", number("cpu-quota", &args.cpu_quota)?),
        ("burst", number("cpu-burst", &args.cpu_burst)?),
        ("period", number("cpu-period", &args.cpu_period)?),
        ("realtimeRuntime", number("cpu-rt-runtime", &args.cpu_rt_runtime)?),
        ("realtimePeriod", number("cpu-rt-period", &args.cpu_rt_period)?),
        ("idle", number("cpu-idle", &args.cpu_idle)?),
        ("cpus", text(&args.cpuset_cpus)),
        ("mems", text(&args.cpuset_mems)),
    ]);
    let io = section(&[("weight", number("blkio-weight", &args.blkio_weight)?)]);
    let pids = section(&[("limit", number("pids-limit", &args.pids_limit)?)]);
    Ok(json!({"memory": memory, "cpu": cpu, "blockIO": io, "pids": pids}))
}

fn section(fields: &[(&str, Option<Value>)]) -> Value {
    let given =
        fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
    given.collect::<Map<String, Value>>().into()
}

fn text(given: &Option<String>) -> Option<Value> {
    given.as_deref().filter(|text| !text.is_empty()).map(Into::into)
}

fn number(option: &str, given: &Option<String>) -> Result<Option<Value>, String> {
    let Some(text) = given.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed = text.parse::<u64>().map(Value::from);
    let parsed = parsed.or_else(|_| text.parse::<i64>().map(Value::from));
    parsed.map(Some).map_err(|error| format!("invalid value for {option}: {text:?}: {error}"))
}

fn bytes(option: &str, given: &Option<String>) -> Result<Option<Value>, String> {
    let Some(text) = given.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some((-1).into()));
    }
    let size = size(text).ok_or_else(|| format!("invalid value for {option}: {text:?}"))?;
    Ok(Some(size.into()))
}

/// `50M`, `1.5g`, `64kib`: powers of 1024.
fn size(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let short = lower.strip_suffix('b').unwrap_or(&lower);
    let short = short.strip_suffix('i').unwrap_or(short);
    let units = [('k', 10), ('m', 20), ('g', 30), ('t', 40), ('p', 50)];
    let unit = units.iter().find_map(|(letter, bits)| Some((short.strip_suffix(*letter)?, *bits)));
    let (digits, bits) = unit.unwrap_or((short, 0));
    let (whole, part) = digits.trim().split_once('.').unwrap_or((digits.trim(), "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(part) || part.len() > 9 {
        return None;
    }
    let scale = 10i64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(1 << bits)?;
    let part = i128::from(part.parse::<i64>().ok()?) * (1i128 << bits) / i128::from(scale);
    whole.checked_add(i64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let sizes = ["0", "52428800", "50M", "50mb", "50MiB", "1.5g", "64k", "1 G"].map(size);
        let expected =
            [0, 52_428_800, 52_428_800, 52_428_800, 52_428_800, 1_610_612_736, 65536, 1 << 30];
        assert_eq!(sizes, expected.map(Some));
        for bad in ["", "-5", "M", "1x", "1.", ".5", "9999999999999P", "1.0000000001k", "é"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_what_is_given_is_asked_for() {
        let args = UpdateArgs {
            memory: Some("-1".into()),
            cpu_quota: Some("-1".into()),
            pids_limit: Some("10".into()),
            cpuset_cpus: Some(String::new()),
            ..UpdateArgs::default()
        };
        let expected = json!({
            "memory": {"limit": -1}, "cpu": {"quota": -1}, "blockIO": {}, "pids": {"limit": 10}
        });
        assert_eq!(options(&args).unwrap(), expected);
        let bad = UpdateArgs { cpu_share: Some("many".into()), ..UpdateArgs::default() };
        assert!(options(&bad).unwrap_err().starts_with("invalid value for cpu-share: \"many\""));
    }
}
