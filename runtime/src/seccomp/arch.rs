//! The architectures a filter can speak about, and which of them one kernel
//! serves at once: an x86_64 kernel also runs i386 and x32 programs, an aarch64
//! kernel arm ones. Each numbers its calls differently.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An architecture, by libseccomp's name as profiles write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers; shares the audit number of [`Arch::X86_64`].
    X32,
    /// 32-bit x86.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM (EABI).
    Arm,
    /// One that no filter of ours is made for, by its name; profiles list many.
    Other(&'static str),
}

/// The names libseccomp has and we have no tables for.
const OTHERS: [&str; 13] = [
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
];

fn every() -> impl Iterator<Item = Arch> {
    let ours = [Arch::X86_64, Arch::X32, Arch::X86, Arch::Aarch64, Arch::Arm];
    ours.into_iter().chain(OTHERS.into_iter().map(Arch::Other))
}

impl TryFrom<String> for Arch {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        every()
            .find(|arch| arch.name() == name)
            .ok_or_else(|| format!("string {name} is not a valid arch for seccomp"))
    }
}

impl Serialize for Arch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// x32 calls carry this bit in their number (asm/unistd.h, `__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// The build target's, `None` where we have no table of calls.
    pub const NATIVE: Option<Arch> = if cfg!(target_arch = "x86_64") {
        Some(Arch::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::Aarch64)
    } else {
        None
    };

    /// libseccomp's name, as profiles have it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "SCMP_ARCH_X86_64",
            Arch::X32 => "SCMP_ARCH_X32",
            Arch::X86 => "SCMP_ARCH_X86",
            Arch::Aarch64 => "SCMP_ARCH_AARCH64",
            Arch::Arm => "SCMP_ARCH_ARM",
            Arch::Other(name) => name,
        }
    }

    /// The names of all that a profile may mention.
    pub fn names() -> Vec<&'static str> {
        every().map(Arch::name).collect()
    }

    /// Its column in the table of calls.
    pub(super) fn column(self) -> Option<usize> {
        match self {
            Arch::X86_64 => Some(0),
            Arch::X32 => Some(1),
            Arch::X86 => Some(2),
            Arch::Aarch64 => Some(3),
            Arch::Arm => Some(4),
            Arch::Other(_) => None,
        }
    }

    /// `AUDIT_ARCH_*` of linux/audit.h, what seccomp_data.arch says.
    pub(super) fn audit(self) -> Option<u32> {
        match self {
            Arch::X86_64 | Arch::X32 => Some(0xc000_003e),
            Arch::X86 => Some(0x4000_0003),
            Arch::Aarch64 => Some(0xc000_00b7),
            Arch::Arm => Some(0x4000_0028),
            Arch::Other(_) => None,
        }
    }

    /// Whether the kernel looks only at the lower half of each argument.
    pub(super) fn is_32_bit(self) -> bool {
        matches!(self, Arch::X86 | Arch::Arm)
    }

    /// docker's names for it in `includes.arches` (libseccomp's "native" names).
    pub(super) fn docker_name(self) -> Option<&'static str> {
        match self {
            Arch::X86_64 => Some("amd64"),
            Arch::X32 => Some("x32"),
            Arch::X86 => Some("x86"),
            Arch::Aarch64 => Some("arm64"),
            Arch::Arm => Some("arm"),
            Arch::Other(_) => None,
        }
    }

    /// It and the others its kernel runs, itself first.
    pub fn family(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 => &[Arch::X86_64, Arch::X86, Arch::X32],
            Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm],
            Arch::X32 => &[Arch::X32],
            Arch::X86 => &[Arch::X86],
            Arch::Arm => &[Arch::Arm],
            Arch::Other(_) => &[],
        }
    }
}
