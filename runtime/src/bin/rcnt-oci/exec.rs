//! `exec`: a further process, from the command line or from `--process`.

use std::os::fd::AsFd;
use std::path::Path;

use rcnt_runtime::capabilities;
use rcnt_runtime::exec::{ExecTarget, exec as enter};
use rcnt_runtime::plan::{ProcessPlan, UserPlan};
use rcnt_runtime::spawn::ChildIo;

use crate::args::ExecArgs;
use crate::state::{Directory, Saved, Status};
use crate::{Error, console, container};
use rcnt_runtime::oci::{Process, parse, process_plan};

/// Runs it; its exit code, 0 at once when detached.
pub(crate) fn exec(root: &Path, args: &ExecArgs) -> Result<u8, Error> {
    let directory = Directory::of(root, &args.id)?;
    let saved = directory.load()?;
    let status = directory.status(&saved);
    if !matches!(status, Status::Running | Status::Created) {
        let text = format!("cannot exec in a container that is {}", status.word());
        return Err(Error::Refused(text));
    }
    let process = plan(args, &saved)?;
    let init = saved.first_process().map_err(Error::io("find the container's first process"))?;
    let pid = saved.pid().map_err(Error::io("read the container's pid"))?;
    let target = ExecTarget::of(pid, init, saved.cgroup.clone());
    let signals = console::hold_signals().map_err(Error::io("block signals"))?;
    let io = if process.terminal {
        ChildIo::Terminal { size: console::own_size() }
    } else {
        container::own_streams()?
    };
    let running = enter(&target, &process, io)?;
    if let Some(path) = &args.pid_file {
        let pid = running.pid.as_raw_nonzero().to_string();
        rcnt_base::files::write_atomic_mode(
            path,
            pid.as_bytes(),
            0o644,
            rcnt_base::files::Durability::Volatile,
        )
        .map_err(Error::io("write the pid file"))?;
    }
    let mut terminal = running.terminal;
    if let (Some(master), Some(socket)) = (&terminal, &args.console_socket) {
        console::send(socket, master.as_fd()).map_err(Error::io("send the terminal"))?;
        terminal = None;
    }
    if args.detach {
        return Ok(0);
    }
    console::attend(running.pid, running.pidfd.as_fd(), &signals, terminal)
        .map_err(Error::io("wait for the command"))
}

/// The container's own process with the command line's changes.
fn plan(args: &ExecArgs, saved: &Saved) -> Result<ProcessPlan, Error> {
    let linux = saved.config.linux().clone().unwrap_or_default();
    if let Some(path) = &args.process {
        let text = std::fs::read(path).map_err(Error::io("read the process file"))?;
        let process: Process = parse(path, &text)?;
        return Ok(process_plan(&process, &linux)?);
    }
    let process = saved.config.process().clone().unwrap_or_default();
    let mut plan = process_plan(&process, &linux)?;
    plan.args.clone_from(&args.command);
    plan.env.extend(args.env.iter().cloned());
    plan.terminal = args.tty;
    plan.no_new_privileges |= args.no_new_privs;
    if let Some(cwd) = &args.cwd {
        plan.cwd.clone_from(cwd);
    }
    if let Some(user) = &args.user {
        plan.user = parse_user(user, &args.additional_gids)
            .ok_or_else(|| Error::Refused(format!("user {user:?} is not UID[:GID]")))?;
    }
    for name in &args.cap {
        let bit = capabilities::parse(name)
            .ok_or_else(|| Error::Refused(format!("unknown capability {name:?}")))?;
        let sets = &mut plan.capabilities;
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            *set |= bit;
        }
    }
    Ok(plan)
}

/// Decimal numbers only: nothing here is ever looked up (CVE-2026-30892).
fn parse_user(text: &str, groups: &[u32]) -> Option<UserPlan> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten().filter(|n| *n <= i32::MAX.unsigned_abs())
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (number(uid)?, number(gid)?),
        None => (number(text)?, 0),
    };
    Some(UserPlan::Ids { uid, gid, groups: groups.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_in_range() {
        let ids = |uid, gid| Some(UserPlan::Ids { uid, gid, groups: vec![] });
        assert_eq!(parse_user("33", &[]), ids(33, 0));
        assert_eq!(parse_user("33:44", &[]), ids(33, 44));
        for bad in ["", "a", "-1", "+1", "1:", ":1", "1:2:3", "2147483648", "4294967296"] {
            assert_eq!(parse_user(bad, &[]), None, "{bad}");
        }
    }
}
