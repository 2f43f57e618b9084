//! bpf(2), just enough to put a device program on a v2 cgroup and a classifier on an interface. The program
//! itself is made elsewhere, as data.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One eBPF instruction, `struct bpf_insn` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInstruction {
    /// Class, operation, source kind.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four
    /// (little-endian bit-field order; the two swap on big-endian machines).
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

// linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, attach flags.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`, up to `prog_flags`. The
/// kernel takes the fields it is not given as zero.
#[derive(Default)]
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// `union bpf_attr` for `BPF_PROG_ATTACH`.
#[derive(Default)]
#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program. Needs CAP_BPF or CAP_SYS_ADMIN.
///
/// # Errors
/// The kernel's reason; when the verifier refuses the program, its last line.
pub fn load_device_program(program: &[BpfInstruction]) -> io::Result<OwnedFd> {
    load_explained(BPF_PROG_TYPE_CGROUP_DEVICE, program)
}

/// Loads a `BPF_PROG_TYPE_SCHED_CLS` program, for tc(8). Needs CAP_BPF and CAP_NET_ADMIN.
///
/// # Errors
/// As [`load_device_program`].
pub fn load_classifier(program: &[BpfInstruction]) -> io::Result<OwnedFd> {
    load_explained(BPF_PROG_TYPE_SCHED_CLS, program)
}

fn load_explained(kind: u32, program: &[BpfInstruction]) -> io::Result<OwnedFd> {
    match load(kind, program, &mut []) {
        Ok(fd) => Ok(fd),
        Err(error) => {
            // Again with a log: the errno alone never says what the verifier minded.
            let mut log = vec![0u8; 64 * 1024];
            match load(kind, program, &mut log) {
                Ok(fd) => Ok(fd),
                Err(_) => Err(explain(error, &log)),
            }
        }
    }
}

fn explain(error: io::Error, log: &[u8]) -> io::Error {
    let text = log.split(|b| *b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    // The verifier ends with a statistics line ("processed 4 insns …").
    let told = text.lines().rev().find(|line| !line.is_empty() && !line.starts_with("processed"));
    match told {
        Some(line) => io::Error::new(error.kind(), format!("{error} ({line})")),
        None => error,
    }
}

fn load(kind: u32, program: &[BpfInstruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let too_big = |_| io::Error::from_raw_os_error(libc::E2BIG);
    let license = c"Apache-2.0";
    let mut attributes = LoadAttributes {
        prog_type: kind,
        insn_cnt: u32::try_from(program.len()).map_err(too_big)?,
        insns: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        ..LoadAttributes::default()
    };
    if !log.is_empty() {
        attributes.log_level = 1;
        attributes.log_size = u32::try_from(log.len()).map_err(too_big)?;
        attributes.log_buf = log.as_mut_ptr().addr() as u64;
    }
    // SAFETY: `attributes` is a prefix of union bpf_attr of the size passed; the
    // addresses in it are of `program`, a static string and `log`, each borrowed
    // until after the call and of the lengths given. The kernel writes only `log`,
    // which we hold exclusively (the raw addresses were taken from live borrows).
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attributes,
            size_of::<LoadAttributes>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: a non-negative result of BPF_PROG_LOAD is a new descriptor
        // (close-on-exec) that nobody else owns (bpf(2)).
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attaches a device program to the v2 cgroup `cgroup`, beside any that others
/// have put there: all must agree. It lives as long as the cgroup.
///
/// # Errors
/// The kernel's reason; EINVAL when an ancestor forbids more programs.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    // SAFETY: `attributes` is a prefix of union bpf_attr of the size passed and
    // alive during the call; it holds no pointers. Both descriptors are borrowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attributes,
            size_of::<AttachAttributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
