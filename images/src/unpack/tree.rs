//! Making files below one directory from a stranger's descriptions. Parents are
//! opened with openat2(2) RESOLVE_IN_ROOT: symbolic links of the layer lead where
//! they would lead in the container, never out of the directory. The last
//! component is never followed. Everything is done through descriptors, so
//! replacing a directory by a link between two entries changes nothing.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, chownat, fchmod, fchown,
    futimens, linkat, lsetxattr, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::{UnpackError, printable};
use super::file::{File, ignoring_unsupported, set_xattr, timestamps};
use super::later::{DirectoryMeta, Later};
use super::path::LayerPath;
use super::place::{DIRECTORY, Place, is_whiteout, open_below, set_opaque};
use super::tar::{Entry, Kind};
use crate::overlay::{Whiteout, may_carry, whiteout};

/// Directories kept open: archives go through a tree in order.
const OPEN_MAX: usize = 64;

/// The directory a layer is unpacked into.
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    /// Parents that are open, by their path as the archive writes it.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    later: Later,
    /// What open(2) takes off a mode; the process's own.
    umask: u32,
}

impl Tree {
    /// Opens `dir`, which is empty.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let root = openat(CWD, dir, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        // docker's mode for a layer that does not say otherwise.
        fchmod(&root, Mode::from_raw_mode(0o755))?;
        let later = Later::new(dir)?;
        Ok(Self { root: Rc::new(root), open: HashMap::new(), later, umask: umask() })
    }

    /// Bytes and inodes free for us; `None` where the file system does not tell.
    pub(crate) fn free(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.root).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    /// Makes one entry. A file's data is left to the caller: the open file is returned.
    pub(crate) fn make(&mut self, entry: &Entry) -> Result<Option<File>, UnpackError> {
        let path = LayerPath::clean(&entry.path)?;
        let Some((parent, name)) = path.split() else {
            if entry.kind != Kind::Directory {
                let (name, what) = (printable(&entry.path), "it would replace the layer's root");
                return Err(UnpackError::Entry { name, what });
            }
            self.remember(Rc::clone(&self.root), &path, entry)?;
            return Ok(None);
        };
        let sign = whiteout(name);
        if sign == Whiteout::Ignore {
            return Ok(None);
        }
        let place = Place { parent: self.parent(parent, &path)?, name, full: &path };
        match sign {
            Whiteout::None => {}
            Whiteout::Ignore => return Ok(None),
            Whiteout::Opaque => {
                set_opaque(&place.parent).map_err(place.error("make opaque"))?;
                return Ok(None);
            }
            Whiteout::Name(hidden) => return self.hide(&place, hidden).map(|()| None),
            Whiteout::Refuse => return place.refuse("it is a whiteout of nothing"),
        }
        match entry.kind {
            Kind::File => self.file(&place, entry).map(Some),
            Kind::Directory => self.directory(&place, entry).map(|()| None),
            Kind::Symlink => self.symlink(&place, entry).map(|()| None),
            Kind::HardLink => self.hard_link(&place, entry).map(|()| None),
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                self.node(&place, entry).map(|()| None)
            }
        }
    }

    /// Sets what directories can only get when they are full.
    pub(crate) fn finish(self) -> Result<(), UnpackError> {
        let root = self.root;
        self.later.replay(|meta| {
            let error = |action| {
                let name = printable(&meta.path);
                move |e: Errno| UnpackError::Write { action, name: name.clone(), source: e.into() }
            };
            let dir = match open_below(&root, &meta.path) {
                Ok(dir) => dir,
                // Replaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                Err(e) => return Err(error("open")(e)),
            };
            let stat = rustix::fs::fstat(&dir).map_err(error("look at"))?;
            if stat.st_ino != meta.inode {
                return Ok(());
            }
            fchown(&dir, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
                .map_err(error("set owner of"))?;
            fchmod(&dir, Mode::from_raw_mode(meta.mode)).map_err(error("set mode of"))?;
            for (name, value) in &meta.xattrs {
                set_xattr(&dir, name, value).map_err(error("set attribute of"))?;
            }
            futimens(&dir, &timestamps(meta.mtime)).map_err(error("set time of"))
        })
    }

    /// The open parent directory; what is missing of it is made, as docker does.
    fn parent(&mut self, path: &[u8], full: &LayerPath) -> Result<Rc<OwnedFd>, UnpackError> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(open) = self.open.get(path) {
            return Ok(Rc::clone(open));
        }
        let error = |e: Errno| UnpackError::Write {
            action: "open the directory of",
            name: printable(full.bytes()),
            source: e.into(),
        };
        let dir = match open_below(&self.root, path) {
            // Not there, or hidden by a whiteout of this layer.
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(path).map_err(error)?,
            done => done.map_err(error)?,
        };
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let dir = Rc::new(dir);
        self.open.insert(path.to_vec(), Rc::clone(&dir));
        Ok(dir)
    }

    fn make_parents(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut end = 0;
        while end < path.len() {
            let rest = path.get(end + 1..).unwrap_or_default();
            end = rest.iter().position(|b| *b == b'/').map_or(path.len(), |at| end + 1 + at);
            let so_far = path.get(..end).unwrap_or_default();
            if open_below(&self.root, so_far).is_ok() {
                continue;
            }
            let (parent, name) = match so_far.iter().rposition(|b| *b == b'/') {
                Some(at) => {
                    (so_far.get(..at).unwrap_or_default(), so_far.get(at + 1..).unwrap_or_default())
                }
                None => (&b"."[..], so_far),
            };
            let parent = open_below(&self.root, parent)?;
            if let Err(e) = mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if !is_whiteout(&stat) {
                    return Err(if e == Errno::EXIST { Errno::NOTDIR } else { e });
                }
                // Hidden and made anew: nothing of the layers below shows through.
                unlinkat(&parent, name, AtFlags::empty())?;
                mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                set_opaque(&open_below(&parent, name)?)?;
            }
            fchmod(open_below(&parent, name)?, Mode::from_raw_mode(0o755))?;
        }
        open_below(&self.root, path)
    }

    /// Runs `make`; when the name is taken, removes what is there and tries once
    /// more. Returns whether it was a whiteout.
    fn replacing<T>(
        &mut self,
        place: &Place<'_>,
        mut make: impl FnMut() -> rustix::io::Result<T>,
    ) -> Result<(T, bool), UnpackError> {
        match make() {
            Err(Errno::EXIST) => {}
            done => return done.map(|made| (made, false)).map_err(place.error("create")),
        }
        let stat = place.stat().map_err(place.error("replace"))?;
        self.clear(place, &stat)?;
        make().map(|made| (made, is_whiteout(&stat))).map_err(place.error("create"))
    }

    fn clear(&mut self, place: &Place<'_>, stat: &Stat) -> Result<(), UnpackError> {
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            return unlinkat(&place.parent, place.name, AtFlags::empty())
                .map_err(place.error("replace"));
        }
        // Directories below it may be among the open ones.
        self.open.clear();
        let dir = openat(&place.parent, place.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(place.error("replace"))?;
        rcnt_base::tree::empty(&dir).map_err(|source| {
            let (action, name) = ("replace", printable(place.full.bytes()));
            UnpackError::Write { action, name, source }
        })?;
        unlinkat(&place.parent, place.name, AtFlags::REMOVEDIR).map_err(place.error("replace"))
    }

    fn file(&mut self, place: &Place<'_>, entry: &Entry) -> Result<File, UnpackError> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK;
        // Right from the start when open(2) may set it: one system call less.
        let plain = entry.mode & !0o777 == 0 && entry.mode & self.umask == 0;
        let mode = Mode::from_raw_mode(if plain { entry.mode } else { 0o600 });
        let parent = Rc::clone(&place.parent);
        let (fd, _) = self.replacing(place, || openat(&parent, place.name, flags, mode))?;
        Ok(File::new(fd, plain, printable(place.full.bytes())))
    }

    fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let make = || mkdirat(&place.parent, place.name, Mode::from_raw_mode(0o700));
        let was_hidden = match make() {
            Ok(()) => false,
            Err(Errno::EXIST) => {
                let stat = place.stat().map_err(place.error("look at"))?;
                if FileType::from_raw_mode(stat.st_mode).is_dir() {
                    false
                } else {
                    self.replacing(place, make)?.1
                }
            }
            Err(e) => return Err(place.error("create")(e)),
        };
        let dir = openat(&place.parent, place.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(place.error("open"))?;
        if was_hidden {
            // The layers below had it, this one removed it and made it anew.
            set_opaque(&dir).map_err(place.error("make opaque"))?;
        }
        self.remember(Rc::new(dir), place.full, entry)
    }

    fn remember(
        &mut self,
        dir: Rc<OwnedFd>,
        path: &LayerPath,
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let error = |source: io::Error| UnpackError::Write {
            action: "note",
            name: printable(path.bytes()),
            source,
        };
        let stat = rustix::fs::fstat(&dir).map_err(|e| error(e.into()))?;
        let xattrs = entry.xattrs.iter().filter(|(name, _)| may_carry(name)).cloned().collect();
        let meta = DirectoryMeta {
            path: path.bytes().to_vec(),
            inode: stat.st_ino,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs,
        };
        self.later.push(&meta).map_err(error)
    }

    fn symlink(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        if entry.link.is_empty() || entry.link.contains(&0) || entry.link.len() > 4095 {
            return place.refuse("it links to nothing that can be named");
        }
        let parent = Rc::clone(&place.parent);
        self.replacing(place, || symlinkat(entry.link.as_slice(), &parent, place.name))?;
        self.set_owner_and_time(place, entry)
    }

    fn node(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let file_type = match entry.kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let parent = Rc::clone(&place.parent);
        self.replacing(place, || mknodat(&parent, place.name, file_type, mode, device))?;
        if entry.mode & 0o777 & self.umask != 0 {
            // It is a node of ours, made just now in a directory only we write to.
            rustix::fs::chmodat(&place.parent, place.name, mode, AtFlags::empty())
                .map_err(place.error("set mode of"))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| may_carry(name)) {
            let path =
                [format!("/proc/self/fd/{}/", place.parent.as_raw_fd()).as_bytes(), place.name]
                    .concat();
            ignoring_unsupported(lsetxattr(path, name.as_slice(), value, XattrFlags::empty()))
                .map_err(place.error("set attribute of"))?;
        }
        self.set_owner_and_time(place, entry)
    }

    fn set_owner_and_time(&self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        if (entry.uid, entry.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            chownat(&place.parent, place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(place.error("set owner of"))?;
        }
        let times = timestamps(entry.mtime);
        utimensat(&place.parent, place.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(place.error("set time of"))
    }

    fn hard_link(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let target = LayerPath::clean(&entry.link)?;
        let Some((parent, name)) = target.split() else {
            return place.refuse("it is a hard link to the layer's root");
        };
        let from = if parent.is_empty() {
            Rc::clone(&self.root)
        } else {
            let open = self.open.get(parent).cloned();
            match open {
                Some(open) => open,
                None => Rc::new(
                    open_below(&self.root, parent)
                        .map_err(place.error("find the link target of"))?,
                ),
            }
        };
        let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(place.error("find the link target of"))?;
        if is_whiteout(&stat) {
            return place.refuse("it is a hard link to a removed file");
        }
        if let Ok(here) = place.stat()
            && (here.st_dev, here.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        let to = Rc::clone(&place.parent);
        // No AT_SYMLINK_FOLLOW: a link to a symbolic link is just that.
        self.replacing(place, || linkat(&from, name, &to, place.name, AtFlags::empty())).map(|_| ())
    }

    /// A whiteout speaks of the layers below only: what this layer itself has
    /// under the name stays (OCI image-spec layer.md), a directory opaque.
    fn hide(&mut self, place: &Place<'_>, hidden: &[u8]) -> Result<(), UnpackError> {
        let made = mknodat(&place.parent, hidden, FileType::CharacterDevice, Mode::empty(), 0);
        match made {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = statat(&place.parent, hidden, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(place.error("look at"))?;
                if !FileType::from_raw_mode(stat.st_mode).is_dir() {
                    return Ok(());
                }
                let dir =
                    openat(&place.parent, hidden, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                        .map_err(place.error("open"))?;
                set_opaque(&dir).map_err(place.error("make opaque"))
            }
            Err(e) => Err(place.error("create")(e)),
        }
    }
}

/// This process's umask; when it cannot be read, one that trusts no mode.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o777)
}
