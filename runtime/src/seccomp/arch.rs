//! The architectures a filter can speak about, and which of them one kernel
//! serves at once: an x86_64 kernel also runs i386 and x32 programs, an aarch64
//! kernel arm ones. Each numbers its calls differently.

use serde::{Deserialize, Serialize};

/// An architecture, by libseccomp's name as profiles write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "SCMP_ARCH_X86_64")]
    X86_64,
    /// 64-bit x86 with 32-bit pointers; shares the audit number of [`Arch::X86_64`].
    #[serde(rename = "SCMP_ARCH_X32")]
    X32,
    /// 32-bit x86.
    #[serde(rename = "SCMP_ARCH_X86")]
    X86,
    /// 64-bit ARM.
    #[serde(rename = "SCMP_ARCH_AARCH64")]
    Aarch64,
    /// 32-bit ARM (EABI).
    #[serde(rename = "SCMP_ARCH_ARM")]
    Arm,
    /// One that no filter of ours is made for; profiles list many.
    #[serde(other)]
    Other,
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

    /// Its column in the table of calls.
    pub(super) fn column(self) -> Option<usize> {
        match self {
            Arch::X86_64 => Some(0),
            Arch::X32 => Some(1),
            Arch::X86 => Some(2),
            Arch::Aarch64 => Some(3),
            Arch::Arm => Some(4),
            Arch::Other => None,
        }
    }

    /// `AUDIT_ARCH_*` of linux/audit.h, what seccomp_data.arch says.
    pub(super) fn audit(self) -> Option<u32> {
        match self {
            Arch::X86_64 | Arch::X32 => Some(0xc000_003e),
            Arch::X86 => Some(0x4000_0003),
            Arch::Aarch64 => Some(0xc000_00b7),
            Arch::Arm => Some(0x4000_0028),
            Arch::Other => None,
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
            Arch::Other => None,
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
            Arch::Other => &[],
        }
    }
}
