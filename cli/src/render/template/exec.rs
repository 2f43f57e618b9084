//! Tree + JSON → text.

use serde_json::Value;

use super::data::{Data, steps};
use super::functions::call;
use super::parse::{Node, Operand, Pipe, Tree};
use super::printf::display;
use super::{Methods, TemplateError};

/// How deep templates may call each other.
const MAX_CALLS: usize = 100;

/// Whether to go on with the next node.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Executes `tree` on `data`.
pub(super) fn execute(
    tree: &Tree,
    data: &Value,
    methods: Methods<'_>,
    headers: bool,
) -> Result<String, TemplateError> {
    let root = Data::plain(data.clone());
    let mut run = Run {
        tree,
        methods,
        headers,
        out: String::new(),
        variables: vec![(String::new(), root.clone())],
        calls: 0,
    };
    run.nodes(&tree.main, &root)?;
    Ok(run.out)
}

struct Run<'a> {
    tree: &'a Tree,
    methods: Methods<'a>,
    headers: bool,
    out: String,
    /// Innermost last; `$` is the one without a name.
    variables: Vec<(String, Data)>,
    calls: usize,
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Data) -> Result<Flow, TemplateError> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Data) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let data = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    match data {
                        Data::Json { value: Value::Null, .. } | Data::Missing => {
                            self.out.push_str("<no value>");
                        }
                        Data::Json { value, .. } => self.out.push_str(&display(&value)),
                    }
                }
            }
            Node::If(pipe, then, otherwise) => {
                return self.scoped(|run| {
                    let data = run.pipe(pipe, dot)?;
                    run.nodes(if data.is_true() { then } else { otherwise }, dot)
                });
            }
            Node::With(pipe, then, otherwise) => {
                return self.scoped(|run| {
                    let data = run.pipe(pipe, dot)?;
                    if data.is_true() { run.nodes(then, &data) } else { run.nodes(otherwise, dot) }
                });
            }
            Node::Range(pipe, body, otherwise) => {
                return self.scoped(|run| run.range(pipe, body, otherwise, dot));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Template(line, name, pipe) => self.template(*line, name, pipe.as_ref(), dot)?,
        }
        Ok(Flow::On)
    }

    /// Forgets the variables declared by `work`.
    fn scoped(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<Flow, TemplateError>,
    ) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let flow = work(self);
        self.variables.truncate(known);
        flow
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Data,
    ) -> Result<Flow, TemplateError> {
        // The loop's variables hold each element, not the whole.
        let whole = self.commands(pipe, dot)?;
        let items: Vec<(Value, Value)> = match whole.into_value() {
            Value::Null => Vec::new(),
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(n, item)| (Value::from(n), item)).collect()
            }
            Value::Object(map) => {
                let mut items: Vec<_> = map.into_iter().collect();
                items.sort_by(|(a, _), (b, _)| a.cmp(b));
                items.into_iter().map(|(key, item)| (Value::String(key), item)).collect()
            }
            // Go 1.22: range over an integer.
            Value::Number(n) if n.as_u64().is_some_and(|n| n <= 1_000_000) => {
                (0..n.as_u64().unwrap_or(0)).map(|n| (Value::from(n), Value::from(n))).collect()
            }
            other => {
                let what = format!("range can't iterate over {}", display(&other));
                return Err(error(pipe, &what));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let item = Data::plain(item);
            let known = self.variables.len();
            let (key, values) = (Data::plain(key), item.clone());
            match pipe.variables.as_slice() {
                [value] => self.bind(pipe, value, values)?,
                [first, second] => {
                    self.bind(pipe, first, key)?;
                    self.bind(pipe, second, values)?;
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn template(
        &mut self,
        line: usize,
        name: &str,
        pipe: Option<&Pipe>,
        dot: &Data,
    ) -> Result<(), TemplateError> {
        let execute = |what: String| TemplateError::Execute { line, at: name.to_owned(), what };
        let nodes = self.tree.defined.get(name);
        let nodes = nodes.ok_or_else(|| execute(format!("template {name:?} not defined")))?;
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Data::Missing,
        };
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(execute(format!("exceeded maximum template depth ({MAX_CALLS})")));
        }
        // A called template sees nothing of its caller's but the dot, which is its `$`.
        let outer = std::mem::replace(&mut self.variables, vec![(String::new(), dot.clone())]);
        self.nodes(nodes, &dot)?;
        self.variables = outer;
        self.calls -= 1;
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Data) -> Result<Data, TemplateError> {
        let data = self.commands(pipe, dot)?;
        if let Some(name) = pipe.variables.last() {
            self.bind(pipe, name, data.clone())?;
        }
        Ok(data)
    }

    fn bind(&mut self, pipe: &Pipe, name: &str, data: Data) -> Result<(), TemplateError> {
        if !pipe.assigns {
            self.variables.push((name.to_owned(), data));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, held)) => *held = data,
            None => return Err(error(pipe, &format!("undefined variable: ${name}"))),
        }
        Ok(())
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Data) -> Result<Data, TemplateError> {
        let mut last: Option<Data> = None;
        for command in &pipe.commands {
            last = Some(self.command(pipe, command, last, dot)?);
        }
        Ok(last.unwrap_or(Data::Missing))
    }

    fn command(
        &mut self,
        pipe: &Pipe,
        command: &[Operand],
        last: Option<Data>,
        dot: &Data,
    ) -> Result<Data, TemplateError> {
        let Some((first, rest)) = command.split_first() else { return Ok(Data::Missing) };
        if let Operand::Function(name) = first {
            return self.function(pipe, name, rest, last, dot);
        }
        if rest.is_empty() && last.is_none() {
            return self.operand(pipe, first, dot);
        }
        // Anything else with arguments can only be a method of the data.
        let mut arguments = self.arguments(pipe, rest, dot)?;
        arguments.extend(last.map(Data::into_value));
        if let Operand::Field(names) = first
            && let [name] = names.as_slice()
            && let Some(value) = (self.methods)(name, &arguments)
        {
            return Ok(Data::plain(value));
        }
        let what = format!("can't give argument to non-function {}", written(first));
        Err(TemplateError::Execute { line: pipe.line, at: written(first), what })
    }

    fn arguments(
        &mut self,
        pipe: &Pipe,
        operands: &[Operand],
        dot: &Data,
    ) -> Result<Vec<Value>, TemplateError> {
        operands
            .iter()
            .map(|operand| self.operand(pipe, operand, dot).map(Data::into_value))
            .collect()
    }

    fn function(
        &mut self,
        pipe: &Pipe,
        name: &str,
        operands: &[Operand],
        last: Option<Data>,
        dot: &Data,
    ) -> Result<Data, TemplateError> {
        // and/or stop at the first argument that decides.
        if matches!(name, "and" | "or") && !(operands.is_empty() && last.is_none()) {
            let mut data = Data::Missing;
            for operand in operands {
                data = self.operand(pipe, operand, dot)?;
                if data.is_true() == (name == "or") {
                    return Ok(data);
                }
            }
            return Ok(last.unwrap_or(data));
        }
        let mut arguments = self.arguments(pipe, operands, dot)?;
        arguments.extend(last.map(Data::into_value));
        let what = |what: String| TemplateError::Execute {
            line: pipe.line,
            at: name.to_owned(),
            what: format!("error calling {name}: {what}"),
        };
        call(name, arguments, self.headers).map(Data::plain).map_err(what)
    }

    fn operand(
        &mut self,
        pipe: &Pipe,
        operand: &Operand,
        dot: &Data,
    ) -> Result<Data, TemplateError> {
        let (data, names) = match operand {
            Operand::Literal(value) => return Ok(Data::plain(value.clone())),
            Operand::Nil => return Ok(Data::Missing),
            Operand::Function(name) => {
                return self.function(pipe, name, &[], None, dot);
            }
            Operand::Field(names) => (dot.clone(), names),
            Operand::Variable(name, names) => {
                let held = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, data)) = held else {
                    return Err(error(pipe, &format!("undefined variable: ${name}")));
                };
                (data.clone(), names)
            }
            Operand::Group(inner, names) => (self.pipe(inner, dot)?, names),
        };
        if let [name] = names.as_slice()
            && let Some(value) = (self.methods)(name, &[])
        {
            return Ok(Data::plain(value));
        }
        steps(data, names).map_err(|what| TemplateError::Execute {
            line: pipe.line,
            at: written(operand),
            what,
        })
    }
}

/// The operand as the template has it, for errors.
fn written(operand: &Operand) -> String {
    let steps = |names: &[String]| names.iter().map(|n| format!(".{n}")).collect::<String>();
    match operand {
        Operand::Literal(value) => value.to_string(),
        Operand::Nil => "nil".to_owned(),
        Operand::Function(name) => name.clone(),
        Operand::Field(names) if names.is_empty() => ".".to_owned(),
        Operand::Field(names) => steps(names),
        Operand::Variable(name, names) => format!("${name}{}", steps(names)),
        Operand::Group(_, names) => format!("(…){}", steps(names)),
    }
}

fn error(pipe: &Pipe, what: &str) -> TemplateError {
    let at = pipe.commands.first().and_then(|command| command.first());
    let at = at.map(written).unwrap_or_default();
    TemplateError::Execute { line: pipe.line, at, what: what.to_owned() }
}
