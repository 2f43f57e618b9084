//! What a container is for.

use rcnt_runtime::plan::*;
use rcnt_runtime::spawn::WindowSize;

use crate::Test;
use crate::container::{Container, bind};

pub const TESTS: &[Test] = &[
    ("exit codes and signals come back", exit_codes),
    ("environment, working directory and hostname are set", surroundings),
    ("streams are what was given", streams),
];

fn exit_codes() {
    assert_eq!(Container::with_args(&["true"]).run().code, 0);
    assert_eq!(Container::with_args(&["false"]).run().code, 1);
    assert_eq!(Container::new("exit 37").run().code, 37);
    let live = Container::new("echo up; sleep 60");
    let live = live.start().unwrap();
    live.wait_for("up");
    assert_eq!(live.kill().code, 137);
}

fn surroundings() {
    let mut container = Container::new("pwd; echo $A $HOME; hostname; id");
    container.plan.process.cwd = "/srv/made/here".into();
    container.plan.process.env.push("A=b c".into());
    let output = container.run();
    let expected = "/srv/made/here\nb c /root\nbox\nuid=0(root) gid=0(root)";
    assert!(output.stdout.starts_with(expected), "{output:?}");
}

fn streams() {
    let output = Container::new("cat; echo out; echo err >&2").run();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    let _ = (bind("/", "/", ""), WindowSize { rows: 1, columns: 1 }, Propagation::Private);
}
