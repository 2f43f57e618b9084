//! The compiled filters in the real kernel: each test loads one in a child and
//! makes the calls.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test, though not `cfg(test)`

mod single_threaded;

use std::process::ExitCode;

use rcnt_base::sys::seccomp::FilterFlags;
use rcnt_runtime::capabilities;
use rcnt_runtime::seccomp::{Conditions, compile_json, default_program, install};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use single_threaded::in_child;

fn main() -> ExitCode {
    single_threaded::main(&[
        ("the_default_refuses_and_allows_as_docker_does", default_refuses_and_allows),
        ("programs_still_run_under_the_default", programs_still_run),
        ("i386_programs_reach_the_network_but_not_two_families", i386),
        ("a_profile_file_takes_effect", profile_file),
        ("a_listener_is_returned_when_asked_for", listener),
        ("loading_the_default_is_cheap", cheap),
    ])
}

fn load_default() {
    let conditions = Conditions::here(capabilities::default_set()).unwrap();
    assert!(install(&default_program(conditions).unwrap()).unwrap().is_none());
}

/// The errno of a raw call that must fail.
fn errno(number: i64, arguments: [i64; 3]) -> i32 {
    let [a, b, c] = arguments;
    // SAFETY: only calls that take numbers, or refuse the null pointers given.
    let result = unsafe { libc::syscall(number, a, b, c, 0, 0, 0) };
    assert_eq!(result, -1, "call {number} succeeded");
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn default_refuses_and_allows() {
    let code = in_child(|| {
        load_default();
        assert_eq!(errno(libc::SYS_keyctl, [0, 0, 0]), libc::EPERM);
        assert_eq!(errno(libc::SYS_io_uring_setup, [1, 0, 0]), libc::EPERM);
        assert_eq!(errno(libc::SYS_clone3, [0, 0, 0]), libc::ENOSYS);
        assert_eq!(errno(libc::SYS_personality, [0x0040_0000, 0, 0]), libc::EPERM);
        assert_eq!(errno(100_000, [0, 0, 0]), libc::ENOSYS);
        // The upper half of `family` is not seen by the kernel; nor does it help.
        for family in [38, 40, 38 | 1 << 32, 40 | 1 << 33] {
            assert_eq!(errno(libc::SYS_socket, [family, 5, 0]), libc::EPERM, "{family:x}");
        }
        for flags in [UnshareFlags::NEWUSER, UnshareFlags::NEWNS, UnshareFlags::NEWNET] {
            // SAFETY: none of these flags concerns descriptors.
            let refused = unsafe { rustix::thread::unshare_unsafe(flags) };
            assert_eq!(refused, Err(Errno::PERM), "{flags:?}");
        }
        for family in [AddressFamily::INET, AddressFamily::UNIX, AddressFamily::NETLINK] {
            socket(family, SocketType::DGRAM, None).unwrap();
        }
        assert!(rustix::process::getpid().as_raw_nonzero().get() > 0);
        rustix::system::sethostname(b"x").unwrap_err();
        0
    });
    assert_eq!(code, 0);
}

fn programs_still_run() {
    let code = in_child(|| {
        load_default();
        #[allow(clippy::disallowed_methods)] // a real program is the point
        let output = std::process::Command::new("/bin/sh").args(["-c", "echo $((6*7))"]).output();
        u8::from(output.unwrap().stdout != b"42\n")
    });
    assert_eq!(code, 0);
}

/// A call through the 32-bit gate, as an i386 program makes it.
#[cfg(target_arch = "x86_64")]
fn int80(number: u32, a: u64, b: u64, c: u64) -> i32 {
    let result: i32;
    // SAFETY: int 0x80 enters the kernel's 32-bit table; ebx is saved around it
    // because LLVM keeps it for itself, r8 to r11 are zeroed by old kernels. The
    // arguments are numbers or addresses below 4 GiB of live memory.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {a}",
            "int 0x80",
            "xchg rbx, {a}",
            a = inout(reg) a => _,
            inout("eax") number => result,
            in("rcx") b,
            in("rdx") c,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "x86_64")]
fn i386() {
    const GETPID: u32 = 20;
    const SOCKETCALL: u32 = 102;
    const KEYCTL: u32 = 288;
    const SOCKET: u32 = 359;
    if in_child(|| u8::from(int80(GETPID, 0, 0, 0) < 0)) != 0 {
        println!("skipped: this kernel runs no 32-bit programs");
        return;
    }
    let code = in_child(|| {
        load_default();
        assert!(int80(GETPID, 0, 0, 0) > 0);
        assert_eq!(int80(KEYCTL, 0, 0, 0), -libc::EPERM);
        // What lies above 32 bits is not seen by the kernel here either.
        for family in [38, 40, 38 | 1 << 32] {
            assert_eq!(int80(SOCKET, family, 5, 0), -libc::EPERM, "{family:x}");
        }
        assert!(int80(SOCKET, 2, 1, 0) >= 0);
        // socketcall(SYS_SOCKET, {AF_INET, SOCK_STREAM, 0}); a 32-bit pointer.
        let page = low_page();
        for (at, word) in [2u32, 1, 0].into_iter().enumerate() {
            // SAFETY: the page is mapped writable and ours.
            unsafe { (page as *mut u32).add(at).write(word) };
        }
        let socket = int80(SOCKETCALL, 1, page, 0);
        assert!(socket >= 0, "socketcall: {socket}");
        0
    });
    assert_eq!(code, 0);
}

#[cfg(not(target_arch = "x86_64"))]
fn i386() {}

/// A page that a 32-bit program could address.
#[cfg(target_arch = "x86_64")]
fn low_page() -> u64 {
    // SAFETY: an anonymous mapping at an address the kernel chooses below 2 GiB.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    page as u64
}

fn profile_file() {
    let profile = br#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["getsid"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 96,
         "args": [{"index": 0, "value": 4294967296, "op": "SCMP_CMP_GE"}]}]}"#;
    let load = || {
        let conditions = Conditions::here(0).unwrap();
        install(&compile_json(profile, conditions).unwrap().unwrap()).unwrap();
    };
    let code = in_child(|| {
        load();
        assert_eq!(errno(libc::SYS_getppid, [0, 0, 0]), 95);
        assert_eq!(errno(libc::SYS_getpgid, [1 << 32, 0, 0]), 96);
        // SAFETY: takes a number.
        assert!(unsafe { libc::getpgid(0) } >= 0);
        0
    });
    assert_eq!(code, 0);
    let code = in_child(|| {
        load();
        errno(libc::SYS_getsid, [0, 0, 0]) as u8
    });
    assert_eq!(code, 256 + Signal::SYS.as_raw());
}

fn listener() {
    let code = in_child(|| {
        let profile = br#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getppid"], "action": "SCMP_ACT_NOTIFY"}]}"#;
        let conditions = Conditions::here(0).unwrap();
        let mut program = compile_json(profile, conditions).unwrap().unwrap();
        program.flags = FilterFlags { listener: true, ..program.flags };
        let listener = install(&program).unwrap();
        assert!(listener.is_some());
        // With the listener gone the kernel answers by itself.
        drop(listener);
        assert_eq!(errno(libc::SYS_getppid, [0, 0, 0]), libc::ENOSYS);
        0
    });
    assert_eq!(code, 0);
}

fn cheap() {
    let code = in_child(|| {
        let conditions = Conditions::here(capabilities::default_set()).unwrap();
        let compile = || default_program(conditions).unwrap();
        let program = compile();
        let begin = std::time::Instant::now();
        (0..100).for_each(|_| drop(compile()));
        let compiled = begin.elapsed() / 100;
        let begin = std::time::Instant::now();
        install(&program).unwrap();
        let installed = begin.elapsed();
        println!(
            "  {} instructions, compiled in {compiled:?}, loaded in {installed:?}",
            program.filter.len()
        );
        // An optimised build needs 0.06 ms; this one may run in an emulator.
        u8::from(compiled.as_millis() > 200)
    });
    assert_eq!(code, 0);
}
