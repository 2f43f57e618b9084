//! `exec`.

use rcnt_engine::{Engine, EngineError, ExecArgs};

use super::foreground::{Foreground, Wanted};
use crate::args::container::ExecFlags;
use crate::args::run::lines_of;
use crate::failure::Failure;

/// `exec`; the exit code is the command's.
///
/// # Errors
/// It does not run, with docker's exit codes 126 and 127; else 1.
pub(super) fn exec(engine: &Engine, flags: ExecFlags) -> Result<u8, Failure> {
    let ExecFlags {
        detach,
        detach_keys,
        env,
        env_file,
        interactive,
        privileged,
        tty,
        user,
        workdir,
        container_and_command,
    } = flags;
    let mut words = container_and_command.into_iter();
    let name = words.next().unwrap_or_default();
    let env = environment(&lines_of(&env_file)?, &env)?;
    let args = |size| ExecArgs {
        command: words.collect(),
        interactive,
        tty,
        env,
        user,
        workdir,
        privileged,
        size,
    };
    if detach {
        let container = engine.find(&name)?;
        engine.exec_detached(&container, &args(None)).map_err(not_started)?;
        return Ok(0);
    }
    let foreground = Foreground::prepare(&Wanted {
        stdin: interactive,
        stdout: true,
        stderr: true,
        tty,
        keys: detach_keys.as_deref(),
        // The process is nobody's but ours: what ends us should end it.
        proxy: true,
    })?;
    let container = engine.find(&name)?;
    foreground.run(|size| engine.exec(&container, &args(size)).map_err(not_started))
}

/// Only what was wrong with the command itself has docker's special codes.
fn not_started(error: EngineError) -> Failure {
    match error {
        EngineError::Start(_) => Failure::starting(error),
        other => other.into(),
    }
}

/// `-e` and `--env-file` as `NAME=value`; a name alone stands for our own value.
fn environment(lines: &[String], flags: &[String]) -> Result<Vec<String>, Failure> {
    let lines = lines.iter().map(|line| line.trim_start());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut variables = Vec::new();
    for text in lines.chain(flags.iter().map(String::as_str)) {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, std::env::var(text).ok()),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Failure::runtime(format!("invalid environment variable: {text}")));
        }
        variables.extend(value.map(|value| format!("{name}={value}")));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_alone_stand_for_our_own_values() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let lines = words(&["# comment", "", "  A=1 2", "RCNT_TEST_UNSET"]);
        let home = std::env::var("PATH").unwrap();
        assert_eq!(
            environment(&lines, &words(&["B=", "PATH"])).unwrap(),
            ["A=1 2".to_owned(), "B=".to_owned(), format!("PATH={home}")]
        );
        assert!(environment(&words(&["two words=1"]), &[]).is_err());
        assert!(environment(&[], &words(&["=x"])).is_err());
    }
}
