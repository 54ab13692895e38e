//! Reads YAML, and JSON as a part of it, with the position of each value, so that an error says
//! where it is.
//!
//! Only what people write in settings is read: no anchors, no tags, no second document. A plain
//! `+14155550101` and `007` are texts, because a number would lose its first characters.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Number, Value};

use crate::agents::script::check::Fault;
use crate::domain::suggestion::or_known;

/// How deep lists and maps may be nested.
const MOST_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A text, a number, true, false or null.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the document.
    Map(Vec<(Key, Node)>),
}

/// The name of an entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) position: Position,
}

/// A position in a document, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    fn of(span: &Span) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1 }
    }

    /// A fault at this position.
    pub(super) fn fault(self, message: impl Into<String>) -> Fault {
        Fault { line: self.line, column: self.column, fatal: true, message: message.into() }
    }
}

impl Node {
    /// The value without positions.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                let fields = entries.iter().map(|(key, node)| (key.name.clone(), node.to_json()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The position of a value by its path, such as `llm.tools[1]`: of the value itself, or of the
    /// innermost one around it that exists.
    pub(super) fn find(&self, path: &str) -> Position {
        let (mut node, mut position) = (self, self.position);
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let inner = match &node.content {
                Content::Map(entries) => {
                    let found = entries.iter().find(|(key, _)| key.name == part);
                    found.map(|(key, inner)| (inner, key.position))
                }
                Content::List(items) => {
                    let found = part.parse::<usize>().ok().and_then(|index| items.get(index));
                    found.map(|inner| (inner, inner.position))
                }
                Content::Scalar(_) => None,
            };
            let Some(found) = inner else { break };
            (node, position) = found;
        }
        position
    }

    /// What the value is, for errors.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar(Value::String(_)) => "a text",
            Content::Scalar(Value::Number(_)) => "a number",
            Content::Scalar(Value::Bool(_)) => "true or false",
            Content::Scalar(_) => "empty",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }
}

/// The entries of a map, of which only known ones may exist.
pub(super) struct Fields<'a> {
    node: &'a Node,
    entries: &'a [(Key, Node)],
}

impl<'a> Fields<'a> {
    /// The entries of `what`, which may have these names.
    pub(super) fn of(node: &'a Node, what: &str, known: &[&str]) -> Result<Self, Fault> {
        let Content::Map(entries) = &node.content else {
            let kind = node.kind();
            return Err(node
                .position
                .fault(format!("{what} must be a map, not {kind}; it may have {}", known.join(", "))));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known.contains(&key.name.as_str())) {
            let name = &key.name;
            return Err(key.position.fault(format!("{name} is not known in {what}; {}", or_known(name, known))));
        }
        Ok(Self { node, entries })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// An entry that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a Node, Fault> {
        self.get(name).ok_or_else(|| self.node.position.fault(format!("{name} is missing")))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.get(name).map(|node| text_of(node, name)).transpose()
    }

    /// A text, or a list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(node) = self.get(name) else { return Ok(None) };
        match &node.content {
            Content::List(items) => {
                let texts: Result<Vec<String>, Fault> =
                    items.iter().map(|item| text_of(item, name).map(str::to_owned)).collect();
                texts.map(Some)
            }
            Content::Scalar(_) | Content::Map(_) => Ok(Some(vec![text_of(node, name)?.to_owned()])),
        }
    }

    /// A whole number within bounds.
    pub(super) fn whole(&self, name: &str, (least, most): (u64, u64)) -> Result<Option<u64>, Fault> {
        let Some(node) = self.get(name) else { return Ok(None) };
        let number = match &node.content {
            Content::Scalar(Value::Number(number)) => number.as_u64().filter(|number| (least..=most).contains(number)),
            Content::Scalar(_) | Content::List(_) | Content::Map(_) => None,
        };
        let refused = || node.position.fault(format!("{name} must be a whole number from {least} to {most}"));
        number.map(Some).ok_or_else(refused)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Fault> {
        let Some(node) = self.get(name) else { return Ok(None) };
        match &node.content {
            Content::Scalar(Value::Bool(given)) => Ok(Some(*given)),
            Content::Scalar(_) | Content::List(_) | Content::Map(_) => {
                Err(node.position.fault(format!("{name} must be true or false, not {}", node.kind())))
            }
        }
    }

    /// A map whose names are free.
    pub(super) fn map(&self, name: &str) -> Result<Option<Map<String, Value>>, Fault> {
        let Some(node) = self.get(name) else { return Ok(None) };
        match node.to_json() {
            Value::Object(map) => Ok(Some(map)),
            _ => Err(node.position.fault(format!("{name} must be a map, not {}", node.kind()))),
        }
    }
}

/// A text, which must be quoted if it looks like something else.
pub(super) fn text_of<'a>(node: &'a Node, name: &str) -> Result<&'a str, Fault> {
    match &node.content {
        Content::Scalar(Value::String(text)) => Ok(text),
        Content::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => Err(node
            .position
            .fault(format!("{name} must be a text, and {value} is {}; write \"{value}\" in quotes", node.kind()))),
        Content::Scalar(_) | Content::List(_) | Content::Map(_) => {
            Err(node.position.fault(format!("{name} must be a text, not {}", node.kind())))
        }
    }
}

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd, _) => {
                return Ok(Node { position: Position { line: 1, column: 1 }, content: Content::Map(Vec::new()) });
            }
            (event, span) => {
                let node = reader.node(event, &span, 0)?;
                reader.end()?;
                return Ok(node);
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(unreadable(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Refuses a second document.
    fn end(&mut self) -> Result<(), Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentStart(_), span) => {
                    return Err(
                        Position::of(&span).fault("a second document begins here; put it into a file of its own")
                    );
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Fault> {
        let position = Position::of(span);
        if depth > MOST_DEPTH {
            return Err(position.fault(format!("this is nested more than {MOST_DEPTH} levels deep")));
        }
        let content = match event {
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return Err(position.fault("a tag (!) is not read here; leave it out, or put the text in quotes"));
            }
            Event::Scalar(text, style, ..) => Content::Scalar(scalar(&text, style)),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Content::List(items),
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => Content::Map(self.entries(depth)?),
            Event::Alias(_) => {
                return Err(
                    position.fault("an alias (*) is not read here; write the value again, or put the text in quotes")
                );
            }
            _ => return Err(position.fault("a value is missing here")),
        };
        Ok(Node { position, content })
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let position = Position::of(&span);
            let Event::Scalar(name, ..) = event else {
                return Err(position.fault("a name must be a text"));
            };
            if entries.iter().any(|(key, _)| key.name == *name) {
                return Err(position.fault(format!("{name} is given twice; leave one out")));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, &span, depth + 1)?;
            entries.push((Key { name: name.into_owned(), position }, node));
        }
    }
}

fn unreadable(error: &ScanError) -> Fault {
    let position = Position { line: error.marker().line(), column: error.marker().col() + 1 };
    position.fault(format!("this is no YAML: {}", error.info()))
}

/// The value of a scalar. A quoted one and a block are always texts.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    // Only what JSON calls a number is one.
    let number = serde_json::from_str::<Number>(text).ok();
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        let text = "name: clinic\ncontact: +14155550101\ncode: 007\ncount: 7\nshare: 0.5\nopen: true\nno: no\nempty:\nquoted: \"7\"\nlist: [a, {b: 1}]\ntext: |\n  one\n  two\n";
        let expected = json!({"name": "clinic", "contact": "+14155550101", "code": "007", "count": 7, "share": 0.5,
            "open": true, "no": "no", "empty": null, "quoted": "7", "list": ["a", {"b": 1}], "text": "one\ntwo\n"});
        assert_eq!(read(text).map(|node| node.to_json()), Ok(expected));
        assert_eq!(read("").map(|node| node.to_json()), Ok(json!({})));
        assert_eq!(
            read("{\"a\": [1, null],\n \"b\": {}}").map(|node| node.to_json()),
            Ok(json!({"a": [1, null], "b": {}}))
        );
    }

    #[test]
    fn what_can_t_be_read_is_told_with_its_position() {
        for (text, line, column, told) in [
            ("a: 1\na: 2\n", 2, 1, "a is given twice"),
            ("a: &x 1\nb: *x\n", 2, 4, "an alias"),
            ("a: !secret x\n", 1, 4, "a tag"),
            ("a: 1\n---\nb: 2\n", 2, 1, "a second document"),
            ("a: [1\nb: 2\n", 2, 2, "no YAML"),
            ("a: \"x\n", 1, 4, "no YAML"),
            ("? [a]\n: 1\n", 1, 3, "a name must be a text"),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.message.contains(told), "{text}: {fault:?}");
            assert_eq!((fault.line, fault.column), (line, column), "{text}: {fault:?}");
        }
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert!(read(&deep).expect_err("deep").message.contains("nested"));
    }

    #[test]
    fn a_value_is_found_by_its_path() {
        let node = read("name: x\nllm:\n  model: m\n  tools:\n    - a\n    - b\n").expect("read");
        for (path, line) in
            [("name", 1), ("llm", 2), ("llm.model", 3), ("llm.tools[1]", 6), ("llm.prompt", 2), ("kind", 1)]
        {
            assert_eq!(node.find(path).line, line, "{path}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_one_that_was_meant() {
        let node = read("name: x\nturn: []\n").expect("read");
        let fault = Fields::of(&node, "a scenario", &["name", "turns"]).err().expect("refused");
        assert_eq!((fault.line, fault.column), (2, 1));
        assert_eq!(fault.message, "turn is not known in a scenario; did you mean turns?");
        let node = read("name: 7\n").expect("read");
        let fields = Fields::of(&node, "a scenario", &["name"]).expect("known");
        assert!(fields.text("name").expect_err("a number").message.contains("in quotes"));
    }
}
