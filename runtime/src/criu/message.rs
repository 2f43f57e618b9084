//! CRIU's requests and answers as values (images/rpc.proto of CRIU; the numbers
//! below are its field numbers). Only what is used here. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::wire::{Fields, Writer};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes the images of a tree of processes.
    Dump,
    /// Makes processes of images.
    Restore,
    /// Writes memory only; the processes go on.
    PreDump,
}

/// The other types that occur.
const NOTIFY: i32 = 6;
const FEATURE_CHECK: i32 = 9;
const VERSION: i32 = 10;

impl Kind {
    fn number(self) -> i32 {
        match self {
            Kind::Dump => 1,
            Kind::Restore => 2,
            Kind::PreDump => 4,
        }
    }

    /// Its name in CRIU's own messages.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Dump => "DUMP",
            Kind::Restore => "RESTORE",
            Kind::PreDump => "PRE_DUMP",
        }
    }
}

/// How the control groups of the processes are treated (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Not at all: restored ones stay where CRIU is.
    Ignore,
    /// Their properties are restored where CRIU has made them itself.
    Soft,
    /// Properties are always restored.
    Full,
    /// They must not exist yet.
    Strict,
    /// As CRIU decides: soft.
    #[default]
    Default,
}

impl CgroupsMode {
    fn number(self) -> i32 {
        match self {
            CgroupsMode::Ignore => 0,
            CgroupsMode::Soft => 3,
            CgroupsMode::Full => 4,
            CgroupsMode::Strict => 5,
            CgroupsMode::Default => 6,
        }
    }
}

/// `criu_opts`, what CRIU is to do. A descriptor is one of the requesting
/// process, unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Directory of the images.
    pub images_dir_fd: i32,
    /// Directory of logs and statistics; the images' when absent.
    pub work_dir_fd: Option<i32>,
    /// Earlier images, as a path relative to the images' directory.
    pub parent_image: Option<PathBuf>,
    /// Name of the log in the work directory.
    pub log_file: &'static str,
    /// First process of the tree to dump.
    pub pid: Option<i32>,
    /// The root file system on the host.
    pub root: PathBuf,
    /// What exists outside, `KIND[KEY]:VALUE`.
    pub external: Vec<String>,
    /// Key → descriptor of the CRIU process itself.
    pub inherit_fd: Vec<(String, i32)>,
    /// Kind → path of a namespace to enter.
    pub join_ns: Vec<(&'static str, PathBuf)>,
    /// Controller → cgroup under which restored processes come.
    pub cgroup_roots: Vec<(String, String)>,
    /// For their treatment.
    pub cgroups_mode: CgroupsMode,
    /// With which the processes are stopped for a dump.
    pub freeze_cgroup: Option<PathBuf>,
    /// Namespaces (CLONE_NEW…) whose content is not restored.
    pub empty_ns: u32,
    /// More settings, which overrule these.
    pub config_file: Option<String>,
    /// Address and port to which memory is sent.
    pub page_server: Option<(String, u16)>,
    /// Gets a zero byte when lazy pages can be asked for (before CRIU 3.15).
    pub status_fd: Option<i32>,
    /// TYPE:NAME
    pub lsm_profile: Option<String>,
    /// A mount context for SELinux.
    pub lsm_mount_context: Option<String>,
    /// The processes go on after a dump.
    pub leave_running: bool,
    /// Unix sockets whose peer is elsewhere.
    pub ext_unix_sk: bool,
    /// Established TCP connections.
    pub tcp_established: bool,
    /// Connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Established connections are closed.
    pub tcp_close: bool,
    /// A session or a process group whose leader is elsewhere.
    pub shell_job: bool,
    /// flock(2) and the like.
    pub file_locks: bool,
    /// A device that is another one now may be used.
    pub evasive_devices: bool,
    /// Changes of memory are tracked from now on.
    pub track_mem: bool,
    /// What a later image has is dropped from its parent.
    pub auto_dedup: bool,
    /// Unlinked files get a name for the time.
    pub link_remap: bool,
    /// Memory comes when it is used.
    pub lazy_pages: bool,
    /// Restored processes are the requester's children, not CRIU's.
    pub siblings: bool,
}

impl Options {
    fn write(&self) -> Writer {
        let mut to = Writer::default();
        to.number(1, self.images_dir_fd);
        to.number(9, LOG_LEVEL);
        to.bytes(10, self.log_file.as_bytes());
        // Both of each step and of a terminal without a master.
        to.flag(12, true);
        to.flag(50, true);
        self.write_flags(&mut to);
        self.write_numbers(&mut to);
        self.write_texts(&mut to);
        self.write_lists(&mut to);
        to
    }

    fn write_flags(&self, to: &mut Writer) {
        to.flag(3, self.leave_running);
        to.flag(4, self.ext_unix_sk);
        to.flag(5, self.tcp_established);
        to.flag(6, self.evasive_devices);
        to.flag(7, self.shell_job);
        to.flag(8, self.file_locks);
        to.flag(15, self.track_mem);
        to.flag(16, self.auto_dedup);
        to.flag(18, self.link_remap);
        to.flag(26, self.siblings);
        to.flag(46, self.tcp_skip_in_flight);
        to.flag(48, self.lazy_pages);
        to.flag(52, self.tcp_close);
    }

    fn write_numbers(&self, to: &mut Writer) {
        // The older, plain switch beside the mode.
        to.flag(24, true);
        to.number(34, self.cgroups_mode.number());
        to.number(38, self.empty_ns);
        let numbers = [(2, self.pid), (17, self.work_dir_fd), (49, self.status_fd)];
        for (field, value) in numbers {
            if let Some(value) = value {
                to.number(field, value);
            }
        }
    }

    fn write_texts(&self, to: &mut Writer) {
        to.bytes(13, self.root.as_os_str().as_bytes());
        let path = |path: &'_ Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        let text = |text: &Option<String>| text.clone().map(Into::into);
        let texts = [
            (14, path(&self.parent_image)),
            (44, path(&self.freeze_cgroup)),
            (51, text(&self.config_file)),
            (53, text(&self.lsm_profile)),
            (63, text(&self.lsm_mount_context)),
        ];
        for (field, value) in texts {
            if let Some(value) = value {
                to.bytes(field, OsStr::as_bytes(&value));
            }
        }
    }

    fn write_lists(&self, to: &mut Writer) {
        for external in &self.external {
            to.bytes(37, external.as_bytes());
        }
        for (key, fd) in &self.inherit_fd {
            let mut inner = Writer::default();
            inner.bytes(1, key.as_bytes());
            inner.number(2, *fd);
            to.message(27, inner);
        }
        for (kind, path) in &self.join_ns {
            let mut inner = Writer::default();
            inner.bytes(1, kind.as_bytes());
            inner.bytes(2, path.as_os_str().as_bytes());
            to.message(39, inner);
        }
        for (controller, path) in &self.cgroup_roots {
            let mut inner = Writer::default();
            inner.bytes(1, controller.as_bytes());
            inner.bytes(2, path.as_bytes());
            to.message(25, inner);
        }
        if let Some((address, port)) = &self.page_server {
            let mut inner = Writer::default();
            inner.bytes(1, address.as_bytes());
            inner.number(2, *port);
            to.message(11, inner);
        }
    }
}

/// "debug": what one wants to see when it has failed.
const LOG_LEVEL: i32 = 4;

/// Asks for `kind` with `options`.
pub(super) fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut to = Writer::default();
    to.number(1, kind.number());
    to.message(2, options.write());
    to.finish()
}

/// The answer to a notification: go on.
pub(super) fn go_on() -> Vec<u8> {
    let mut to = Writer::default();
    to.number(1, NOTIFY);
    to.flag(3, true);
    to.finish()
}

/// An answer in CRIU's place: it could not be started, because of `text`.
pub(super) fn refusal(text: &str) -> Vec<u8> {
    let mut to = Writer::default();
    to.number(1, VERSION);
    to.number(2, 0);
    to.bytes(9, text.as_bytes());
    to.finish()
}

/// Asks which version it is; more requests follow.
pub(super) fn ask_version() -> Vec<u8> {
    let mut to = Writer::default();
    to.number(1, VERSION);
    to.flag(4, true);
    to.finish()
}

/// Asks whether it can do both things of [`Features`]; more requests follow.
pub(super) fn ask_features() -> Vec<u8> {
    let mut to = Writer::default();
    to.number(1, FEATURE_CHECK);
    to.flag(4, true);
    let mut features = Writer::default();
    features.flag(1, true);
    features.flag(2, true);
    to.message(5, features);
    to.finish()
}

/// What depends on the kernel as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Tracking which memory has changed, for pre-dumps.
    pub mem_track: bool,
    /// Memory that comes when it is used.
    pub lazy_pages: bool,
}

/// `criu_resp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Response {
    kind: i32,
    pub(super) success: bool,
    /// The script of a notification, and the process it is about.
    pub(super) notify: Option<(String, i32)>,
    /// 0 when it says none.
    pub(super) errno: i32,
    /// Its own words for the failure.
    pub(super) message: Option<String>,
    pub(super) features: Option<Features>,
    /// 31701 for 3.17.1.
    pub(super) version: Option<i32>,
}

impl Response {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut response = Self::default();
        for (field, value) in Fields::of(bytes) {
            match field {
                1 => response.kind = value.int(),
                2 => response.success = value.int() != 0,
                5 => response.notify = Some(read_notify(value.bytes())),
                7 => response.errno = value.int(),
                8 => response.features = Some(read_features(value.bytes())),
                9 => response.message = Some(value.text()).filter(|text| !text.is_empty()),
                10 => response.version = Some(read_version(value.bytes())),
                _ => {}
            }
        }
        response
    }

    /// Whether more messages come before the end.
    pub(super) fn is_notification(&self) -> bool {
        self.kind == NOTIFY
    }

    /// What failed, in CRIU's words: a notification's answer may be refused too.
    pub(super) fn word(&self, kind: Kind) -> &'static str {
        if self.is_notification() { "NOTIFY" } else { kind.word() }
    }
}

fn read_notify(bytes: &[u8]) -> (String, i32) {
    let mut notify = (String::new(), 0);
    for (field, value) in Fields::of(bytes) {
        match field {
            1 => notify.0 = value.text(),
            2 => notify.1 = value.int(),
            _ => {}
        }
    }
    notify
}

fn read_features(bytes: &[u8]) -> Features {
    let mut features = Features::default();
    for (field, value) in Fields::of(bytes) {
        match field {
            1 => features.mem_track = value.int() != 0,
            2 => features.lazy_pages = value.int() != 0,
            _ => {}
        }
    }
    features
}

/// major × 10000 + minor × 100 + sublevel; one built from a repository counts
/// as the minor version that it is going to be, as CRIU's own bindings have it.
fn read_version(bytes: &[u8]) -> i32 {
    let (mut major, mut minor, mut sublevel, mut built) = (0, 0, 0, false);
    for (field, value) in Fields::of(bytes) {
        match field {
            1 => major = value.int(),
            2 => minor = value.int(),
            3 => built = !value.bytes().is_empty(),
            4 => sublevel = value.int(),
            _ => {}
        }
    }
    let small = |n: i32| n.clamp(0, 9999);
    match built {
        true => small(major) * 10_000 + (small(minor) + 1) * 100,
        false => small(major) * 10_000 + small(minor) * 100 + small(sublevel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What protoc makes of this request by CRIU's own definition, with fields in
    /// the order of their numbers.
    const BY_PROTOC: &str = "\
        08011274080510ac02180128014804520864756d702e6c6f675a070a033a3a3110466001\
        6a022f72880106c00101ca010a0a047069647312022f63da010c0a08706970653a5b375d\
        1001900200aa020a6d6e745b2f615d3a2f61b0028080808004ba02090a0369706312022f\
        6ee202022f66900301a00301";

    #[test]
    fn a_request_has_the_numbers_of_the_definition() {
        let options = Options {
            images_dir_fd: 5,
            work_dir_fd: Some(6),
            log_file: "dump.log",
            pid: Some(300),
            root: "/r".into(),
            external: vec!["mnt[/a]:/a".into()],
            inherit_fd: vec![("pipe:[7]".into(), 1)],
            join_ns: vec![("ipc", "/n".into())],
            cgroup_roots: vec![("pids".into(), "/c".into())],
            cgroups_mode: CgroupsMode::Ignore,
            freeze_cgroup: Some("/f".into()),
            empty_ns: 0x4000_0000,
            page_server: Some(("::1".into(), 70)),
            leave_running: true,
            tcp_established: true,
            tcp_close: true,
            ..Options::default()
        };
        let bytes = request(Kind::Dump, &options);
        let fields: Vec<_> = Fields::of(&bytes).collect();
        assert_eq!(fields[0].1.int(), 1);
        let mut fields: Vec<_> = Fields::of(fields[1].1.bytes()).collect();
        fields.sort_by_key(|(number, _)| *number);
        let hex = |at: usize| u8::from_str_radix(&BY_PROTOC[at..at + 2], 16).unwrap();
        let expected: Vec<u8> = (0..BY_PROTOC.len()).step_by(2).map(hex).collect();
        let expected: Vec<_> = Fields::of(&expected).collect();
        assert_eq!(expected[0].1.int(), 1);
        let expected: Vec<_> = Fields::of(expected[1].1.bytes()).collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn answers_are_read() {
        let notification = Response::read(b"\x08\x06\x10\x01\x2a\x0d\x0a\x09post-dump\x10\x07");
        assert!(notification.is_notification() && notification.success);
        assert_eq!(notification.notify, Some(("post-dump".into(), 7)));
        let version = Response::read(b"\x08\x0a\x10\x01\x52\x06\x08\x03\x10\x11\x20\x01");
        assert_eq!(version.version, Some(31701));
        let features = Response::read(b"\x08\x09\x10\x01\x42\x04\x08\x00\x10\x01");
        assert_eq!(features.features, Some(Features { mem_track: false, lazy_pages: true }));
        let failed = Response::read(b"\x08\x01\x10\x00\x38\x10\x4a\x03odd");
        assert_eq!((failed.success, failed.errno), (false, 16));
        assert_eq!(failed.message.as_deref(), Some("odd"));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Response::read(&bytes);
        }
    }
}
