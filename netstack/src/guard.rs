//! Notices at once that somebody has taken the instance's rules away: a firewall's
//! restart, `nft flush ruleset`. Until they are back, unpublished ports and loopback
//! are open to the LAN (CVE-2025-54388, CVE-2025-54410), so nobody waits for the next
//! command.
//!
//! Each supervisor has such a watch and brings its own container's part back; nobody
//! has to be the one who watches, or to hand that on. What makes hundreds of them
//! cheap is a filter in the kernel: additions, and what starts and ends of containers
//! change (elements), wake nobody.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rcnt_base::sys::netlink::Family;
use rcnt_base::sys::seccomp::SockFilter;

use crate::apply::ruleset;
use crate::socket::Socket;
use crate::wire::{Malformed, Message, abi, find, read_text};

/// Where the kind of a message is within its subsystem: the low byte of nlmsg_type,
/// which is in the machine's byte order (netlink(7)).
const KIND: u32 = if cfg!(target_endian = "little") { 4 } else { 5 };

/// linux/bpf_common.h: BPF_LD | BPF_B | BPF_ABS; BPF_JMP | BPF_JEQ; BPF_RET.
const LOAD_BYTE: u16 = 0x30;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// How a transaction that takes rules away may begin. (The kernel puts several
/// messages of one transaction into a datagram; the filter sees the first. A file
/// that flushes and declares begins with what it takes, or with a new table.)
const WAKING: [u16; 5] = [
    abi::NFT_MSG_NEWTABLE,
    abi::NFT_MSG_DELTABLE,
    abi::NFT_MSG_DELCHAIN,
    abi::NFT_MSG_DELRULE,
    abi::NFT_MSG_DELSET,
];

/// Of those, what is a loss.
const LOSSES: [u16; 4] =
    [abi::NFT_MSG_DELTABLE, abi::NFT_MSG_DELCHAIN, abi::NFT_MSG_DELRULE, abi::NFT_MSG_DELSET];

/// A watch over one instance's table, in the namespace of the thread that began it.
#[derive(Debug)]
pub struct RulesWatch {
    table: String,
    socket: Socket,
}

impl RulesWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn begin(table: &str) -> io::Result<Self> {
        let socket = Socket::open(Family::Netfilter)?;
        socket.filter(&filter())?;
        socket.join(abi::NFNLGRP_NFTABLES)?;
        Ok(Self { table: table.to_owned(), socket })
    }

    /// Whether the table has lost anything since; does not wait. Readable
    /// ([`AsFd`]) when there is something to ask for.
    ///
    /// # Errors
    /// What recvmsg(2) says.
    pub fn has_lost(&mut self) -> io::Result<bool> {
        let (table, mut lost) = (&self.table, false);
        let overflow = self.socket.told(|message| {
            lost |= is_loss(message, table).map_err(invalid)?;
            Ok(())
        });
        self.socket.rest();
        Ok(overflow? || lost)
    }

    /// Whether all chains and rules are there now.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn is_whole(&self) -> io::Result<bool> {
        ruleset::table_is_whole(&self.table)
    }
}

impl AsFd for RulesWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn filter() -> Vec<SockFilter> {
    let wakes = u8::try_from(WAKING.len()).unwrap_or(u8::MAX);
    let mut program = vec![SockFilter { code: LOAD_BYTE, jt: 0, jf: 0, k: KIND }];
    // Each jumps over the ones that follow and over the refusal.
    program.extend(WAKING.iter().zip(0..).map(|(kind, n): (_, u8)| SockFilter {
        code: EQUAL,
        jt: wakes - n,
        jf: 0,
        k: u32::from(*kind),
    }));
    program.push(SockFilter { code: RETURN, jt: 0, jf: 0, k: 0 });
    program.push(SockFilter { code: RETURN, jt: 0, jf: 0, k: u32::MAX });
    program
}

/// Whether a message says that something of `table` is gone. Each of these kinds
/// names its table in attribute 1.
fn is_loss(message: &Message<'_>, table: &str) -> Result<bool, Malformed> {
    let subsystem = abi::NFNL_SUBSYS_NFTABLES << 8;
    if !LOSSES.iter().any(|kind| message.kind == subsystem | kind) {
        return Ok(false);
    }
    let rest = message.payload.get(4..).ok_or(Malformed)?;
    Ok(find(rest, abi::NFTA_TABLE_NAME).is_some_and(|name| read_text(name) == table))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with a datagram that begins with a message of this kind.
    fn passes(kind: u16) -> bool {
        let mut datagram = [0u8; 20];
        datagram[4..6].copy_from_slice(&(abi::NFNL_SUBSYS_NFTABLES << 8 | kind).to_ne_bytes());
        let (program, mut at, mut loaded) = (filter(), 0, 0u32);
        loop {
            let SockFilter { code, jt, jf, k } = program[at];
            at += 1;
            match code {
                LOAD_BYTE => loaded = datagram[k as usize].into(),
                EQUAL => at += usize::from(if loaded == k { jt } else { jf }),
                _ => return k != 0,
            }
        }
    }

    #[test]
    fn what_containers_change_wakes_nobody() {
        for kind in [abi::NFT_MSG_NEWSETELEM, abi::NFT_MSG_DELSETELEM, abi::NFT_MSG_NEWRULE, 15] {
            assert!(!passes(kind), "{kind}");
        }
        for kind in WAKING {
            assert!(passes(kind), "{kind}");
        }
    }

    #[test]
    fn a_loss_is_one_of_our_own_table() {
        let told = |kind: u16, table: &str| {
            let mut requests = crate::wire::Requests::default();
            requests.message(abi::NFNL_SUBSYS_NFTABLES << 8 | kind, 0, &[1, 0, 0, 0], |a| {
                a.text(abi::NFTA_TABLE_NAME, table);
            });
            let bytes = requests.bytes().unwrap().to_vec();
            let message = crate::wire::messages(&bytes).next().unwrap().unwrap();
            is_loss(&message, "rcnt").unwrap()
        };
        assert!(told(abi::NFT_MSG_DELRULE, "rcnt") && told(abi::NFT_MSG_DELTABLE, "rcnt"));
        assert!(!told(abi::NFT_MSG_DELTABLE, "rcnt2") && !told(abi::NFT_MSG_NEWTABLE, "rcnt"));
    }
}
