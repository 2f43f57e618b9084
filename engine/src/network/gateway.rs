//! Which of a container's networks comes first, and which leads to the world. Pure.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use rcnt_netstack::network::{GatewayMode, Network};

use crate::container::Endpoint;
use crate::request::EndpointRequest;

/// A network that a container is to be on, and as whom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    /// Under the network's own name.
    pub(crate) request: EndpointRequest,
    /// As stored.
    pub(crate) network: Network,
}

/// What decides about an endpoint's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    pub(crate) network: &'a str,
    pub(crate) priority: i64,
    pub(crate) gateway4: Option<Ipv4Addr>,
    pub(crate) gateway6: Option<Ipv6Addr>,
}

impl Candidate<'_> {
    /// Docker's order (libnetwork, `Endpoint.Less`): highest priority, then gateways of
    /// both families before one before none (an internal network has none), then by name.
    fn rank(&self) -> (Reverse<i64>, Reverse<usize>, String) {
        let gateways = usize::from(self.gateway4.is_some()) + usize::from(self.gateway6.is_some());
        (Reverse(self.priority), Reverse(gateways), self.network.to_owned())
    }
}

impl<'a> From<&'a Wish> for Candidate<'a> {
    fn from(wish: &'a Wish) -> Self {
        Self {
            network: wish.network.name.as_str(),
            priority: wish.request.gw_priority,
            gateway4: gateway4(&wish.network),
            gateway6: gateway6(&wish.network),
        }
    }
}

impl<'a> From<&'a Endpoint> for Candidate<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        Self {
            network: endpoint.network.as_str(),
            priority: endpoint.request.gw_priority,
            gateway4: endpoint.gateway4,
            gateway6: endpoint.gateway6.filter(|_| endpoint.address6.is_some()),
        }
    }
}

/// Sorts networks as their interfaces are numbered: the one with the default route first.
pub(crate) fn sort(wishes: &mut [Wish]) {
    wishes.sort_by_cached_key(|wish| Candidate::from(wish).rank());
}

/// The positions of those that have the default route of IPv4 and of IPv6. One that
/// can do both does both, even where others come before it for one alone (libnetwork,
/// `selectGatewayEndpoint`).
pub(crate) fn choose(candidates: &[Candidate<'_>]) -> (Option<usize>, Option<usize>) {
    let mut order: Vec<(usize, &Candidate<'_>)> = candidates.iter().enumerate().collect();
    order.sort_by_cached_key(|(_, candidate)| candidate.rank());
    let (mut v4, mut v6) = (None, None);
    for (position, candidate) in order {
        match (candidate.gateway4, candidate.gateway6) {
            (Some(_), Some(_)) => return (Some(position), Some(position)),
            (Some(_), None) => v4 = v4.or(Some(position)),
            (None, Some(_)) => v6 = v6.or(Some(position)),
            (None, None) => {}
        }
    }
    (v4, v6)
}

/// The network's way out for IPv4; an internal or isolated one has none.
pub(crate) fn gateway4(network: &Network) -> Option<Ipv4Addr> {
    let addresses = network.addresses.as_ref().filter(|_| !network.internal)?;
    match network.bridge().map(|bridge| &bridge.policy) {
        Some(policy) if policy.gateway_mode4 == GatewayMode::Isolated => None,
        Some(policy) => policy.default_gateway4.or(Some(addresses.gateway4)),
        None => Some(addresses.gateway4),
    }
}

/// The network's way out for IPv6.
pub(crate) fn gateway6(network: &Network) -> Option<Ipv6Addr> {
    let addresses = network.addresses.as_ref().filter(|_| !network.internal)?;
    let own = addresses.gateway6?;
    match network.bridge().map(|bridge| &bridge.policy) {
        Some(policy) if policy.gateway_mode6 == GatewayMode::Isolated => None,
        Some(policy) => policy.default_gateway6.or(Some(own)),
        None => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(network: &str, priority: i64, v4: bool, v6: bool) -> Candidate<'_> {
        let gateway4 = v4.then_some(Ipv4Addr::new(10, 0, 0, 1));
        Candidate { network, priority, gateway4, gateway6: v6.then_some(Ipv6Addr::LOCALHOST) }
    }

    #[test]
    fn the_default_route_goes_by_priority_then_gateway_then_name() {
        let named = [candidate("b", 0, true, false), candidate("a", 0, true, false)];
        assert_eq!(choose(&named), (Some(1), None));
        let asked = [candidate("b", 1, true, false), candidate("a", 0, true, false)];
        assert_eq!(choose(&asked), (Some(0), None));
        let internal = [candidate("a", 0, false, false), candidate("z", 0, true, false)];
        assert_eq!(choose(&internal), (Some(1), None));
        // Even a priority makes no way out of an internal network.
        let internal = [candidate("a", 9, false, false), candidate("z", 0, true, false)];
        assert_eq!(choose(&internal), (Some(1), None));
        assert_eq!(choose(&[candidate("a", 0, false, false)]), (None, None));
        assert_eq!(choose(&[]), (None, None));
    }

    #[test]
    fn one_of_both_families_comes_before_two_of_one() {
        let all = [
            candidate("a", 0, true, false),
            candidate("b", 0, true, true),
            candidate("c", 0, false, true),
        ];
        assert_eq!(choose(&all), (Some(1), Some(1)));
        let apart = [candidate("a", 5, true, false), candidate("c", 0, false, true)];
        assert_eq!(choose(&apart), (Some(0), Some(1)));
    }
}
