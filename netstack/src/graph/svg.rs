//! The picture as a drawing: the host on the left, its networks in the middle,
//! containers on the right, a line for each wire. Fonts are the viewer's own.

use std::fmt::Write;

use super::{Graph, joined};

// Pixels.
const LINE: usize = 18;
const PADDING: usize = 12;
const GAP: usize = 28;
/// The left edge and the width of each column.
const COLUMNS: [(usize, usize); 3] = [(20, 330), (450, 270), (900, 290)];
const WIDTH: usize = 1210;
/// About so wide is a letter of the text.
const LETTER: usize = 7;

const STYLE: &str = "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1b1f24}\
.title{font-weight:bold}.wire{font-size:11px;fill:#57606a}rect{stroke:#57606a;stroke-width:1.2}\
.host{fill:#f6f8fa}.network{fill:#ddf4ff}.container{fill:#dafbe1}\
path{fill:none;stroke:#57606a;stroke-width:1.5}";

/// A rectangle with lines of text, the first of them its title.
struct Card {
    class: &'static str,
    column: usize,
    top: usize,
    lines: Vec<String>,
}

impl Card {
    fn height(&self) -> usize {
        self.lines.len() * LINE + 2 * PADDING - 4
    }

    fn middle(&self) -> usize {
        self.top + self.height() / 2
    }

    fn sides(&self) -> (usize, usize) {
        let (left, width) = COLUMNS.get(self.column).copied().unwrap_or_default();
        (left, left + width)
    }

    fn draw(&self, svg: &mut String) {
        let (left, right) = self.sides();
        let (class, top, width, height) = (self.class, self.top, right - left, self.height());
        let _ = writeln!(
            svg,
            r#"<rect class="{class}" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>"#
        );
        for (n, line) in self.lines.iter().enumerate() {
            let (x, y) = (left + PADDING, top + PADDING + n * LINE + 10);
            let title = if n == 0 { r#" class="title""# } else { "" };
            let line = escaped(&fitted(line, (width - 2 * PADDING) / LETTER));
            let _ = writeln!(svg, r#"<text{title} x="{x}" y="{y}">{line}</text>"#);
        }
    }
}

/// Draws it.
pub fn svg(graph: &Graph) -> String {
    let networks = column(
        "network",
        1,
        graph.networks.iter().map(|network| {
            let mut lines = vec![format!("network {}", network.name)];
            lines.extend(network.details());
            lines
        }),
    );
    let containers = column(
        "container",
        2,
        graph.containers.iter().map(|container| {
            let mut lines = vec![container.name.clone()];
            lines.extend(container.ports.iter().cloned());
            lines.extend(container.confined());
            if container.endpoints.is_empty() {
                lines.push(container.connected());
            }
            lines
        }),
    );
    let mut lines = vec![graph.host.clone()];
    for interface in &graph.interfaces {
        let mut details = interface.details().into_iter();
        lines.push(format!("{} {}", interface.name, details.next().unwrap_or_default()));
        lines.extend(details.map(|detail| format!("  {detail}")));
    }
    let host = column("host", 0, std::iter::once(lines));
    let cards = || host.iter().chain(&networks).chain(&containers);
    let height = cards().map(|card| card.top + card.height()).max().unwrap_or(0) + 20;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\">\n<style>{STYLE}</style>\n\
         <rect x=\"0\" y=\"0\" width=\"{WIDTH}\" height=\"{height}\" style=\"fill:#fff;stroke:none\"/>\n"
    );
    wires(graph, &host, &networks, &containers, &mut svg);
    for card in cards() {
        card.draw(&mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

fn column(
    class: &'static str,
    column: usize,
    cards: impl Iterator<Item = Vec<String>>,
) -> Vec<Card> {
    let mut top = 20;
    let place = |lines| {
        let card = Card { class, column, top, lines };
        top += card.height() + GAP;
        card
    };
    cards.map(place).collect()
}

fn wires(graph: &Graph, host: &[Card], networks: &[Card], containers: &[Card], svg: &mut String) {
    for (network, card) in graph.networks.iter().zip(networks) {
        for host in host {
            // To the card's own height, as far as the host reaches down.
            let y = card.middle().min(host.top + host.height() - PADDING);
            wire(svg, (host.sides().1, y), (card.sides().0, card.middle()), &network.interface);
        }
    }
    for (container, card) in graph.containers.iter().zip(containers) {
        let count = container.endpoints.len();
        for (n, endpoint) in container.endpoints.iter().enumerate() {
            let position = graph.networks.iter().position(|known| known.name == endpoint.network);
            let Some(from) = position.and_then(|n| networks.get(n)) else { continue };
            let y = card.top + card.height() * (n + 1) / (count + 1);
            let label = format!("{} {}", endpoint.interface, joined(&endpoint.addresses, " "));
            wire(svg, (from.sides().1, from.middle()), (card.sides().0, y), &label);
        }
    }
}

/// A curve that leaves and arrives level, its label before its end.
fn wire(svg: &mut String, from: (usize, usize), to: (usize, usize), label: &str) {
    let middle = (from.0 + to.0) / 2;
    let ((x, y), (a, b)) = (from, to);
    let _ = writeln!(svg, r#"<path d="M{x} {y}C{middle} {y} {middle} {b} {a} {b}"/>"#);
    let label = escaped(&fitted(label, (a - x) / LETTER + 1));
    let (a, b) = (a - 6, b.saturating_sub(5));
    let _ = writeln!(svg, r#"<text class="wire" text-anchor="end" x="{a}" y="{b}">{label}</text>"#);
}

/// As many letters as there is room for.
fn fitted(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        true => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::{any_graph, sample};
    use super::*;
    use proptest::prelude::*;

    /// Every tag that is opened is closed, in order, and no sign is left bare.
    fn well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let Some((tag, text)) = part.split_once('>') else { return false };
            let bare = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
            if bare.contains(['&', '>']) {
                return false;
            }
            let name = tag.split([' ', '/']).next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(closed) if open.pop() != Some(closed) => return false,
                Some(_) => {}
                None if tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        open.is_empty()
    }

    #[test]
    fn everything_is_in_the_drawing() {
        let svg = svg(&sample());
        assert!(well_formed(&svg), "{svg}");
        for wanted in ["network back", "eth1 10.90.1.3", ">web<", "80/tcp", "no network", "rcnt0"] {
            assert!(svg.contains(wanted), "{wanted}");
        }
        assert_eq!(svg.matches("<path").count(), 2 + 3);
        assert!(!svg.contains("href"), "it needs nothing else");
    }

    proptest! {
        #[test]
        fn whatever_things_are_called_it_is_well_formed(graph in any_graph()) {
            let svg = svg(&graph);
            prop_assert!(well_formed(&svg), "{}", svg);
        }
    }
}
