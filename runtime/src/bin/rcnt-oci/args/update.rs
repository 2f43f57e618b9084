//! Options of `update`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct UpdateArgs {
    /// File with an OCI `resources` object, `-` for stdin; other options do nothing then
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Share of block I/O, 10-1000
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<String>,
    /// CPU period, microseconds
    #[arg(long, value_name = "US")]
    pub(crate) cpu_period: Option<String>,
    /// CPU time per period, microseconds; -1 = not limited
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<String>,
    /// CPU time that can be saved up, microseconds
    #[arg(long, value_name = "US")]
    pub(crate) cpu_burst: Option<String>,
    /// CPU shares, in cgroup v1's units
    #[arg(long, value_name = "SHARES")]
    pub(crate) cpu_share: Option<String>,
    /// Real-time CPU period, microseconds
    #[arg(long, value_name = "US")]
    pub(crate) cpu_rt_period: Option<String>,
    /// Real-time CPU time per period, microseconds
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<String>,
    /// CPUs to run on: 0-3,5
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Ignored, as the kernel does
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, hide = true)]
    pub(crate) kernel_memory: Option<String>,
    /// TCP buffers: bytes, or with k, m, g; -1 = not limited (cgroup v1 only)
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// Memory: bytes, or with k, m, g; -1 = not limited
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) memory: Option<String>,
    /// 1 = only when a CPU has nothing else to do
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    pub(crate) cpu_idle: Option<String>,
    /// Memory kept for it
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) memory_reservation: Option<String>,
    /// Memory and swap together; -1 = not limited
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<String>,
    /// Most processes; -1 = not limited
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<String>,
    /// Intel RDT: L3 cache schema
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,
    /// Intel RDT: memory bandwidth schema
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
    /// Container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}
