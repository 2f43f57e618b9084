//! OCI runtimes on the same bundle, and the floor: the same root file system in
//! new namespaces by unshare(1) and bwrap(1), which have no cgroups, no state
//! and no second process to talk to.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::child::{quiet, timed};
use crate::measure::{Contestant, Row, part, row, turns};
use crate::peers::first_line;
use crate::place::{Place, program};
use crate::report::Table;

const TITLE: &str = "OCI runtimes, each with the same bundle; the last columns are the floor, \
                     namespaces alone:";

/// One column.
#[derive(Debug)]
struct Runtime {
    name: &'static str,
    version: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// runc's command line.
    Oci { program: PathBuf, root: PathBuf, bundle: PathBuf },
    /// Namespaces and one program.
    Floor(Vec<String>),
}

impl Contestant for Runtime {
    fn name(&self) -> &str {
        self.name
    }
}

impl Runtime {
    /// A command of runc's command line; `None` for the floor.
    fn oci(&self, args: &[&str]) -> Option<Command> {
        let Kind::Oci { program, root, bundle } = &self.kind else { return None };
        let mut command = Command::new(program);
        command.arg("--root").arg(root).args(args).current_dir(bundle);
        Some(command)
    }

    /// The bundle's command once, from nothing to nothing.
    fn run(&self) -> Command {
        match (&self.kind, self.oci(&["run", "bench"])) {
            (Kind::Floor(words), _) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command
            }
            (_, Some(command)) => command,
            (_, None) => Command::new("true"),
        }
    }
}

/// Measures all that are installed.
pub(crate) fn table(ours: &Path, place: &Place, rounds: usize) -> Result<Table> {
    let bundle = place.dir.join("bundle");
    prepare_bundle(ours, &bundle)?;
    let runtimes = all(ours, place, &bundle)?;
    eprint!("measuring runtimes:");
    let mut rows = vec![run(&runtimes, rounds), life(&runtimes, rounds)];
    rows.push(exec(&runtimes, &bundle, rounds)?);
    configure(&bundle, &["true"])?;
    rows.extend(peak_memory(&runtimes, &bundle));
    eprintln!();
    let names = runtimes.iter().map(|r| (r.name, r.version.clone())).collect();
    Ok(Table { title: TITLE, note: "", rounds, names, rows })
}

fn prepare_bundle(ours: &Path, bundle: &Path) -> Result<()> {
    let root = bundle.join("rootfs");
    std::fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    let layer = bundle.join("layer.tar");
    std::fs::write(&layer, rcnt_tests::fixtures::busybox_layer().tar())
        .map_err(|e| e.to_string())?;
    quiet(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(&layer))?;
    quiet(Command::new(ours).arg("spec").current_dir(bundle))?;
    configure(bundle, &["true"])
}

/// Makes `args` the command; what only some runtimes can do here goes.
fn configure(bundle: &Path, args: &[&str]) -> Result<()> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|e| e.to_string())?;
    let mut config: serde_json::Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    // The oldest that says all of this: Debian's crun refuses versions it does not know.
    config["ociVersion"] = "1.0.2".into();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(args);
    std::fs::write(&path, config.to_string()).map_err(|e| e.to_string())
}

fn all(ours: &Path, place: &Place, bundle: &Path) -> Result<Vec<Runtime>> {
    let mut found = Vec::new();
    let known = [("rcnt-oci", Some(ours.to_owned()))]
        .into_iter()
        .chain(["crun", "runc"].map(|name| (name, program(name))));
    for (name, path) in known {
        let Some(path) = path else { continue };
        let root = place.dir.join(format!("state-{name}"));
        let version = first_line(Command::new(&path).arg("--version"))?;
        let kind = Kind::Oci { program: path, root, bundle: bundle.to_owned() };
        found.push(Runtime { name, version, kind });
    }
    let root = bundle.join("rootfs").display().to_string();
    let namespaces = ["--fork", "--pid", "--mount", "--net", "--ipc", "--uts", "--cgroup"];
    let unshare = namespaces.iter().copied().chain(["--root", &root, "/bin/true"]);
    let bwrap = ["--unshare-all", "--bind", &root, "/", "--proc", "/proc", "--dev", "/dev", "true"];
    let floors = [("unshare", unshare.collect::<Vec<_>>()), ("bwrap", bwrap.to_vec())];
    for (name, args) in floors {
        let Some(path) = program(name) else { continue };
        let version = first_line(Command::new(&path).arg("--version"))?;
        let words = [path.display().to_string()].into_iter();
        let kind = Kind::Floor(words.chain(args.iter().map(|a| (*a).to_owned())).collect());
        found.push(Runtime { name, version, kind });
    }
    found.retain(|runtime| {
        let works = quiet(&mut runtime.run());
        if let Err(reason) = &works {
            eprintln!("rcnt-bench: without {}: {reason}", runtime.name);
        }
        works.is_ok()
    });
    Ok(found)
}

fn run(runtimes: &[Runtime], rounds: usize) -> Row {
    let medians = turns(runtimes, rounds, |runtime| timed(&mut runtime.run()).map(Some));
    row("run of true", medians, vec![part("crun", 1.0 / 0.7), part("runc", 1.0 / 0.3)])
}

fn life(runtimes: &[Runtime], rounds: usize) -> Row {
    let medians = turns(runtimes, rounds, |runtime| {
        let mut sum = 0.0;
        for args in [&["create", "life"][..], &["start", "life"], &["delete", "--force", "life"]] {
            let Some(mut command) = runtime.oci(args) else { return Ok(None) };
            sum += timed(&mut command)?;
        }
        Ok(Some(sum))
    });
    row("create + start + delete", medians, vec![part("crun", 1.0 / 0.6)])
}

fn exec(runtimes: &[Runtime], bundle: &Path, rounds: usize) -> Result<Row> {
    configure(bundle, &["sleep", "1000"])?;
    for mut command in runtimes.iter().filter_map(|r| r.oci(&["run", "--detach", "lives"])) {
        timed(&mut command)?;
    }
    let medians = turns(runtimes, rounds, |runtime| {
        runtime.oci(&["exec", "lives", "true"]).map(|mut command| timed(&mut command)).transpose()
    });
    for mut command in runtimes.iter().filter_map(|r| r.oci(&["delete", "--force", "lives"])) {
        timed(&mut command)?;
    }
    Ok(row("exec of true", medians, vec![part("runc", 2.0)]))
}

/// The largest process of a `run`, as time(1) tells it, in KiB.
fn peak_memory(runtimes: &[Runtime], bundle: &Path) -> Option<Row> {
    let Some(time) = program("time") else {
        eprintln!("\nrcnt-bench: without peak memory: no time(1)");
        return None;
    };
    let file = bundle.join("peak");
    let medians = runtimes.iter().map(|runtime| {
        let run = runtime.run();
        let mut command = Command::new(&time);
        command.args(["--format", "%M", "--output"]).arg(&file);
        command.arg(run.get_program()).args(run.get_args()).current_dir(bundle);
        quiet(&mut command).ok()?;
        std::fs::read_to_string(&file).ok()?.trim().parse::<f64>().ok()
    });
    let work = "peak memory of run".to_owned();
    Some(Row { work, unit: "KiB", medians: medians.collect(), goals: vec![part("crun", 1.0)] })
}
