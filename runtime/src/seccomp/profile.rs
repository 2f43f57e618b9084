//! docker's seccomp profile files (`--security-opt seccomp=FILE`), and from there
//! to flat rules. The fields are those of the OCI runtime-spec's `linux.seccomp`
//! plus docker's `archMap`, `includes`, `excludes` and the old `name`.

use rcnt_base::sys::seccomp::FilterFlags;
use serde::{Deserialize, Serialize};

use super::arch::Arch;
use super::rules::{Action, Comparison, Operator, RuleSet};
use super::{Conditions, SeccompError};
use crate::capabilities;

/// A profile file. Unknown fields are ignored, as docker does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// What happens to calls no rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<ActionName>,
    /// The errno of a default `SCMP_ACT_ERRNO`, EPERM when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures besides the native one.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Arch>,
    /// docker's form of the same: which others go with which native one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<ArchMapEntry>,
    /// Filter flags by their kernel names.
    /// None said differs from none wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<FlagName>>,
    /// Unix socket of the program that decides about `SCMP_ACT_NOTIFY`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    /// Told to it as it is.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub listener_metadata: String,
    /// The rules.
    #[serde(deserialize_with = "or_default")]
    pub syscalls: Vec<SyscallRule>,
}

/// One entry of `archMap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMapEntry {
    /// The native architecture.
    pub architecture: Arch,
    /// The others its kernel runs.
    #[serde(default)]
    pub sub_architectures: Option<Vec<Arch>>,
}

/// A filter flag (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagName {
    /// Every thread at once; a container's first process has only one.
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    /// Log what is not allowed.
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    /// Leave speculation alone.
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    /// For notifications.
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillable,
}

/// One rule: some calls, perhaps under conditions, and what happens to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Names; those an architecture does not have are skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The old form of `names`, one call per rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happens.
    pub action: ActionName,
    /// The errno of `SCMP_ACT_ERRNO` or the data of `SCMP_ACT_TRACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// All must hold. Old docker files say `null`.
    #[serde(default)]
    pub args: Option<Vec<ArgumentRule>>,
    /// The rule counts only when all of this holds.
    #[serde(default)]
    pub includes: Option<Filter>,
    /// The rule does not count when any of this holds.
    #[serde(default)]
    pub excludes: Option<Filter>,
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgumentRule {
    /// Which argument, 0–5.
    pub index: u32,
    /// What it is compared with; the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// What the masked argument must be.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: OperatorName,
}

/// Conditions on the container and the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// Capabilities of the bounding set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// docker's architecture names: amd64, arm64…
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// "4.8": this kernel or a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<String>,
}

/// Actions by libseccomp's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionName {
    /// The thread dies.
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    Kill,
    /// The process dies.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// An errno.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// A tracer decides.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// Goes on, and is logged.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// A listener decides.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
    /// Goes on.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

/// Comparisons by libseccomp's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorName {
    /// !=
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    /// <
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    /// <=
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    /// ==
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    /// >=
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    /// >
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    /// (argument & value) == valueTwo
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

impl ActionName {
    /// With `errno`, EPERM when absent; the kernel knows at most 4095.
    fn action(self, errno: Option<u32>) -> Result<Action, SeccompError> {
        let data = errno.unwrap_or(libc::EPERM.cast_unsigned());
        let data = u16::try_from(data)
            .ok()
            .filter(|data| *data <= 4095)
            .ok_or(SeccompError::Errno(data))?;
        Ok(match self {
            ActionName::Kill => Action::KillThread,
            ActionName::KillProcess => Action::KillProcess,
            ActionName::Trap => Action::Trap,
            ActionName::Errno => Action::Errno(data),
            ActionName::Trace => Action::Trace(data),
            ActionName::Log => Action::Log,
            ActionName::Notify => Action::Notify,
            ActionName::Allow => Action::Allow,
        })
    }
}

/// `null` is the default value.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Profile {
    /// Whether it says anything; without default action and rules there is to be
    /// no filter at all.
    pub fn filters(&self) -> bool {
        self.default_action.is_some() || !self.syscalls.is_empty()
    }

    /// The rules that hold under `conditions`, for the machine's architectures.
    ///
    /// # Errors
    /// The profile contradicts itself or asks for something that does not exist.
    pub fn resolve(&self, conditions: &Conditions) -> Result<RuleSet, SeccompError> {
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return Err(SeccompError::Both("architectures", "archMap"));
        }
        let default = self.default_action.ok_or(SeccompError::NoDefault)?;
        let default = default.action(self.default_errno_ret)?;
        let mut rules = RuleSet::new(default, self.arches(conditions.arch));
        for rule in &self.syscalls {
            let (names, one) = (&rule.names, std::slice::from_ref(&rule.name));
            let names = match (names.is_empty(), rule.name.is_empty()) {
                (false, false) => return Err(SeccompError::Both("name", "names")),
                (true, false) => one,
                (_, true) => names,
            };
            if applies(rule, conditions)? {
                add(&mut rules, rule, names)?;
            }
        }
        Ok(rules)
    }

    /// Without flags, what runc sets: leave speculation alone.
    pub(super) fn filter_flags(&self) -> FilterFlags {
        let has = |flag| self.flags.iter().flatten().any(|said| *said == flag);
        FilterFlags {
            log: has(FlagName::Log),
            spec_allow: has(FlagName::SpecAllow) || self.flags.is_none(),
            listener: false,
            wait_killable: has(FlagName::WaitKillable),
        }
    }

    /// The native architecture, and what the profile adds of those its kernel serves.
    fn arches(&self, native: Arch) -> Vec<Arch> {
        let mapped = self.arch_map.iter().find(|entry| entry.architecture == native);
        let mapped = mapped.and_then(|entry| entry.sub_architectures.as_ref());
        let listed = mapped.unwrap_or(&self.architectures);
        let wanted = |arch: &&Arch| **arch == native || listed.contains(arch);
        native.family().iter().filter(wanted).copied().collect()
    }
}

fn add(rules: &mut RuleSet, rule: &SyscallRule, names: &[String]) -> Result<(), SeccompError> {
    let action = rule.action.action(rule.errno_ret)?;
    let args = rule.args.as_deref().unwrap_or_default();
    let args: Vec<Comparison> = args.iter().map(comparison).collect::<Result<_, _>>()?;
    let names = || names.iter().map(String::as_str);
    let twice = |at: usize| {
        args.iter().skip(at + 1).any(|c| Some(c.index) == args.get(at).map(|a| a.index))
    };
    if (0..args.len()).any(twice) {
        // libseccomp cannot compare one argument twice in a rule; runc then makes
        // alternatives of the comparisons, and profiles rely on it.
        args.iter().for_each(|one| rules.add(names(), &[*one], action));
    } else {
        rules.add(names(), &args, action);
    }
    Ok(())
}

fn comparison(arg: &ArgumentRule) -> Result<Comparison, SeccompError> {
    let index = u8::try_from(arg.index).ok().filter(|index| *index < 6);
    let index = index.ok_or(SeccompError::Argument(arg.index))?;
    let (operator, value) = match arg.op {
        OperatorName::Ne => (Operator::Ne, arg.value),
        OperatorName::Lt => (Operator::Lt, arg.value),
        OperatorName::Le => (Operator::Le, arg.value),
        OperatorName::Eq => (Operator::Eq, arg.value),
        OperatorName::Ge => (Operator::Ge, arg.value),
        OperatorName::Gt => (Operator::Gt, arg.value),
        OperatorName::MaskedEq => (Operator::MaskedEq { mask: arg.value }, arg.value_two),
    };
    Ok(Comparison { index, operator, value, low_half: false })
}

/// docker's order: any exclusion that holds drops the rule; every inclusion must hold.
fn applies(rule: &SyscallRule, conditions: &Conditions) -> Result<bool, SeccompError> {
    let native = conditions.arch.docker_name().unwrap_or_default();
    // A capability nobody knows is one the container does not have.
    let has = |cap: &String| {
        capabilities::parse(cap).is_some_and(|bit| conditions.capabilities & bit != 0)
    };
    let new_enough = |version: &Option<String>| match version {
        Some(text) => parse_kernel(text).map(|wanted| Some(conditions.kernel >= wanted)),
        None => Ok(None),
    };
    if let Some(excludes) = &rule.excludes
        && (excludes.arches.iter().any(|arch| arch == native)
            || excludes.caps.iter().any(has)
            || new_enough(&excludes.min_kernel)? == Some(true))
    {
        return Ok(false);
    }
    let Some(includes) = &rule.includes else { return Ok(true) };
    Ok((includes.arches.is_empty() || includes.arches.iter().any(|arch| arch == native))
        && includes.caps.iter().all(has)
        && new_enough(&includes.min_kernel)? != Some(false))
}

/// "4.8", and what distributions put after it: (4, 8).
pub(super) fn parse_kernel(text: &str) -> Result<(u32, u32), SeccompError> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    next().zip(next()).ok_or_else(|| SeccompError::Kernel(text.to_owned()))
}
