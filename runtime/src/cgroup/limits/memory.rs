//! Memory, swap and huge pages.

use super::{LimitError, Place, Planner, wish};
use crate::plan::Resources;

/// Both versions keep bytes; v1 writes "no limit" as -1, v2 as a word.
fn v2_bytes(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

impl Planner<'_> {
    pub(super) fn memory(&mut self, r: &Resources) -> Result<(), LimitError> {
        // v1 refuses unlimited memory within limited swap: -1 is for both then.
        let swap = match (r.memory, r.memory_swap) {
            (Some(-1), None) => Some(-1),
            (_, swap) => swap,
        };
        if let Some(memory) = r.memory {
            let wish = self.name(wish::MEMORY);
            match self.place(wish, "memory")? {
                Place::V1(at) => self.write(wish, &at, "memory.limit_in_bytes", memory),
                Place::V2(at) => self.write(wish, &at, "memory.max", v2_bytes(memory)),
            }
        }
        self.swap(r, swap)?;
        if let Some(bytes) = r.memory_reservation {
            let wish = self.name(wish::RESERVATION);
            match self.place(wish, "memory")? {
                Place::V1(at) => self.write(wish, &at, "memory.soft_limit_in_bytes", bytes),
                Place::V2(at) => self.write(wish, &at, "memory.low", v2_bytes(bytes)),
            }
        }
        if let Some(bytes) = r.memory_kernel_tcp {
            let file = "memory.kmem.tcp.limit_in_bytes";
            self.v1_only(wish::KERNEL_TCP, "memory", file, bytes)?;
        }
        if let Some(percent) = r.memory_swappiness {
            self.v1_only(wish::SWAPPINESS, "memory", "memory.swappiness", percent)?;
        }
        if r.oom_kill_disable {
            self.v1_only(wish::OOM_KILL, "memory", "memory.oom_control", 1)?;
        }
        Ok(())
    }

    /// Both callers count memory and swap together, as v1 does; v2 counts swap alone.
    fn swap(&mut self, r: &Resources, swap: Option<i64>) -> Result<(), LimitError> {
        let wish = self.name(wish::SWAP);
        // What was not asked for in so many words is left out where nobody counts it.
        let (total, asked) = match (r.memory, swap.filter(|n| *n != 0)) {
            (Some(memory), None) if r.swap_like_memory => (memory.saturating_mul(2), false),
            (_, None) => return Ok(()),
            (_, Some(total)) => (total, r.memory_swap.is_some()),
        };
        match self.place(wish, "memory")? {
            Place::V1(at) => {
                let choice = ("memory.memsw.limit_in_bytes".to_owned(), total.to_string());
                self.push(asked.then_some(wish), &at, vec![choice]);
            }
            Place::V2(at) => {
                let value = v2_bytes(swap_alone(wish, r.memory, total)?);
                // No swap and any swap are what a kernel that does not count it gives.
                let asked = asked && !["max", "0"].contains(&value.as_str());
                let choice = ("memory.swap.max".to_owned(), value);
                self.push(asked.then_some(wish), &at, vec![choice]);
            }
        }
        Ok(())
    }

    pub(super) fn hugetlb(&mut self, r: &Resources) -> Result<(), LimitError> {
        let wish = self.name(wish::HUGE_PAGES);
        for (size, bytes) in &r.hugetlb {
            let (at, end) = match self.place(wish, "hugetlb")? {
                Place::V1(at) => (at, "limit_in_bytes"),
                Place::V2(at) => (at, "max"),
            };
            self.write(wish, &at, &format!("hugetlb.{size}.{end}"), bytes);
            // Reservations are counted by themselves since Linux 5.7.
            let reserved = (format!("hugetlb.{size}.rsvd.{end}"), bytes.to_string());
            self.push(None, &at, vec![reserved]);
        }
        Ok(())
    }
}

/// The swap part of `total`; -1 stays -1.
fn swap_alone(wish: &'static str, memory: Option<i64>, total: i64) -> Result<i64, LimitError> {
    match memory {
        _ if total < 0 => Ok(total),
        None => Err(LimitError::SwapAlone { wish }),
        Some(memory) if memory < 0 => Ok(total),
        Some(memory) if total < memory => {
            Err(LimitError::SwapBelowMemory { wish, memory, swap: total })
        }
        Some(memory) => Ok(total - memory),
    }
}
