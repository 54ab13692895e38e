//! A scripted model: answers by the rules of `model.yaml`, without a provider and without a key.
//!
//! ```yaml
//! - user: [book, appointment]
//!   call: free_slots
//!   args: {day: monday}
//! - after: free_slots
//!   say: "I have {result}. Which one?"
//! - say: Hello! How can I help?
//! ```
//!
//! The first rule that fits is taken. `user` fits if the newest text of the contact has one of the
//! words; `after` fits when the tool of this name has just run.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::newest_text;
use crate::agents::script::check::Fault;
use crate::cli::agent::document::{self, Content, Fields, Node};
use crate::cli::agent::folder::{FileFault, read_text};

/// The rules of a scripted model.
#[derive(Debug)]
pub(in crate::cli::agent) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// One of them must be in the text. In lower case.
    user: Vec<String>,
    /// The tool that must have run.
    after: Option<String>,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Say(String),
    Call { name: String, args: Map<String, Value> },
}

impl Rules {
    /// Reads the rules of a file.
    pub(in crate::cli::agent) fn read(file: &Path) -> Result<Self, FileFault> {
        let parsed = document::read(&read_text(file)?).and_then(|node| Self::of(&node));
        parsed.map_err(|fault| FileFault::at(file, fault))
    }

    fn of(node: &Node) -> Result<Self, Fault> {
        let Content::List(rules) = &node.content else {
            return Err(node.position.fault("the rules of a scripted model must be a list"));
        };
        rules.iter().map(Rule::of).collect::<Result<_, _>>().map(Self)
    }

    /// The answer to a request, as a server gives it.
    pub(super) fn answer(&self, request: &Value) -> Result<Value, String> {
        let text = newest_text(request);
        let result = result(request);
        let lower = text.to_lowercase();
        let fits = |rule: &&Rule| {
            rule.after.as_deref() == result.as_ref().map(|(tool, _)| tool.as_str())
                && (rule.user.is_empty() || rule.user.iter().any(|part| lower.contains(part)))
        };
        let Some(rule) = self.0.iter().find(fits) else {
            let after = result.map(|(tool, _)| format!(" after {tool}")).unwrap_or_default();
            return Err(format!("no rule of the scripted model fits the text{after}; add one to model.yaml"));
        };
        let filled = |with: &str| {
            with.replace("{text}", text).replace("{result}", result.as_ref().map_or("", |(_, content)| content))
        };
        let message = match &rule.then {
            Then::Say(say) => json!({"role": "assistant", "content": filled(say)}),
            Then::Call { name, args } => {
                let args: Map<String, Value> =
                    args.iter().map(|(name, value)| (name.clone(), filled_value(value, &filled))).collect();
                let function = json!({"name": name, "arguments": Value::Object(args).to_string()});
                json!({"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": function}]})
            }
        };
        Ok(json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
    }
}

fn filled_value(value: &Value, filled: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text)),
        other => other.clone(),
    }
}

impl Rule {
    fn of(node: &Node) -> Result<Self, Fault> {
        let fields = Fields::of(node, "a rule of a scripted model", &["user", "after", "say", "call", "args"])?;
        let user = fields.texts("user")?.unwrap_or_default();
        let after = fields.text("after")?.map(str::to_owned);
        let args = fields.map("args")?;
        let then = match (fields.text("say")?, fields.text("call")?, args) {
            (Some(say), None, None) => Then::Say(say.to_owned()),
            (None, Some(name), args) => Then::Call { name: name.to_owned(), args: args.unwrap_or_default() },
            (Some(_), None, Some(_)) => {
                return Err(node.position.fault("args belongs to call; leave it out beside say"));
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                return Err(node.position.fault("a rule needs one of say (a text) and call (the name of a tool)"));
            }
        };
        Ok(Self { user: user.iter().map(|part| part.to_lowercase()).collect(), after, then })
    }
}

/// The tool that has just run, and what it gave.
fn result(request: &Value) -> Option<(String, String)> {
    let messages = request.get("messages")?.as_array()?;
    let last = messages.last().filter(|message| message.get("role") == Some(&json!("tool")))?;
    let id = last.get("tool_call_id");
    let calls = messages.iter().rev().filter_map(|message| message.get("tool_calls")?.as_array()).flatten();
    let call = calls.into_iter().find(|call| call.get("id") == id)?;
    let name = call.pointer("/function/name")?.as_str()?;
    Some((name.to_owned(), last.get("content")?.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, Fault> {
        document::read(text).and_then(|node| Rules::of(&node))
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let rules = rules(
            "- {user: [book, visit], call: free_slots, args: {day: monday, note: '{text}', count: 2}}\n- {after: free_slots, say: 'Free: {result}'}\n- {user: bye, say: Goodbye}\n",
        )
        .expect("rules");
        let user = json!({"role": "user", "content": "I want to BOOK"});
        let called = rules.answer(&json!({"messages": [user]})).expect("an answer");
        let call = called.pointer("/choices/0/message/tool_calls/0/function").expect("a call");
        assert_eq!(call["name"], "free_slots");
        assert_eq!(call["arguments"], r#"{"count":2,"day":"monday","note":"I want to BOOK"}"#);
        let messages = json!([user, {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "free_slots"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "[9]"}]);
        let said = rules.answer(&json!({"messages": messages})).expect("an answer");
        assert_eq!(said.pointer("/choices/0/message/content"), Some(&json!("Free: [9]")));
        let unknown = rules.answer(&json!({"messages": [{"role": "user", "content": "hm"}]}));
        assert!(unknown.expect_err("no rule").contains("add one to model.yaml"));
    }

    #[test]
    fn a_rule_that_says_nothing_is_refused_with_its_line() {
        for (text, line, told) in [
            ("a: 1", 1, "must be a list"),
            ("- user: x\n- say: y\n", 1, "needs one of say"),
            ("- say: y\n- say: y\n  calls: z\n", 3, "did you mean call?"),
            ("- say: y\n  args: {a: 1}\n", 1, "args belongs to call"),
        ] {
            let fault = rules(text).expect_err(text);
            assert!(fault.line == line && fault.message.contains(told), "{text}: {fault:?}");
        }
    }
}
