//! Netlink conversations: [`Socket`], and the one netfilter socket of a thread.

use std::cell::RefCell;
use std::io;

pub(crate) use rcnt_base::netlink::{Answers, Refusal, Socket, refusal};
use rcnt_base::sys::netlink::Family;

thread_local! {
    static NETFILTER: RefCell<Option<(u32, Socket)>> = const { RefCell::new(None) };
}

/// Lends the thread's one netfilter socket, opened in the namespace of the first
/// use. It is not closed while the thread lives: closing a netfilter socket waits
/// until the kernel has freed what anybody's transactions deleted (10 to 20 ms,
/// nft_rcv_nl_event), while a process's end waits for it unseen.
pub(crate) fn with_netfilter<T>(f: impl FnOnce(&mut Socket) -> io::Result<T>) -> io::Result<T> {
    let me = std::process::id();
    let kept = NETFILTER.take().filter(|(owner, _)| *owner == me); // not across fork
    let mut socket = match kept {
        Some((_, socket)) => socket,
        None => Socket::open(Family::Netfilter)?,
    };
    let done = f(&mut socket);
    // After an error answers may be left in the queue; a new socket has none.
    if done.is_ok() {
        // A supervisor keeps it as long as the container lives.
        socket.rest();
        NETFILTER.set(Some((me, socket)));
    }
    done
}
