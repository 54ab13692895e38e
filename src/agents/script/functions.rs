//! Finds the functions of a script that textback calls, and refuses those that could never be
//! called: what is known when a script is saved is not left to its first message.

use serde::{Deserialize, Serialize};
use starlark::docs::{DocItem, DocMember, DocParam, DocParams};
use starlark::environment::FrozenModule;

use crate::domain::suggestion::nearest;

/// What a script is for, which decides what it must define.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// It answers: it defines `start`, `reply` or both.
    Answers,
    /// A language model answers, and may call the functions of these names. The script may define
    /// `start`.
    Tools(Vec<String>),
}

impl Purpose {
    /// The names of the functions that are tools.
    pub fn tools(&self) -> &[String] {
        match self {
            Self::Answers => &[],
            Self::Tools(names) => names,
        }
    }
}

/// A function that textback calls.
struct Called {
    /// Its name, and the other name that is accepted.
    names: &'static [&'static str],
    /// The arguments that it gets, by position.
    arguments: &'static [&'static str],
}

/// The names of the functions that textback calls, now or later. The first argument of each is
/// conv.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    answering().chain(END.names.iter().copied())
}

/// The names of the functions whose values are answers.
pub(super) fn answering() -> impl Iterator<Item = &'static str> {
    START.names.iter().chain(REPLY.names).copied()
}

/// The names of the function that greets.
pub(super) fn greeting() -> impl Iterator<Item = &'static str> {
    START.names.iter().copied()
}

const START: Called = Called { names: &["start", "start_function"], arguments: &["conv"] };
const REPLY: Called = Called { names: &["reply"], arguments: &["conv", "text"] };
/// Not called yet. Its name is reserved, so that a script that has it needs no change later.
const END: Called = Called { names: &["end", "end_function"], arguments: &["conv"] };

/// The functions of a script by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Functions {
    pub(super) start: Option<&'static str>,
    pub(super) reply: Option<&'static str>,
    pub(super) end: Option<&'static str>,
}

/// Why a script can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    /// The name that the fault is about, if there is one.
    pub(super) name: Option<String>,
    pub(super) what: String,
}

/// The functions of a compiled script, if textback can call them.
pub(super) fn find(module: &FrozenModule, purpose: &Purpose) -> Result<Functions, Unusable> {
    let functions = Functions { start: START.find(module)?, reply: REPLY.find(module)?, end: END.find(module)? };
    match purpose {
        Purpose::Answers => answers(module, functions),
        Purpose::Tools(_) => Ok(functions),
    }
}

/// The functions of a script that answers, if it can.
fn answers(module: &FrozenModule, functions: Functions) -> Result<Functions, Unusable> {
    if functions.reply.is_none()
        && let Some(name) = misspelt(module)
    {
        let what = format!("the script defines {name} and no reply; did you mean reply(conv, text)?");
        return Err(Unusable { name: Some(name), what });
    }
    if functions.start.is_none() && functions.reply.is_none() {
        let what =
            "the script defines neither start(conv) nor reply(conv, text); define at least one of them".to_owned();
        return Err(Unusable { name: None, what });
    }
    Ok(functions)
}

/// A function that most likely was to be `reply`: one letter differs, and it takes the same
/// arguments.
fn misspelt(module: &FrozenModule) -> Option<String> {
    let names = module.names().map(|name| name.as_str().to_owned());
    names
        .into_iter()
        .find(|name| nearest(name, REPLY.names.iter().copied()).is_some() && REPLY.fault(module, name).is_none())
}

impl Called {
    /// The name by which a script defines the function.
    fn find(&self, module: &FrozenModule) -> Result<Option<&'static str>, Unusable> {
        let is_defined = |name: &&str| module.names().any(|given| given.as_str() == *name);
        let defined: Vec<&'static str> = self.names.iter().copied().filter(is_defined).collect();
        let unusable = |name: &str, what: String| Err(Unusable { name: Some(name.to_owned()), what });
        match defined[..] {
            [] => Ok(None),
            [name] => match self.fault(module, name) {
                None => Ok(Some(name)),
                Some(what) => unusable(name, what),
            },
            [name, other, ..] => unusable(
                other,
                format!("the script defines {name} and {other}, which are one function; keep one of them"),
            ),
        }
    }

    /// Why the value of a name can't be called as this function.
    fn fault(&self, module: &FrozenModule, name: &str) -> Option<String> {
        let arguments = self.arguments.join(", ");
        let value = module.get_any_visibility(name).ok()?.0;
        let DocItem::Member(DocMember::Function(function)) = value.value().documentation() else {
            return Some(format!(
                "{name} is no function but of the type {}; define it as a function: def {name}({arguments})",
                value.value().get_type()
            ));
        };
        let given = signature(&function.params);
        if !takes(&function.params, self.arguments.len()) {
            return Some(format!(
                "{name} is called with ({arguments}), and it takes ({given}); define it as def {name}({arguments})"
            ));
        }
        self.misplaced(&function.params).map(|parameter| {
            format!(
                "{name} takes ({arguments}) in this order, and it is defined with ({given}): {parameter} would get another argument; define it as def {name}({arguments})"
            )
        })
    }

    /// A parameter that has the name of an argument and would get another one. Parameters may have
    /// any other names, because arguments are given by position.
    fn misplaced<'p>(&self, parameters: &'p DocParams) -> Option<&'p str> {
        let names = parameters.pos_only.iter().chain(&parameters.pos_or_named).map(|parameter| parameter.name.as_str());
        names.enumerate().find_map(|(position, name)| {
            let own = self.arguments.iter().position(|argument| *argument == name)?;
            // Behind the arguments a parameter keeps its default. Without conv a function can do
            // little.
            (position != own && (position < self.arguments.len() || own == 0)).then_some(name)
        })
    }
}

/// Whether a function can be called with this many positional arguments.
fn takes(parameters: &DocParams, count: usize) -> bool {
    let positional: Vec<&DocParam> = parameters.pos_only.iter().chain(&parameters.pos_or_named).collect();
    let required = positional.iter().filter(|parameter| parameter.default_value.is_none()).count();
    required <= count
        && (count <= positional.len() || parameters.args.is_some())
        && parameters.named_only.iter().all(|parameter| parameter.default_value.is_some())
}

/// The parameters of a function as its author wrote them, without types.
pub(super) fn signature(parameters: &DocParams) -> String {
    let shown = |parameter: &DocParam| match parameter.default_value.is_some() {
        true => format!("{}=…", parameter.name),
        false => parameter.name.clone(),
    };
    let mut written: Vec<String> = parameters.pos_only.iter().chain(&parameters.pos_or_named).map(shown).collect();
    match &parameters.args {
        Some(args) => written.push(format!("*{}", args.name)),
        None if !parameters.named_only.is_empty() => written.push("*".to_owned()),
        None => {}
    }
    written.extend(parameters.named_only.iter().map(shown));
    written.extend(parameters.kwargs.iter().map(|kwargs| format!("**{}", kwargs.name)));
    written.join(", ")
}

/// The line and the column, from 1, at which a script defines a name, for error messages. The last
/// definition counts.
pub(super) fn position_of(source: &str, name: &str) -> Option<(usize, usize)> {
    let defines = |line: &str| {
        let (rest, ends): (&str, &[char]) = match line.strip_prefix("def ") {
            Some(rest) => (rest.trim_start(), &['(']),
            None => (line, &['=']),
        };
        rest.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(ends))
    };
    let found = source.lines().enumerate().filter(|(_, line)| defines(line.trim_start())).last();
    found.map(|(index, line)| (index + 1, line.len() - line.trim_start().len() + 1))
}

#[cfg(test)]
mod tests {
    use super::super::interpret::Script;
    use super::position_of;

    /// What is told of a script that can't be used.
    fn told(source: &str) -> Option<String> {
        Script::compile(source).err().map(|error| error.to_string())
    }

    #[test]
    fn a_function_that_could_never_be_called_is_refused() {
        for (source, what) in [
            (
                "def reply(conv): return \"hi\"",
                "line 1, column 1: reply is called with (conv, text), and it takes (conv); define it as def reply(conv, text)",
            ),
            ("def reply(): return \"hi\"", "reply is called with (conv, text), and it takes ()"),
            ("def reply(conv, text, x): return x", "and it takes (conv, text, x)"),
            ("def reply(conv, text, x, y=1): return x", "and it takes (conv, text, x, y=…)"),
            ("def reply(conv, text, *, lang): return lang", "and it takes (conv, text, *, lang)"),
            ("def reply(conv, *, text): return text", "and it takes (conv, *, text)"),
            ("def reply(conv, *texts, lang): return lang", "and it takes (conv, *args, lang)"),
            ("def reply(**given): return \"\"", "and it takes (**kwargs)"),
            ("def reply(conv, **given): return \"\"", "and it takes (conv, **kwargs)"),
            ("reply = lambda text: text", "and it takes (text)"),
            (
                "x = 1\nreply = 5",
                "line 2, column 1: reply is no function but of the type int; define it as a function: def reply(conv, text)",
            ),
            ("reply = None", "of the type NoneType"),
            ("reply = \"hello\"", "of the type string"),
            ("reply = {\"utterance\": \"hi\"}", "of the type dict"),
            ("reply = [1]", "of the type list"),
            ("reply = struct(a = 1)", "of the type struct"),
            ("def f(conv, text): return text\nreply = f(1, \"a\")", "of the type string"),
            ("def reply(conv, text): return text\nreply = 7", "line 2, column 1: reply is no function"),
            (
                "start = None\ndef reply(conv, text): return text",
                "line 1, column 1: start is no function but of the type NoneType; define it as a function: def start(conv)",
            ),
            ("def start(): return \"hi\"", "start is called with (conv), and it takes ()"),
            ("def start(conv, text): return \"hi\"", "start is called with (conv), and it takes (conv, text)"),
            ("def start_function(conv, x): return \"hi\"", "start_function is called with (conv)"),
            (
                "def start(conv): pass\ndef start_function(conv): pass",
                "line 2, column 1: the script defines start and start_function, which are one function",
            ),
            ("def reply(conv, text): return text\ndef end(): pass", "line 2, column 1: end is called with (conv)"),
            ("def reply(conv, text): return text\nend_function = 1", "end_function is no function"),
            (
                "def start(conv): return \"hi\"\ndef replay(conv, text): return text",
                "line 2, column 1: the script defines replay and no reply; did you mean reply(conv, text)?",
            ),
            ("def Reply(conv, text): return text", "did you mean reply(conv, text)?"),
            (
                "def reply(text, conv): return text",
                "line 1, column 1: reply takes (conv, text) in this order, and it is defined with (text, conv): text would get another argument; define it as def reply(conv, text)",
            ),
            ("reply = lambda text, conv: text", "in this order, and it is defined with (text, conv)"),
            ("def reply(text, message): return text", "in this order, and it is defined with (text, message)"),
            ("def reply(message, conv): return message", "(message, conv): conv would get another argument"),
            ("def reply(message, lang, conv = None): return message", "(message, lang, conv=…): conv would get"),
            ("def start(lang = None, conv = None): return \"hi\"", "start takes (conv) in this order"),
            (
                "def reply(conv, text): return text\ndef end(reason = \"\", conv = None): pass",
                "line 2, column 1: end takes (conv) in this order",
            ),
            ("def helper(conv): pass", "neither start(conv) nor reply(conv, text)"),
            ("", "neither start(conv) nor reply(conv, text)"),
        ] {
            let told = told(source).unwrap_or_else(|| panic!("{source} is usable"));
            assert!(told.contains(what), "{source}: {told}");
        }
    }

    #[test]
    fn every_form_that_can_be_called_is_accepted() {
        for source in [
            "def reply(conv, text): return text",
            "def reply(c, t): return t",
            "def reply(c, message): return message",
            "def reply(conv, message): return message",
            "def reply(c, text): return text",
            "def reply(conv, message, text = \"\"): return message",
            "def reply(c, message, *, conv = None): return message",
            "def reply(*conv): return conv[1]",
            "def start(c, text = None): return \"hi\"",
            "def reply(conv, text = \"\"): return text",
            "def reply(conv, text, lang = \"de\"): return text",
            "def reply(conv, text, *, lang = \"de\"): return text",
            "def reply(*given): return given[1]",
            "def reply(conv, *rest): return rest[0]",
            "def reply(conv, text, *rest, **more): return text",
            "def reply(conv, text: str) -> str: return text",
            "reply = lambda conv, text: text",
            "def answer(conv, text): return text\nreply = answer",
            "if True:\n    def reply(conv, text): return text",
            "def start(conv): return \"hi\"",
            "start = lambda conv, lang = None: \"hi\"",
            "def start_function(conv): pass\ndef end_function(conv): pass",
            "def start(conv): return \"hi\"\ndef apply(conv, text): return text\ndef replay(tape): pass",
        ] {
            assert_eq!(told(source), None, "{source}");
        }
    }

    #[test]
    fn a_fault_is_where_the_name_is_defined_last() {
        for (source, at) in [
            ("def reply(conv): pass", Some((1, 1))),
            ("# def reply(\n\nreply  = 5", Some((3, 1))),
            ("if True:\n    def  reply (conv): pass", Some((2, 5))),
            ("def reply_all(conv): pass\nreplying = 1", None),
        ] {
            assert_eq!(position_of(source, "reply"), at, "{source}");
        }
    }
}
