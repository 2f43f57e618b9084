//! The filter a container gets when nothing is said. It allows what docker's
//! default profile allows, sorted here by what the calls are for. What it does
//! not name fails with EPERM, and calls younger than the table with ENOSYS.
//!
//! Kept out on purpose: keyrings, io_uring, userfaultfd, kexec, swap, module and
//! clock control, new namespaces and mounts without CAP_SYS_ADMIN.
//!
//! AF_ALG (CVE-2026-31431) and AF_VSOCK sockets are refused in socket(2), by the
//! lower half of the argument, which is all the kernel looks at. i386's
//! socketcall(2) passes its arguments in memory, where no filter can see them;
//! 32-bit programs need it for every socket, so it stays allowed, and only an
//! LSM can close that way.

use super::Conditions;
use super::rules::{Action, Comparison, Operator, RuleSet};
use crate::capabilities;

/// Reading, writing and arranging files.
#[rustfmt::skip]
const FILES: &[&str] = &[
    "access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range",
    "creat", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64",
    "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat",
    "fcntl", "fcntl64", "fdatasync", "flock", "fstat", "fstat64", "fstatat64", "fstatfs",
    "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents",
    "getdents64", "ioctl", "lchown", "lchown32", "link", "linkat", "listmount", "_llseek", "lseek",
    "lstat", "lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat",
    "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2",
    "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
    "rmdir", "sendfile", "sendfile64", "splice", "stat", "stat64", "statfs", "statfs64",
    "statmount", "statx", "symlink", "symlinkat", "sync", "sync_file_range", "sync_file_range2",
    "arm_fadvise64_64", "arm_sync_file_range", "syncfs", "tee", "truncate", "truncate64", "umask",
    "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes", "vmsplice", "write",
    "writev",
];

/// Extended attributes.
#[rustfmt::skip]
const ATTRIBUTES: &[&str] = &[
    "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr",
    "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr",
    "removexattrat", "setxattr", "setxattrat",
];

/// Waiting for descriptors and being told of changes.
#[rustfmt::skip]
const EVENTS: &[&str] = &[
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents",
    "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "_newselect", "pipe",
    "pipe2", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select", "signalfd",
    "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64",
];

/// Memory.
#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "cachestat", "madvise", "map_shadow_stack", "membarrier", "memfd_create",
    "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mmap2", "mprotect",
    "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "remap_file_pages",
];

/// Processes, threads and their scheduling.
#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "arch_prctl", "execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue",
    "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "getcpu", "getpgid", "getpgrp",
    "getpid", "getppid", "getpriority", "getrlimit", "get_robust_list", "getrusage", "getsid",
    "get_thread_area", "gettid", "ioprio_get", "ioprio_set", "modify_ldt", "pidfd_open",
    "pidfd_send_signal", "prctl", "prlimit64", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "ptrace", "rseq", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getscheduler",
    "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "setpgid", "setpriority", "setrlimit",
    "set_robust_list", "setsid", "set_thread_area", "set_tid_address", "set_tls", "breakpoint",
    "cacheflush", "ugetrlimit", "uretprobe", "vfork", "wait4", "waitid", "waitpid",
];

/// Signals.
#[rustfmt::skip]
const SIGNALS: &[&str] = &[
    "kill", "pause", "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaltstack", "sigprocmask", "sigreturn",
    "tgkill", "tkill",
];

/// Who a process is and what it may do: never more than its capabilities allow.
#[rustfmt::skip]
const IDENTITY: &[&str] = &[
    "capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32",
    "getgroups", "getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid",
    "getuid32", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
    "seccomp", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32",
    "setgroups", "setgroups32", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid",
    "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
];

/// Clocks and timers; setting one needs CAP_SYS_TIME as well.
#[rustfmt::skip]
const TIME: &[&str] = &[
    "adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres",
    "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "getitimer", "gettimeofday", "nanosleep", "setitimer", "time",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64",
    "timer_settime", "timer_settime64", "times",
];

/// Sockets, all but socket(2) itself.
#[rustfmt::skip]
const NETWORK: &[&str] = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
    "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg",
    "sendto", "setsockopt", "shutdown", "socketcall", "socketpair",
];

/// System V and POSIX queues, semaphores and shared memory.
#[rustfmt::skip]
const IPC: &[&str] = &[
    "ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd",
    "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt",
    "shmget",
];

/// Asking about the machine.
const MACHINE: &[&str] = &["getrandom", "sysinfo", "uname"];

/// Everything allowed to everybody.
#[rustfmt::skip]
const ALWAYS: [&[&str]; 11] = [
    FILES, ATTRIBUTES, EVENTS, MEMORY, PROCESSES, SIGNALS, IDENTITY, TIME, NETWORK, IPC, MACHINE,
];

/// What a capability of the bounding set adds.
#[rustfmt::skip]
const WITH_CAPABILITY: &[(&str, &[&str])] = &[
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
            "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr",
            "mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl",
            "quotactl_fd", "setdomainname", "sethostname", "setns", "syslog", "umount", "umount2",
            "unshare",
        ],
    ),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYSLOG", &["syslog"]),
    ("CAP_BPF", &["bpf"]),
    ("CAP_PERFMON", &["perf_event_open"]),
];

/// linux/socket.h
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h).
#[rustfmt::skip]
const NEW_NAMESPACES: u64 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000
    | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// personality(2): plain Linux, PER_LINUX32, each with UNAME26, and "only tell me".
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default rules for a container with these capabilities.
pub(super) fn rules(conditions: &Conditions) -> RuleSet {
    let eperm = Action::Errno(libc::EPERM as u16);
    let mut rules = RuleSet::new(eperm, conditions.arch.family().to_vec());
    let has = |name: &str| {
        capabilities::parse(name).is_some_and(|bit| conditions.capabilities & bit != 0)
    };
    rules.add(ALWAYS.iter().flat_map(|group| group.iter().copied()), &[], Action::Allow);
    for (capability, names) in WITH_CAPABILITY {
        if has(capability) {
            rules.add(names.iter().copied(), &[], Action::Allow);
        }
    }
    if !has("CAP_SYS_ADMIN") {
        // clone3's flags lie in memory; ENOSYS makes the C library use clone.
        rules.add(["clone3"].into_iter(), &[], Action::Errno(libc::ENOSYS as u16));
        let no_namespace = Operator::MaskedEq { mask: NEW_NAMESPACES };
        allow_if(&mut rules, "clone", no_namespace, 0, false);
    }
    // On every family but two; `int` to the kernel, so only the lower half counts.
    allow_if(&mut rules, "socket", Operator::Lt, AF_ALG, true);
    allow_if(&mut rules, "socket", Operator::Eq, AF_ALG + 1, true);
    allow_if(&mut rules, "socket", Operator::Gt, AF_VSOCK, true);
    for personality in PERSONALITIES {
        allow_if(&mut rules, "personality", Operator::Eq, personality, false);
    }
    rules
}

/// Allows a call if its first argument compares so.
fn allow_if(rules: &mut RuleSet, name: &str, operator: Operator, value: u64, low_half: bool) {
    let first = Comparison { index: 0, operator, value, low_half };
    rules.add([name].into_iter(), &[first], Action::Allow);
}

/// Every name in the tables above.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let always = ALWAYS.iter().flat_map(|group| group.iter().copied());
    always.chain(WITH_CAPABILITY.iter().flat_map(|(_, names)| names.iter().copied()))
}
