//! The picture in graphviz's language.

use std::fmt::Write;

use super::{Graph, joined};

/// For `dot -Tsvg`, `neato`…
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from(
        "graph rcnt {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    let interfaces =
        graph.interfaces.iter().map(|i| format!("{} {}", i.name, joined(&i.details(), " ")));
    let host: Vec<String> = std::iter::once(graph.host.clone()).chain(interfaces).collect();
    let _ = writeln!(text, "  {} [label={}];", quoted(&["host"]), quoted(&host));
    for network in &graph.networks {
        let (id, mut label) =
            (format!("network {}", network.name), vec![format!("network {}", network.name)]);
        label.extend(network.details());
        let _ = writeln!(text, "  {} [label={}, shape=ellipse];", quoted(&[&id]), quoted(&label));
        let wire = quoted(&[&network.interface]);
        let _ = writeln!(text, "  {} -- {} [label={wire}];", quoted(&["host"]), quoted(&[&id]));
    }
    for container in &graph.containers {
        let (id, mut label) =
            (format!("container {}", container.name), vec![container.name.clone()]);
        label.extend(container.ports.iter().cloned());
        label.extend(container.confined());
        if container.endpoints.is_empty() {
            label.push(container.connected());
        }
        let _ = writeln!(text, "  {} [label={}, style=rounded];", quoted(&[&id]), quoted(&label));
        for wire in &container.endpoints {
            let network = format!("network {}", wire.network);
            let label =
                [wire.host_interface.clone(), wire.interface.clone(), joined(&wire.addresses, " ")];
            let (from, to, label) = (quoted(&[&network]), quoted(&[&id]), quoted(&label));
            let _ = writeln!(text, "  {from} -- {to} [label={label}];");
        }
    }
    text.push_str("}\n");
    text
}

/// A quoted string of lines. In labels a backslash begins an escape, so one that is
/// meant is doubled; quotes are escaped.
fn quoted(lines: &[impl AsRef<str>]) -> String {
    let escaped = |line: &str| line.replace('\\', "\\\\").replace('"', "\\\"");
    let lines: Vec<String> =
        lines.iter().map(AsRef::as_ref).filter(|l| !l.is_empty()).map(escaped).collect();
    format!("\"{}\"", lines.join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{any_graph, sample};
    use super::*;
    use proptest::prelude::*;

    /// Nodes and edges.
    type Parsed = (Vec<String>, Vec<(String, String)>);

    /// graphviz's grammar, the part of it that is written here, or where it is wrong.
    fn parse(text: &str) -> Result<Parsed, String> {
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        let mut tokens = tokens(text)?.into_iter().peekable();
        let expect = |token: Option<String>, wanted: &str| match token {
            Some(token) if token == wanted => Ok(()),
            other => Err(format!("{wanted} expected, not {other:?}")),
        };
        expect(tokens.next(), "graph")?;
        tokens.next();
        expect(tokens.next(), "{")?;
        loop {
            let first = tokens.next().ok_or("no end")?;
            if first == "}" {
                return if tokens.next().is_none() {
                    Ok((nodes, edges))
                } else {
                    Err("rest".into())
                };
            }
            match tokens.peek().map(String::as_str) {
                Some("=") => {
                    tokens.next();
                    tokens.next();
                }
                Some("--") => {
                    tokens.next();
                    edges.push((first, tokens.next().ok_or("no end")?));
                }
                _ if first.starts_with('"') => nodes.push(first),
                _ if first == "node" || first == "edge" => {}
                other => return Err(format!("{first} {other:?}")),
            }
            if tokens.peek().map(String::as_str) == Some("[") {
                tokens.next();
                loop {
                    let name = tokens.next().ok_or("no end")?;
                    if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
                        return Err(format!("attribute {name}"));
                    }
                    expect(tokens.next(), "=")?;
                    tokens.next();
                    match tokens.next().as_deref() {
                        Some(",") => {}
                        Some("]") => break,
                        other => return Err(format!("in a list: {other:?}")),
                    }
                }
            }
            expect(tokens.next(), ";")?;
        }
    }

    fn tokens(text: &str) -> Result<Vec<String>, String> {
        let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => {
                    let mut escaped = false;
                    let end = rest.char_indices().skip(1).find(|(_, c)| {
                        let ends = *c == '"' && !escaped;
                        escaped = *c == '\\' && !escaped;
                        ends
                    });
                    end.ok_or("open quote")?.0 + 1
                }
                '-' if rest.starts_with("--") => 2,
                c if c.is_ascii_alphanumeric() => {
                    rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())
                }
                '{' | '}' | '[' | ']' | '=' | ';' | ',' => 1,
                other => return Err(format!("sign {other:?}")),
            };
            let (token, after) = rest.split_at(length);
            tokens.push(token.to_owned());
            rest = after.trim_start();
        }
        Ok(tokens)
    }

    #[test]
    fn every_wire_is_an_edge() {
        let (nodes, edges) = parse(&dot(&sample())).unwrap();
        assert_eq!(nodes.len(), 1 + 2 + 3);
        let edge = |a: &str, b: &str| (format!("\"{a}\""), format!("\"{b}\""));
        assert_eq!(
            edges,
            [
                edge("host", "network back"),
                edge("host", "network bridge"),
                edge("network back", "container db"),
                edge("network bridge", "container web"),
                edge("network back", "container web"),
            ]
        );
    }

    proptest! {
        #[test]
        fn whatever_things_are_called_the_grammar_holds(graph in any_graph()) {
            let (nodes, edges) = parse(&dot(&graph)).map_err(TestCaseError::fail)?;
            prop_assert_eq!(nodes.len(), 1 + graph.networks.len() + graph.containers.len());
            let wires: usize = graph.containers.iter().map(|c| c.endpoints.len()).sum();
            prop_assert_eq!(edges.len(), graph.networks.len() + wires);
        }
    }
}
