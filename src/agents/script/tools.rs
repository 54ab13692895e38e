//! Makes tools of a language model of a script's functions: of the name, the docstring and the
//! typed parameters of each.
//!
//! The script is only parsed. The interpreter ignores types, so they are read where they stand.

use std::collections::BTreeMap;

use starlark::codemap::{ResolvedSpan, Span};
use starlark::syntax::AstModule;
use starlark::syntax::ast::{AstExpr, AstLiteral, AstNoPayload, AstParameter, AstStmt, DefP, ExprP, ParameterP, StmtP};

use super::check::Fault;
use super::depth;
use super::docstring::Docstring;
use super::functions;
use super::interpret::{dialect, on_own_thread};
use super::tool_parameters::{Parameter, read_type, schema, short};
use crate::agents::tool::Tool;
use crate::domain::bounds;
use crate::domain::suggestion::{nearest, or_known};

/// The first parameter of each tool.
pub(super) const CONV: &str = "conv";
/// The longest name of a tool, and its longest description, in characters. Providers refuse more.
const LONGEST_NAME: usize = 64;
const LONGEST_DESCRIPTION: usize = 1024;

type Def = DefP<AstNoPayload>;

/// A function of a script that is a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolFunction {
    pub(super) tool: Tool,
    /// Its parameters beside `conv`.
    pub(super) parameters: Vec<Parameter>,
}

/// The functions of these names as tools, in the order of their names: providers keep what is equal
/// at the beginning of a request in a cache. The error tells all that is wrong with them.
pub fn tools(source: &str, names: &[String]) -> Result<Vec<Tool>, Vec<Fault>> {
    let (source, names) = (source.to_owned(), names.to_vec());
    let read = on_own_thread(move || Ok(read_here(&source, &names)));
    let functions = read.unwrap_or_else(|error| Err(vec![Fault::of_script(error.to_string())]))?;
    Ok(functions.into_iter().map(|function| function.tool).collect())
}

/// The same on the current thread, which must be one of [`on_own_thread`] for its stack.
fn read_here(source: &str, names: &[String]) -> Result<Vec<ToolFunction>, Vec<Fault>> {
    if let Some((line, message)) = depth::too_deep(source) {
        return Err(vec![Fault { line, column: 1, fatal: true, message }]);
    }
    let ast = AstModule::parse("agent.star", source.to_owned(), &dialect());
    let ast = ast.map_err(|error| vec![Fault::of_error(&error)])?;
    functions_of(source, &ast, names)
}

/// The functions of a parsed script that are tools.
pub(super) fn functions_of(source: &str, ast: &AstModule, names: &[String]) -> Result<Vec<ToolFunction>, Vec<Fault>> {
    let mut reader = Reader { source, ast, top: BTreeMap::new(), faults: Vec::new() };
    reader.bind(ast.statement(), true);
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let mut functions = Vec::new();
    for (position, name) in names.iter().enumerate() {
        if position.checked_sub(1).and_then(|before| names.get(before)) == Some(name) {
            reader.faults.push(Fault::of_script(format!("{name} is named twice as a tool; name it once")));
        } else if let Some(def) = reader.find(name) {
            functions.extend(reader.function(def));
        }
    }
    let mut faults = reader.faults;
    faults.sort_by_key(|fault| (fault.line, fault.column));
    if faults.is_empty() { Ok(functions) } else { Err(faults) }
}

/// Where the top level of a script binds a name.
struct Binding<'a> {
    at: Span,
    /// The function, if it stands at the top level itself.
    def: Option<&'a Def>,
}

struct Reader<'a> {
    source: &'a str,
    ast: &'a AstModule,
    top: BTreeMap<&'a str, Vec<Binding<'a>>>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// Notes what a statement of the top level binds. `is_top`: whether it always runs.
    fn bind(&mut self, stmt: &'a AstStmt, is_top: bool) {
        let mut bind = |name: &'a str, at, def| self.top.entry(name).or_default().push(Binding { at, def });
        match &stmt.node {
            StmtP::Statements(all) => all.iter().for_each(|one| self.bind(one, is_top)),
            StmtP::Def(def) => bind(&def.name.node.ident, def.name.span, is_top.then_some(def)),
            StmtP::Assign(assign) => assign.lhs.node.visit_lvalue(|name| bind(&name.node.ident, name.span, None)),
            StmtP::AssignModify(target, ..) => {
                target.node.visit_lvalue(|name| bind(&name.node.ident, name.span, None));
            }
            StmtP::For(each) => {
                each.var.node.visit_lvalue(|name| bind(&name.node.ident, name.span, None));
                self.bind(&each.body, false);
            }
            _ => stmt.node.visit_stmt(|part| self.bind(part, false)),
        }
    }

    fn resolved(&self, span: Span) -> ResolvedSpan {
        self.ast.file_span(span).resolve_span()
    }

    fn add(&mut self, at: Span, message: String) {
        let fault = Fault::at(&self.resolved(at), true, message);
        self.faults.push(fault);
    }

    /// The function of a name, if it can be a tool.
    fn find(&mut self, name: &str) -> Option<&'a Def> {
        if functions::names().any(|known| known == name) {
            let what = format!("{name} is called by textback and can't be a tool; name another function");
            self.faults.push(self.about(name, what));
            return None;
        }
        let known: Vec<&str> = self.defs().collect();
        let bindings = self.top.get(name).map(Vec::as_slice).unwrap_or_default();
        let fault = match bindings {
            [Binding { def: Some(def), .. }] if is_tool_name(name) => return Some(def),
            [] => {
                let shown = bounds::text(name, LONGEST_NAME);
                format!("the script defines no function {shown:?} for a tool; {}", or_known(name, &known))
            }
            [Binding { def: Some(_), .. }] => {
                format!("{name} can't be the name of a tool: it has more than {LONGEST_NAME} characters")
            }
            [Binding { def: None, .. }] => format!(
                "{name} can't be a tool, since it is not defined as a function at the top level; define it there: def {name}(conv, …)"
            ),
            [first, ..] => {
                let line = self.resolved(first.at).begin.line + 1;
                format!(
                    "{name} can't be a tool, since it is bound more than once, first in line {line}; keep one function"
                )
            }
        };
        self.faults.push(self.about(name, fault));
        None
    }

    /// The functions that could be tools.
    fn defs(&self) -> impl Iterator<Item = &'a str> {
        let is_def = |bindings: &[Binding]| matches!(bindings, [Binding { def: Some(_), .. }]);
        let all = self.top.iter().filter(move |(_, bindings)| is_def(bindings)).map(|(name, _)| *name);
        all.filter(|name| !functions::names().any(|known| known == *name))
    }

    /// A fault of a name, where it is bound last.
    fn about(&self, name: &str, message: String) -> Fault {
        match self.top.get(name).and_then(|bindings| bindings.last()) {
            Some(binding) => Fault::at(&self.resolved(binding.at), true, message),
            None => Fault::of_script(message),
        }
    }

    fn function(&mut self, def: &'a Def) -> Option<ToolFunction> {
        let before = self.faults.len();
        let name = &def.name.node.ident;
        let written = first_text(&def.body);
        let docstring = written.map(|(text, _)| Docstring::of(text)).unwrap_or_default();
        if docstring.description.is_empty() {
            self.add(def.name.span, format!(
                "{name} has no docstring, by which a language model knows when to call it; begin its body with one, such as \"\"\"Books a table.\"\"\""
            ));
        }
        let length = docstring.description.chars().count();
        if length > LONGEST_DESCRIPTION {
            self.add(def.name.span, format!(
                "the first paragraph of the docstring of {name} has {length} characters; the limit is {LONGEST_DESCRIPTION}: begin another paragraph, which is not sent"
            ));
        }
        let parameters = self.parameters(def, &docstring);
        let is_known = |name: &str| name == CONV || parameters.iter().any(|parameter| parameter.name == name);
        for (described, _) in docstring.parameters.iter().filter(|(described, _)| !is_known(described)) {
            let known = parameters.iter().map(|parameter| parameter.name.as_str());
            let meant = nearest(described, known).map(|meant| format!("; did you mean {meant}?"));
            let what = format!("Args: describes {described}, which is no parameter of {name}");
            self.add(written.map_or(def.name.span, |(_, at)| at), what + &meant.unwrap_or_default());
        }
        let tool = Tool { name: name.clone(), description: docstring.description, parameters: schema(&parameters) };
        (self.faults.len() == before).then_some(ToolFunction { tool, parameters })
    }

    /// The parameters beside conv that a model can give arguments to.
    fn parameters(&mut self, def: &'a Def, docstring: &Docstring) -> Vec<Parameter> {
        let name = &def.name.node.ident;
        let is_conv = |parameter: &AstParameter| matches!(&parameter.node, ParameterP::Normal(given, ..) if given.node.ident == CONV);
        if !def.params.first().is_some_and(is_conv) {
            let at = def.params.first().map_or(def.name.span, |parameter| parameter.span);
            self.add(at, format!("the first parameter of a tool is {CONV}; define it as def {name}({CONV}, …)"));
        }
        let mut parameters = Vec::new();
        for parameter in def.params.iter().filter(|parameter| !is_conv(parameter)) {
            match &parameter.node {
                ParameterP::Normal(given, Some(of), default) => match read_type(&of.node.expr) {
                    Ok((of, takes_none)) => parameters.push(Parameter {
                        name: given.node.ident.clone(),
                        of,
                        takes_none,
                        has_default: default.is_some(),
                        description: described(
                            docstring.of_parameter(&given.node.ident),
                            default.as_ref().and_then(|value| self.meaning_of_null(value)),
                        ),
                    }),
                    Err((at, what)) => self.add(at, what),
                },
                ParameterP::Normal(given, None, _) => {
                    let given = &given.node.ident;
                    self.add(parameter.span, format!("{given} has no type; write one, such as {given}: str"));
                }
                ParameterP::Args(..) | ParameterP::KwArgs(..) => self.add(
                    parameter.span,
                    format!("a tool takes no {}; name each parameter, with its type", parameter.node),
                ),
                ParameterP::NoArgs | ParameterP::Slash => {}
            }
        }
        parameters
    }

    /// What a model is told of a default value that is spelled out.
    fn meaning_of_null(&self, default: &AstExpr) -> Option<String> {
        let written = self.source.get(default.span.begin().get() as usize..default.span.end().get() as usize)?;
        is_spelled_out(default).then(|| format!("null means {}", short(written)))
    }
}

/// What a model is told of a parameter: the text of the docstring, and what null means.
fn described(text: Option<&str>, null: Option<String>) -> Option<String> {
    match (text, null) {
        (Some(text), Some(null)) => Some(format!("{text} ({null})")),
        (Some(text), None) => Some(text.to_owned()),
        (None, null) => null,
    }
}

fn is_tool_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits)
}

fn is_spelled_out(value: &AstExpr) -> bool {
    match &value.node {
        ExprP::Literal(AstLiteral::Int(_) | AstLiteral::Float(_) | AstLiteral::String(_)) => true,
        ExprP::Identifier(name) => matches!(name.node.ident.as_str(), "True" | "False"),
        ExprP::Minus(of) => is_spelled_out(of),
        _ => false,
    }
}

/// The text with which the body of a function begins, and its place.
fn first_text(body: &AstStmt) -> Option<(&str, Span)> {
    match &body.node {
        StmtP::Statements(all) => all.first().and_then(first_text),
        StmtP::Expression(value) => match &value.node {
            ExprP::Literal(AstLiteral::String(text)) => Some((&text.node, value.span)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(source: &str, names: &[&str]) -> Result<Vec<Tool>, Vec<String>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        tools(source, &names).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    /// A function `f` with these parameters behind conv.
    fn function(parameters: &str) -> String {
        format!("def f(conv, {parameters}):\n    \"\"\"Does it.\"\"\"\n    return 1")
    }

    fn parameters_of(source: &str) -> Value {
        let tools = read(source, &["f"]).unwrap_or_else(|faults| panic!("{source}: {faults:?}"));
        tools.into_iter().next().expect("a tool").parameters
    }

    #[test]
    fn a_function_is_told_by_its_name_docstring_and_parameters() {
        let source = r#"
LANGUAGE = "en"
def book(conv, day: str, persons: int, *, notes: list[str] = [], window: bool | None, lang: str = LANGUAGE):
    """Books a table
    for the contact.

    It keeps the number of the contact.

    Args:
        conv: the conversation
        day: the day, as
            2026-01-31
        persons (int): how many come
        notes: wishes

    Returns:
        the number of the booking
    """
    return 1
def cancel(conv):
    "Cancels the booking."
"#;
        let expected = json!([
            {"name": "book", "description": "Books a table for the contact.", "parameters": {
                "type": "object",
                "properties": {
                    "day": {"type": "string", "description": "the day, as 2026-01-31"},
                    "persons": {"type": "integer", "description": "how many come"},
                    "notes": {"type": ["array", "null"], "items": {"type": "string"}, "description": "wishes"},
                    "window": {"type": ["boolean", "null"]},
                    "lang": {"type": ["string", "null"]},
                },
                "required": ["day", "persons", "notes", "window", "lang"],
                "additionalProperties": false}},
            {"name": "cancel", "description": "Cancels the booking.", "parameters": {
                "type": "object", "properties": {}, "required": [], "additionalProperties": false}},
        ]);
        for names in [["book", "cancel"], ["cancel", "book"]] {
            assert_eq!(json!(read(source, &names).expect("tools")), expected, "{names:?}");
        }
        assert_eq!(read(source, &[]), Ok(vec![]), "only functions that are named are tools");
    }

    #[test]
    fn each_type_has_its_schema() {
        for (parameter, schema) in [
            ("x: str", json!({"type": "string"})),
            ("x: int", json!({"type": "integer"})),
            ("x: float", json!({"type": "number"})),
            ("x: bool", json!({"type": "boolean"})),
            ("x: list[int]", json!({"type": "array", "items": {"type": "integer"}})),
            ("x: list[list[str]]", json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}})),
            ("x: str | None", json!({"type": ["string", "null"]})),
            ("x: None | list[bool]", json!({"type": ["array", "null"], "items": {"type": "boolean"}})),
            ("x: str = None", json!({"type": ["string", "null"]})),
            ("x: str = \"a\"", json!({"type": ["string", "null"], "description": "null means \"a\""})),
            ("x: int = -5", json!({"type": ["integer", "null"], "description": "null means -5"})),
            ("x: bool | None = True", json!({"type": ["boolean", "null"], "description": "null means True"})),
            ("x: list[str] = []", json!({"type": ["array", "null"], "items": {"type": "string"}})),
            ("*, x: float = 0.5", json!({"type": ["number", "null"], "description": "null means 0.5"})),
        ] {
            let parameters = parameters_of(&function(parameter));
            assert_eq!(parameters.pointer("/properties/x"), Some(&schema), "{parameter}");
            assert_eq!(parameters.get("required"), Some(&json!(["x"])), "{parameter}");
        }
        let described = "def f(conv, n: int = 5):\n    \"\"\"Does it.\n\n    Args:\n        n: how often\n    \"\"\"";
        let description = json!("how often (null means 5)");
        assert_eq!(parameters_of(described).pointer("/properties/n/description"), Some(&description));
    }

    #[test]
    fn a_parameter_that_no_schema_can_say_is_told_with_its_place() {
        for (parameters, what) in [
            ("day", "1:13: day has no type; write one, such as day: str"),
            ("day = 1", "1:13: day has no type"),
            (
                "x: dict",
                "1:16: a dict has no strict JSON Schema, since its keys are not known; use a parameter for each",
            ),
            ("x: dict[str, int]", "1:16: a dict has no strict JSON Schema"),
            ("x: list[dict]", "1:21: a dict has no strict JSON Schema"),
            ("x: dict | None", "1:16: a dict has no strict JSON Schema"),
            ("x: list", "1:16: list has no type of its items; write it in brackets, such as list[str]"),
            ("x: tuple[int, str]", "1:16: tuple[int, str] is no type of a parameter of a tool; use str, int, float"),
            ("x: string", "1:16: string is no type"),
            ("x: None", "1:16: None is no type"),
            ("x: set[str]", "is no type"),
            ("x: typing.Any", "is no type"),
            ("x: str | int", "1:16: (str | int) has several types"),
            ("x: str | int | None", "has several types"),
            ("x: None | None", "has several types"),
            ("x: list[str | None]", "1:21: (str | None) has several types"),
            ("x: list[list[list[list[list[str]]]]]", "lists are nested over 4 deep"),
            ("*rest", "1:13: a tool takes no *rest; name each parameter, with its type"),
            ("*rest: str", "1:13: a tool takes no *rest"),
            ("**more", "1:13: a tool takes no **more"),
        ] {
            let faults = read(&function(parameters), &["f"]).expect_err(parameters);
            assert!(faults.len() == 1 && faults[0].contains(what), "{parameters}: {faults:?}");
        }
    }

    #[test]
    fn a_function_that_can_be_no_tool_is_told_with_its_place() {
        let doc = "\"\"\"Does it.\"\"\"";
        let long = "f".repeat(65);
        for (source, name, what) in [
            (
                format!("def f(conv): {doc}"),
                "g",
                "the script defines no function \"g\" for a tool; the known ones are f",
            ),
            (format!("def book(conv): {doc}"), "boook", "\"boook\" for a tool; did you mean book?"),
            ("x = 1".to_owned(), "", "the script defines no function \"\" for a tool; none is known"),
            (format!("def reply(conv, text): {doc}"), "reply", "1:5: reply is called by textback and can't be a tool"),
            (format!("def f(conv): {doc}"), "start", "start is called by textback"),
            (format!("def f(conv): {doc}"), "end_function", "end_function is called by textback"),
            (format!("def {long}(conv): {doc}"), &long, "it has more than 64 characters"),
            ("f = 5".to_owned(), "f", "1:1: f can't be a tool, since it is not defined as a function at the top level"),
            ("f = lambda conv: 5".to_owned(), "f", "define it there: def f(conv, …)"),
            (format!("def g(conv): {doc}\nf = g"), "f", "2:1: f can't be a tool"),
            (format!("if True:\n    def f(conv): {doc}"), "f", "2:9: f can't be a tool"),
            (
                format!("def f(conv): {doc}\ndef f(conv): {doc}"),
                "f",
                "2:5: f can't be a tool, since it is bound more than once, first in line 1",
            ),
            (format!("def f(conv): {doc}\nfor f in []: pass"), "f", "2:5: f can't be a tool"),
            ("def f(conv): return 1".to_owned(), "f", "1:5: f has no docstring, by which"),
            ("def f(conv):\n    \"\"\"\n    \"\"\"".to_owned(), "f", "f has no docstring"),
            ("def f(conv):\n    f\"{conv}\"".to_owned(), "f", "f has no docstring"),
            ("def f(conv):\n    return 1\n    \"late\"".to_owned(), "f", "f has no docstring"),
            (format!("def f(conv):\n    \"{}\"", "x".repeat(1025)), "f", "has 1025 characters; the limit is 1024"),
            (
                "def f(conv, day: str):\n    \"\"\"D.\n\n    Args:\n        dya: x\n    \"\"\"".to_owned(),
                "f",
                "2:5: Args: describes dya, which is no parameter of f; did you mean day?",
            ),
            (format!("def f(): {doc}"), "f", "1:5: the first parameter of a tool is conv; define it as def f(conv, …)"),
            (format!("def f(day: str): {doc}"), "f", "1:7: the first parameter of a tool is conv"),
            (format!("def f(*, conv): {doc}"), "f", "1:7: the first parameter of a tool is conv"),
            (format!("def f(conv) {doc}"), "f", "1:13: "),
        ] {
            let faults = read(&source, &[name]).expect_err(&source);
            assert!(faults.iter().any(|fault| fault.contains(what)), "{source}: {faults:?}");
        }
    }

    #[test]
    fn all_faults_are_told_in_the_order_of_their_places() {
        let source = "def f(conv, a, b: dict): pass\ndef g(conv, *c): \"\"\"Does it.\"\"\"";
        let faults = read(source, &["g", "f", "g", "h"]).expect_err("faults");
        let positions: Vec<&str> = faults.iter().map(|fault| fault.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(
            positions,
            ["g is named twice as a tool; name it once", &faults[1], "1:5", "1:13", "1:19", "2:13"],
            "{faults:?}"
        );
        let deep = format!("x = {}1", "-".repeat(200_000));
        assert!(read(&deep, &[]).expect_err("too deep")[0].contains("chains over"));
    }
}
