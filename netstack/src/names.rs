//! What a container calls itself and others: the texts of its `resolv.conf`,
//! `hosts` and `hostname`, and the flags that change them.
//!
//! Text in, text out; the engine writes the files and binds them into the
//! container. Errors are docker's where scripts look for them.

mod hosts;
mod links;
mod resolv_conf;

pub use hosts::{
    AddHostError, ExtraHost, HostTarget, HostnameError, HostsFile, check_hostname, hostname_file,
    readdressed,
};
pub use links::{Link, LinkError, Source, relinked};
pub use resolv_conf::{
    DnsError, DnsOverrides, HostServer, ResolvConf, host_servers, parse_dns, parse_dns_option,
    parse_dns_search, read_host_resolv_conf,
};
