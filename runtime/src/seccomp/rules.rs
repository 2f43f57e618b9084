//! Flat rules: what a profile comes down to once its conditions are decided.
//! [`RuleSet::decide`] says what they mean; the compiler must agree with it.
//!
//! For one call the first rule that matches counts, except that a rule without
//! comparisons beats all that have some (libseccomp's order). No rule: the
//! default action. A number above all that the rules name for the architecture
//! gets ENOSYS instead, so that programs fall back from calls younger than the
//! profile; EPERM would be taken for a real refusal (runc does the same).

use super::arch::Arch;
use super::calls;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The thread dies by SIGSYS.
    KillThread,
    /// The process dies by SIGSYS.
    KillProcess,
    /// SIGSYS that can be caught.
    Trap,
    /// It fails with this errno.
    Errno(u16),
    /// A listener decides.
    Notify,
    /// A tracer decides; it is given this number.
    Trace(u16),
    /// It goes on and is logged.
    Log,
    /// It goes on.
    Allow,
}

impl Action {
    /// `SECCOMP_RET_*` with its data (linux/seccomp.h).
    pub(super) fn code(self) -> u32 {
        match self {
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// !=
    Ne,
    /// <
    Lt,
    /// <=
    Le,
    /// ==
    Eq,
    /// >=
    Ge,
    /// >
    Gt,
    /// (argument & mask) == value
    MaskedEq {
        /// The bits looked at.
        mask: u64,
    },
}

/// One comparison of an argument, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Which argument, 0–5.
    pub index: u8,
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: u64,
    /// Look at the lower 32 bits only. For arguments that the kernel takes as
    /// `int`: it drops the upper half, so `x > 40` on all 64 bits could be made
    /// true by a bit the kernel never sees. Always so on 32-bit architectures.
    pub low_half: bool,
}

impl Comparison {
    /// Whether `argument` meets it.
    pub fn holds(&self, argument: u64, arch_32_bit: bool) -> bool {
        let cut = |x: u64| if self.low_half || arch_32_bit { x & 0xffff_ffff } else { x };
        let (argument, value) = (cut(argument), cut(self.value));
        match self.operator {
            Operator::Ne => argument != value,
            Operator::Lt => argument < value,
            Operator::Le => argument <= value,
            Operator::Eq => argument == value,
            Operator::Ge => argument >= value,
            Operator::Gt => argument > value,
            Operator::MaskedEq { mask } => argument & cut(mask) == value,
        }
    }
}

/// Comparisons that must all hold, and what then happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Empty = always.
    pub comparisons: Vec<Comparison>,
    /// What happens.
    pub action: Action,
}

/// The rules of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArchRules {
    pub(super) arch: Arch,
    /// (call number, index into [`RuleSet::rules`]), in the order added.
    pub(super) entries: Vec<(u32, u32)>,
}

/// arm has calls of its own up here (asm/unistd.h, `__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x000f_0000;

impl ArchRules {
    /// Numbers younger than every call the rules name; `None` when they name none.
    pub(super) fn unknown_range(&self) -> Option<std::ops::RangeInclusive<u32>> {
        let last = if self.arch == Arch::Arm { ARM_PRIVATE - 1 } else { u32::MAX };
        let named = self.entries.iter().map(|(number, _)| *number);
        let highest = named.filter(|number| *number < ARM_PRIVATE).max()?;
        Some(highest.checked_add(1)?..=last)
    }
}

/// Everything a filter decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
    pub(super) arches: Vec<ArchRules>,
}

impl RuleSet {
    /// No rules yet, for `arches`, the native one first.
    pub fn new(default: Action, arches: Vec<Arch>) -> Self {
        let entries = || Vec::with_capacity(512);
        let arches = arches.into_iter().map(|arch| ArchRules { arch, entries: entries() });
        Self { default, rules: Vec::new(), arches: arches.collect() }
    }

    /// Adds a rule for the calls of these names. A name that an architecture
    /// does not have, or that nobody knows, is skipped: profiles list calls of
    /// many kernels and architectures.
    pub fn add<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        comparisons: &[Comparison],
        action: Action,
    ) {
        let Ok(index) = u32::try_from(self.rules.len()) else { return };
        self.rules.push(Rule { comparisons: comparisons.to_vec(), action });
        for call in names.filter_map(calls::find) {
            for arch in &mut self.arches {
                if let Some(number) = arch.arch.column().and_then(|column| call.number(column)) {
                    arch.entries.push((number, index));
                }
            }
        }
    }

    /// What numbers above the highest one named get.
    pub(super) fn beyond(&self) -> Action {
        match self.default {
            Action::Errno(_) | Action::KillThread | Action::KillProcess | Action::Trap => {
                Action::Errno(libc::ENOSYS as u16)
            }
            other => other,
        }
    }

    /// What happens to call `number` of `arch` (x32's without its bit), in the
    /// plainest words. For tests and explanations; the kernel runs the compiled form.
    pub fn decide(&self, arch: Arch, number: u32, arguments: &[u64; 6]) -> Action {
        let Some(rules) = self.arches.iter().find(|rules| rules.arch == arch) else {
            return Action::KillProcess;
        };
        if rules.unknown_range().is_some_and(|range| range.contains(&number)) {
            return self.beyond();
        }
        let ours = rules.entries.iter().filter(|(n, _)| *n == number);
        let ours: Vec<&Rule> = ours.filter_map(|(_, i)| self.rules.get(*i as usize)).collect();
        let always = ours.iter().find(|rule| rule.comparisons.is_empty());
        let matches = |rule: &&&Rule| {
            rule.comparisons.iter().all(|c| {
                let argument = arguments.get(usize::from(c.index)).copied().unwrap_or(0);
                c.holds(argument, arch.is_32_bit())
            })
        };
        always.or_else(|| ours.iter().find(matches)).map_or(self.default, |rule| rule.action)
    }
}
