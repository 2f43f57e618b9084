//! When, where and as what a process runs: scheduling policy, I/O priority,
//! processors, memory nodes, personality. All concern the calling thread.

use std::collections::BTreeSet;
use std::io;

use serde::{Deserialize, Serialize};

/// `struct sched_attr` of linux/sched/types.h without what only later kernels know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub period: u64,
}

/// The kernel's layout (SCHED_ATTR_SIZE_VER0, 48 bytes).
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// sched_setattr(2)
///
/// # Errors
/// The kernel's reason: EPERM without CAP_SYS_NICE, or for SCHED_DEADLINE on
/// fewer processors than there are.
pub fn set_scheduling(wanted: &Scheduling) -> io::Result<()> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *wanted;
    let size = size_of::<SchedAttr>() as u32;
    let attr = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads `size` bytes of `attr`, which is exactly that long,
    // `repr(C)` without padding and alive until the call returns; 0 is the caller.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    check(result)
}

/// ioprio_set(2) for the calling thread; class and level as the kernel packs
/// them (linux/ioprio.h).
///
/// # Errors
/// The kernel's reason: EPERM for the real-time class without CAP_SYS_NICE.
pub fn set_io_priority(class: u8, level: u8) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let packed = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: three numbers, no memory.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, packed) };
    check(result)
}

/// set_mempolicy(2): `mode` with its flags, on `nodes`.
///
/// # Errors
/// The kernel's reason: EINVAL for a node that does not exist.
pub fn set_memory_policy(mode: i32, nodes: &BTreeSet<u16>) -> io::Result<()> {
    let mask = mask_of(nodes);
    // The kernel looks at one bit less than it is told (set_mempolicy(2), "Bugs").
    let bits = if mask.is_empty() { 0 } else { mask.len() * u64::BITS as usize + 1 };
    let pointer = if mask.is_empty() { std::ptr::null() } else { mask.as_ptr() };
    // SAFETY: the kernel reads `bits - 1` bits from `pointer`: all of `mask`, which
    // lives until the call returns, or nothing from a null pointer.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    check(result)
}

/// sched_setaffinity(2) on `cpus`; those that do not exist, or that the cgroup's
/// cpuset does not have, are left out by the kernel.
///
/// # Errors
/// The kernel's reason: EINVAL when none is left.
pub fn set_affinity(cpus: &BTreeSet<u16>) -> io::Result<()> {
    set_affinity_mask(&mask_of(cpus))
}

/// [`set_affinity`] on every processor there is.
///
/// # Errors
/// As there.
pub fn reset_affinity() -> io::Result<()> {
    /// 8,192 processors, the most that Linux can be built for.
    const EVERY: [u64; 128] = [u64::MAX; 128];
    set_affinity_mask(&EVERY)
}

fn set_affinity_mask(mask: &[u64]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told `mask` has, which is
    // borrowed for the call; 0 is the calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    check(result)
}

/// personality(2)
///
/// # Errors
/// The kernel's reason.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: one number, no memory.
    match unsafe { libc::personality(libc::c_ulong::from(persona)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// One bit for each number, lowest first, in words as the kernel has them.
fn mask_of(numbers: &BTreeSet<u16>) -> Vec<u64> {
    let words = numbers.last().map_or(0, |last| usize::from(*last) / 64 + 1);
    let mut mask = vec![0; words];
    for number in numbers {
        if let Some(word) = mask.get_mut(usize::from(*number) / 64) {
            *word |= 1 << (number % 64);
        }
    }
    mask
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_bits() {
        assert_eq!(mask_of(&BTreeSet::new()), [0u64; 0]);
        assert_eq!(mask_of(&BTreeSet::from([0, 3, 64])), [0b1001, 1]);
    }

    #[test]
    fn the_kernel_takes_what_is_harmless() {
        assert_eq!(size_of::<SchedAttr>(), 48);
        set_scheduling(&Scheduling::default()).unwrap();
        set_memory_policy(libc::MPOL_DEFAULT, &BTreeSet::new()).unwrap();
        set_memory_policy(libc::MPOL_BIND, &BTreeSet::from([0])).unwrap();
        set_memory_policy(libc::MPOL_BIND, &BTreeSet::from([1000])).unwrap_err();
        set_affinity(&BTreeSet::from([8000])).unwrap_err();
        reset_affinity().unwrap();
        set_io_priority(2, 4).unwrap();
        set_io_priority(7, 0).unwrap_err();
    }
}
