//! `network prune`.

use std::io::{BufRead, Write};

use rcnt_engine::Engine;
use rcnt_engine::netstack::network::Network;
use time::OffsetDateTime;

use crate::args::network::NetworkPruneFlags;
use crate::failure::Failure;
use crate::render;
use crate::render::filter::{Filters, label_matches};
use crate::render::time::parse;

const FILTERS: &[&str] = &["label", "label!", "until"];

/// `network prune`: asks, removes, and names what it removed.
///
/// # Errors
/// A wrong filter; a network that cannot be removed.
pub(super) fn prune(engine: &Engine, flags: &NetworkPruneFlags) -> Result<u8, Failure> {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let now = OffsetDateTime::now_utc();
    let until = filters.values("until").map(|text| parse(text, now));
    let until = until.collect::<Result<Vec<_>, String>>().map_err(Failure::general)?;
    if !flags.force && !confirmed()? {
        return Ok(0);
    }
    let condemned = |network: &Network| {
        let labels = || network.labels.iter();
        until.iter().all(|until| network.created < *until)
            && filters.all("label", |wanted| label_matches(wanted, labels()))
            && filters.all("label!", |unwanted| !label_matches(unwanted, labels()))
    };
    let removed = engine.prune_networks(&condemned)?;
    if !removed.is_empty() {
        let names: String = removed.iter().map(|network| format!("{}\n", network.name)).collect();
        render::out(&format!("Deleted Networks:\n{names}\n"))?;
    }
    Ok(0)
}

/// docker's question; anything but a yes is a no.
fn confirmed() -> Result<bool, Failure> {
    let question = "WARNING! This will remove all custom networks not used by at least one \
                    container.\nAre you sure you want to continue? [y/N] ";
    render::out(question)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y");
    if !yes && answer.is_empty() {
        // The question's line is not ended by anybody's Enter.
        std::io::stdout().write_all(b"\n")?;
    }
    Ok(yes)
}
