//! Fills in prompts with minijinja. Only script runners call it, for the reason that is told in
//! `agents::template`.

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use crate::agents::template::{of_fields, readable};
use crate::domain::session::Channel;
use crate::domain::suggestion::or_known;

/// The most steps of one filling: a prompt of 32 kB with a loop over the state has fewer.
const MOST_STEPS: u64 = 100_000;

/// The longest prompt that is sent, in bytes.
const MOST_BYTES: usize = 128 * 1024;

/// What `conv` has in a prompt.
const MEMBERS: [&str; 7] = ["id", "channel_type", "caller_number", "callee_number", "env", "language", "state"];

/// A prompt with the values of `conv`. What the state does not have is empty, because a prompt is
/// written before the first turn.
pub(in crate::agents) fn fill(prompt: &str, conv: &Value) -> Result<String, String> {
    let environment = environment();
    let template = environment.template_from_str(prompt).map_err(|error| readable(&error))?;
    let variables = Map::from_iter([("conv".to_owned(), conv.clone())]);
    let filled = template.render(of_fields(&variables));
    let filled = filled.map_err(|error| readable(&error))?;
    match filled.len() {
        0..=MOST_BYTES => Ok(filled),
        length => Err(format!("the prompt has {length} bytes when it is filled in; it may have {MOST_BYTES}")),
    }
}

/// Checks a prompt: it can be read, it uses only `conv` and what `conv` has, and it can be filled
/// in with an empty state.
pub(in crate::agents) fn check(prompt: &str) -> Result<(), String> {
    let environment = environment();
    let template = environment.template_from_str(prompt).map_err(|error| readable(&error))?;
    let mut used: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    used.sort();
    for name in &used {
        let mut parts = name.split('.');
        match (parts.next(), parts.next()) {
            (Some("conv"), None) => {}
            (Some("conv"), Some(member)) if MEMBERS.contains(&member) => {}
            (Some("conv"), Some(member)) => {
                return Err(format!("conv has no {member} here; {}", or_known(member, &MEMBERS)));
            }
            _ => return Err(format!("{name} is not known in a prompt; use conv, such as conv.state.name")),
        }
    }
    let sample = json!({
        "id": "01890000-0000-7000-8000-000000000000",
        "channel_type": Channel::ALL.first().map_or("", |channel| channel.as_str()),
        "caller_number": "+14155550101",
        "callee_number": "+14155550199",
        "env": "live",
        "language": null,
        "state": {},
    });
    let filled = fill(prompt, &sample)?;
    if filled.trim().is_empty() {
        return Err("the prompt is empty when it is filled in".to_owned());
    }
    Ok(())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MOST_STEPS));
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_filled_in_with_conv() {
        let conv = json!({"channel_type": "sms", "state": {"name": "Ada"}});
        for (prompt, filled) in [
            ("You answer for Acme.", "You answer for Acme."),
            ("By {{ conv.channel_type }}.", "By sms."),
            ("{% if conv.state.name %}Call them {{ conv.state.name }}.{% endif %}", "Call them Ada."),
            ("{% if conv.state.city %}In {{ conv.state.city.name }}.{% endif %}", ""),
            ("<b>{{ conv.state.name }}</b>", "<b>Ada</b>"),
        ] {
            assert_eq!(fill(prompt, &conv).as_deref(), Ok(filled));
        }
    }

    #[test]
    fn a_prompt_that_can_t_be_filled_in_is_refused() {
        for (prompt, what) in [
            ("Hi {{ conv.sate.name }}", "conv has no sate here; did you mean state?"),
            ("Hi {{ name }}", "name is not known in a prompt"),
            ("Hi {{ conv.state.name", "line 1"),
            ("{% if conv.id %}", "line 1"),
            ("{% if conv.state.name %}Hi{% endif %}", "empty when it is filled in"),
            ("{% for x in conv.id * 100000 %}x{% endfor %}", "line 1"),
        ] {
            let told = check(prompt);
            assert!(told.as_ref().is_err_and(|told| told.contains(what)), "{prompt}: {told:?}");
        }
        for prompt in
            ["Hi", "{{ conv.state.name }} hi", "{% for k in conv.state %}{{ k }}{% endfor %}hi {{ conv.language }}"]
        {
            assert_eq!(check(prompt), Ok(()), "{prompt}");
        }
    }
}
