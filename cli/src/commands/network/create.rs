//! `network create`.

use rcnt_engine::Engine;
use rcnt_engine::netstack::network::NetworkWish;

use crate::args::network::NetworkCreateFlags;
use crate::failure::Failure;
use crate::render;

/// `network create`: prints the new network's id.
///
/// # Errors
/// What is asked for cannot be, or is somebody's already.
pub(super) fn create(engine: &Engine, flags: NetworkCreateFlags) -> Result<u8, Failure> {
    let network = engine.create_network(&wish(flags)?)?;
    render::out(&(network.id + "\n"))?;
    Ok(0)
}

/// The flags, without those that only a swarm or a plugin could serve.
fn wish(flags: NetworkCreateFlags) -> Result<NetworkWish, Failure> {
    let NetworkCreateFlags {
        attachable,
        aux_address,
        config_from,
        config_only,
        driver,
        gateway,
        ingress,
        internal,
        ip_range,
        ipam_driver,
        ipam_opt,
        ipv4,
        ipv6,
        label,
        opt,
        scope,
        subnet,
        name,
    } = flags;
    let swarm = [
        (config_from.is_some(), "--config-from"),
        (config_only, "--config-only"),
        (ingress, "--ingress"),
        (!matches!(scope.as_str(), "" | "local"), "--scope"),
    ];
    if let Some((_, flag)) = swarm.iter().find(|(given, _)| *given) {
        let why = "it is for networks of several hosts, and rcnt's are of one";
        return Err(Failure::general(format!("{flag} is not supported: {why}")));
    }
    if !matches!(ipam_driver.as_str(), "" | "default") {
        return Err(Failure::general(format!(
            "IPAM driver \"{ipam_driver}\" is not supported: it is default"
        )));
    }
    if !ipv4 {
        return Err(Failure::general(
            "--ipv4=false is not supported: every network of rcnt has IPv4",
        ));
    }
    let pair = |text: String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text, String::new()),
    };
    Ok(NetworkWish {
        name,
        driver,
        subnets: subnet,
        gateways: gateway,
        ip_ranges: ip_range,
        aux_addresses: aux_address,
        internal,
        attachable,
        ipv6,
        labels: label.into_iter().map(pair).collect(),
        options: opt,
        ipam_options: ipam_opt.into_iter().collect(),
    })
}
