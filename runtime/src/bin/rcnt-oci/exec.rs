//! `exec`: a further process, from the command line or from `--process`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rcnt_runtime::activation::passed;
use rcnt_runtime::exec::{ExecTarget, Running, exec as enter};
use rcnt_runtime::oci::{Container, ExecOptions, Process, exec_plan, exec_process, parse};
use rcnt_runtime::plan::{JoinPlan, Keyring, ProcessPlan};
use rcnt_runtime::spawn::ChildIo;

use crate::args::ExecArgs;
use crate::container::{own_streams, reap_failed, window_size};
use crate::handover::{Handover, Wishes};
use crate::state::{Directory, Saved, Status};
use crate::{Error, console, shares, usage};

/// Runs it; its exit code, 0 at once when detached.
pub(crate) fn exec(root: &Path, args: &ExecArgs) -> Result<u8, Error> {
    let (id, command) = args.rest.split_first().unwrap_or((const { &String::new() }, &[]));
    if id.starts_with('-') {
        return Err(Error::Refused(usage::undefined(id)));
    }
    let passed = passed(args.preserve_fds, false)?;
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    refuse_status(directory.status(&saved), args.ignore_paused)?;
    let process = process_of(args, command, &saved)?;
    let sub = sub_cgroups(&args.cgroup).map_err(Error::Refused)?;
    let container = Container { id: &saved.id, bundle: &saved.bundle, spec: &saved.config };
    let mut plan = exec_plan(container, &process)?;
    if saved.no_new_keyring {
        plan.attributes.keyring = Keyring::Inherited;
    }
    passed.to(&mut plan);
    let wishes = Wishes {
        console_socket: args.console_socket.as_deref(),
        pidfd_socket: args.pidfd_socket.as_deref(),
        pid_file: args.pid_file.as_deref(),
        detach: args.detach,
    };
    let handover = Handover::prepare(&wishes, plan.terminal)?;
    let signals = match args.detach {
        true => None,
        false => Some(console::hold_signals().map_err(Error::io("block signals"))?),
    };
    let io = io_of(&plan, &process, !args.detach)?;
    let Running { pid, pidfd, terminal } = start(&directory, &plan, io, sub)?;
    let kept = handover
        .deliver(pid, pidfd.as_fd(), terminal)
        .inspect_err(|_| reap_failed(pid, pidfd.as_fd()))?;
    match signals {
        None => Ok(0),
        Some(signals) => console::attend(pid, pidfd.as_fd(), &signals, kept)
            .map_err(Error::io("wait for the command")),
    }
}

/// A paused container would keep us waiting for the new process.
fn refuse_status(status: Status, ignore_paused: bool) -> Result<(), Error> {
    Err(Error::Refused(match status {
        Status::Running | Status::Created => return Ok(()),
        Status::Paused if ignore_paused => return Ok(()),
        Status::Paused => {
            "cannot exec in a paused container (use --ignore-paused to override)".into()
        }
        status => format!("cannot exec in a {} container", status.word()),
    }))
}

/// `ours`: the terminal stays with us.
fn io_of(plan: &ProcessPlan, process: &Process, ours: bool) -> Result<ChildIo, Error> {
    if !plan.terminal {
        return own_streams();
    }
    let size = process.console_size.map(window_size).or_else(console::own_size);
    Ok(ChildIo::Terminal { size, bare_newlines: ours })
}

/// The state is read whole; the lock is not held while the process starts, which
/// in a paused container lasts until somebody resumes it.
fn start(
    directory: &Directory,
    plan: &ProcessPlan,
    io: ChildIo,
    sub: BTreeMap<String, PathBuf>,
) -> Result<Running, Error> {
    let lock = directory.lock_to_use()?;
    let saved = directory.load()?;
    drop(lock);
    let init = saved.first_process().map_err(Error::io("find the container's first process"))?;
    let pid = saved.pid().map_err(Error::io("read the container's pid"))?;
    shares::enter_self(&saved)?;
    let cgroup = JoinPlan { sub, init: Some(saved.pid), ..JoinPlan::from(&saved.cgroup) };
    Ok(enter(&ExecTarget::of(pid, init, cgroup), plan, io)?)
}

/// `--cgroup`: one path for all hierarchies, or `controller[,controller]:path`s.
fn sub_cgroups(given: &[String]) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut sub = BTreeMap::new();
    for text in given {
        let Some((controllers, path)) = text.split_once(':') else {
            if given.len() > 1 {
                let missing = "missing <controller>: prefix";
                return Err(format!("invalid --cgroup argument: {text} ({missing})"));
            }
            sub.insert(String::new(), text.into());
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                let empty = "empty <controller> prefix";
                return Err(format!("invalid --cgroup argument: {text} ({empty})"));
            }
            if sub.insert(controller.to_owned(), path.into()).is_some() {
                return Err(format!(
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                ));
            }
        }
    }
    Ok(sub)
}

/// `--process`, or the container's own process with the command line's changes.
fn process_of(args: &ExecArgs, command: &[String], saved: &Saved) -> Result<Process, Error> {
    if let Some(path) = &args.process {
        let text = std::fs::read(path).map_err(|source| Error::File {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        return Ok(parse(path, &text)?);
    }
    Ok(exec_process(&saved.config, command, &options(args)?)?)
}

/// Numbers only: nothing here is ever looked up (CVE-2026-30892).
fn options(args: &ExecArgs) -> Result<ExecOptions, Error> {
    let user = args.user.as_deref().map(|text| {
        parse_user(text).ok_or_else(|| Error::Refused(format!("user {text:?} is not UID[:GID]")))
    });
    let group = |gid: &i64| {
        let known = u32::try_from(*gid).ok().filter(|gid| *gid <= i32::MAX.unsigned_abs());
        known.ok_or_else(|| {
            Error::Refused(format!("additional-gids must be a positive number {gid}"))
        })
    };
    Ok(ExecOptions {
        cwd: args.cwd.clone(),
        env: args.env.clone(),
        tty: args.tty,
        user: user.transpose()?,
        additional_gids: args.additional_gids.iter().map(group).collect::<Result<_, _>>()?,
        apparmor: args.apparmor.clone(),
        process_label: args.process_label.clone(),
        caps: args.cap.clone(),
        no_new_privs: args.no_new_privs,
    })
}

/// Decimal, up to the largest id there is.
fn parse_user(text: &str) -> Option<(u32, Option<u32>)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten().filter(|n| *n <= i32::MAX.unsigned_abs())
    };
    match text.split_once(':') {
        Some((uid, gid)) => Some((number(uid)?, Some(number(gid)?))),
        None => Some((number(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_in_range() {
        assert_eq!(parse_user("33"), Some((33, None)));
        assert_eq!(parse_user("33:44"), Some((33, Some(44))));
        for bad in ["", "a", "-1", "+1", "1:", ":1", "1:2:3", "2147483648", "4294967296"] {
            assert_eq!(parse_user(bad), None, "{bad}");
        }
    }

    #[test]
    fn sub_cgroups_are_for_all_or_by_controller() {
        let sub = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|it| (*it).to_owned()).collect();
            sub_cgroups(&given)
        };
        assert!(sub(&[]).unwrap().is_empty());
        assert_eq!(sub(&["a/b"]).unwrap()[""], Path::new("a/b"));
        let two = sub(&["cpu,cpuacct:a", "pids:b"]).unwrap();
        assert_eq!(
            (two["cpuacct"].as_path(), two["pids"].as_path()),
            (Path::new("a"), Path::new("b"))
        );
        assert!(sub(&["a", "b"]).unwrap_err().contains("missing <controller>"));
        assert!(sub(&[":a"]).unwrap_err().contains("empty <controller>"));
        assert!(sub(&["cpu:a", "cpu:b"]).unwrap_err().contains("multiple times"));
    }
}
