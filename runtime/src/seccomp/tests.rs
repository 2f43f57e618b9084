//! The compiled program must decide as the rules say: an interpreter of classic
//! BPF against [`RuleSet::decide`].

use proptest::prelude::*;
use rcnt_base::sys::seccomp::SockFilter;

use super::arch::X32_BIT;
use super::*;
use crate::capabilities;

/// What the kernel would answer (linux/filter.h, the part seccomp allows).
fn run(program: &[SockFilter], data: &[u32; 16]) -> u32 {
    let (mut a, mut at) = (0u32, 0usize);
    for _ in 0..=program.len() {
        let SockFilter { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            compile::LOAD => {
                assert_eq!(k % 4, 0);
                a = data[k as usize / 4];
                continue;
            }
            compile::AND => {
                a &= k;
                continue;
            }
            compile::JUMP => {
                at += k as usize;
                continue;
            }
            compile::RETURN => return k,
            compile::EQUAL => a == k,
            compile::GREATER => a > k,
            compile::AT_LEAST => a >= k,
            code => panic!("unexpected instruction {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
    panic!("jumps backwards");
}

/// struct seccomp_data as words: number, arch, instruction pointer, six arguments.
fn data(arch: Arch, number: u32, arguments: &[u64; 6]) -> [u32; 16] {
    let mut words = [0u32; 16];
    words[0] = if arch == Arch::X32 { number.wrapping_add(X32_BIT) } else { number };
    words[1] = arch.audit().unwrap();
    for (at, argument) in arguments.iter().enumerate() {
        words[4 + 2 * at] = *argument as u32;
        words[5 + 2 * at] = (*argument >> 32) as u32;
    }
    words
}

fn agree(rules: &RuleSet, program: &[SockFilter], arch: Arch, number: u32, arguments: &[u64; 6]) {
    let meant = rules.decide(arch, number, arguments);
    let got = run(program, &data(arch, number, arguments));
    assert_eq!(got, meant.code(), "{arch:?} {number} {arguments:x?}: {meant:?}");
}

fn conditions(arch: Arch, capabilities: u64) -> Conditions {
    Conditions { capabilities, kernel: (6, 1), arch }
}

fn default_of(arch: Arch, capabilities: u64) -> (RuleSet, Vec<SockFilter>) {
    let rules = default::rules(&conditions(arch, capabilities));
    let program = compile::compile(&rules).unwrap();
    (rules, program)
}

fn number_of(name: &str, arch: Arch) -> u32 {
    calls::find(name).unwrap().number(arch.column().unwrap()).unwrap()
}

fn decide(rules: &RuleSet, name: &str, arch: Arch, first: u64) -> Action {
    rules.decide(arch, number_of(name, arch), &[first, 0, 0, 0, 0, 0])
}

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

#[test]
fn the_default_decides_as_docker_does() {
    let (rules, _) = default_of(Arch::X86_64, capabilities::default_set());
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for name in ["read", "openat", "execve", "futex", "chroot", "ptrace", "statx"] {
            assert_eq!(decide(&rules, name, arch, 0), Action::Allow, "{arch:?} {name}");
        }
        for name in [
            "keyctl",
            "add_key",
            "mount",
            "unshare",
            "setns",
            "bpf",
            "io_uring_setup",
            "userfaultfd",
            "reboot",
            "init_module",
            "kexec_load",
            "swapon",
            "perf_event_open",
        ] {
            assert_eq!(decide(&rules, name, arch, 0), EPERM, "{arch:?} {name}");
        }
        assert_eq!(decide(&rules, "clone3", arch, 0), ENOSYS);
        assert_eq!(decide(&rules, "clone", arch, 0x0120_0011), Action::Allow);
        assert_eq!(decide(&rules, "clone", arch, 0x1000_0011), EPERM, "CLONE_NEWUSER");
        assert_eq!(decide(&rules, "personality", arch, 0x2_0008), Action::Allow);
        assert_eq!(decide(&rules, "personality", arch, 0x004_0000), EPERM, "ADDR_NO_RANDOMIZE");
        assert_eq!(decide(&rules, "clock_adjtime", arch, 0), Action::Allow);
    }
    assert_eq!(decide(&rules, "socketcall", Arch::X86, 1), Action::Allow);
}

#[test]
fn sockets_of_two_families_are_refused_whatever_the_upper_half_says() {
    let (rules, _) = default_of(Arch::X86_64, u64::MAX);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for (family, action) in [
            (1, Action::Allow),
            (2, Action::Allow),
            (16, Action::Allow),
            (38, EPERM),
            (39, Action::Allow),
            (40, EPERM),
            (41, Action::Allow),
        ] {
            assert_eq!(decide(&rules, "socket", arch, family), action, "{arch:?} {family}");
            let disguised = family | 1 << 40;
            assert_eq!(decide(&rules, "socket", arch, disguised), action, "{arch:?} {family}");
        }
    }
}

#[test]
fn capabilities_open_what_they_are_for() {
    let with = |cap: &str| default_of(Arch::X86_64, capabilities::parse(cap).unwrap()).0;
    let admin = with("SYS_ADMIN");
    for name in ["mount", "unshare", "setns", "clone3", "bpf", "umount2"] {
        assert_eq!(decide(&admin, name, Arch::X86_64, 0), Action::Allow, "{name}");
    }
    assert_eq!(decide(&admin, "clone", Arch::X86_64, 0x1000_0000), Action::Allow);
    assert_eq!(decide(&admin, "chroot", Arch::X86_64, 0), EPERM);
    assert_eq!(decide(&with("SYS_TIME"), "settimeofday", Arch::X86, 0), Action::Allow);
    assert_eq!(decide(&with("BPF"), "bpf", Arch::X86_64, 0), Action::Allow);
}

#[test]
fn every_name_in_the_default_exists() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let rules = default::rules(&conditions(arch, u64::MAX));
        assert_eq!(rules.arches.len(), arch.family().len());
    }
    for name in default::names() {
        assert!(calls::find(name).is_some(), "{name}");
    }
}

#[test]
fn younger_calls_get_enosys_and_foreign_architectures_die() {
    let (rules, program) = default_of(Arch::X86_64, 0);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        assert_eq!(rules.decide(arch, 9_999, &[0; 6]), ENOSYS, "{arch:?}");
    }
    let aarch64 = data(Arch::Aarch64, 0, &[0; 6]);
    assert_eq!(run(&program, &aarch64), Action::KillProcess.code());
    let (rules, program) = default_of(Arch::Aarch64, 0);
    assert_eq!(decide(&rules, "cacheflush", Arch::Arm, 0), Action::Allow);
    assert_eq!(rules.decide(Arch::Arm, 5_000, &[0; 6]), ENOSYS);
    assert_eq!(rules.decide(Arch::Arm, 0xf_0099, &[0; 6]), EPERM);
    for number in [0, 5_000, 0xe_ffff, 0xf_0000, 0xf_0002, 0xf_0099, u32::MAX] {
        agree(&rules, &program, Arch::Arm, number, &[0; 6]);
    }
}

#[test]
fn the_compiled_default_agrees_for_every_number() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        for capabilities in [0, capabilities::default_set(), u64::MAX] {
            let (rules, program) = default_of(native, capabilities);
            assert!(program.len() < 700, "{} instructions", program.len());
            for arch in native.family() {
                for number in (0..560).chain([0x3fff_fffe]) {
                    agree(&rules, &program, *arch, number, &[0x1000_0000, 0, 0, 0, 0, 0]);
                }
                for name in ["clone", "clone3", "socket", "personality", "read", "mount"] {
                    for first in [0, 8, 38, 39, 40, 41, 38 | 1 << 35, 0x1000_0000, u64::MAX] {
                        let arguments = [first, 0, 0, 0, 0, 0];
                        agree(&rules, &program, *arch, number_of(name, *arch), &arguments);
                    }
                }
            }
        }
    }
}

fn compile_text(json: &str) -> Result<Option<SeccompProgram>, SeccompError> {
    compile_json(json.as_bytes(), conditions(Arch::X86_64, capabilities::default_set()))
}

fn resolved(json: &str) -> RuleSet {
    let profile: Profile = serde_json::from_str(json).unwrap();
    profile.resolve(&conditions(Arch::X86_64, capabilities::default_set())).unwrap()
}

#[test]
fn a_profile_file_is_read_as_docker_reads_it() {
    let rules = resolved(
        r#"{ "defaultAction": "SCMP_ACT_ALLOW",
          "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                      {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]}],
          "syscalls": [
            {"names": ["chmod", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {"name": "mkdir", "action": "SCMP_ACT_KILL_PROCESS", "args": null, "comment": "x"},
            {"names": ["kill"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "5.4"}},
            {"names": ["tkill"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "99.0"}},
            {"names": ["sync"], "action": "SCMP_ACT_TRAP", "excludes": {"caps": ["CAP_CHOWN"]}},
            {"names": ["syncfs"], "action": "SCMP_ACT_TRAP", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["fsync"], "action": "SCMP_ACT_TRACE", "includes": {"arches": ["amd64"]}},
            {"names": ["msync"], "action": "SCMP_ACT_TRACE", "excludes": {"arches": ["amd64"]}}
          ]}"#,
    );
    let x86_64 = |name| decide(&rules, name, Arch::X86_64, 0);
    assert_eq!(x86_64("chmod"), Action::Errno(13));
    assert_eq!(x86_64("mkdir"), Action::KillProcess);
    assert_eq!(x86_64("kill"), Action::Log);
    assert_eq!(x86_64("fsync"), Action::Trace(1));
    for untouched in ["tkill", "sync", "syncfs", "msync", "read"] {
        assert_eq!(x86_64(untouched), Action::Allow, "{untouched}");
    }
    let arches: Vec<Arch> = rules.arches.iter().map(|a| a.arch).collect();
    assert_eq!(arches, [Arch::X86_64, Arch::X86]);
    // x32 was not asked for: its calls kill.
    let program = compile::compile(&rules).unwrap();
    assert_eq!(run(&program, &data(Arch::X32, 1, &[0; 6])), Action::KillProcess.code());
}

#[test]
fn arguments_are_compared_together_or_as_alternatives() {
    let rules = resolved(
        r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "syscalls": [
            {"names": ["dup2"], "action": "SCMP_ACT_ALLOW", "args": [
               {"index": 0, "value": 7, "op": "SCMP_CMP_EQ"},
               {"index": 1, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["alarm"], "action": "SCMP_ACT_ALLOW", "args": [
               {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
               {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let dup2 = number_of("dup2", Arch::X86_64);
    let of = |a, b| rules.decide(Arch::X86_64, dup2, &[a, b, 0, 0, 0, 0]);
    assert_eq!(
        (of(7, 0x1f), of(7, 0x2f), of(8, 0x1f)),
        (Action::Allow, Action::Errno(5), Action::Errno(5))
    );
    for (seconds, action) in [(1, Action::Allow), (2, Action::Allow), (3, Action::Errno(5))] {
        assert_eq!(decide(&rules, "alarm", Arch::X86_64, seconds), action);
    }
}

#[test]
fn bad_profiles_are_named() {
    let error = |json: &str| compile_text(json).unwrap_err().to_string();
    assert!(error("{").starts_with("decoding seccomp profile failed"));
    assert!(error(r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#).starts_with("decoding"));
    assert!(
        error(r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#)
            .contains("no defaultAction")
    );
    let rule = |rest: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"action":"SCMP_ACT_ERRNO",{rest}}}]}}"#
        )
    };
    for (rest, words) in [
        (r#""names":["read"],"name":"read""#, "'name' and 'names'"),
        (r#""names":["read"],"errnoRet":5000"#, "above 4095"),
        (r#""names":["read"],"args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]"#, "index 6"),
        (r#""names":["read"],"includes":{"minKernel":"new"}"#, "invalid kernel version"),
    ] {
        assert!(error(&rule(rest)).contains(words), "{rest}: {}", error(&rule(rest)));
    }
    assert_eq!(compile_text("{}").unwrap(), None);
}

#[test]
fn a_profile_too_long_for_the_kernel_is_refused() {
    let args: Vec<String> = (0..3000)
        .map(|n| {
            format!(
                r#"{{"names":["read"],"action":"SCMP_ACT_ALLOW",
                 "args":[{{"index":0,"value":{n},"op":"SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, args.join(","));
    assert!(compile_text(&json).unwrap_err().to_string().contains("instructions"));
}

#[test]
fn flags_follow_the_profile() {
    let flags = |json| compile_text(json).unwrap().unwrap().flags;
    let none = flags(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#);
    assert!(none.spec_allow && !none.log);
    let log = flags(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[]}"#,
    );
    assert!(log.log && !log.spec_allow);
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::KillThread),
        Just(Action::Log),
        Just(Action::Notify),
        (0u16..4096).prop_map(Action::Errno),
        (0u16..4096).prop_map(Action::Trace),
    ]
}

/// Few different words, so that comparisons meet them.
fn any_value() -> impl Strategy<Value = u64> {
    let half = || prop_oneof![Just(0u64), Just(1), Just(2), Just(0x8000_0000), Just(0xffff_ffff)];
    (half(), half()).prop_map(|(high, low)| high << 32 | low)
}

fn any_comparison() -> impl Strategy<Value = Comparison> {
    let operator = prop_oneof![
        Just(Operator::Ne),
        Just(Operator::Lt),
        Just(Operator::Le),
        Just(Operator::Eq),
        Just(Operator::Ge),
        Just(Operator::Gt),
        any_value().prop_map(|mask| Operator::MaskedEq { mask }),
    ];
    (0u8..6, operator, any_value(), any::<bool>()).prop_map(|(index, operator, value, low_half)| {
        Comparison { index, operator, value, low_half }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_rules_compile_to_what_they_mean(
        native in prop_oneof![Just(Arch::X86_64), Just(Arch::Aarch64)],
        others in any::<bool>(),
        default in any_action(),
        rules in prop::collection::vec(
            (prop::collection::vec(0usize..calls::CALLS.len(), 1..20),
             prop::collection::vec(any_comparison(), 0..4), any_action()), 0..25),
        questions in prop::collection::vec(
            (0usize..calls::CALLS.len(), any::<u32>(), prop::array::uniform6(any_value())), 16),
    ) {
        let arches = if others { native.family().to_vec() } else { vec![native] };
        let mut set = RuleSet::new(default, arches.clone());
        for (names, comparisons, action) in &rules {
            set.add(names.iter().map(|at| calls::CALLS[*at].name), comparisons, *action);
        }
        let compiled = compile::compile(&set);
        prop_assume!(!matches!(compiled, Err(SeccompError::TooLong(_))));
        let program = compiled.unwrap();
        for arch in arches {
            for (call, odd, arguments) in &questions {
                if let Some(number) = calls::CALLS[*call].number(arch.column().unwrap()) {
                    agree(&set, &program, arch, number, arguments);
                    agree(&set, &program, arch, number + 1, arguments);
                }
                agree(&set, &program, arch, odd & 0x3fff_ffff, arguments);
            }
        }
    }

    #[test]
    fn no_file_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = compile_text(&text);
    }
}
