//! Finding the command and becoming it, with docker's words and exit codes:
//! 127 when there is no such command, 126 when there is but it cannot be run.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rcnt_base::report::ExitKind;
use rcnt_base::sys::child::execve;
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

/// Used when the environment says nothing; docker's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why the command cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// A bare name that no directory of PATH has.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    /// A path that does not exist.
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    Missing(String),
    /// A path that exists but is no program one may run.
    #[error("exec: {name:?}: {}", words(*errno))]
    NotExecutable {
        /// As in the plan.
        name: String,
        /// Why.
        errno: Errno,
    },
    /// execve(2) itself refused.
    #[error("exec {}: {}", path.display(), words(*errno))]
    Exec {
        /// What was executed.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// There is nothing to run.
    #[error("no command specified")]
    Empty,
    /// Cannot be passed to execve(2).
    #[error("an argument or environment variable contains a null byte")]
    NullByte,
}

/// The kernel's words as docker prints them: lower case, no number.
fn words(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "no such file or directory".into(),
        Errno::ACCESS => "permission denied".into(),
        Errno::PERM => "operation not permitted".into(),
        // The second half is what podman 4 and docker 20 look for before they exit with 126.
        Errno::ISDIR => "is a directory: permission denied".into(),
        Errno::NOTDIR => "not a directory".into(),
        Errno::NOEXEC => "exec format error".into(),
        Errno::TOOBIG => "argument list too long".into(),
        Errno::LOOP => "too many levels of symbolic links".into(),
        other => std::io::Error::from(other).to_string().to_lowercase(),
    }
}

impl CommandError {
    /// docker's exit code for it.
    pub(crate) fn exit_kind(&self) -> ExitKind {
        match self {
            CommandError::NotInPath(_) | CommandError::Missing(_) => ExitKind::NotFound,
            CommandError::Exec { errno: Errno::NOENT, .. } => ExitKind::NotFound,
            CommandError::NotExecutable { .. } | CommandError::Exec { .. } => {
                ExitKind::NotExecutable
            }
            CommandError::Empty | CommandError::NullByte => ExitKind::Runtime,
        }
    }
}

/// A command, found and ready for execve(2).
#[derive(Debug)]
pub(crate) struct Command {
    path: PathBuf,
    path_c: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    /// Finds `args[0]` as the calling process, which is already inside, in its
    /// working directory and without the rights it will not have. HOME is
    /// `home` unless `env` says otherwise.
    pub(crate) fn find(args: &[String], env: &[String], home: &str) -> Result<Self, CommandError> {
        let name = args.first().ok_or(CommandError::Empty)?;
        let path = look_up(name, env)?;
        let c = |s: &str| CString::new(s).map_err(|_| CommandError::NullByte);
        let argv = args.iter().map(|s| c(s)).collect::<Result<_, _>>()?;
        let mut env_c = env.iter().map(|s| c(s)).collect::<Result<Vec<_>, _>>()?;
        if !has_home(env) {
            env_c.retain(|pair| !pair.as_bytes().starts_with(b"HOME="));
            env_c.push(c(&format!("HOME={home}"))?);
        }
        let path_c = CString::new(path.clone().into_os_string().into_vec());
        let path_c = path_c.map_err(|_| CommandError::NullByte)?;
        Ok(Self { path, path_c, argv, env: env_c })
    }

    /// Its environment, HOME included.
    pub(crate) fn env(&self) -> Vec<String> {
        self.env.iter().map(|pair| pair.to_string_lossy().into_owned()).collect()
    }

    /// Becomes it; returns only to say why not.
    pub(crate) fn execute(&self) -> CommandError {
        let error = execve(&self.path_c, &self.argv, &self.env);
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::NOEXEC);
        CommandError::Exec { path: self.path.clone(), errno }
    }
}

/// Whether the environment says where home is.
pub(super) fn has_home(env: &[String]) -> bool {
    variable(env, "HOME").is_some_and(|home| !home.is_empty())
}

/// The last value of `name`, as shells and libc see it.
fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Where `name` is: itself when it contains a slash, else the first match in PATH.
fn look_up(name: &str, env: &[String]) -> Result<PathBuf, CommandError> {
    if name.contains('/') {
        return match runnable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::NOENT) => Err(CommandError::Missing(name.to_owned())),
            Err(errno) => Err(CommandError::NotExecutable { name: name.to_owned(), errno }),
        };
    }
    let path = variable(env, "PATH").unwrap_or(DEFAULT_PATH);
    candidates(path, name)
        .find(|candidate| runnable(candidate).is_ok())
        .ok_or_else(|| CommandError::NotInPath(name.to_owned()))
}

/// `name` in each directory of `path`. Relative ones, the empty one included,
/// are passed over: what runs must not depend on where one happens to be.
fn candidates<'a>(path: &'a str, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let dirs = path.split(':').map(Path::new).filter(|dir| dir.is_absolute());
    dirs.filter(move |_| !name.is_empty()).map(move |dir| dir.join(name))
}

fn runnable(path: &Path) -> Result<(), Errno> {
    let found = stat(path)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_absolute_directories_only() {
        let got: Vec<_> = candidates("/a::.:b:/c", "x").collect();
        assert_eq!(got, [PathBuf::from("/a/x"), PathBuf::from("/c/x")]);
        assert_eq!(candidates("/bin", "").count(), 0);
    }

    #[test]
    fn dockers_texts_and_codes() {
        let env = ["PATH=/nowhere".to_owned()];
        let text = |name: &str| {
            let error = look_up(name, &env).unwrap_err();
            (error.to_string(), error.exit_kind().code())
        };
        assert_eq!(text("foo"), ("exec: \"foo\": executable file not found in $PATH".into(), 127));
        assert_eq!(
            text("/no/foo"),
            ("exec: \"/no/foo\": stat /no/foo: no such file or directory".into(), 127)
        );
        assert_eq!(text("/etc"), ("exec: \"/etc\": is a directory: permission denied".into(), 126));
        assert_eq!(text("/etc/passwd"), ("exec: \"/etc/passwd\": permission denied".into(), 126));
        let format = CommandError::Exec { path: "/x".into(), errno: Errno::NOEXEC };
        assert_eq!(
            (format.to_string(), format.exit_kind().code()),
            ("exec /x: exec format error".into(), 126)
        );
    }

    #[test]
    fn the_last_home_counts_and_an_empty_one_does_not() {
        let find = |env: &[&str]| {
            let env: Vec<String> = env.iter().map(|s| (*s).to_owned()).collect();
            let found = Command::find(&["/bin/sh".into()], &env, "/home/me").unwrap();
            found.env.iter().map(|s| s.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find(&["A=1"]), ["A=1", "HOME=/home/me"]);
        assert_eq!(find(&["HOME=/x"]), ["HOME=/x"]);
        assert_eq!(find(&["HOME="]), ["HOME=/home/me"]);
    }
}
