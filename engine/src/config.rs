//! `config.toml`: the defaults of an instance, under docker's daemon option names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcnt_netstack::cidr::{Ipv4Net, Ipv6Net};
use rcnt_netstack::network::{AddressPool, BridgeConfig, HostPolicy};
use rcnt_netstack::relay::Relays;
use serde::Deserialize;

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// The usual place; absent is fine.
    Default(PathBuf),
    /// `--config` or `RCNT_CONFIG`; absent is an error.
    Explicit(PathBuf),
}

/// The whole file. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Interface name of the default bridge; `rcnt0` or the next free number when absent;
    /// `none`: there is no such network.
    pub bridge: Option<String>,
    /// Address and prefix length of the default bridge, `10.1.0.1/16`.
    pub bip: Option<Ipv4Net>,
    /// The part of the bridge's subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// Gives the default bridge IPv6; needs `fixed-cidr-v6` or takes a ULA prefix.
    pub ipv6: bool,
    /// IPv6 subnet of the default bridge.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// Bytes; the default route's when absent.
    pub mtu: Option<u32>,
    /// Host address that `-p` without one publishes on.
    pub ip: Option<IpAddr>,
    /// `false`: no relay for clients whom no rule can serve (`::1`); on when absent.
    pub userland_proxy: Option<bool>,
    /// `false`: containers of the default bridge reach each other only by links; on when absent.
    pub icc: Option<bool>,
    /// `false`: containers keep their addresses on the way out; on when absent.
    pub ip_masq: Option<bool>,
    /// `false`: the host's forwarding is left as it is; on when absent.
    pub ip_forward: Option<bool>,
    /// `false`: no firewall rules; published ports are relayed, if `userland-proxy` is on.
    pub firewall: Option<bool>,
    /// What containers' default route leads to, instead of the default bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// Containers' own addresses may be reached from every interface of the host.
    pub allow_direct_routing: bool,
    /// Ranges that subnets are taken from, in order, instead of the built-in ones.
    pub default_address_pools: Vec<AddressPool>,
    /// Name servers of containers without `--dns`.
    pub dns: Vec<IpAddr>,
    /// Search domains of containers without `--dns-search`.
    pub dns_search: Vec<String>,
    /// Resolver options of containers without `--dns-option`.
    pub dns_opt: Vec<String>,
    /// What `--add-host name:host-gateway` stands for; the bridge's address when absent.
    pub host_gateway_ip: Option<IpAddr>,
    /// Registries that may be spoken to over plain HTTP, `host:port`.
    pub insecure_registries: Vec<String>,
    /// The cgroup below which containers get theirs.
    pub cgroup_parent: Option<String>,
    /// `--init` for every container.
    pub init: bool,
    /// `--ulimit` of containers without one, `name = "soft:hard"`.
    pub default_ulimits: std::collections::BTreeMap<String, String>,
    /// Size of `/dev/shm`, `64m`.
    pub default_shm_size: Option<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("configuration {}, line {line}: {why}", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Config {
    /// Reads the file; an absent one at the usual place means all defaults.
    ///
    /// # Errors
    /// Unreadable, or the first wrong line.
    pub fn read(source: &ConfigSource) -> Result<Self, ConfigError> {
        let (path, must_exist) = match source {
            ConfigSource::Default(path) => (path, false),
            ConfigSource::Explicit(path) => (path, true),
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.clone(), source }),
        }
    }

    /// Whose connections are relayed to published ports.
    pub fn relays(&self) -> Relays {
        match (self.userland_proxy.unwrap_or(true), self.firewall.unwrap_or(true)) {
            (false, _) => Relays::Nothing,
            (true, true) => Relays::Untranslated,
            (true, false) => Relays::Everything,
        }
    }

    /// Whether there is a network `bridge` at all (docker's `bridge: none`).
    pub fn has_default_bridge(&self) -> bool {
        self.bridge.as_deref() != Some("none")
    }

    /// What it says of the default bridge.
    pub(crate) fn default_bridge(&self) -> BridgeConfig {
        BridgeConfig {
            bridge: self.bridge.clone(),
            bip: self.bip,
            fixed_cidr: self.fixed_cidr,
            ipv6: self.ipv6,
            fixed_cidr_v6: self.fixed_cidr_v6,
            mtu: self.mtu,
            bind_address: self.ip,
            pools: self.default_address_pools.clone(),
            icc: self.icc,
            masquerade: self.ip_masq,
            direct_routing: Some(self.allow_direct_routing).filter(|allowed| *allowed),
            default_gateway: self.default_gateway,
            default_gateway_v6: self.default_gateway_v6,
        }
    }

    /// What it says of the host, for all networks.
    pub(crate) fn host_policy(&self) -> HostPolicy {
        HostPolicy {
            ip_forward: self.ip_forward.unwrap_or(true),
            firewall: self.firewall.unwrap_or(true),
        }
    }

    /// Fills in what a container's flags leave open.
    pub fn apply_defaults(&self, args: &mut crate::request::RunArgs) {
        args.init |= self.init;
        if args.network.is_empty() && !self.has_default_bridge() {
            args.network.push("none".to_owned());
        }
        args.shm_size = args.shm_size.take().or_else(|| self.default_shm_size.clone());
        for (name, limits) in &self.default_ulimits {
            let given = args.ulimit.iter().any(|u| u.split('=').next() == Some(name));
            if !given {
                args.ulimit.push(format!("{name}={limits}"));
            }
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let line_of = |offset: usize| {
            text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
        };
        toml::from_str(text).map_err(|e| ConfigError::Line {
            path: path.to_owned(),
            line: e.span().map_or(1, |span| line_of(span.start)),
            why: e.message().lines().collect::<Vec<_>>().join(" "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("config.toml"), text)
    }

    #[test]
    fn keys_are_dockers() {
        let config = parse("bip = \"10.9.0.1/24\"\nmtu = 1400\ndns = [\"1.1.1.1\"]\n").unwrap();
        assert_eq!(
            (config.bip.unwrap().to_string(), config.mtu),
            ("10.9.0.1/24".to_owned(), Some(1400))
        );
    }

    #[test]
    fn what_the_default_bridge_shall_be_is_passed_on() {
        let config = parse(
            "icc = false\nip-masq = false\ndefault-gateway = \"10.9.0.9\"\nip-forward = false\n\
             allow-direct-routing = true\n",
        );
        let config = config.unwrap();
        let bridge = config.default_bridge();
        assert_eq!((bridge.icc, bridge.masquerade), (Some(false), Some(false)));
        assert_eq!(bridge.default_gateway, Some("10.9.0.9".parse().unwrap()));
        assert_eq!(bridge.direct_routing, Some(true));
        assert_eq!(config.host_policy(), HostPolicy { ip_forward: false, firewall: true });
        // A configuration that says nothing is the one networks were decided from before.
        assert_eq!(Config::default().default_bridge(), BridgeConfig::default());
    }

    #[test]
    fn pools_are_lines_or_tables() {
        let config = parse(
            "default-address-pools = [\"10.20.0.0/16\", {base = \"10.30.0.0/16\", size = 24}]\n",
        );
        let pools = config.unwrap().default_address_pools;
        let text: Vec<String> = pools.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["base=10.20.0.0/16,size=21", "base=10.30.0.0/16,size=24"]);
        let error = parse("default-address-pools = [{base = \"10.30.0.0/16\", size = 8}]");
        assert!(error.unwrap_err().to_string().contains("10.30.0.0/16,size=8"));
        let error = parse("default-address-pools = [{net = \"10.30.0.0/16\"}]");
        assert!(error.unwrap_err().to_string().contains("{base, size}"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line, word) in [
            ("mtu = 1400\nbogus = 1\n", "line 2", "bogus"),
            ("mtu = \"x\"\n", "line 1", "x"),
            ("\n\nmtu 1\n", "line 3", ""),
            ("mtu = 1\nfixed-cidr-v6 = \"10.0.0.0/8\"\n", "line 2", "10.0.0.0/8"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(line) && message.contains(word), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn only_an_explicit_file_must_exist() {
        let absent = PathBuf::from("/nonexistent/config.toml");
        assert!(Config::read(&ConfigSource::Default(absent.clone())).is_ok());
        assert!(Config::read(&ConfigSource::Explicit(absent)).is_err());
    }
}
