//! The picture for a terminal of 80 columns.
//!
//! ```text
//! ┌─ host ─────────────────────────────────────────┐
//! │ eth0  192.0.2.10/24  default via 192.0.2.20     │
//! └─┬──────────────────────────────────────────────┘
//!   └─[rcnt0]─ bridge  10.90.0.0/21  gateway 10.90.0.1
//!       └─ vethab12 ── eth0 [web]  10.90.0.2
//!                           ◄ 0.0.0.0:8080 → 80/tcp
//! ```

use super::Graph;

/// Columns.
const WIDTH: usize = 80;

/// Draws it.
pub fn text(graph: &Graph) -> String {
    let mut lines = Vec::new();
    host(graph, &mut lines);
    let apart: Vec<String> =
        graph.apart().map(|c| format!("[{}] {}", c.name, c.connected())).collect();
    let count = graph.networks.len();
    for (n, network) in graph.networks.iter().enumerate() {
        let last = n + 1 == count && apart.is_empty();
        let (branch, trunk) = if last { ("  └─", "   ") } else { ("  ├─", "  │") };
        let mut words = vec![format!("network {}", network.name)];
        words.extend(network.details());
        let head = format!("{branch}[{}]─ ", network.interface);
        lines.extend(wrapped(&head, &format!("{trunk}     "), &words));
        wires(graph, &network.name, trunk, &mut lines);
        if !last {
            lines.push("  │".to_owned());
        }
    }
    let count = apart.len();
    for (n, line) in apart.into_iter().enumerate() {
        let branch = if n + 1 == count { "  └─ " } else { "  ├─ " };
        lines.extend(wrapped(branch, "       ", &[line]));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// The box with the host's interfaces.
fn host(graph: &Graph, lines: &mut Vec<String>) {
    let inner = WIDTH - 2;
    let title: String = format!("─ {} ", graph.host).chars().take(inner).collect();
    lines.push(format!("┌{title:─<inner$}┐"));
    let widest = graph.interfaces.iter().map(|i| i.name.chars().count()).max().unwrap_or(0);
    for interface in &graph.interfaces {
        let head = format!(" {:widest$}  ", interface.name);
        let rest = " ".repeat(widest + 3);
        for line in wrapped_to(inner - 1, &head, &rest, &interface.details()) {
            lines.push(format!("│{line:inner$}│"));
        }
    }
    let empty = graph.networks.is_empty() && graph.apart().next().is_none();
    let joint = if empty { "─" } else { "┬" };
    lines.push(format!("└─{joint}{:─<1$}┘", "", inner - 2));
}

/// The containers of a network.
fn wires(graph: &Graph, network: &str, trunk: &str, lines: &mut Vec<String>) {
    let members: Vec<_> = graph.on(network).collect();
    let count = members.len();
    for (n, (container, wire)) in members.into_iter().enumerate() {
        let (branch, bar) = if n + 1 == count { ("└─", " ") } else { ("├─", "│") };
        let veth = match wire.host_interface.as_str() {
            "" => String::new(),
            name => format!("{name} ── "),
        };
        let head = format!("{trunk}   {branch} {veth}{} [{}]  ", wire.interface, container.name);
        let rest = format!("{trunk}   {bar}      ");
        let addresses: Vec<String> = wire.addresses.iter().map(ToString::to_string).collect();
        lines.extend(wrapped(&head, &rest, &addresses));
        for port in &container.ports {
            lines.extend(wrapped(&format!("{rest}◄ "), &rest, std::slice::from_ref(port)));
        }
        let only = container.confined();
        if !only.is_empty() {
            lines.extend(wrapped(&rest, &format!("{rest}  "), &only));
        }
    }
}

fn wrapped(head: &str, rest: &str, words: &[String]) -> Vec<String> {
    wrapped_to(WIDTH, head, rest, words)
}

/// Words after a head, on as many lines as it takes; a word that is wider than a
/// whole line is cut.
fn wrapped_to(width: usize, head: &str, rest: &str, words: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    let mut fresh = true;
    for word in words {
        let between = if fresh { "" } else { "  " };
        let length = line.chars().count() + between.len() + word.chars().count();
        if length > width && (!fresh || line != rest) {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            line.push_str(word);
        } else {
            line.push_str(between);
            line.push_str(word);
        }
        fresh = false;
    }
    lines.push(line);
    let cut = |line: String| match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line.trim_end().to_owned(),
    };
    lines.into_iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{any_graph, sample};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_picture_is_readable() {
        let wanted = "\
┌─ host ───────────────────────────────────────────────────────────────────────┐
│ lo       127.0.0.1/8                                                         │
│ eth0     192.0.2.10/24  2001:db8::10/64  default via 192.0.2.20              │
│ rcnt0    10.90.0.1/24                                                        │
│ br-back  10.90.1.1/24                                                        │
└─┬────────────────────────────────────────────────────────────────────────────┘
  ├─[br-back]─ network back  bridge  internal  10.90.1.0/24  gateway 10.90.1.1
  │   ├─ veth01234567893 ── eth1 [db]  10.90.1.3
  │   └─ veth01234567892 ── eth1 [web]  10.90.1.2
  │          ◄ 0.0.0.0:8080 → 80/tcp
  │          ◄ [::]:8080 → 80/tcp
  │
  ├─[rcnt0]─ network bridge  bridge  10.90.0.0/24  gateway 10.90.0.1
  │   └─ veth01234567892 ── eth0 [web]  10.90.0.2
  │          ◄ 0.0.0.0:8080 → 80/tcp
  │          ◄ [::]:8080 → 80/tcp
  │
  └─ [lonely] no network
";
        let drawn = text(&sample());
        assert_eq!(drawn, wanted, "\n{drawn}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(graph in any_graph()) {
            for line in text(&graph).lines() {
                prop_assert!(line.chars().count() <= WIDTH, "{}", line);
            }
        }
    }
}
