//! Tokens → tree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::TemplateError;
use super::lex::{Kind, Token, lex};

/// How deep `(…)` and blocks may nest: a bound for our own stack.
const MAX_DEPTH: usize = 200;

/// A whole template.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// What is executed.
    pub(super) main: Vec<Node>,
    /// `{{define}}` and `{{block}}`.
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

/// One piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text as it stands.
    Text(String),
    /// A pipeline; printed unless it declares or assigns.
    Action(Pipe),
    /// `{{if}}`.
    If(Pipe, Vec<Node>, Vec<Node>),
    /// `{{with}}`.
    With(Pipe, Vec<Node>, Vec<Node>),
    /// `{{range}}`.
    Range(Pipe, Vec<Node>, Vec<Node>),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
    /// `{{template "name" pipe}}`.
    Template(usize, String, Option<Pipe>),
}

/// Commands that hand their results on, and the variables that take the last one.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    /// Its line.
    pub(super) line: usize,
    /// Variables before `:=` or `=`.
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    /// At least one; each at least one operand.
    pub(super) commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// A constant.
    Literal(Value),
    /// `nil`.
    Nil,
    /// A function's name.
    Function(String),
    /// `.a.b`; empty is the dot itself.
    Field(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    /// `(pipe).a.b`.
    Group(Box<Pipe>, Vec<String>),
}

/// Parses a template.
pub(super) fn parse(text: &str) -> Result<Tree, TemplateError> {
    let tokens = lex(text)?;
    let mut parser = Parser { tokens, next: 0, depth: 0, loops: 0, defined: BTreeMap::new() };
    let (main, end) = parser.nodes()?;
    match end {
        Stop::Input => Ok(Tree { main, defined: parser.defined }),
        Stop::End => Err(parser.error("unexpected {{end}}")),
        Stop::Else => Err(parser.error("unexpected {{else}}")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// How many `{{range}}`s are open around here.
    loops: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum Stop {
    Input,
    End,
    /// The `else` is taken, what follows it is not.
    Else,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        self.deeper()?;
        let mut nodes = Vec::new();
        let end = loop {
            let Some(token) = self.take() else { break Stop::Input };
            match token {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                _ => match self.action(&mut nodes)? {
                    None => {}
                    Some(end) => break end,
                },
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    /// What follows `{{`. `Some` if it ends the list it stands in.
    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Stop>, TemplateError> {
        let word = match self.peek() {
            Some(Kind::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let keyword = ["if", "with", "range", "end", "else", "break", "continue", "template"];
        if keyword.contains(&word.as_str()) || matches!(word.as_str(), "define" | "block") {
            self.take();
        }
        match word.as_str() {
            "if" | "with" | "range" => {
                let node = self.control(&word)?;
                nodes.push(node);
            }
            "end" => {
                self.close()?;
                return Ok(Some(Stop::End));
            }
            "else" => return Ok(Some(Stop::Else)),
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.error(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.close()?;
                nodes.push(if word == "break" { Node::Break } else { Node::Continue });
            }
            "template" | "block" => {
                let name = self.string(&word)?;
                let line = self.line();
                let pipe =
                    if self.peek() == Some(&Kind::Close) { None } else { Some(self.pipe()?) };
                self.close()?;
                if word == "block" {
                    self.body(&name)?;
                }
                nodes.push(Node::Template(line, name, pipe));
            }
            "define" => {
                let name = self.string("define clause")?;
                self.close()?;
                self.body(&name)?;
            }
            _ => {
                let pipe = self.pipe()?;
                self.close()?;
                nodes.push(Node::Action(pipe));
            }
        }
        Ok(None)
    }

    /// The body of `{{define}}`, up to its `{{end}}`.
    fn body(&mut self, name: &str) -> Result<(), TemplateError> {
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.nodes()?;
        self.loops = loops;
        if end != Stop::End {
            return Err(self.error("unexpected EOF"));
        }
        self.defined.insert(name.to_owned(), nodes);
        Ok(())
    }

    /// `{{if}}`, `{{with}}`, `{{range}}` with their branches.
    fn control(&mut self, word: &str) -> Result<Node, TemplateError> {
        if self.peek() == Some(&Kind::Close) {
            return Err(self.error(&format!("missing value for {word}")));
        }
        let pipe = self.pipe()?;
        self.close()?;
        self.loops += usize::from(word == "range");
        let (then, end) = self.nodes()?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Input => return Err(self.error("unexpected EOF")),
            Stop::Else => match self.peek() {
                // "{{else if}}" is an "{{if}}" within the else, sharing its end.
                Some(Kind::Word(next)) if next == word && word != "range" => {
                    self.take();
                    self.deeper()?;
                    let nested = self.control(word)?;
                    self.depth -= 1;
                    vec![nested]
                }
                _ => {
                    self.close()?;
                    let (nodes, end) = self.nodes()?;
                    if end != Stop::End {
                        return Err(self.error("expected end; found {{else}} or EOF"));
                    }
                    nodes
                }
            },
        };
        Ok(match word {
            "if" => Node::If(pipe, then, otherwise),
            "with" => Node::With(pipe, then, otherwise),
            _ => Node::Range(pipe, then, otherwise),
        })
    }

    fn pipe(&mut self) -> Result<Pipe, TemplateError> {
        self.deeper()?;
        let line = self.line();
        let (variables, assigns) = self.declaration();
        let mut commands = vec![self.command()?];
        while self.peek() == Some(&Kind::Pipe) {
            self.take();
            commands.push(self.command()?);
        }
        self.depth -= 1;
        Ok(Pipe { line, variables, assigns, commands })
    }

    /// `$x :=`, `$k, $v :=`, `$x =`; nothing is taken if there is none.
    fn declaration(&mut self) -> (Vec<String>, bool) {
        let at = |n: usize| self.tokens.get(self.next + n).map(|token| &token.kind);
        let (names, taken) = match (at(0), at(1), at(2), at(3)) {
            (Some(Kind::Variable(x)), Some(Kind::Declare | Kind::Assign), _, _) => {
                (vec![x.clone()], 1)
            }
            (
                Some(Kind::Variable(k)),
                Some(Kind::Comma),
                Some(Kind::Variable(v)),
                Some(Kind::Declare | Kind::Assign),
            ) => (vec![k.clone(), v.clone()], 3),
            _ => return (Vec::new(), false),
        };
        let assigns = at(taken) == Some(&Kind::Assign);
        self.next += taken + 1;
        (names, assigns)
    }

    fn command(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut operands = Vec::new();
        while let Some(kind) = self.peek() {
            if matches!(kind, Kind::Close | Kind::Pipe | Kind::CloseParen) {
                break;
            }
            operands.push(self.operand()?);
        }
        if operands.is_empty() {
            return Err(self.error("missing value for command"));
        }
        if matches!(operands.first(), Some(Operand::Nil)) {
            return Err(self.error("nil is not a command"));
        }
        Ok(operands)
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        Ok(match self.take() {
            Some(Kind::Literal(value)) => Operand::Literal(value),
            Some(Kind::Nil) => Operand::Nil,
            Some(Kind::Word(name)) => {
                if !super::functions::exists(&name) {
                    return Err(self.error(&format!("function {name:?} not defined")));
                }
                Operand::Function(name)
            }
            Some(Kind::Dot) => Operand::Field(Vec::new()),
            Some(Kind::Field { name, .. }) => {
                let mut names = vec![name];
                names.extend(self.steps());
                Operand::Field(names)
            }
            Some(Kind::Variable(name)) => Operand::Variable(name, self.steps()),
            Some(Kind::OpenParen) => {
                let pipe = self.pipe()?;
                match self.take() {
                    Some(Kind::CloseParen) => Operand::Group(Box::new(pipe), self.steps()),
                    _ => return Err(self.error("unclosed left paren")),
                }
            }
            _ => return Err(self.error("unexpected token in operand")),
        })
    }

    /// `.b.c` directly after an operand.
    fn steps(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Kind::Field { name, joined: true }) = self.peek() {
            names.push(name.clone());
            self.take();
        }
        names
    }

    fn string(&mut self, context: &str) -> Result<String, TemplateError> {
        match self.take() {
            Some(Kind::Literal(Value::String(text))) => Ok(text),
            _ => Err(self.error(&format!("unexpected token in {context}"))),
        }
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        match self.take() {
            Some(Kind::Close) => Ok(()),
            _ => Err(self.error("unexpected token in command")),
        }
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.error("nested too deeply")) } else { Ok(()) }
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn take(&mut self) -> Option<Kind> {
        let kind = self.peek().cloned();
        self.next += usize::from(kind.is_some());
        kind
    }

    fn line(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn error(&self, what: &str) -> TemplateError {
        let last = self.next.saturating_sub(1);
        let line = self.tokens.get(last).map_or(1, |token| token.line);
        TemplateError::Parse { line, what: what.to_owned() }
    }
}
