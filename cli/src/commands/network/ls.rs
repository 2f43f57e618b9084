//! `network ls`.

use rcnt_engine::Engine;
use rcnt_engine::netstack::network::Network;

use crate::args::network::NetworkListFlags;
use crate::args::values::bool_value;
use crate::failure::Failure;
use crate::render;
use crate::render::filter::{Filters, label_matches, pattern_matches};
use crate::render::listing::{Column, Listing};
use crate::render::time::go_string;

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `network ls`.
///
/// # Errors
/// A wrong filter or template.
pub(super) fn list(engine: &Engine, flags: &NetworkListFlags) -> Result<u8, Failure> {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let dangling = dangling(&filters)?;
    let builtin = builtin(&filters)?;
    let mut networks = engine.networks()?;
    networks.retain(|network| {
        holds(&filters, network)
            && builtin.is_none_or(|wanted| network.is_predefined() == wanted)
            && dangling.is_none_or(|wanted| engine.is_dangling(network) == wanted)
    });
    let full = flags.no_trunc;
    let rows: Vec<Row> = networks.into_iter().map(|network| Row { network, full }).collect();
    let format = match flags.format.as_deref() {
        None if flags.quiet => Some("{{.ID}}"),
        Some("table" | "") if flags.quiet => Some("{{.ID}}"),
        format => format,
    };
    render::out(&LISTING.render(&rows, format)?)?;
    Ok(0)
}

/// `dangling`: networks that no container is on.
fn dangling(filters: &Filters) -> Result<Option<bool>, Failure> {
    let mut wanted = None;
    for value in filters.values("dangling") {
        let value = bool_value(value)
            .map_err(|_| Failure::general(format!("invalid filter 'dangling=[{value}]'")))?;
        wanted = Some(value);
    }
    Ok(wanted)
}

/// `type`: those that come with every instance, or the others.
fn builtin(filters: &Filters) -> Result<Option<bool>, Failure> {
    let mut wanted = None;
    for value in filters.values("type") {
        let builtin = match value {
            "builtin" => true,
            "custom" => false,
            _ => return Err(Failure::general(format!("invalid filter: 'type'='{value}'"))),
        };
        // Both is everything.
        wanted = if wanted.is_some_and(|before| before != builtin) {
            return Ok(None);
        } else {
            Some(builtin)
        };
    }
    Ok(wanted)
}

fn holds(filters: &Filters, network: &Network) -> bool {
    filters.any("driver", |wanted| wanted == network.kind.driver())
        && filters.any("id", |wanted| pattern_matches(wanted, &network.id))
        && filters.any("name", |wanted| pattern_matches(wanted, network.name.as_str()))
        && filters.any("scope", |wanted| wanted == "local")
        && filters.all("label", |wanted| label_matches(wanted, network.labels.iter()))
}

struct Row {
    network: Network,
    full: bool,
}

const COLUMNS: &[Column<Row>] = &[
    Column { field: "CreatedAt", title: "CREATED AT", cell: |row| go_string(row.network.created) },
    Column { field: "Driver", title: "DRIVER", cell: |row| row.network.kind.driver().to_owned() },
    Column {
        field: "ID",
        title: "NETWORK ID",
        cell: |row| match row.full {
            true => row.network.id.clone(),
            false => row.network.short_id().to_owned(),
        },
    },
    Column { field: "IPv4", title: "IPV4", cell: |row| row.network.enable_ipv4.to_string() },
    Column { field: "IPv6", title: "IPV6", cell: |row| row.network.enable_ipv6.to_string() },
    Column { field: "Internal", title: "INTERNAL", cell: |row| row.network.internal.to_string() },
    Column {
        field: "Labels",
        title: "LABELS",
        cell: |row| {
            let labels = row.network.labels.iter();
            labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        },
    },
    Column { field: "Name", title: "NAME", cell: |row| row.network.name.to_string() },
    Column { field: "Scope", title: "SCOPE", cell: |_| "local".to_owned() },
];

const LISTING: Listing<Row> = Listing {
    columns: COLUMNS,
    default: &["ID", "Name", "Driver", "Scope"],
    label: |row, key| row.network.labels.get(key).cloned(),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_dockers_json_order() {
        assert!(COLUMNS.is_sorted_by_key(|column| column.field));
    }

    #[test]
    fn types_are_two() {
        let builtin = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|v| format!("type={v}")).collect();
            builtin(&Filters::parse(&given, FILTERS).unwrap()).map_err(|f| f.text())
        };
        assert_eq!(builtin(&["custom"]), Ok(Some(false)));
        assert_eq!(builtin(&["custom", "builtin"]), Ok(None));
        assert_eq!(builtin(&["x"]), Err("rcnt: invalid filter: 'type'='x'\n".to_owned()));
    }
}
