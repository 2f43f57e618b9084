//! What an error calls a setting: as it was asked for.

use crate::plan::Dialect;

/// One setting, in both [`Dialect`]s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    flag: &'static str,
    json: &'static str,
}

impl Wish {
    pub(super) fn of(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Flags => self.flag,
            Dialect::Json => self.json,
        }
    }
}

macro_rules! wishes {
    ($($name:ident: $flag:literal, $json:literal;)*) => {
        $(pub(super) const $name: Wish =
            Wish { flag: $flag, json: concat!("linux.resources.", $json) };)*
    };
}

wishes! {
    MEMORY: "--memory", "memory.limit";
    SWAP: "--memory-swap", "memory.swap";
    RESERVATION: "--memory-reservation", "memory.reservation";
    KERNEL_TCP: "the TCP memory limit", "memory.kernelTCP";
    SWAPPINESS: "--memory-swappiness", "memory.swappiness";
    OOM_KILL: "--oom-kill-disable", "memory.disableOOMKiller";
    QUOTA: "--cpus", "cpu.quota";
    PERIOD: "--cpus", "cpu.period";
    BURST: "the CPU burst", "cpu.burst";
    SHARES: "--cpu-shares", "cpu.shares";
    IDLE: "the idle CPU class", "cpu.idle";
    RT_RUNTIME: "--cpu-rt-runtime", "cpu.realtimeRuntime";
    RT_PERIOD: "--cpu-rt-period", "cpu.realtimePeriod";
    CPUS: "--cpuset-cpus", "cpu.cpus";
    MEMS: "--cpuset-mems", "cpu.mems";
    PIDS: "--pids-limit", "pids.limit";
    WEIGHT: "--blkio-weight", "blockIO.weight";
    LEAF_WEIGHT: "the leaf weight", "blockIO.leafWeight";
    DEVICE_WEIGHT: "--blkio-weight-device", "blockIO.weightDevice";
    READ_BPS: "--device-read-bps", "blockIO.throttleReadBpsDevice";
    WRITE_BPS: "--device-write-bps", "blockIO.throttleWriteBpsDevice";
    READ_IOPS: "--device-read-iops", "blockIO.throttleReadIOPSDevice";
    WRITE_IOPS: "--device-write-iops", "blockIO.throttleWriteIOPSDevice";
    HUGE_PAGES: "the huge page limit", "hugepageLimits";
    CLASS: "the network class", "network.classID";
    PRIORITIES: "the network priorities", "network.priorities";
    RDMA: "the RDMA limit", "rdma";
    UNIFIED: "the cgroup v2 settings", "unified";
}
