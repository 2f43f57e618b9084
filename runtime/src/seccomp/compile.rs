//! From flat rules to the kernel's classic BPF (seccomp(2), linux/filter.h).
//!
//! ```text
//! load arch ── x86_64? ── load number ── x32 bit? ── tree of x32
//!    │                                      └─────── tree of x86_64
//!    ├── i386?   ── load number ── tree of i386
//!    └── neither ── kill the process
//! ```
//!
//! A tree is a balanced decision tree over ranges of numbers with the same
//! outcome, about eight comparisons deep; calls with argument rules end in a
//! short straight block. The kernel runs the program once per number at load
//! time and never again where the outcome hangs on nothing else (Linux 5.11).
//!
//! The program is built backwards: what a jump skips is then already there, and
//! its length known.

use rcnt_base::sys::seccomp::SockFilter;

use super::SeccompError;
use super::arch::{Arch, X32_BIT};
use super::rules::{Action, ArchRules, Comparison, Operator, Rule, RuleSet};

/// BPF_MAXINSNS: the longest program the kernel takes.
pub(super) const MOST_INSTRUCTIONS: usize = 4096;

// linux/bpf_common.h: class | size or operation | mode or source.
pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

/// What a range of numbers comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Always(Action),
    /// Entries of the architecture, by position: from, to.
    Depends(usize, usize),
}

/// A range of numbers, up to the start of the next one.
type Range = (u32, Outcome);

/// A place in the program, counted from its end: how many instructions there
/// were when the one at this place had been pushed.
type Place = usize;

/// A program under construction, last instruction first.
#[derive(Default)]
struct Backwards {
    code: Vec<SockFilter>,
    /// The latest return of each action, to be jumped to while it is near.
    returns: Vec<(u32, Place)>,
}

impl Backwards {
    fn here(&self) -> Place {
        self.code.len()
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.code.push(SockFilter { code, jt, jf, k });
    }

    /// The place of a return of `action`, a new one only if none is near: what
    /// the kernel has to translate at load time halves.
    fn return_of(&mut self, action: Action) -> Place {
        /// Leaves room for the comparisons that will point here.
        const NEAR: usize = 200;
        let (code, here) = (action.code(), self.here());
        let known = self.returns.iter_mut().find(|(known, _)| *known == code);
        match known {
            Some((_, place)) if here - *place <= NEAR => *place,
            Some((_, place)) => {
                *place = here + 1;
                self.push(RETURN, 0, 0, code);
                here + 1
            }
            None => {
                self.returns.push((code, here + 1));
                self.push(RETURN, 0, 0, code);
                here + 1
            }
        }
    }

    /// `place`, or a jump to it when a conditional jump, which reaches 255, might
    /// not get there.
    fn within_reach(&mut self, place: Place) -> Place {
        if self.here() - place < 254 {
            return place;
        }
        self.go_on_at(place);
        self.here()
    }

    /// Makes what is pushed next be followed by `place`.
    fn go_on_at(&mut self, place: Place) {
        let distance = self.here() - place;
        if distance > 0 {
            self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX));
        }
    }

    /// A comparison of what is loaded with `k`.
    fn push_branch(&mut self, code: u16, k: u32, holds: Place, else_: Place) {
        let holds = self.within_reach(holds);
        let else_ = self.within_reach(else_);
        let distance = |place| u8::try_from(self.here() - place).unwrap_or(u8::MAX);
        let (jt, jf) = (distance(holds), distance(else_));
        self.push(code, jt, jf, k);
    }
}

/// Compiles `rules`.
///
/// # Errors
/// The program would be longer than the kernel takes.
pub(super) fn compile(rules: &RuleSet) -> Result<Vec<SockFilter>, SeccompError> {
    let mut program = Backwards { code: Vec::with_capacity(768), returns: Vec::new() };
    let mut next = program.return_of(Action::KillProcess);
    for arch in rules.arches.iter().rev() {
        let Some(audit) = arch.arch.audit() else { continue };
        if arch.arch == Arch::X32 && rules.arches.iter().any(|a| a.arch == Arch::X86_64) {
            continue; // inside x86_64's part: they share the audit number
        }
        let ours = emit_arch(&mut program, rules, arch);
        program.push_branch(EQUAL, audit, ours, next);
        next = program.here();
    }
    program.go_on_at(next);
    program.push(LOAD, 0, 0, ARCH);
    if program.here() > MOST_INSTRUCTIONS {
        return Err(SeccompError::TooLong(program.here()));
    }
    program.code.reverse();
    Ok(program.code)
}

fn emit_arch(program: &mut Backwards, rules: &RuleSet, arch: &ArchRules) -> Place {
    let x32 = rules.arches.iter().find(|a| a.arch == Arch::X32);
    let entry = match (arch.arch, x32) {
        (Arch::X86_64, Some(x32)) => {
            let theirs = emit_tree_of(program, rules, x32, X32_BIT);
            let ours = emit_tree_of(program, rules, arch, 0);
            program.push_branch(AT_LEAST, X32_BIT, theirs, ours);
            program.here()
        }
        (Arch::X86_64, None) => {
            let ours = emit_tree_of(program, rules, arch, 0);
            let foreign = program.return_of(Action::KillProcess);
            program.push_branch(AT_LEAST, X32_BIT, foreign, ours);
            program.here()
        }
        (Arch::X32, _) => {
            let ours = emit_tree_of(program, rules, arch, X32_BIT);
            let foreign = program.return_of(Action::KillProcess);
            program.push_branch(AT_LEAST, X32_BIT, ours, foreign);
            program.here()
        }
        _ => emit_tree_of(program, rules, arch, 0),
    };
    program.go_on_at(entry);
    program.push(LOAD, 0, 0, NUMBER);
    program.here()
}

/// The tree of one architecture, whose numbers the kernel shows with `bit` set.
fn emit_tree_of(program: &mut Backwards, rules: &RuleSet, arch: &ArchRules, bit: u32) -> Place {
    let mut entries = arch.entries.clone();
    // Stable: rules of one call stay in their order.
    entries.sort_by_key(|(number, _)| *number);
    let ranges = ranges(rules, arch, &entries);
    let tree = Tree { rules, entries: &entries, bit, narrow: arch.arch.is_32_bit() };
    tree.emit(program, &ranges)
}

/// Cuts the numbers into ranges with one outcome each.
fn ranges(rules: &RuleSet, arch: &ArchRules, entries: &[(u32, u32)]) -> Vec<Range> {
    let default = Outcome::Always(rules.default);
    let mut ranges: Vec<Range> = Vec::with_capacity(256);
    // A range that another begins together with is empty.
    let mut push = |start: u32, outcome: Outcome| match ranges.last_mut() {
        Some((at, last)) if *at == start => *last = outcome,
        _ => ranges.push((start, outcome)),
    };
    push(0, default);
    let mut at = 0;
    for same in entries.chunk_by(|a, b| a.0 == b.0) {
        let Some((number, _)) = same.first().copied() else { continue };
        let always = same
            .iter()
            .filter_map(|(_, index)| rules.rules.get(*index as usize))
            .find(|rule| rule.comparisons.is_empty());
        let outcome = match always {
            Some(rule) => Outcome::Always(rule.action),
            None => Outcome::Depends(at, at + same.len()),
        };
        push(number, outcome);
        at += same.len();
        if let Some(next) = number.checked_add(1) {
            push(next, default);
        }
    }
    if let Some(unknown) = arch.unknown_range() {
        insert_unknown(&mut ranges, unknown, rules);
    }
    ranges.dedup_by(|next, range| next.1 == range.1);
    ranges
}

/// Lays the range of unknown numbers over the default one. Nothing but arm's
/// private calls lies above it.
fn insert_unknown(
    ranges: &mut Vec<Range>,
    unknown: std::ops::RangeInclusive<u32>,
    rules: &RuleSet,
) {
    let (first, last) = unknown.into_inner();
    let at = ranges.partition_point(|(start, _)| *start < first);
    // The default range that began right behind the last known call.
    let replaced = ranges.get(at).is_some_and(|(start, _)| *start == first);
    let mut with = vec![(first, Outcome::Always(rules.beyond()))];
    if let Some(after) = last.checked_add(1)
        && ranges.get(at + usize::from(replaced)).is_none_or(|(start, _)| *start != after)
    {
        with.push((after, Outcome::Always(rules.default)));
    }
    ranges.splice(at..at + usize::from(replaced), with);
}

struct Tree<'a> {
    rules: &'a RuleSet,
    entries: &'a [(u32, u32)],
    bit: u32,
    /// 32-bit architecture: arguments have no upper half.
    narrow: bool,
}

impl Tree<'_> {
    /// Gives the place to go to.
    fn emit(&self, program: &mut Backwards, ranges: &[Range]) -> Place {
        match ranges {
            [] => program.return_of(self.rules.default),
            [(_, Outcome::Always(action))] => program.return_of(*action),
            [(_, Outcome::Depends(from, to))] => self.emit_call(program, *from, *to),
            _ => {
                let (lower, upper) = ranges.split_at(ranges.len() / 2);
                let first = upper.first().map_or(0, |(start, _)| *start);
                let upper = self.emit(program, upper);
                let lower = self.emit(program, lower);
                program.push_branch(AT_LEAST, first | self.bit, upper, lower);
                program.here()
            }
        }
    }

    /// The rules of one call, each tried in turn, then the default.
    fn emit_call(&self, program: &mut Backwards, from: usize, to: usize) -> Place {
        let default = program.return_of(self.rules.default);
        program.go_on_at(default);
        let entries = self.entries.get(from..to).unwrap_or_default();
        for (_, index) in entries.iter().rev() {
            if let Some(rule) = self.rules.rules.get(*index as usize) {
                self.emit_rule(program, rule);
            }
        }
        program.here()
    }

    fn emit_rule(&self, program: &mut Backwards, rule: &Rule) {
        let end = program.here();
        program.push(RETURN, 0, 0, rule.action.code());
        for comparison in rule.comparisons.iter().rev() {
            emit_comparison(program, comparison, self.narrow, end);
        }
    }
}

/// A comparison that goes on when it holds, and else to the rule that begins at
/// `end` (counted from the program's end). Few instructions lie between: six
/// comparisons of at most six.
fn emit_comparison(program: &mut Backwards, comparison: &Comparison, narrow: bool, end: Place) {
    let Comparison { index, operator, value, low_half } = *comparison;
    let low_half = low_half || narrow;
    let offset = ARGUMENTS + 8 * u32::from(index);
    let (low, high) =
        if cfg!(target_endian = "little") { (offset, offset + 4) } else { (offset + 4, offset) };
    let (value_low, value_high) = halves(value);
    let here = program.here();
    // Distances from the instruction about to be pushed.
    let fail = |p: &Backwards| u8::try_from(p.here() - end).unwrap_or(u8::MAX);
    let pass = |p: &Backwards| u8::try_from(p.here() - here).unwrap_or(u8::MAX);
    let (code, holds_when) = match operator {
        Operator::Eq | Operator::MaskedEq { .. } => (EQUAL, true),
        Operator::Ne => (EQUAL, false),
        Operator::Gt => (GREATER, true),
        Operator::Le => (GREATER, false),
        Operator::Ge => (AT_LEAST, true),
        Operator::Lt => (AT_LEAST, false),
    };
    let mask = match operator {
        Operator::MaskedEq { mask } => Some(halves(mask)),
        _ => None,
    };
    // Lower halves decide when the upper ones are equal.
    let miss = fail(program);
    if holds_when {
        program.push(code, 0, miss, value_low);
    } else {
        program.push(code, miss, 0, value_low);
    }
    if let Some((mask_low, _)) = mask {
        program.push(AND, 0, 0, mask_low);
    }
    program.push(LOAD, 0, 0, low);
    if low_half {
        return;
    }
    match operator {
        Operator::Eq | Operator::MaskedEq { .. } => {
            let miss = fail(program);
            program.push(EQUAL, 0, miss, value_high);
        }
        // Different above: different.
        Operator::Ne => {
            let hit = pass(program);
            program.push(EQUAL, 0, hit, value_high);
        }
        // Greater above: decided. Equal: the lower halves. Less: decided too.
        Operator::Gt | Operator::Ge => {
            let miss = fail(program);
            program.push(EQUAL, 0, miss, value_high);
            let hit = pass(program);
            program.push(GREATER, hit, 0, value_high);
        }
        Operator::Lt | Operator::Le => {
            let hit = pass(program);
            program.push(EQUAL, 0, hit, value_high);
            let miss = fail(program);
            program.push(GREATER, miss, 0, value_high);
        }
    }
    if let Some((_, mask_high)) = mask {
        program.push(AND, 0, 0, mask_high);
    }
    program.push(LOAD, 0, 0, high);
}

/// (lower, upper) 32 bits.
fn halves(value: u64) -> (u32, u32) {
    ((value & 0xffff_ffff) as u32, (value >> 32) as u32)
}
