//! `--network` and what goes with it: which networks a container is to be on, and
//! as whom. Pure; whether a network exists is asked when the container is created.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rcnt_netstack::names::Link;
use rcnt_netstack::plan::Mac;
use serde::{Deserialize, Serialize};

use super::{RequestError, RunArgs};

/// `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Networks of containers, this one first; `bridge` is the default one.
    Bridge(String),
    /// Loopback only.
    None,
    /// The host's own namespace.
    Host,
    /// The namespace of another container, by full id.
    Container(String),
}

/// One network a container is to be on, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    /// The network, as typed; its name, once it was looked up.
    pub network: String,
    /// `--network-alias`, `alias=`.
    pub aliases: Vec<String>,
    /// `--link` on a user-defined network: `source:alias`, in docker's form.
    pub links: Vec<String>,
    /// `--ip`.
    pub ip: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ip6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// `--link-local-ip`.
    pub link_local: Vec<IpAddr>,
    /// `gw-priority=`: the highest has the default route.
    pub gw_priority: i64,
    /// `driver-opt=`.
    pub driver_opts: BTreeMap<String, String>,
}

/// The flags of an endpoint as typed, of `run` and of `network connect`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointArgs {
    /// The network.
    pub network: String,
    /// `--alias`.
    pub aliases: Vec<String>,
    /// `--link`.
    pub links: Vec<String>,
    /// `--ip`.
    pub ip: Option<String>,
    /// `--ip6`.
    pub ip6: Option<String>,
    /// `--mac-address`.
    pub mac: Option<String>,
    /// `--link-local-ip`.
    pub link_local: Vec<String>,
    /// `--gw-priority`.
    pub gw_priority: i64,
    /// `--driver-opt`.
    pub driver_opts: Vec<String>,
}

/// Docker's key for an interface's name inside.
pub(crate) const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// Docker's key for settings of the interface inside.
pub(crate) const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Whether docker counts the network as made by a user.
pub(crate) fn is_user_defined(network: &str) -> bool {
    !matches!(network, "" | "default" | "bridge" | "host" | "none" | "container")
        && !network.starts_with("container:")
}

/// The mode and, where it has networks, one request for each.
///
/// # Errors
/// What docker refuses.
pub(super) fn networks(
    args: &RunArgs,
) -> Result<(NetworkMode, Vec<EndpointRequest>), RequestError> {
    let mut typed = Vec::new();
    for text in &args.network {
        typed.push(long_form(text)?);
    }
    if typed.is_empty() {
        typed.push(EndpointArgs { network: "default".to_owned(), ..EndpointArgs::default() });
    }
    let mode = mode(&typed.first().map(|first| first.network.clone()).unwrap_or_default())?;
    let users = typed.iter().filter(|endpoint| is_user_defined(&endpoint.network)).count();
    if users != 0 && users != typed.len() {
        return Err(RequestError::Conflict(
            "cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = typed.iter().find(|endpoint| !seen.insert(&endpoint.network)) {
        return Err(RequestError::NetworkTwice(twice.network.clone()));
    }
    if users == 0 && typed.len() > 1 {
        let names: Vec<&str> = typed.iter().map(|endpoint| endpoint.network.as_str()).collect();
        return Err(RequestError::ManyModes(names.join(", ")));
    }
    if let Some(first) = typed.first_mut() {
        with_flags(first, args)?;
    }
    if !matches!(mode, NetworkMode::Bridge(_)) {
        // What there is besides the name has nowhere to go; see `check_conflicts`.
        return Ok((mode, Vec::new()));
    }
    let endpoints = typed.iter().map(endpoint).collect::<Result<_, _>>()?;
    Ok((mode, endpoints))
}

fn mode(name: &str) -> Result<NetworkMode, RequestError> {
    match name {
        "" | "default" | "bridge" => Ok(NetworkMode::Bridge("bridge".into())),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        "container" | "container:" => Err(RequestError::Value {
            flag: "--network",
            value: "container:".into(),
            hint: "container:<name or id>",
        }),
        other => match other.strip_prefix("container:") {
            Some(target) => Ok(NetworkMode::Container(target.to_owned())),
            None => Ok(NetworkMode::Bridge(other.to_owned())),
        },
    }
}

/// The links that are of the default network; those of others are their endpoints'.
pub(super) fn links(
    texts: &[String],
    endpoints: &[EndpointRequest],
) -> Result<Vec<Link>, RequestError> {
    let links = texts.iter().map(|text| text.parse().map_err(RequestError::Link));
    let links = links.collect::<Result<Vec<Link>, _>>()?;
    let default = endpoints.iter().any(|endpoint| endpoint.network == "bridge");
    Ok(if default { links } else { Vec::new() })
}

/// `name=front,alias=www,ip=10.0.0.2`, or just `front`.
fn long_form(text: &str) -> Result<EndpointArgs, RequestError> {
    let mut endpoint = EndpointArgs::default();
    if !text.contains('=') {
        text.clone_into(&mut endpoint.network);
        return Ok(endpoint);
    }
    let wrong = |hint| RequestError::Value { flag: "--network", value: text.to_owned(), hint };
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| wrong("key=value fields"))?;
        let value = value.trim().to_owned();
        match key.trim().to_lowercase().as_str() {
            "name" => endpoint.network = value,
            "alias" => endpoint.aliases.push(value),
            "ip" => endpoint.ip = Some(value),
            "ip6" => endpoint.ip6 = Some(value),
            "mac-address" => endpoint.mac = Some(value),
            "link-local-ip" => endpoint.link_local.push(value),
            "driver-opt" => endpoint.driver_opts.push(value),
            "gw-priority" => {
                let number = value.parse().map_err(|_| wrong("gw-priority=NUMBER"))?;
                endpoint.gw_priority = number;
            }
            _ => {
                return Err(wrong(
                    "the fields name, alias, ip, ip6, mac-address, link-local-ip, driver-opt, \
                     gw-priority",
                ));
            }
        }
    }
    if endpoint.network.is_empty() {
        return Err(wrong("a network's name: name=NETWORK"));
    }
    Ok(endpoint)
}

/// The flags without a network of their own belong to the first.
fn with_flags(first: &mut EndpointArgs, args: &RunArgs) -> Result<(), RequestError> {
    let once = |conflict: bool, what| match conflict {
        true => Err(RequestError::Conflict(what)),
        false => Ok(()),
    };
    once(
        !first.aliases.is_empty() && !args.network_alias.is_empty(),
        "cannot specify both --network-alias and per-network alias",
    )?;
    once(
        first.ip.is_some() && args.ip.is_some(),
        "cannot specify both --ip and per-network IPv4 address",
    )?;
    once(
        first.ip6.is_some() && args.ip6.is_some(),
        "cannot specify both --ip6 and per-network IPv6 address",
    )?;
    once(
        first.mac.is_some() && args.mac_address.is_some(),
        "cannot specify both --mac-address and per-network MAC address",
    )?;
    once(
        !first.link_local.is_empty() && !args.link_local_ip.is_empty(),
        "cannot specify both --link-local-ip and per-network link-local IP addresses",
    )?;
    if is_user_defined(&first.network) {
        first.links.extend(args.link.iter().cloned());
    }
    first.aliases.extend(args.network_alias.iter().cloned());
    first.link_local.extend(args.link_local_ip.iter().cloned());
    first.ip = first.ip.take().or_else(|| args.ip.clone());
    first.ip6 = first.ip6.take().or_else(|| args.ip6.clone());
    first.mac = first.mac.take().or_else(|| args.mac_address.clone());
    Ok(())
}

/// One network's flags, checked.
///
/// # Errors
/// A value that is not of its flag's form, or that docker refuses on this network.
pub fn endpoint(args: &EndpointArgs) -> Result<EndpointRequest, RequestError> {
    let EndpointArgs { network, aliases, links, ip, ip6, mac, link_local, .. } = args;
    let user_defined = is_user_defined(network);
    if !user_defined && (ip.is_some() || ip6.is_some()) {
        return Err(RequestError::Endpoint(
            "user-specified IP address is supported on user-defined networks only",
        ));
    }
    if !user_defined && !aliases.is_empty() {
        return Err(RequestError::Endpoint(
            "network-scoped aliases are only supported for user-defined networks",
        ));
    }
    aliases.iter().try_for_each(|alias| check_alias("--network-alias", alias))?;
    let mac = mac.as_ref().map(|mac| mac.parse::<Mac>());
    Ok(EndpointRequest {
        network: if user_defined { network.clone() } else { "bridge".to_owned() },
        aliases: aliases.clone(),
        links: links.clone(),
        ip: parsed("--ip", ip.as_deref(), "an IPv4 address")?,
        ip6: parsed("--ip6", ip6.as_deref(), "an IPv6 address")?,
        mac: mac.transpose().map_err(|e| RequestError::source("--mac-address", e))?,
        link_local: link_local
            .iter()
            .map(|text| link_local_address(text))
            .collect::<Result<_, _>>()?,
        gw_priority: args.gw_priority,
        driver_opts: args
            .driver_opts
            .iter()
            .map(|text| driver_opt(text))
            .collect::<Result<_, _>>()?,
    })
}

/// Whether a name can be one of the resolver's.
pub(crate) fn check_alias(flag: &'static str, alias: &str) -> Result<(), RequestError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    match alias.len() <= 253 && alias.bytes().all(good) && edge(alias.bytes().next()) {
        true => Ok(()),
        false => Err(RequestError::Value {
            flag,
            value: alias.to_owned(),
            hint: "a name of letters, digits, '.', '_' and '-'",
        }),
    }
}

fn parsed<T: FromStr>(
    flag: &'static str,
    text: Option<&str>,
    hint: &'static str,
) -> Result<Option<T>, RequestError> {
    let wrong = |value: &str| RequestError::Value { flag, value: value.to_owned(), hint };
    text.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}

fn link_local_address(text: &str) -> Result<IpAddr, RequestError> {
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    text.parse().ok().filter(is_local).ok_or_else(|| RequestError::Value {
        flag: "--link-local-ip",
        value: text.to_owned(),
        hint: "a link-local address (169.254.0.0/16, fe80::/10)",
    })
}

fn driver_opt(text: &str) -> Result<(String, String), RequestError> {
    let wrong = |hint| RequestError::Value { flag: "--driver-opt", value: text.to_owned(), hint };
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| wrong("key=value"))?;
    // IFNAMSIZ, linux/if.h: 15 bytes and a zero; no '/' and spaces (dev_valid_name).
    let interface = |name: &str| {
        (1..=15).contains(&name.len())
            && !matches!(name, "." | ".." | "lo" | "all" | "default")
            && !name.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace())
    };
    if key == IFNAME && !interface(value) {
        return Err(wrong("an interface name of 1 to 15 bytes"));
    }
    if key == SYSCTLS && sysctls(value).is_none() {
        return Err(wrong("net.ipv4.SETTING.IFNAME.NAME=VALUE, ipv6 or mpls for ipv4"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Docker's `net.X.Y.IFNAME.Z=V,…` as paths below /proc/sys, with the interface's
/// name left to be put in, and values; `None` when it is not of that form.
pub(crate) fn sysctls(text: &str) -> Option<Vec<([String; 2], String)>> {
    let one = |setting: &str| {
        let (name, value) = setting.split_once('=')?;
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let parts: Vec<&str> = name.split('.').filter(word).collect();
        let [net @ "net", family @ ("ipv4" | "ipv6" | "mpls"), what, ifname, last] = parts[..]
        else {
            return None;
        };
        ifname
            .eq_ignore_ascii_case("ifname")
            .then(|| ([format!("{net}/{family}/{what}"), last.to_owned()], value.to_owned()))
    };
    text.split(',').map(one).collect()
}

/// Flags that contradict the network mode, in docker's words.
pub(super) fn check_conflicts(args: &RunArgs, network: &NetworkMode) -> Result<(), RequestError> {
    let conflict = |what: &'static str| Err(RequestError::Conflict(what));
    if args.bandwidth.is_some() && !matches!(network, NetworkMode::Bridge(_)) {
        return conflict("--bandwidth and a network that is not the container's own");
    }
    if !args.egress_allow.is_empty() && !matches!(network, NetworkMode::Bridge(_)) {
        return conflict("--egress-allow and a network that is not the container's own");
    }
    if let NetworkMode::Container(_) = network {
        if args.hostname.is_some() || args.domainname.is_some() {
            return conflict("hostname and the network mode");
        }
        if !args.dns.is_empty() || !args.dns_search.is_empty() || !args.dns_option.is_empty() {
            return conflict("dns and the network mode");
        }
        if !args.link.is_empty() {
            return conflict(
                "container type network can't be used with links. This would result in undefined \
                 behavior",
            );
        }
        if !args.add_host.is_empty() {
            return conflict("custom host-to-IP mapping and the network mode");
        }
        if !args.publish.is_empty() || args.publish_all {
            return conflict("port publishing and the container type network mode");
        }
        if !args.expose.is_empty() {
            return conflict("port exposing and the container type network mode");
        }
    }
    if *network == NetworkMode::Host && !args.link.is_empty() {
        return conflict(
            "host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    if !matches!(network, NetworkMode::Bridge(_)) {
        if args.mac_address.is_some() {
            return conflict("mac-address and the network mode");
        }
        if args.ip.is_some() || args.ip6.is_some() || !args.link_local_ip.is_empty() {
            return conflict("ip address and the network mode");
        }
        if !args.network_alias.is_empty() {
            return Err(RequestError::Endpoint(
                "network-scoped aliases are only supported for user-defined networks",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(networks: &[&str]) -> RunArgs {
        RunArgs {
            image: "web".into(),
            network: networks.iter().map(|n| (*n).to_owned()).collect(),
            ..RunArgs::default()
        }
    }

    #[test]
    fn the_long_form_is_dockers() {
        let text = "name=front,alias=www,alias=w2,ip=10.0.0.2,ip6=fd00::2,\
                    mac-address=02:00:00:00:00:01,link-local-ip=169.254.3.4,gw-priority=-1,\
                    driver-opt=com.docker.network.endpoint.ifname=wan0";
        let (mode, endpoints) = networks(&of(&[text, "back"])).unwrap();
        assert_eq!(mode, NetworkMode::Bridge("front".into()));
        let [front, back] = &endpoints[..] else { panic!("{endpoints:?}") };
        assert_eq!(
            (front.network.as_str(), &front.aliases[..]),
            ("front", &["www".into(), "w2".into()][..])
        );
        assert_eq!((front.ip, front.gw_priority), (Some(Ipv4Addr::new(10, 0, 0, 2)), -1));
        assert_eq!(front.driver_opts.get(IFNAME).map(String::as_str), Some("wan0"));
        assert_eq!(back, &EndpointRequest { network: "back".into(), ..Default::default() });
    }

    #[test]
    fn flags_belong_to_the_first_network_and_to_it_once() {
        let args = RunArgs {
            ip: Some("10.0.0.9".into()),
            network_alias: vec!["a".into()],
            ..of(&["front", "back"])
        };
        let (_, endpoints) = networks(&args).unwrap();
        assert_eq!((endpoints[0].ip.is_some(), endpoints[1].ip), (true, None));
        for long in ["name=n,ip=10.0.0.2", "name=n,alias=b"] {
            let twice = RunArgs { network: vec![long.into()], ..args.clone() };
            let error = networks(&twice).unwrap_err().to_string();
            assert!(error.starts_with("conflicting options: cannot specify both"), "{error}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let cases: [(RunArgs, &str); 10] = [
            (of(&["front", "bridge"]), "both user-defined and non-user-defined"),
            (of(&["host", "none"]), "network endpoints: host, none"),
            (of(&["container:web", "bridge"]), "network endpoints: container:web, bridge"),
            (of(&["front", "front"]), "network \"front\" is specified multiple times"),
            (of(&["ip=10.0.0.2"]), "name=NETWORK"),
            (of(&["name=n,color=blue"]), "the fields name"),
            (RunArgs { ip: Some("10.0.0.2".into()), ..of(&[]) }, "user-defined networks only"),
            (RunArgs { network_alias: vec!["a".into()], ..of(&[]) }, "network-scoped aliases"),
            (RunArgs { network_alias: vec!["a b".into()], ..of(&["n"]) }, "invalid value \"a b\""),
            (
                RunArgs { link_local_ip: vec!["10.0.0.2".into()], ..of(&["n"]) },
                "link-local address",
            ),
        ];
        for (args, words) in cases {
            let error = networks(&args).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn settings_of_an_interface_name_it_by_a_placeholder() {
        let good =
            sysctls("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.mtu=1400").unwrap();
        assert_eq!(good[0], (["net/ipv4/conf".into(), "log_martians".into()], "1".into()));
        for bad in [
            "net.ipv4.conf.eth0.mtu=1",
            "net.ipv4.IFNAME.x=1",
            "kernel.a.b.IFNAME.c=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "x",
        ] {
            assert_eq!(sysctls(bad), None, "{bad}");
        }
    }
}
