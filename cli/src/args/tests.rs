//! Every spelling docker takes, and docker's complaints about the others.

use std::ffi::OsString;

use log::LevelFilter;

use super::container::{LogsFlags, PsFlags, StopFlags};
use super::run::RunOptions;
use super::values::{AttachStream, ObjectKind, PullChoice, Tail};
use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn parsed(line: &str) -> (Global, Command) {
    match parse(words(line)) {
        Ok(Invocation::Command(global, command)) => (global, command),
        other => panic!("{line}: {other:?}"),
    }
}

fn command(line: &str) -> Command {
    parsed(line).1
}

fn run(line: &str) -> (rcnt_engine::request::RunArgs, RunOptions) {
    match command(&format!("run {line}")) {
        Command::Run(flags) => flags.split().unwrap(),
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> (String, u8) {
    match parse(words(line)) {
        Err(failure) => (failure.text(), failure.exit_code()),
        other => panic!("{line}: {other:?}"),
    }
}

fn printed(line: &str) -> String {
    match parse(words(line)) {
        Ok(Invocation::Print(text)) => anstream::adapter::strip_str(&text).to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_command_declares_what_clap_can_build() {
    help::tree().debug_assert();
    for verb in verbs::VERBS {
        verb.parser().debug_assert();
    }
    global_parser().debug_assert();
}

#[test]
fn global_flags_stand_before_the_command() {
    let (global, _) = parsed("--data-root /d --exec-root=/e --config /c -D ps");
    assert_eq!(global.roots, Roots { data: "/d".into(), exec: "/e".into() });
    assert_eq!((global.config, global.level), (Some("/c".into()), LevelFilter::Debug));
    assert_eq!(parsed("-l info ps").0.level, LevelFilter::Info);
    assert_eq!(parsed("--log-level fatal ps").0.level, LevelFilter::Error);
    assert_eq!(refused("ps --data-root /d").1, 125);
    assert_eq!(refused("-l loud ps").1, 125);
}

#[test]
fn flags_after_the_image_belong_to_the_command() {
    let (args, _) = run("-d alpine sh -c --rm -it -- x");
    assert_eq!(args.image, "alpine");
    assert_eq!(args.command, ["sh", "-c", "--rm", "-it", "--", "x"]);
    assert!(args.detach && !args.rm && !args.tty);
    assert_eq!(run("alpine --help").0.command, ["--help"]);
    assert_eq!(run("-- alpine -d").0.command, ["-d"]);
}

#[test]
fn short_flags_cluster_and_take_attached_values() {
    let (args, _) = run("-dit alpine");
    assert!(args.detach && args.interactive && args.tty);
    let (args, _) = run("-itp80:80 -p=81:81 -p 82:82 --publish 83:83 --publish=84:84 alpine");
    assert_eq!(args.publish, ["80:80", "81:81", "82:82", "83:83", "84:84"]);
    assert!(args.interactive && args.tty);
}

#[test]
fn booleans_take_values_and_the_last_word_counts() {
    let (args, _) = run("--rm=true --rm=false -t=1 --init=F --name a --name b alpine");
    assert!(!args.rm && args.tty && !args.init);
    assert_eq!(args.name.as_deref(), Some("b"));
    assert!(run("alpine").1.sig_proxy && !run("--sig-proxy=false alpine").1.sig_proxy);
    assert_eq!(refused("run --rm=maybe alpine").1, 125);
}

#[test]
fn values_may_look_like_flags() {
    let (args, _) = run("--entrypoint -x -e --rm --pids-limit -1 --memory-swap -1 alpine");
    assert_eq!(args.entrypoint.as_deref(), Some("-x"));
    assert_eq!(args.env, ["--rm"]);
    assert_eq!((args.pids_limit, args.memory_swap.as_deref()), (Some(-1), Some("-1")));
    assert!(!args.rm);
    assert_eq!(run("--entrypoint= alpine").0.entrypoint.as_deref(), Some(""));
}

#[test]
fn every_flag_of_run_arrives() {
    let (args, options) = run(concat!(
        "--add-host a:1.1.1.1 --cap-add NET_ADMIN --cap-drop ALL --cgroup-parent /x --cpus 1.5 ",
        "--dns 1.1.1.1 --dns-opt ndots:2 --dns-option x --dns-search a.b --domainname d -e A=1 --env B ",
        "--expose 80-82/udp --group-add 5 -h host --ip 10.0.0.2 -l a=b --label c --mac-address 2:2:2:2:2:2 ",
        "-m 64m --mount type=tmpfs,target=/x --name n --net host --oom-score-adj 5 -P --privileged ",
        "--read-only --security-opt no-new-privileges --shm-size 1g --stop-signal SIGINT ",
        "--stop-timeout 3 --sysctl a=b --tmpfs /t:size=1m --ulimit nofile=1:2 -u 1:2 -v a:/b -w /w ",
        "-a stdout -a STDERR --cidfile /c --detach-keys ctrl-x --platform linux/amd64 --pull always -q img",
    ));
    assert_eq!(args.dns_option, ["ndots:2", "x"]);
    assert_eq!(args.env, ["A=1", "B"]);
    assert_eq!(args.label, ["a=b", "c"]);
    assert_eq!(args.hostname.as_deref(), Some("host"));
    assert_eq!(args.network, ["host"]);
    assert_eq!(run("--network none img").0.network, ["none"]);
    assert_eq!((args.oom_score_adj, args.stop_timeout), (Some(5), Some(3)));
    assert!(args.publish_all && args.privileged && args.read_only);
    assert_eq!(
        options,
        RunOptions {
            attach: vec![AttachStream::Stdout, AttachStream::Stderr],
            cidfile: Some("/c".into()),
            detach_keys: Some("ctrl-x".into()),
            platform: Some("linux/amd64".into()),
            pull: PullChoice::Always,
            quiet: true,
            sig_proxy: true,
        }
    );
}

#[test]
fn files_of_variables_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::File::create(&one)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"\xef\xbb\xbfA=1\n#c\n"))
        .unwrap();
    std::fs::File::create(&two).and_then(|mut f| std::io::Write::write_all(&mut f, b"B")).unwrap();
    let line = format!("--env-file {} --env-file {} alpine", one.display(), two.display());
    assert_eq!(run(&line).0.env_file_lines, ["A=1", "#c", "B"]);
    let Command::Run(flags) = command("run --env-file /nope alpine") else { panic!() };
    let failure = flags.split().unwrap_err();
    assert_eq!(failure.text(), "rcnt: open /nope: no such file or directory\n");
    assert_eq!(failure.exit_code(), 125);
}

#[test]
fn the_other_commands_read_dockers_flags() {
    let stop = |timeout, signal: Option<&str>| StopFlags {
        signal: signal.map(str::to_owned),
        timeout,
        containers: vec!["a".into(), "b".into()],
    };
    for line in [
        "stop -t 5 a b",
        "stop -t5 a b",
        "stop --time=5 a b",
        "stop --timeout 5 a b",
        "stop a -t 5 b",
    ] {
        assert_eq!(command(line), Command::Stop(stop(Some(5), None)), "{line}");
    }
    assert_eq!(command("restart -t -1 -s INT a b"), Command::Restart(stop(Some(-1), Some("INT"))));
    let ps = |line: &str| match command(line) {
        Command::Ps(flags) => flags,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        ps("ps -aqn3 -f a=b --filter=c=d"),
        ps("container ls --all --quiet --last 3 --filter a=b -f c=d")
    );
    assert_eq!(ps("container list -l"), PsFlags { latest: true, ..ps("ps") });
    match command("logs -ft -n 5 --since 1m c") {
        Command::Logs(LogsFlags {
            follow: true,
            timestamps: true,
            tail: Tail::Last(5),
            since,
            ..
        }) => {
            assert_eq!(since.as_deref(), Some("1m"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        command("logs --tail -1 c"),
        Command::Logs(LogsFlags { tail: Tail::All, .. })
    ));
    match command("exec -it -e A=1 -u 0 -w / c ls -l --help") {
        Command::Exec(flags) => {
            assert_eq!(flags.container_and_command, ["c", "ls", "-l", "--help"]);
            assert!(flags.interactive && flags.tty);
        }
        other => panic!("{other:?}"),
    }
    match command("image inspect -f {{.Id}} a") {
        Command::Inspect(flags) => assert_eq!(flags.kind, Some(ObjectKind::Image)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(command("image rm -f a b"), Command::RemoveImage(_)));
    assert!(matches!(command("container remove -fv a"), Command::Remove(_)));
    assert!(matches!(command("import - a:b"), Command::Import(_)));
}

#[test]
fn complaints_are_dockers() {
    let usage = "hint: usage: rcnt run [OPTIONS] IMAGE [COMMAND] [ARG...]; see 'rcnt run --help'\n";
    let cases = [
        ("run --foo x", "unknown flag: --foo", 125),
        ("run -X x", "unknown shorthand flag: 'X'", 125),
        ("run -iX x", "unknown shorthand flag: 'X'", 125),
        ("run", "'rcnt run' requires at least 1 argument", 1),
        ("run -d", "'rcnt run' requires at least 1 argument", 1),
        ("run --name", "flag needs an argument: --name", 125),
        (
            "run --pids-limit abc x",
            "invalid argument \"abc\" for \"--pids-limit\" flag: invalid digit found in string",
            125,
        ),
        (
            "run -a foo x",
            "invalid argument \"foo\" for \"--attach\" flag: valid streams are STDIN, STDOUT and STDERR",
            125,
        ),
    ];
    for (line, text, code) in cases {
        assert_eq!(refused(line), (format!("rcnt: {text}\n{usage}"), code), "{line}");
    }
    let first = |line: &str| {
        let (text, code) = refused(line);
        (text.lines().next().unwrap_or_default().to_owned(), code)
    };
    assert_eq!(first("ps x"), ("rcnt: 'rcnt ps' accepts no arguments".into(), 1));
    assert_eq!(first("exec c"), ("rcnt: 'rcnt exec' requires at least 2 arguments".into(), 1));
    assert_eq!(first("logs a b"), ("rcnt: 'rcnt logs' requires 1 argument".into(), 1));
    assert_eq!(
        first("port"),
        ("rcnt: 'rcnt port' requires at least 1 and at most 2 arguments".into(), 1)
    );
    assert_eq!(first("images a b"), ("rcnt: 'rcnt images' requires at most 1 argument".into(), 1));
    assert_eq!(first("--foo"), ("rcnt: unknown flag: --foo".into(), 125));
    assert_eq!(first("completion csh").1, 1);
}

#[test]
fn typing_errors_get_a_hint() {
    let cases = [
        ("rum x", "rcnt: unknown command: rcnt rum\nhint: did you mean 'rcnt run'?\n", 1),
        (
            "contaner ls",
            "rcnt: unknown command: rcnt contaner\nhint: did you mean 'rcnt container'?\n",
            1,
        ),
        (
            "container lst",
            "rcnt: unknown command: rcnt container lst\nhint: did you mean 'rcnt container ls'?\n",
            1,
        ),
        (
            "zzz",
            "rcnt: unknown command: rcnt zzz\nhint: see 'rcnt --help' for the commands there are\n",
            1,
        ),
        ("run --pubish 1 x", "rcnt: unknown flag: --pubish\nhint: did you mean --publish?\n", 125),
    ];
    for (line, text, code) in cases {
        assert_eq!(refused(line), (text.to_owned(), code), "{line}");
    }
}

#[test]
fn help_is_grouped_by_purpose_and_needs_no_root() {
    let text = printed("");
    assert_eq!(text, printed("--help"));
    assert_eq!(text, printed("help"));
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in {text}"));
    assert!(at("Run containers:") < at("  run         Create and run"));
    assert!(at("  run ") < at("Images:") && at("Images:") < at("  pull "));
    assert!(at("Global options:") < at("--data-root <DIR>"));
    assert!(!text.contains("  man "));
    assert_eq!(printed("version --help"), printed("help version"));
    assert!(printed("container").contains("  ls          List containers"));
    assert!(printed("-v").starts_with("rcnt version "));
}

#[test]
fn the_help_of_run_keeps_h_for_the_host() {
    let text = printed("run --help");
    assert!(text.starts_with("Usage:  rcnt run [OPTIONS] IMAGE [COMMAND] [ARG...]\n"), "{text}");
    assert!(text.contains("-h, --hostname <NAME>"), "{text}");
    assert!(text.contains("  rcnt container run, rcnt run\n"), "{text}");
    // As declared, not as parsed: no "--rm[=<BOOL>]".
    assert!(text.contains("--rm  "), "{text}");
    assert!(
        printed("container ls --help")
            .contains("rcnt container ls, rcnt container list, rcnt container ps, rcnt ps")
    );
}
