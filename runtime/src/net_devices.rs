//! Moves network interfaces of the host into a container's network namespace
//! (runtime-spec, config-linux.md, "Network Devices"), and back when the
//! container does not come to be.
//!
//! Move and rename are one request. The kernel takes the interface down and its
//! addresses away meanwhile, so both are restored over there. A namespace that
//! ends gives physical interfaces back to the first one by itself and deletes
//! virtual ones (`Documentation/networking/netdevices.rst`): nobody moves them
//! when a container ends.

mod messages;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use messages::{
    Address, Link, add_address, get_link, list_addresses, list_links, move_link, read_address,
    read_link, set_link,
};
use rcnt_base::netlink::{Malformed, Message, Requests, Socket};
use rcnt_base::sys::netlink::Family;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::plan::NetDevicePlan;

/// Why an interface could not be moved; it is where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetDeviceError {
    /// No talking to the kernel about either namespace's interfaces.
    #[error("cannot look into the container's network namespace")]
    Namespace(#[source] io::Error),
    /// There is no such interface.
    #[error("linux.netDevices.{device}: there is no network device of this name")]
    Missing {
        /// Its name on the host.
        device: String,
    },
    /// The container has one of the new name already.
    #[error("linux.netDevices.{device}: the container's network has a device {name} already")]
    Taken {
        /// Its name on the host.
        device: String,
        /// The name it should have had.
        name: String,
    },
    /// The kernel refused one of the steps.
    #[error("linux.netDevices.{device}: cannot {step}")]
    Step {
        /// Its name on the host.
        device: String,
        /// What was tried.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Interfaces that were moved, and how to move them back.
#[derive(Debug)]
#[must_use = "a container that fails later loses its virtual devices"]
pub struct Moved {
    devices: Vec<Trace>,
    host: OwnedFd,
    inside: Socket,
}

/// One interface's past and present.
#[derive(Debug)]
struct Trace {
    host_name: String,
    was_up: bool,
    addresses: Vec<Address>,
    /// Its number in the container's namespace, once it is known to be there.
    index: u32,
}

/// Moves each of `plan` from the caller's network namespace to `netns`. All or
/// none: when one cannot be moved the others go back.
///
/// The calling thread is in `netns` for a moment; it must be the only one.
///
/// # Errors
/// The first that could not be moved.
pub fn move_into(
    plan: &[NetDevicePlan],
    netns: BorrowedFd<'_>,
) -> Result<Option<Moved>, NetDeviceError> {
    if plan.is_empty() {
        return Ok(None);
    }
    let home = own_netns().map_err(NetDeviceError::Namespace)?;
    let inside = socket_in(netns, home.as_fd()).map_err(NetDeviceError::Namespace)?;
    let mut outside = Socket::open(Family::Route).map_err(NetDeviceError::Namespace)?;
    let mut moved = Moved { devices: Vec::new(), host: home, inside };
    for device in plan {
        if let Err(error) = moved.take(device, &mut outside, netns) {
            moved.give_back();
            return Err(error);
        }
    }
    Ok(Some(moved))
}

fn own_netns() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?)
}

/// A socket stays in the namespace it was opened in.
fn socket_in(netns: BorrowedFd<'_>, home: BorrowedFd<'_>) -> io::Result<Socket> {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(netns, kind)?;
    let socket = Socket::open(Family::Route);
    move_into_link_name_space(home, kind)?;
    socket
}

impl Moved {
    fn take(
        &mut self,
        device: &NetDevicePlan,
        outside: &mut Socket,
        netns: BorrowedFd<'_>,
    ) -> Result<(), NetDeviceError> {
        let fail = |step: String| {
            let device = device.host.clone();
            move |source| NetDeviceError::Step { device, step, source }
        };
        let look = || fail("find out about it".into());
        let index = outside.interface_index(&device.host).map_err(look())?;
        let Some(index) = index else {
            return Err(NetDeviceError::Missing { device: device.host.clone() });
        };
        let link = one_link(outside, index).map_err(look())?;
        let addresses = addresses_of(outside, index).map_err(look())?;
        if self.inside.interface_index(&device.name).map_err(look())?.is_some() {
            let (device, name) = (device.host.clone(), device.name.clone());
            return Err(NetDeviceError::Taken { device, name });
        }
        let before = self.indices(device.is_template()).map_err(look())?;
        let done = one(outside, |requests| move_link(requests, index, &device.name, netns));
        // Renaming comes after moving: it may be there without its new name.
        let strayed =
            done.is_err() && outside.interface_index(&device.host).is_ok_and(|i| i.is_none());
        let name = if strayed { &device.host } else { &device.name };
        if done.is_ok() || strayed {
            let index = self.arrived(name, device.is_template() && !strayed, &before);
            let index = index.map_err(fail(format!("find {name} in the container's network")))?;
            let host_name = device.host.clone();
            self.devices.push(Trace { host_name, was_up: link.up, addresses, index });
        }
        done.map_err(fail(format!("move it to the container as {}", device.name)))?;
        self.settle(&fail)
    }

    /// Addresses and IFF_UP of the interface moved last.
    fn settle<F: FnOnce(io::Error) -> NetDeviceError>(
        &mut self,
        fail: &impl Fn(String) -> F,
    ) -> Result<(), NetDeviceError> {
        let Some(trace) = self.devices.last() else { return Ok(()) };
        for address in &trace.addresses {
            one(&mut self.inside, |requests| add_address(requests, trace.index, address))
                .map_err(fail(format!("give it its address {} again", address.describe())))?;
        }
        one(&mut self.inside, |requests| set_link(requests, trace.index, true))
            .map_err(fail("take it up".into()))
    }

    /// Whom the kernel named by a template is the one that was not there before.
    fn arrived(&mut self, name: &str, template: bool, before: &[u32]) -> io::Result<u32> {
        let found = if template {
            self.indices(true)?.into_iter().find(|index| !before.contains(index))
        } else {
            self.inside.interface_index(name)?
        };
        found.ok_or(Errno::NODEV.into())
    }

    fn indices(&mut self, wanted: bool) -> io::Result<Vec<u32>> {
        if !wanted {
            return Ok(Vec::new());
        }
        let links = self.inside.dump(list_links, |message| parsed(read_link(message)).map(Some))?;
        Ok(links.into_iter().map(|link| link.index).collect())
    }

    /// Moves everything back as it was, as far as the kernel lets us: the error
    /// that makes this necessary is the one worth telling.
    pub fn give_back(mut self) {
        let Ok(mut outside) = Socket::open(Family::Route) else { return };
        while let Some(trace) = self.devices.pop() {
            let name = &trace.host_name;
            let back =
                |requests: &mut Requests| move_link(requests, trace.index, name, self.host.as_fd());
            if one(&mut self.inside, back).is_err() {
                continue;
            }
            let Ok(Some(index)) = outside.interface_index(name) else { continue };
            for address in &trace.addresses {
                let _ = one(&mut outside, |requests| add_address(requests, index, address));
            }
            if trace.was_up {
                let _ = one(&mut outside, |requests| set_link(requests, index, true));
            }
        }
    }
}

fn parsed<T>(read: Result<T, Malformed>) -> io::Result<T> {
    read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn one(socket: &mut Socket, request: impl FnOnce(&mut Requests) -> u32) -> io::Result<()> {
    let mut requests = Requests::default();
    let sequence = request(&mut requests);
    socket.exchange(&requests, |_| Ok(()))?.check(sequence, &[])
}

fn one_link(socket: &mut Socket, index: u32) -> io::Result<Link> {
    let mut requests = Requests::default();
    get_link(&mut requests, index);
    let mut link = None;
    socket.exchange(&requests, |message: &Message<'_>| {
        link = Some(parsed(read_link(message))?);
        Ok(())
    })?;
    link.ok_or(Errno::NODEV.into())
}

fn addresses_of(socket: &mut Socket, index: u32) -> io::Result<Vec<Address>> {
    let list = |requests: &mut Requests| list_addresses(requests, index);
    let all = socket.dump(list, |message| parsed(read_address(message)))?;
    let own = all.into_iter().filter(|(of, _)| *of == index);
    Ok(own.map(|(_, address)| address).collect())
}
