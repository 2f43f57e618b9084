//! Interfaces removed by a child of ours. The kernel takes an interface out of sight
//! at once, but keeps who asked waiting for RCU grace periods (10 to 50 ms): nobody
//! has to be the one.

use std::io;

use rcnt_base::sys::child::{self, Rest};
use rcnt_base::sys::process::{self, Fork};
use rcnt_netstack::apply;

/// Deletes an interface, a bridge or an end of a pair and the other with it; one that
/// is gone is fine. It is out of sight when this returns: one of the same name may be
/// made, which the kernel does when it is done with the old one.
///
/// # Errors
/// The kernel's reason; it is still there after two seconds.
pub(crate) fn remove_interface(interface: &str) -> io::Result<()> {
    if !apply::link_exists(interface)? {
        return Ok(());
    }
    match process::fork()? {
        Fork::Child => {
            // Neither our locks nor anybody's pipes wait for us.
            let alone = rustix::process::setsid().is_ok()
                && crate::supervisor::let_go_of_streams().is_ok()
                && child::inherit_only(2, Rest::Close).is_ok();
            let removed = alone && apply::remove_interface(interface).is_ok();
            child::exit_now(u8::from(!removed))
        }
        Fork::Parent(_) => apply::wait_link_gone(interface),
    }
}
