//! What `conv` has, and why an attribute or a call of a script would fail.

use starlark::docs::{DocMember, DocParam, DocParams, DocType};
use starlark::syntax::ast::{ArgumentP, AstArgument, AstParameter, ParameterP};
use starlark::typing::Ty;

use super::conv;
use super::functions::signature;
use crate::domain::suggestion::nearest;

/// The attributes and the methods of `conv`, of `conv.state` and of `conv.log`.
pub(super) struct Members {
    conv: DocType,
    state: DocType,
    log: DocType,
}

/// What a call gives, as far as the script tells it.
#[derive(Debug, Default)]
pub(super) struct Given<'s> {
    pub positional: usize,
    pub named: Vec<&'s str>,
    /// Whether `*list` or `**dict` gives more.
    pub has_more: bool,
}

impl<'s> Given<'s> {
    pub(super) fn of(args: &'s [AstArgument]) -> Self {
        let mut given = Self::default();
        for argument in args {
            match &argument.node {
                ArgumentP::Positional(_) => given.positional += 1,
                ArgumentP::Named(name, _) => given.named.push(&name.node),
                ArgumentP::Args(_) | ArgumentP::KwArgs(_) => given.has_more = true,
            }
        }
        given
    }
}

impl Members {
    pub(super) fn new() -> Self {
        let [conv, state, log] = conv::methods();
        Self { conv, state, log }
    }

    /// The names of all attributes and methods, of whatever value.
    pub(super) fn names(&self) -> Vec<String> {
        let methods = [&self.conv, &self.state, &self.log].into_iter().flat_map(names).map(str::to_owned);
        conv::attributes().map(str::to_owned).chain(methods).collect()
    }

    /// Why reading an attribute of `conv` fails.
    pub(super) fn unknown(&self, attribute: &str) -> Option<String> {
        let mut known: Vec<&str> = conv::attributes().collect();
        known.extend(names(&self.conv));
        has_no("conv", attribute, &known)
    }

    /// Why reading an attribute of `conv.log` fails.
    pub(super) fn unknown_of_log(&self, attribute: &str) -> Option<String> {
        has_no("conv.log", attribute, &names(&self.log).collect::<Vec<&str>>())
    }

    /// The names of the parameters of a method of `conv`.
    pub(super) fn parameters_of(&self, method: &str) -> Vec<String> {
        let known = parameters(&self.conv, method);
        let all = known.iter().flat_map(|of| of.pos_only.iter().chain(&of.pos_or_named));
        all.map(|parameter| parameter.name.clone()).collect()
    }

    /// Why a call of an attribute of `conv` fails that is known.
    pub(super) fn bad_call(&self, attribute: &str, given: &Given) -> Option<String> {
        match parameters(&self.conv, attribute) {
            Some(parameters) => unfit(&format!("conv.{attribute}"), parameters, given),
            None => conv::attributes()
                .any(|name| name == attribute)
                .then(|| format!("conv.{attribute} is no function and can't be called")),
        }
    }

    /// Why a call of a method of `conv.state` fails. Other attributes of it are keys.
    pub(super) fn bad_call_of_state(&self, method: &str, given: &Given) -> Option<String> {
        unfit(&format!("conv.state.{method}"), parameters(&self.state, method)?, given)
    }

    /// Why a call of a method of `conv.log` fails.
    pub(super) fn bad_call_of_log(&self, method: &str, given: &Given) -> Option<String> {
        unfit(&format!("conv.log.{method}"), parameters(&self.log, method)?, given)
    }
}

fn names(of: &DocType) -> impl Iterator<Item = &str> {
    of.members.keys().map(String::as_str)
}

fn parameters<'d>(of: &'d DocType, method: &str) -> Option<&'d DocParams> {
    match of.members.get(method)? {
        DocMember::Function(function) => Some(&function.params),
        DocMember::Property(_) => None,
    }
}

/// What is told of an attribute that is not known.
fn has_no(what: &str, attribute: &str, known: &[&str]) -> Option<String> {
    if known.contains(&attribute) {
        return None;
    }
    Some(match nearest(attribute, known.iter().copied()) {
        Some(meant) => format!("{what} has no attribute {attribute}; did you mean {meant}?"),
        None => format!("{what} has no attribute {attribute}; it has {}", known.join(", ")),
    })
}

/// The parameters of a function of the script.
pub(super) fn written_parameters(parameters: &[AstParameter]) -> DocParams {
    let (mut written, mut is_named) = (DocParams::default(), false);
    let of = |name: &str, has_default: bool| DocParam {
        name: name.to_owned(),
        docs: None,
        typ: Ty::any(),
        default_value: has_default.then(String::new),
    };
    for parameter in parameters {
        match &parameter.node {
            ParameterP::Slash => written.pos_only = std::mem::take(&mut written.pos_or_named),
            ParameterP::Normal(name, _, default) => {
                let into = if is_named { &mut written.named_only } else { &mut written.pos_or_named };
                into.push(of(&name.node.ident, default.is_some()));
            }
            ParameterP::NoArgs => is_named = true,
            ParameterP::Args(name, _) => {
                is_named = true;
                written.args = Some(of(&name.node.ident, false));
            }
            ParameterP::KwArgs(name, _) => written.kwargs = Some(of(&name.node.ident, false)),
        }
    }
    written
}

/// Why a call does not fit the parameters of what it calls.
pub(super) fn unfit(called: &str, parameters: &DocParams, given: &Given) -> Option<String> {
    let takes = format!("{called} takes ({})", signature(parameters));
    let positional: Vec<&DocParam> = parameters.pos_only.iter().chain(&parameters.pos_or_named).collect();
    if given.positional > positional.len() && parameters.args.is_none() {
        return Some(format!("{takes}, and it is called with {} arguments", given.positional + given.named.len()));
    }
    let by_name = || parameters.pos_or_named.iter().chain(&parameters.named_only).map(|parameter| &*parameter.name);
    if parameters.kwargs.is_none()
        && let Some(unknown) = given.named.iter().find(|name| !by_name().any(|known| known == **name))
    {
        if parameters.pos_only.iter().any(|parameter| parameter.name == **unknown) {
            return Some(format!("{takes}, and {unknown} is given by its place and not by its name"));
        }
        let meant = nearest(unknown, by_name()).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        return Some(format!("{takes}, and it has no argument by the name {unknown}{meant}"));
    }
    let is_given = |parameter: &DocParam| parameter.default_value.is_some() || given.named.contains(&&*parameter.name);
    if let Some(missing) = parameters.named_only.iter().find(|parameter| !is_given(parameter))
        && !given.has_more
    {
        return Some(format!("{takes}, and {} is missing", missing.name));
    }
    for (at, parameter) in positional.into_iter().enumerate() {
        let can_be_named = parameters.pos_or_named.iter().any(|one| one.name == parameter.name);
        let is_named = can_be_named && given.named.contains(&&*parameter.name);
        match (at < given.positional, is_named) {
            (true, true) => return Some(format!("{takes}, and {} is given twice", parameter.name)),
            (false, false) if parameter.default_value.is_none() && !given.has_more => {
                return Some(format!("{takes}, and {} is missing", parameter.name));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The first cells of the table of `conv` in the guide.
    fn documented() -> BTreeSet<String> {
        let (_, table) =
            include_str!("../../../docs/agents.md").split_once("| `conv` | |\n|---|---|\n").unwrap_or_default();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect()
    }

    #[test]
    fn the_guide_lists_what_conv_has() {
        let members = Members::new();
        let mut has: BTreeSet<String> = conv::attributes().map(str::to_owned).collect();
        for (prefix, of) in [("", &members.conv), ("state.", &members.state), ("log.", &members.log)] {
            let call = |name: &str| {
                parameters(of, name).map(|parameters| format!("{prefix}{name}({})", signature(parameters)))
            };
            has.extend(names(of).filter_map(call));
        }
        assert!(has.len() > 15, "{has:?}");
        assert_eq!(documented(), has);
    }
}
