//! In a user namespace the container's first process has the rights of some
//! ordinary user of the host: it cannot reach sources of binds behind closed
//! directories, and owners of host files are not its to map. A process that
//! stayed outside lends it what the plan names, and nothing else:
//!
//! ```text
//! first process ── number of a mount (+ its mount namespace) ──▶ lender
//! first process ◀─ the source (or why not) ───────────────────── lender
//! ```
//!
//! The lender works in the mount namespace of the borrower, where the sources
//! are attached with the locks that belong there, and ends with the socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::sys::child::{Cloned, clone3, exit_now};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::fsapi::{clone_of, clone_path};
use super::idmap::Known;
use super::root::{Links, Root, clean};
use super::sources::{inside, map};
use crate::plan::{ContainerPlan, MountKind, NamespaceKind};

/// The lender, for whoever made it.
#[derive(Debug)]
pub(crate) struct Lender(Pid);

/// The borrower's end.
#[derive(Debug)]
pub(crate) struct Borrower(OwnedFd);

/// Starts one, if the plan may need it.
pub(crate) fn start(plan: &ContainerPlan) -> io::Result<Option<(Lender, Borrower)>> {
    let binds = plan.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Bind { .. }));
    if !binds || !plan.namespaces.separate(NamespaceKind::User) {
        return Ok(None);
    }
    let (borrower, own) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match clone3(UnshareFlags::empty(), None)? {
        Cloned::Parent { pid, .. } => Ok(Some((Lender(pid), Borrower(borrower)))),
        Cloned::Child => {
            drop(borrower);
            // Errors are the borrower's to tell; a broken socket ends both.
            let _ = serve(plan, &own);
            exit_now(0);
        }
    }
}

impl Lender {
    /// Waits until it is not needed any more.
    pub(crate) fn wait(&self) {
        let _ = retry_on_intr(|| waitpid(Some(self.0), WaitOptions::empty()));
    }
}

impl Borrower {
    /// The source of mount number `nth`: cloned and mapped if it is an id-mapped
    /// one, else a handle.
    pub(crate) fn borrow(&self, nth: usize) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mounts = openat(CWD, "/proc/self/ns/mnt", flags, Mode::empty())?;
        send(&self.0, &nth.to_ne_bytes(), Some(mounts.as_fd()))?;
        match receive(&self.0)? {
            (_, Some(source)) => Ok(source),
            (why, None) if why.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            (why, None) => Err(io::Error::other(String::from_utf8_lossy(&why).into_owned())),
        }
    }
}

fn serve(plan: &ContainerPlan, socket: &OwnedFd) -> io::Result<()> {
    let mut maps = Known::default();
    // While this is the host's mount namespace: making one takes a whole procfs.
    let mut prepared =
        plan.mounts.iter().filter_map(id_map_of).map(|ids| maps.namespace(ids).map(drop));
    let prepared = prepared.find_map(Result::err);
    let mut there = false;
    loop {
        let (number, namespace) = receive(socket)?;
        let (Ok(number), Some(namespace)) =
            (number.try_into().map(usize::from_ne_bytes), namespace)
        else {
            return Ok(());
        };
        let lent = match &prepared {
            Some(error) => {
                Err(io::Error::other(format!("make the mapping's user namespace: {error}")))
            }
            None => enter(&namespace, &mut there).and_then(|()| lend(plan, number, &mut maps)),
        };
        match lent {
            Ok(source) => send(socket, &[0], Some(source.as_fd()))?,
            Err(error) => send(socket, error.to_string().as_bytes(), None)?,
        }
    }
}

fn id_map_of(mount: &crate::plan::MountPlan) -> Option<&crate::plan::MappedIds> {
    match &mount.kind {
        MountKind::Bind { id_map: Some(plan), .. } => Some(&plan.ids),
        _ => None,
    }
}

fn enter(namespace: &OwnedFd, there: &mut bool) -> io::Result<()> {
    if !*there {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        *there = true;
    }
    Ok(())
}

fn lend(plan: &ContainerPlan, nth: usize, maps: &mut Known) -> io::Result<OwnedFd> {
    let Some(MountKind::Bind { source, recursive, id_map, .. }) =
        plan.mounts.get(nth).map(|mount| &mount.kind)
    else {
        return Err(Errno::INVAL.into());
    };
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let Some(id_map) = id_map else {
        return Ok(openat(CWD, source, path, Mode::empty())?);
    };
    let tree = match inside(plan, source) {
        // Symlinks down there are the image's: they lead nowhere else.
        Some(within) => {
            let root = Root::new(openat(CWD, &plan.rootfs.mountpoint, path, Mode::empty())?);
            clone_of(root.find(&clean(within), Links::Follow)?, *recursive)?
        }
        None => clone_path(source, *recursive)?,
    };
    map(tree, Some(id_map), maps)
}

fn send(socket: &OwnedFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS.into());
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0u8; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = retry_on_intr(|| {
        let slice = &mut [IoSliceMut::new(&mut bytes)];
        recvmsg(socket, slice, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    bytes.truncate(got.bytes);
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((bytes, fd))
}
