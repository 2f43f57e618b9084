//! What RTM_NEWLINK says of interfaces made from another: vlan, macvlan, ipvlan.

use super::super::{Attributes, abi};
use super::LinkKind;
use crate::network::{IpvlanFlag, IpvlanMode, MacvlanMode};

/// The kinds of interface that are made from another, or from nothing.
pub(super) fn info(kind: &LinkKind<'_>, a: &mut Attributes<'_>) {
    let (name, data): (&str, &[(u16, Value)]) = match kind {
        LinkKind::Bridge { .. } | LinkKind::Veth(_) => return,
        LinkKind::Vlan(tag) => ("vlan", &[(abi::IFLA_VLAN_ID, Value::Short(*tag))]),
        LinkKind::Macvlan(mode) => {
            let mode = match mode {
                MacvlanMode::Private => 1,
                MacvlanMode::Vepa => 2,
                MacvlanMode::Bridge => 4,
                MacvlanMode::Passthru => 8,
            };
            ("macvlan", &[(abi::IFLA_MACVLAN_MODE, Value::Long(mode))])
        }
        LinkKind::Ipvlan(mode, flag) => {
            let mode = match mode {
                IpvlanMode::L2 => 0,
                IpvlanMode::L3 => 1,
                IpvlanMode::L3s => 2,
            };
            let flag = match flag {
                IpvlanFlag::Bridge => 0,
                IpvlanFlag::Private => 1,
                IpvlanFlag::Vepa => 2,
            };
            let (mode, flag) = (Value::Short(mode), Value::Short(flag));
            ("ipvlan", &[(abi::IFLA_IPVLAN_MODE, mode), (abi::IFLA_IPVLAN_FLAGS, flag)])
        }
        LinkKind::Dummy => ("dummy", &[]),
    };
    a.text(abi::IFLA_INFO_KIND, name);
    a.nest(abi::IFLA_INFO_DATA, |a| {
        for (attribute, value) in data {
            match value {
                Value::Short(value) => a.put(*attribute, &value.to_ne_bytes()),
                Value::Long(value) => a.u32(*attribute, *value),
            }
        }
    });
}

/// A number of the width that the kernel wants.
enum Value {
    Short(u16),
    Long(u32),
}
