//! `--opt`: docker's long words and our short ones → what a driver is told. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::options::{GatewayMode, IpvlanFlag, IpvlanMode, MacvlanMode};
use super::types::BridgePolicy;
use super::wish::{BadValue, CreateError};

/// An option that a driver has not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown option \"{option}\" of network driver {driver}: it knows {known}")]
pub struct UnknownOption {
    /// As typed.
    pub option: String,
    /// The driver.
    pub driver: &'static str,
    /// Short names of those there are.
    pub known: String,
}

/// The options of one driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Options {
    Bridge(Box<BridgeOptions>),
    Macvlan(MacvlanOptions),
    Ipvlan(IpvlanOptions),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BridgeOptions {
    pub(super) name: Option<String>,
    pub(super) mtu: Option<u32>,
    pub(super) bind_address: Option<Ipv4Addr>,
    pub(super) policy: BridgePolicy,
}

/// Where containers' interfaces hang, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ParentOptions {
    pub(super) interface: Option<String>,
    pub(super) vlan: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MacvlanOptions {
    pub(super) parent: ParentOptions,
    pub(super) mode: MacvlanMode,
    pub(super) mtu: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IpvlanOptions {
    pub(super) parent: ParentOptions,
    pub(super) mode: IpvlanMode,
    pub(super) flag: IpvlanFlag,
    pub(super) mtu: Option<u32>,
}

const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const GATEWAY_MODE4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY_MODE6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
const INHIBIT4: &str = "com.docker.network.bridge.inhibit_ipv4";
/// docker has no such option.
const HAIRPIN: &str = "rcnt.network.bridge.hairpin";
/// Of every driver.
pub(super) const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
const MTU: &str = "com.docker.network.driver.mtu";
const PARENT: &str = "parent";
const VLAN: &str = "vlan";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";

/// An option: docker's word, ours, and the drivers that have it.
struct Known {
    long: &'static str,
    short: &'static str,
    drivers: &'static [&'static str],
}

const fn known(long: &'static str, short: &'static str, drivers: &'static [&'static str]) -> Known {
    Known { long, short, drivers }
}

const BRIDGE: &[&str] = &["bridge"];
const LAN: &[&str] = &["macvlan", "ipvlan"];
const ALL: &[&str] = &["bridge", "macvlan", "ipvlan"];

const KNOWN: &[Known] = &[
    known(NAME, "bridge", BRIDGE),
    known(ICC, "icc", BRIDGE),
    known(MASQUERADE, "masquerade", BRIDGE),
    known(HOST_BINDING, "host-binding", BRIDGE),
    known(GATEWAY_MODE4, "gateway-mode-ipv4", BRIDGE),
    known(GATEWAY_MODE6, "gateway-mode-ipv6", BRIDGE),
    known(TRUSTED, "trusted", BRIDGE),
    known(INHIBIT4, "inhibit-ipv4", BRIDGE),
    known(HAIRPIN, "hairpin", BRIDGE),
    known(PARENT, PARENT, LAN),
    known(VLAN, VLAN, LAN),
    known(MACVLAN_MODE, "mode", &["macvlan"]),
    known(IPVLAN_MODE, "mode", &["ipvlan"]),
    known(IPVLAN_FLAG, "flag", &["ipvlan"]),
    known(MTU, "mtu", ALL),
    known(INTERFACE_PREFIX, "interface-prefix", ALL),
];

/// What `word` means to `driver`: docker's name of an option, or two of them.
fn meant(driver: &str, word: &str) -> Vec<&'static str> {
    if driver == "bridge" && word == "gateway-mode" {
        return vec![GATEWAY_MODE4, GATEWAY_MODE6];
    }
    let of_driver = KNOWN.iter().filter(|known| known.drivers.contains(&driver));
    of_driver.filter(|k| k.long == word || k.short == word).map(|known| known.long).collect()
}

impl Options {
    /// Reads the options of `driver`, the default one when it is empty.
    pub(super) fn parse(driver: &str, given: &[(String, String)]) -> Result<Self, CreateError> {
        let driver = match driver {
            "" | "bridge" => "bridge",
            "macvlan" => "macvlan",
            "ipvlan" => "ipvlan",
            "host" | "null" => return Err(CreateError::OnlyOne(driver.to_owned())),
            "none" => return Err(CreateError::OnlyOne("null".to_owned())),
            _ => return Err(CreateError::Driver(driver.to_owned())),
        };
        let mut values = Values(BTreeMap::new());
        for (word, value) in given {
            let options = meant(driver, word);
            if options.is_empty() {
                let of_driver = KNOWN.iter().filter(|known| known.drivers.contains(&driver));
                let known = of_driver.map(|known| known.short).collect::<Vec<_>>().join(", ");
                return Err(UnknownOption { option: word.clone(), driver, known }.into());
            }
            for option in options {
                values.0.insert(option, value);
            }
        }
        // Kept with the options, and read from there.
        values.get(INTERFACE_PREFIX, prefix)?;
        Ok(match driver {
            "bridge" => Self::Bridge(Box::new(bridge(&values)?)),
            "macvlan" => Self::Macvlan(MacvlanOptions {
                parent: parent(&values)?,
                mode: values.get(MACVLAN_MODE, word)?.unwrap_or(MacvlanMode::Bridge),
                mtu: values.get(MTU, number)?,
            }),
            _ => Self::Ipvlan(IpvlanOptions {
                parent: parent(&values)?,
                mode: values.get(IPVLAN_MODE, word)?.unwrap_or(IpvlanMode::L2),
                flag: values.get(IPVLAN_FLAG, word)?.unwrap_or(IpvlanFlag::Bridge),
                mtu: values.get(MTU, number)?,
            }),
        })
    }

    /// The options under docker's names, as they are stored and shown.
    pub(super) fn spelled_out(
        driver: &str,
        given: &[(String, String)],
    ) -> BTreeMap<String, String> {
        let driver = if driver.is_empty() { "bridge" } else { driver };
        let long = |(word, value): &(String, String)| {
            let (options, value) = (meant(driver, word), value.clone());
            options.into_iter().map(move |option| (option.to_owned(), value.clone()))
        };
        given.iter().flat_map(long).collect()
    }
}

fn bridge(values: &Values<'_>) -> Result<BridgeOptions, CreateError> {
    let default = BridgePolicy::default();
    let mode4 = values.get(GATEWAY_MODE4, word)?.unwrap_or(GatewayMode::Nat);
    Ok(BridgeOptions {
        name: values.get(NAME, text)?,
        mtu: values.get(MTU, number)?,
        bind_address: values.get(HOST_BINDING, address)?.filter(|a| !a.is_unspecified()),
        policy: BridgePolicy {
            icc: values.get(ICC, flag)?.unwrap_or(default.icc),
            masquerade: values.get(MASQUERADE, flag)?.unwrap_or(default.masquerade),
            hairpin: values.get(HAIRPIN, flag)?.unwrap_or(default.hairpin),
            gateway_mode4: mode4,
            gateway_mode6: values.get(GATEWAY_MODE6, word)?.unwrap_or(GatewayMode::Nat),
            trusted: values.get(TRUSTED, interfaces)?.unwrap_or_default(),
            inhibit_ipv4: values.get(INHIBIT4, flag)?.unwrap_or(default.inhibit_ipv4),
            ..default
        },
    })
}

fn parent(values: &Values<'_>) -> Result<ParentOptions, CreateError> {
    let interface = values.get(PARENT, text)?;
    let vlan = values.get(VLAN, tag)?;
    Ok(ParentOptions { interface, vlan })
}

/// Option values by docker's name.
struct Values<'a>(BTreeMap<&'static str, &'a str>);

impl Values<'_> {
    fn get<T>(
        &self,
        option: &'static str,
        read: impl FnOnce(&str) -> Result<T, BadValue>,
    ) -> Result<Option<T>, CreateError> {
        let value = self.0.get(option).map(|value| read(value));
        value.transpose().map_err(|source| CreateError::Value { option, source })
    }
}

fn bad(value: &str, what: &'static str) -> BadValue {
    BadValue::Not(value.to_owned(), what)
}

/// Go's strconv.ParseBool.
fn flag(value: &str) -> Result<bool, BadValue> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(bad(value, "true or false")),
    }
}

fn number(value: &str) -> Result<u32, BadValue> {
    value.parse().map_err(|_| bad(value, "a number"))
}

/// 0 and 4095 are reserved (IEEE 802.1Q).
fn tag(value: &str) -> Result<u16, BadValue> {
    let tag = value.parse().ok().filter(|tag| (1..=4094).contains(tag));
    tag.ok_or_else(|| bad(value, "a VLAN number from 1 to 4094"))
}

fn address(value: &str) -> Result<Ipv4Addr, BadValue> {
    value.parse().map_err(|_| bad(value, "an IPv4 address"))
}

fn text(value: &str) -> Result<String, BadValue> {
    match value {
        "" => Err(bad(value, "an interface name")),
        _ => Ok(value.to_owned()),
    }
}

fn interfaces(value: &str) -> Result<Vec<String>, BadValue> {
    value.split(':').map(text).collect()
}

/// A number is appended: `eth0` to `eth9999999`.
fn prefix(value: &str) -> Result<(), BadValue> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !value.is_empty() && value.len() <= 11 && value.chars().all(good) {
        true => Ok(()),
        false => Err(bad(value, "the beginning of an interface name, at most 11 letters")),
    }
}

fn word<T: std::str::FromStr<Err = super::options::UnknownWord>>(
    value: &str,
) -> Result<T, BadValue> {
    Ok(value.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn long_and_short_words_mean_the_same() {
        let long =
            given(&[(NAME, "br-lab"), (ICC, "false"), (MTU, "1400"), (GATEWAY_MODE4, "routed")]);
        let short = given(&[
            ("bridge", "br-lab"),
            ("icc", "0"),
            ("mtu", "1400"),
            ("gateway-mode-ipv4", "routed"),
        ]);
        let (long_parsed, short_parsed) =
            (Options::parse("bridge", &long).unwrap(), Options::parse("", &short).unwrap());
        assert_eq!(long_parsed, short_parsed);
        let Options::Bridge(bridge) = long_parsed else { panic!("no bridge") };
        assert_eq!((bridge.policy.icc, bridge.mtu), (false, Some(1400)));
        let spelled = Options::spelled_out("", &short);
        assert_eq!(
            spelled.keys().map(String::as_str).collect::<Vec<_>>(),
            [ICC, GATEWAY_MODE4, NAME, MTU]
        );
    }

    #[test]
    fn modes_are_the_drivers_own() {
        let mode = given(&[("mode", "vepa"), ("parent", "eth0"), ("vlan", "50")]);
        let Options::Macvlan(macvlan) = Options::parse("macvlan", &mode).unwrap() else {
            panic!("no macvlan")
        };
        assert_eq!((macvlan.mode, macvlan.parent.vlan), (MacvlanMode::Vepa, Some(50)));
        assert!(Options::parse("ipvlan", &mode).is_err());
    }

    #[test]
    fn what_is_wrong_is_one_clear_line() {
        for (driver, pairs, want) in [
            (
                "bridge",
                &[("colour", "red")][..],
                "unknown option \"colour\" of network driver bridge: it knows bridge, icc,",
            ),
            ("bridge", &[("parent", "eth0")], "unknown option \"parent\""),
            ("macvlan", &[("icc", "true")], "unknown option \"icc\" of network driver macvlan"),
            ("macvlan", &[("vlan", "4095")], "a VLAN number from 1 to 4094"),
            ("bridge", &[("icc", "maybe")], "\"maybe\" is not true or false"),
            ("bridge", &[("mtu", "-1")], "\"-1\" is not a number"),
            ("bridge", &[("gateway-mode", "x")], "unknown gateway mode \"x\""),
            ("bridge", &[("interface-prefix", "a/b")], "the beginning of an interface name"),
            ("overlay", &[], "unknown network driver \"overlay\": it is bridge, macvlan or ipvlan"),
            ("host", &[], "only one instance of \"host\" network is allowed"),
        ] {
            let error = Options::parse(driver, &given(pairs)).unwrap_err();
            let text = rcnt_base::report::chain(&error);
            assert!(text.contains(want), "{text} / {want}");
        }
    }
}
