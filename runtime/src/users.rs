//! Who the container's command runs as: docker's `user[:group]`, looked up in
//! the container's own passwd and group files.
//!
//! [`resolve`] is pure: text in, numbers out. [`UserFiles::read`] takes the text
//! from below a root directory without ever leaving it. Both files are the
//! image's, thus hostile: bounded in size, regular files only, and a line whose
//! numbers do not parse is no entry rather than root's.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The longest passwd or group file that is read, bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// The highest id docker takes; the kernel's -1 means "leave as it is".
const HIGHEST_ID: u32 = i32::MAX as u32;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups for setgroups(2), ascending, the primary one among
    /// them (CVE-2022-36109: a group must not be lost by setgid programs).
    pub groups: Vec<u32>,
    /// Home directory from the passwd file, `/` when there is none.
    pub home: String,
}

/// Why a user or group cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name nobody has.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A group name nobody has.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number that is not a usable id; never looked up as a name.
    #[error("invalid user or group id {0}: uids and gids must be in range 0-2147483647")]
    OutOfRange(String),
    /// passwd or group cannot be read.
    #[error("cannot read {path} in the container's root")]
    Read {
        /// Inside the root.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The two files' texts; empty when the image has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFiles {
    /// passwd(5)
    pub passwd: String,
    /// group(5)
    pub group: String,
}

impl UserFiles {
    /// Reads `/etc/passwd` and `/etc/group` below the directory `root`, following
    /// symlinks only inside it. Missing files are empty.
    ///
    /// # Errors
    /// [`UserError::Read`]: not a regular file, or longer than 1 MiB.
    pub fn read(root: BorrowedFd<'_>) -> Result<Self, UserError> {
        let text = |path| read_below(root, path).map_err(|source| UserError::Read { path, source });
        Ok(Self { passwd: text("/etc/passwd")?, group: text("/etc/group")? })
    }
}

fn read_below(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let open = |flags| {
        let confined = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), confined)
    };
    // Looked at before it is opened: opening a device or a FIFO is an act.
    let looked = match open(OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        looked => looked?,
    };
    check_regular(&looked)?;
    let file = open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    check_regular(&file)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells "just fits" from "goes on".
    std::fs::File::from(file).take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check_regular(file: &impl std::os::fd::AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(())
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// `name:password:uid:gid:comment:home:shell`
fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// `name:password:gid:member,member`
fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn id(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|id| plain && *id <= HIGHEST_ID)
}

/// How a user or group was written.
enum Spelling<'a> {
    Number(u32),
    Name(&'a str),
}

/// A number, signed or too large ones included, is never a name.
fn spelling(text: &str) -> Result<Spelling<'_>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Spelling::Name(text));
    }
    id(text).map(Spelling::Number).ok_or_else(|| UserError::OutOfRange(text.to_owned()))
}

/// Resolves docker's `--user` text (`user`, `uid`, `user:group`, `uid:gid`, empty
/// for root) and `--group-add` names.
///
/// Without a group, the user's primary group and all that list the user count;
/// with one, only that one. A number without passwd entry is used as it is, with
/// group 0.
///
/// # Errors
/// [`UserError`]; never [`UserError::Read`].
pub fn resolve(
    spec: &str,
    group_add: &[String],
    files: &UserFiles,
) -> Result<ResolvedUser, UserError> {
    let (user, group) = spec.split_once(':').unwrap_or((spec, ""));
    let (uid, entry) = find_user(user, files)?;
    let mut groups = BTreeSet::new();
    let gid = if group.is_empty() {
        if let Some(entry) = &entry {
            let listed = |g: &GroupEntry<'_>| g.members.split(',').any(|m| m == entry.name);
            groups.extend(group_entries(&files.group).filter(listed).map(|g| g.gid));
        }
        entry.as_ref().map_or(0, |entry| entry.gid)
    } else {
        find_group(group, files)?
    };
    groups.insert(gid);
    for group in group_add {
        groups.insert(find_group(group, files)?);
    }
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/");
    Ok(ResolvedUser { uid, gid, groups: groups.into_iter().collect(), home: home.to_owned() })
}

fn find_user<'f>(
    user: &str,
    files: &'f UserFiles,
) -> Result<(u32, Option<PasswdEntry<'f>>), UserError> {
    let user = if user.is_empty() { "0" } else { user };
    let mut entries = passwd_entries(&files.passwd);
    match spelling(user)? {
        Spelling::Number(uid) => Ok((uid, entries.find(|entry| entry.uid == uid))),
        Spelling::Name(name) => match entries.find(|entry| entry.name == name) {
            Some(entry) => Ok((entry.uid, Some(entry))),
            None => Err(UserError::NoUser(name.to_owned())),
        },
    }
}

/// The numbers of `--group-add`'s groups.
///
/// # Errors
/// [`UserError`]; never [`UserError::Read`].
pub fn find_groups(names: &[String], files: &UserFiles) -> Result<Vec<u32>, UserError> {
    names.iter().map(|name| find_group(name, files)).collect()
}

fn find_group(group: &str, files: &UserFiles) -> Result<u32, UserError> {
    match spelling(group)? {
        Spelling::Number(gid) => Ok(gid),
        Spelling::Name(name) => group_entries(&files.group)
            .find(|entry| entry.name == name)
            .map(|entry| entry.gid)
            .ok_or_else(|| UserError::NoGroup(name.to_owned())),
    }
}

/// The home directory of `uid`, `/` when the passwd file does not say.
pub fn home_of(uid: u32, files: &UserFiles) -> String {
    let entry = passwd_entries(&files.passwd).find(|entry| entry.uid == uid);
    entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    fn files() -> UserFiles {
        UserFiles {
            passwd: "root:x:0:0:root:/root:/bin/sh\n\
                     # comment\n\
                     broken:x:abc:def::/:\n\
                     huge:x:4294967296:0::/:\n\
                     www:x:33:34:www:/var/www:/bin/sh\n\
                     1000:x:7:7::/trap:\n\
                     short:x:5:6\n"
                .into(),
            group: "root:x:0:root\nadm:x:4:root,www\nwww:x:34:\nvideo:x:44:www\nhuge:x:-1:www\n"
                .into(),
        }
    }

    fn ids(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(spec, &[], &files()).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn a_user_comes_with_its_groups_and_home() {
        assert_eq!(ids("www"), (33, 34, vec![4, 34, 44], "/var/www".into()));
        assert_eq!(ids("33"), ids("www"));
        assert_eq!(ids(""), (0, 0, vec![0, 4], "/root".into()));
        assert_eq!(ids("short"), (5, 6, vec![6], "/".into()));
    }

    #[test]
    fn an_explicit_group_is_the_only_one() {
        assert_eq!(ids("www:video"), (33, 44, vec![44], "/var/www".into()));
        assert_eq!(ids("www:99"), (33, 99, vec![99], "/var/www".into()));
        assert_eq!(ids(":adm"), (0, 4, vec![4], "/root".into()));
        assert_eq!(ids("www:"), ids("www"));
    }

    #[test]
    fn numbers_need_no_entry_and_are_never_names() {
        assert_eq!(ids("1000"), (1000, 0, vec![0], "/".into()));
        assert_eq!(ids("1000:1000"), (1000, 1000, vec![1000], "/".into()));
        for bad in ["2147483648", "4294967296", "-1", "99999999999999999999999", "+1"] {
            let mut hostile = files();
            hostile.passwd.push_str(&format!("{bad}:x:0:0::/:\n"));
            hostile.group.push_str(&format!("{bad}:x:0:\n"));
            for spec in [bad.to_owned(), format!("0:{bad}"), format!("{bad}:{bad}")] {
                let error = resolve(&spec, &[], &hostile).unwrap_err();
                assert!(matches!(error, UserError::OutOfRange(_)), "{spec}: {error}");
            }
            let error = resolve("", &[bad.to_owned()], &hostile).unwrap_err();
            assert!(matches!(error, UserError::OutOfRange(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn unknown_names_get_dockers_words() {
        let error =
            |spec: &str, add: &[String]| resolve(spec, add, &files()).unwrap_err().to_string();
        assert_eq!(
            error("nobody", &[]),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(
            error("www:staff", &[]),
            "unable to find group staff: no matching entries in group file"
        );
        assert!(error("", &["staff".into()]).contains("group staff"));
        // Entries with numbers that are none do not make anybody root.
        assert!(error("broken", &[]).contains("user broken"));
        assert!(error("huge", &[]).contains("user huge"));
        assert!(error("0:huge", &[]).contains("group huge"));
    }

    #[test]
    fn groups_can_be_added_by_name_and_number() {
        let user = resolve("33:33", &["adm".into(), "5".into(), "33".into()], &files()).unwrap();
        assert_eq!(user.groups, [4, 5, 33]);
    }

    #[test]
    fn homes_are_found_by_number() {
        assert_eq!(home_of(33, &files()), "/var/www");
        assert_eq!(home_of(12345, &files()), "/");
    }

    fn read(prepare: impl FnOnce(&std::path::Path)) -> Result<UserFiles, UserError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        prepare(dir.path());
        let root = std::fs::File::open(dir.path()).unwrap();
        UserFiles::read(root.as_fd())
    }

    fn write(path: std::path::PathBuf, text: &[u8]) {
        use std::io::Write;
        std::fs::File::create(path).unwrap().write_all(text).unwrap();
    }

    #[test]
    fn symlinks_stay_inside_the_root() {
        let files = read(|root| {
            std::os::unix::fs::symlink("/users", root.join("etc/passwd")).unwrap();
            write(root.join("users"), b"inside:x:1:1::/:\n");
            std::os::unix::fs::symlink("../../../../../etc/group", root.join("etc/group")).unwrap();
        });
        // The second one leads to itself, inside.
        assert!(matches!(files, Err(UserError::Read { path: "/etc/group", .. })), "{files:?}");
        let files = read(|root| {
            std::os::unix::fs::symlink("/users", root.join("etc/passwd")).unwrap();
            write(root.join("users"), b"inside:x:1:1::/:\n");
        });
        assert_eq!(files.unwrap().passwd, "inside:x:1:1::/:\n");
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let no = read(|root| {
            let mode = Mode::from_raw_mode(0o600);
            let path = root.join("etc/passwd");
            rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
        });
        assert!(matches!(no, Err(UserError::Read { path: "/etc/passwd", .. })));
        let no = read(|root| write(root.join("etc/group"), &vec![b'x'; (1 << 20) + 1]));
        assert!(matches!(no, Err(UserError::Read { path: "/etc/group", .. })));
        let fits = read(|root| write(root.join("etc/group"), &vec![b'x'; 1 << 20]));
        assert_eq!(fits.unwrap().group.len(), 1 << 20);
        assert_eq!(read(|_| ()).unwrap(), UserFiles::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_anybody_root_but_roots_own_entry(
            spec in "[a-z0-9:+-]{0,12}", passwd in "([a-c0-9:x\\-]{0,16}\n){0,6}",
        ) {
            let files = UserFiles { passwd: passwd.clone(), group: passwd.clone() };
            if let Ok(user) = resolve(&spec, &[], &files) {
                prop_assert!(user.uid <= HIGHEST_ID && user.gid <= HIGHEST_ID);
                let name = spec.split(':').next().unwrap_or_default();
                let zero = name.is_empty() || name.bytes().all(|b| b == b'0');
                let entry = passwd.lines().any(|line| {
                    let f: Vec<&str> = line.trim().split(':').collect();
                    f.len() > 3 && f[0] == name && f[2].bytes().all(|b| b == b'0')
                });
                prop_assert!(user.uid != 0 || zero || entry);
            }
        }
    }
}
