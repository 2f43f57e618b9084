//! Runs the command of an OCI bundle in the foreground, by the library alone:
//!
//! ```sh
//! cargo run -p rcnt-runtime --example run_bundle -- DIRECTORY
//! ```
//!
//! This is `rcnt-oci run` without its state, hooks and terminal.

use std::error::Error;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rcnt_runtime::cgroup;
use rcnt_runtime::oci::{self, CgroupDriver};
use rcnt_runtime::plan::ContainerPlan;
use rcnt_runtime::spawn::{ChildIo, spawn};
use rustix::process::{Pid, WaitOptions, waitpid};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Nothing in the container may find this program's file writable (CVE-2019-5736).
    rcnt_base::sys::sealed::seal_self()?;
    let bundle = std::env::args_os().nth(1).ok_or("usage: run_bundle DIRECTORY")?;
    let bundle = PathBuf::from(bundle).canonicalize()?;

    // Decide: nothing is touched, whatever is wrong with the bundle is told here.
    let config = oci::read(&bundle)?;
    let plan = oci::plan("run-bundle-example", &bundle, &config, CgroupDriver::Files)?;
    if plan.process.terminal || plan.hooks.outside {
        return Err("this example gives neither a terminal nor hooks".into());
    }

    // Do it, and take away what it leaves, however it goes.
    let code = run(&plan);
    cgroup::destroy(&cgroup::layout()?, &plan.cgroup)?;
    code
}

fn run(plan: &ContainerPlan) -> Result<ExitCode, Box<dyn Error>> {
    let again = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
    let io = ChildIo::Pipes {
        stdin: None,
        stdout: again(std::io::stdout().as_fd())?,
        stderr: again(std::io::stderr().as_fd())?,
    };
    let mut init = spawn(plan, io, &mut || Ok(()))?;
    // Here the network would be set up from outside, by `init.netns()`.
    init.network_ready()?;
    if let Err(error) = init.wait_started() {
        wait(init.pid())?;
        return Err(error.into());
    }
    wait(init.pid())
}

fn wait(pid: Pid) -> Result<ExitCode, Box<dyn Error>> {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())?.ok_or("nobody to wait for")?;
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    let code = signalled.or(status.exit_status()).unwrap_or(125);
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
