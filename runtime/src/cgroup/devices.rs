//! Which device numbers a cgroup may make, read and write: lines for the v1
//! devices controller, an eBPF program on v2.
//!
//! Rules count in order and the last match wins, for each access letter by
//! itself. On v1 the lines are written in that order and the kernel keeps a list
//! of exceptions (cgroup-v1/devices.rst); for lists that begin with "deny all",
//! as docker's and every OCI bundle's do, both say the same.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::bpf::{self, BpfInstruction};
use rustix::fs::{Mode, OFlags};

use super::CgroupError;
use super::layout::Layout;
use crate::plan::{DeviceKind, DeviceRule};

fn rule(
    allow: bool,
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: &str,
) -> DeviceRule {
    DeviceRule { allow, kind, major, minor, access: access.to_owned() }
}

/// docker's rules for an unprivileged container: any node may be made, but only
/// the harmless ones opened (numbers: Linux' devices.txt).
pub fn default_device_rules() -> Vec<DeviceRule> {
    use DeviceKind::{All, Block, Char};
    let memory = [3, 5, 7, 8, 9]; // null, zero, full, random, urandom
    let terminal = [(5, Some(0)), (5, Some(1)), (5, Some(2)), (136, None)]; // tty, console, ptmx, pts/*
    let mut rules = vec![
        rule(false, All, None, None, "rwm"),
        rule(true, Char, None, None, "m"),
        rule(true, Block, None, None, "m"),
    ];
    rules.extend(memory.map(|minor| rule(true, Char, Some(1), Some(minor), "rwm")));
    rules.extend(terminal.map(|(major, minor)| rule(true, Char, Some(major), minor, "rwm")));
    rules
}

/// Puts `rules` into force on the cgroup. No rules, no restriction.
///
/// # Errors
/// A write or the program is refused, or there is nothing to enforce rules with:
/// without them a container with CAP_MKNOD could read the host's disks.
pub(super) fn apply(layout: &Layout, path: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    if rules.is_empty() {
        return Ok(());
    }
    match (layout.v1_of("devices"), layout.unified_dir(path)) {
        (Some(hierarchy), _) => apply_v1(&hierarchy.dir(path), rules),
        (None, Some(dir)) => apply_v2(&dir, rules),
        (None, None) => Err(CgroupError::NoDevices),
    }
}

/// One write per rule; each file is opened once, this is the start path.
fn apply_v1(dir: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let mut open: [Option<OwnedFd>; 2] = [None, None];
    for rule in rules {
        let file = dir.join(if rule.allow { "devices.allow" } else { "devices.deny" });
        let [deny, allow] = &mut open;
        let slot = if rule.allow { allow } else { deny };
        let fd = match slot {
            Some(fd) => fd,
            None => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let opened = rustix::fs::open(&file, flags, Mode::empty());
                slot.insert(opened.map_err(CgroupError::io("open", &file))?)
            }
        };
        let line = v1_line(rule);
        rustix::io::write(fd, line.as_bytes()).map_err(CgroupError::io("write", &file))?;
    }
    Ok(())
}

/// `c 1:3 rwm`
fn v1_line(rule: &DeviceRule) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let kind = match rule.kind {
        DeviceKind::All => return "a".to_owned(),
        DeviceKind::Block => 'b',
        DeviceKind::Char => 'c',
    };
    format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access)
}

fn apply_v2(dir: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let refused = |source| CgroupError::DeviceProgram { path: dir.to_owned(), source };
    let program = bpf::load_device_program(&device_program(rules)).map_err(refused)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let cgroup =
        rustix::fs::open(dir, flags, Mode::empty()).map_err(CgroupError::io("open", dir))?;
    bpf::attach_device_program(cgroup.as_fd(), program.as_fd()).map_err(refused)
}

// struct bpf_cgroup_dev_ctx of linux/bpf.h: { u32 access_type, major, minor },
// access_type being access << 16 | type.
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;

// Instruction set: Documentation/bpf/standardization/instruction-set.rst. "32":
// the comparison or operation looks at the lower half, where all our values are.
const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + off)
const MOVE: u8 = 0xbc; // w(dst) = w(src)
const MOVE_CONST: u8 = 0xb4; // w(dst) = imm
const AND_CONST: u8 = 0x54; // w(dst) &= imm
const SHIFT_RIGHT: u8 = 0x74; // w(dst) >>= imm
const JUMP_NOT_EQUAL: u8 = 0x56; // if w(dst) != imm
const JUMP_EQUAL: u8 = 0x16; // if w(dst) == imm
const EXIT: u8 = 0x95;

// Registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
/// Access letters nobody has decided on yet.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> BpfInstruction {
    let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    BpfInstruction { code, registers, offset, immediate }
}

/// `rules` as a `BPF_PROG_TYPE_CGROUP_DEVICE` program: 1 allows, 0 forbids. It
/// goes through the rules from the last to the first; each takes its letters out
/// of the wish, and whoever takes the last one allows it.
pub fn device_program(rules: &[DeviceRule]) -> Vec<BpfInstruction> {
    let mut program = vec![
        instruction(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        instruction(MOVE, OPEN, TYPE, 0, 0),
        instruction(SHIFT_RIGHT, OPEN, 0, 0, 16),
        instruction(AND_CONST, TYPE, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        emit_rule(&mut program, rule);
    }
    // No rule has spoken about what is left.
    program.push(instruction(MOVE_CONST, RESULT, 0, 0, 1));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

fn emit_rule(program: &mut Vec<BpfInstruction>, rule: &DeviceRule) {
    let access = access_bits(&rule.access);
    let verdict = if rule.allow {
        // Letters left over go on to the rules before.
        vec![
            instruction(AND_CONST, OPEN, 0, 0, !access),
            instruction(JUMP_NOT_EQUAL, OPEN, 0, 2, 0),
            instruction(MOVE_CONST, RESULT, 0, 0, 1),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    } else {
        vec![
            instruction(MOVE, SCRATCH, OPEN, 0, 0),
            instruction(AND_CONST, SCRATCH, 0, 0, access),
            instruction(JUMP_EQUAL, SCRATCH, 0, 2, 0),
            instruction(MOVE_CONST, RESULT, 0, 0, 0),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    };
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(TYPE_BLOCK),
        DeviceKind::Char => Some(TYPE_CHAR),
    };
    let conditions = [
        (TYPE, kind),
        (MAJOR, rule.major.map(u32::cast_signed)),
        (MINOR, rule.minor.map(u32::cast_signed)),
    ];
    let conditions: Vec<(u8, i32)> =
        conditions.into_iter().filter_map(|(reg, value)| Some((reg, value?))).collect();
    let mut past = (conditions.len() + verdict.len()) as i16;
    for (register, value) in conditions {
        past -= 1;
        program.push(instruction(JUMP_NOT_EQUAL, register, 0, past, value));
    }
    program.extend(verdict);
}

/// Letters of `rwm` as the program's context has them; others mean nothing.
fn access_bits(letters: &str) -> i32 {
    letters.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => ACCESS_MKNOD,
            'r' => ACCESS_READ,
            'w' => ACCESS_WRITE,
            _ => 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Just what [`device_program`] emits. The real verifier's word is in tests/.
    fn run(program: &[BpfInstruction], context: [u32; 3]) -> u32 {
        let mut registers = [0u32; 11];
        let mut at = 0;
        for _ in 0..10_000 {
            let i = program[at];
            let (dst, src) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            let imm = i.immediate.cast_unsigned();
            at += 1;
            match i.code {
                LOAD_WORD => registers[dst] = context[i.offset as usize / 4],
                MOVE => registers[dst] = registers[src],
                MOVE_CONST => registers[dst] = imm,
                AND_CONST => registers[dst] &= imm,
                SHIFT_RIGHT => registers[dst] >>= imm,
                JUMP_NOT_EQUAL if registers[dst] != imm => at += i.offset as usize,
                JUMP_EQUAL if registers[dst] == imm => at += i.offset as usize,
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0],
                code => panic!("unknown instruction {code:#x}"),
            }
        }
        panic!("the program does not end");
    }

    fn decide(
        rules: &[DeviceRule],
        kind: DeviceKind,
        major: u32,
        minor: u32,
        access: &str,
    ) -> bool {
        let kind = if kind == DeviceKind::Block { TYPE_BLOCK } else { TYPE_CHAR };
        let word = (access_bits(access) << 16 | kind).cast_unsigned();
        run(&device_program(rules), [word, major, minor]) == 1
    }

    /// The meaning, in the plainest words: each letter by itself, last match wins.
    fn meant(rules: &[DeviceRule], kind: DeviceKind, major: u32, minor: u32, access: &str) -> bool {
        access.chars().all(|letter| {
            rules
                .iter()
                .rev()
                .find(|r| {
                    (r.kind == DeviceKind::All || r.kind == kind)
                        && r.major.is_none_or(|m| m == major)
                        && r.minor.is_none_or(|m| m == minor)
                        && r.access.contains(letter)
                })
                .is_none_or(|r| r.allow)
        })
    }

    #[test]
    fn the_default_opens_the_harmless_nodes_only() {
        use DeviceKind::{Block, Char};
        let rules = default_device_rules();
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 77)] {
            assert!(decide(&rules, Char, major, minor, "rw"), "{major}:{minor}");
        }
        for (major, minor) in [(1, 1), (1, 2), (10, 200), (4, 64), (5, 3)] {
            assert!(!decide(&rules, Char, major, minor, "r"), "{major}:{minor}");
        }
        assert!(decide(&rules, Block, 8, 0, "m"));
        assert!(!decide(&rules, Block, 8, 0, "r"));
        assert!(!decide(&rules, Block, 8, 0, "rm"));
    }

    #[test]
    fn v1_lines_are_as_the_kernel_reads_them() {
        let lines: Vec<String> = default_device_rules().iter().map(v1_line).collect();
        assert_eq!(lines[..4], ["a", "c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert_eq!(lines.last().unwrap(), "c 136:* rwm");
    }

    fn any_rule() -> impl Strategy<Value = DeviceRule> {
        let kind =
            prop_oneof![Just(DeviceKind::All), Just(DeviceKind::Block), Just(DeviceKind::Char)];
        let number = || prop::option::of(prop_oneof![0u32..3, Just(u32::MAX)]);
        (any::<bool>(), kind, number(), number(), "r?w?m?").prop_map(
            |(allow, kind, major, minor, access)| rule(allow, kind, major, minor, &access),
        )
    }

    proptest! {
        #[test]
        fn the_program_means_what_the_rules_mean(
            rules in prop::collection::vec(any_rule(), 0..12),
            block in any::<bool>(), major in 0u32..4, minor in 0u32..4, access in "r?w?m?",
        ) {
            prop_assume!(!access.is_empty());
            let kind = if block { DeviceKind::Block } else { DeviceKind::Char };
            prop_assert_eq!(
                decide(&rules, kind, major, minor, &access),
                meant(&rules, kind, major, minor, &access)
            );
        }
    }
}
