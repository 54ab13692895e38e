//! Finds uses of `conv` in a script that would fail whenever they run: attributes that it does not
//! have, and calls that do not fit its methods.
//!
//! Only what is certain is told. `conv` is followed from the functions that textback calls into
//! functions of the script that get nothing else in its place. A name that is bound again, and an
//! attribute that `hasattr` asks for, are left.

use std::collections::{HashMap, HashSet};

use starlark::codemap::Span;
use starlark::syntax::ast::{
    ArgumentP, AssignTarget, AssignTargetP, AstArgument, AstExpr, AstLiteral, AstNoPayload, AstParameter, AstStmt,
    CallArgsP, ClauseP, DefP, ExprP, ForClause, LambdaP, ParameterP, StmtP,
};

use super::accepted;
use super::functions;
use super::members::{Given, Members};
use super::module_names::{Function, ModuleNames, bound_in, normal_name, parameter_name, positional_names};

type Def = DefP<AstNoPayload>;
type Lambda = LambdaP<AstNoPayload>;
type Call<'a> = (&'a AstExpr, &'a [AstArgument]);

/// The uses that fail, each with its place. `tools` are the names of functions that a language
/// model may call.
pub(super) fn faults(names: &ModuleNames, tools: &[String]) -> Vec<(Span, String)> {
    if names.asks_for_any {
        return Vec::new();
    }
    let members = Members::new();
    let mut search = Search { names, members: &members, faults: Vec::new(), passed: HashMap::new() };
    let own = functions::names().filter_map(|name| names.function(name));
    for function in own.chain(tools.iter().filter_map(|name| names.function(name))) {
        if let Some(conv) = positional_names(function.parameters()).next() {
            search.look_into(function, conv);
        }
    }
    let mut seen = HashSet::new();
    while let Some((name, conv)) = search.next_helper(&seen) {
        seen.insert(name);
        if let Some(function) = names.function(name) {
            search.look_into(function, conv);
        }
    }
    search.faults
}

struct Search<'a, 'm> {
    names: &'m ModuleNames<'a>,
    members: &'m Members,
    faults: Vec<(Span, String)>,
    /// How often conv was seen to be passed to a function, by the function's name and the
    /// parameter's.
    passed: HashMap<(&'a str, &'a str), usize>,
}

/// A function while its body is read.
struct Scope<'a, 's, 'm> {
    search: &'s mut Search<'a, 'm>,
    /// The name of conv in it.
    conv: &'a str,
}

impl<'a> Search<'a, '_> {
    /// A function of the script that gets conv wherever the script uses it.
    fn next_helper(&self, seen: &HashSet<&str>) -> Option<(&'a str, &'a str)> {
        let found = self
            .passed
            .iter()
            .filter(|((name, _), count)| !seen.contains(name) && self.names.references.get(name) == Some(count));
        found.map(|(helper, _)| *helper).min()
    }

    /// Reads a function of the script, one parameter of which is conv.
    fn look_into(&mut self, function: Function<'a>, conv: &'a str) {
        let mut scope = Scope { search: self, conv };
        match function {
            Function::Def(def) => scope.enter(bound_in(&def.body), |scope| scope.stmt(&def.body)),
            Function::Lambda(lambda) => scope.expr(&lambda.body),
        }
    }
}

impl<'a> Scope<'a, '_, '_> {
    /// Reads a function's body unless the name of conv means something else in it.
    fn enter(&mut self, bound: HashSet<&str>, read: impl FnOnce(&mut Self)) {
        if !bound.contains(self.conv) {
            read(self);
        }
    }

    fn is_conv(&self, expr: &AstExpr) -> bool {
        matches!(&expr.node, ExprP::Identifier(name) if name.node.ident == self.conv)
    }

    /// The attribute of conv that an expression is: `log` of `conv.log`.
    fn attribute_of_conv<'e>(&self, expr: &'e AstExpr) -> Option<&'e str> {
        match &expr.node {
            ExprP::Dot(of, name) if self.is_conv(of) => Some(&name.node),
            _ => None,
        }
    }

    fn add(&mut self, span: Span, fault: Option<String>) {
        self.search.faults.extend(fault.map(|what| (span, what)));
    }

    fn stmt(&mut self, stmt: &'a AstStmt) {
        match &stmt.node {
            StmtP::Def(def) => self.nested_def(def),
            StmtP::Assign(assign) => {
                self.target(&assign.lhs.node);
                self.language(&assign.lhs.node, &assign.rhs);
                self.expr(&assign.rhs);
            }
            StmtP::AssignModify(target, _, value) => {
                self.target(&target.node);
                self.expr(value);
            }
            StmtP::For(each) => {
                self.target(&each.var.node);
                self.expr(&each.over);
                self.stmt(&each.body);
            }
            StmtP::Statements(all) => all.iter().for_each(|one| self.stmt(one)),
            StmtP::If(condition, then) => {
                self.expr(condition);
                self.stmt(then);
            }
            StmtP::IfElse(condition, branches) => {
                self.expr(condition);
                self.stmt(&branches.0);
                self.stmt(&branches.1);
            }
            StmtP::Return(Some(value)) | StmtP::Expression(value) => self.expr(value),
            StmtP::Return(None) | StmtP::Break | StmtP::Continue | StmtP::Pass | StmtP::Load(_) => {}
        }
    }

    fn nested_def(&mut self, def: &'a Def) {
        self.defaults(&def.params);
        let mut bound = bound_in(&def.body);
        bound.extend(def.params.iter().filter_map(parameter_name));
        self.enter(bound, |scope| scope.stmt(&def.body));
    }

    fn nested_lambda(&mut self, lambda: &'a Lambda) {
        self.defaults(&lambda.params);
        let bound = lambda.params.iter().filter_map(parameter_name).collect();
        self.enter(bound, |scope| scope.expr(&lambda.body));
    }

    fn defaults(&mut self, parameters: &'a [AstParameter]) {
        for parameter in parameters {
            if let ParameterP::Normal(_, _, Some(default)) = &parameter.node {
                self.expr(default);
            }
        }
    }

    /// Reads the language that an assignment sets as it is spelled out.
    fn language(&mut self, target: &AssignTarget, value: &AstExpr) {
        if let (AssignTargetP::Dot(of, name), ExprP::Literal(literal)) = (target, &value.node)
            && self.is_conv(of)
            && name.node == "language"
        {
            let given = if let AstLiteral::String(text) = literal { text.node.as_str() } else { " " };
            self.add(value.span, accepted::bad_language(given));
        }
    }

    /// What an assignment sets.
    fn target(&mut self, target: &'a AssignTarget) {
        match target {
            AssignTargetP::Tuple(all) => all.iter().for_each(|one| self.target(&one.node)),
            AssignTargetP::Dot(of, name) if self.is_conv(of) => {
                self.add(name.span, super::conv::not_settable(&name.node));
            }
            AssignTargetP::Dot(of, _) => self.expr(of),
            AssignTargetP::Index(parts) => {
                self.index(&parts.0);
                self.expr(&parts.0);
                self.expr(&parts.1);
            }
            AssignTargetP::Identifier(_) => {}
        }
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::Dot(of, name) => self.dot(of, name.span, &name.node),
            ExprP::Call(called, CallArgsP { args }) => self.call((called, args)),
            ExprP::Index(parts) => self.index(&parts.0),
            ExprP::Lambda(lambda) => return self.nested_lambda(lambda),
            ExprP::ListComprehension(_, first, rest) | ExprP::DictComprehension(_, first, rest)
                if binds(first, rest, self.conv) =>
            {
                // Only the first list is read outside the comprehension.
                return self.expr(&first.over);
            }
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part));
    }

    fn dot(&mut self, of: &'a AstExpr, span: Span, name: &'a str) {
        if self.is_conv(of) && !self.search.names.tested.contains(name) {
            let fault = self.search.members.unknown(name);
            self.add(span, fault);
        } else if self.attribute_of_conv(of) == Some("log") {
            let fault = self.search.members.unknown_of_log(name);
            self.add(span, fault);
        }
    }

    fn index(&mut self, of: &AstExpr) {
        if self.is_conv(of) {
            self.add(
                of.span,
                Some("conv has attributes and no keys, such as conv.state and not conv[\"state\"]".to_owned()),
            );
        }
    }

    fn call(&mut self, (called, args): Call<'a>) {
        match &called.node {
            ExprP::Dot(of, method) => {
                let members = self.search.members;
                let given = Given::of(args);
                let fault = match self.attribute_of_conv(of) {
                    Some("state") => members.bad_call_of_state(&method.node, &given),
                    Some("log") => members.bad_call_of_log(&method.node, &given),
                    Some(_) => None,
                    None if self.is_conv(of) => members.bad_call(&method.node, &given),
                    None => None,
                };
                self.add(method.span, fault);
                if self.is_conv(of) {
                    self.literals(&method.node, args);
                }
            }
            ExprP::Identifier(name) => self.pass(&name.node.ident, args),
            _ => {}
        }
    }

    /// Reads the strings that a method of conv gets as they are spelled out.
    fn literals(&mut self, method: &str, args: &'a [AstArgument]) {
        let parameters = self.search.members.parameters_of(method);
        for (position, argument) in args.iter().enumerate() {
            let (parameter, value) = match &argument.node {
                ArgumentP::Positional(value) => (parameters.get(position).map(String::as_str), value),
                ArgumentP::Named(name, value) => (Some(name.node.as_str()), value),
                // What follows has no place that is known.
                ArgumentP::Args(_) | ArgumentP::KwArgs(_) => return,
            };
            if let (Some(parameter), ExprP::Literal(AstLiteral::String(text))) = (parameter, &value.node) {
                self.add(value.span, accepted::bad_argument(method, parameter, &text.node));
            }
        }
    }

    /// Notes that a function of the script gets conv.
    fn pass(&mut self, name: &'a str, args: &'a [AstArgument]) {
        let Some(function) = self.search.names.function(name) else { return };
        let parameters = function.parameters();
        for (position, argument) in args.iter().enumerate() {
            let parameter = match &argument.node {
                ArgumentP::Positional(value) if self.is_conv(value) => positional_names(parameters).nth(position),
                ArgumentP::Named(by, value) if self.is_conv(value) => {
                    parameters.iter().filter_map(normal_name).find(|name| *name == by.node)
                }
                _ => None,
            };
            if let Some(parameter) = parameter {
                *self.search.passed.entry((name, parameter)).or_default() += 1;
            }
        }
    }
}

/// Whether the clauses of a comprehension bind a name.
fn binds(first: &ForClause, rest: &[ClauseP<AstNoPayload>], name: &str) -> bool {
    let rest = rest.iter().filter_map(|clause| match clause {
        ClauseP::For(each) => Some(each),
        ClauseP::If(_) => None,
    });
    let mut is_bound = false;
    for each in std::iter::once(first).chain(rest) {
        each.var.node.visit_lvalue(|bound| is_bound |= bound.node.ident == name);
    }
    is_bound
}

#[cfg(test)]
mod tests {
    use super::super::check::check_as_written;

    /// What the check refuses a script for.
    fn told(source: &str) -> Vec<String> {
        check_as_written(source).into_iter().filter(|fault| fault.fatal).map(|fault| fault.to_string()).collect()
    }

    /// A script whose reply runs a line.
    fn reply(line: &str) -> String {
        format!("def reply(conv, text):\n    {line}\n")
    }

    #[test]
    fn a_use_of_conv_that_would_fail_is_refused() {
        for (line, what) in [
            ("return conv.stat", "2:17: conv has no attribute stat; did you mean state?"),
            ("conv.stat.name = text", "2:10: conv has no attribute stat; did you mean state?"),
            ("return conv.sms_to", "2:17: conv has no attribute sms_to; it has id, channel_type"),
            ("conv.send_smss(text, None, text)", "2:10: conv has no attribute send_smss; did you mean send_sms?"),
            ("return f\"{conv.caller}\"", "conv has no attribute caller"),
            ("return text if conv.chanel_type == \"sms\" else \"\"", "did you mean channel_type?"),
            ("return [conv.mesages for x in [1]]", "did you mean messages?"),
            ("return [x for x in conv.mesages]", "did you mean messages?"),
            ("return [conv for conv in conv.mesages][0]", "did you mean messages?"),
            ("return (lambda x: conv.stat)(1)", "did you mean state?"),
            ("return (lambda x = conv.stat: x)()", "did you mean state?"),
            ("conv.state.seen = [conv.hystory]", "did you mean history?"),
            ("conv.state[conv.ids] = 1", "did you mean id?"),
            ("for x in conv.mesages: pass", "did you mean messages?"),
            ("conv.log.warn(text)", "2:14: conv.log has no attribute warn; it has error, info, warning"),
            ("conv.log.infos(text)", "did you mean info?"),
            ("conv.caller_number = text", "2:10: conv.caller_number can't be set; conv.language and conv.state"),
            ("conv.state = {}", "conv.state can't be set"),
            ("conv.state, x = {}, 1", "conv.state can't be set"),
            ("conv.greeting += text", "conv.greeting can't be set"),
            ("for conv.env in [1]: pass", "conv.env can't be set"),
            ("conv[\"state\"] = 1", "2:5: conv has attributes and no keys"),
            ("return conv[\"state\"]", "2:12: conv has attributes and no keys"),
            ("conv.say()", "2:10: conv.say takes (text), and text is missing"),
            ("conv.say(text, text)", "conv.say takes (text), and it is called with 2 arguments"),
            ("conv.say(text = text)", "conv.say takes (text), and text is given by its place and not by its name"),
            ("conv.state.get(key = \"a\")", "and key is given by its place and not by its name"),
            ("conv.state.pop(\"a\", 1, default = 2)", "and default is given twice"),
            ("conv.state.get(\"a\", defalt = 2)", "no argument by the name defalt; did you mean default?"),
            ("conv.send_sms(text, text)", "takes (to, from_number, content), and content is missing"),
            ("conv.send_sms(text, content = text)", "and from_number is missing"),
            ("conv.send_sms(text, text, text, text)", "and it is called with 4 arguments"),
            (
                "conv.send_sms(to = text, from_numbr = None, content = text)",
                "and it has no argument by the name from_numbr; did you mean from_number?",
            ),
            ("conv.send_sms(text, None, text, to = text)", "and to is given twice"),
            ("conv.send_sms_template(text)", "and template is missing"),
            ("conv.log.info()", "conv.log.info takes (text, **fields), and text is missing"),
            ("conv.log.info(text, text)", "and it is called with 2 arguments"),
            ("conv.state.get()", "and key is missing"),
            ("conv.state.items(1)", "conv.state.items takes ()"),
            ("conv.channel_type()", "2:10: conv.channel_type is no function and can't be called"),
            ("conv.state(\"name\")", "conv.state is no function"),
        ] {
            let told = told(&reply(line));
            assert!(told.iter().any(|fault| fault.contains(what)), "{line}: {told:?}");
        }
        let all = told(&reply("return conv.stat + conv.chanel_type"));
        assert_eq!(all.len(), 2, "all faults are told: {all:?}");
    }

    #[test]
    fn conv_is_found_by_its_place_and_followed_where_it_is_passed() {
        for (source, what) in [
            ("def reply(c, message): return c.stat", "1:33: conv has no attribute stat"),
            ("def start(conv): return conv.stat", "no attribute stat"),
            ("def start_function(x): return x.stat", "no attribute stat"),
            ("def reply(conv, text): pass\ndef end(conv): conv.say()", "2:21: conv.say takes (text)"),
            ("reply = lambda conv, text: conv.stat", "no attribute stat"),
            ("def answer(c, t): return c.stat\nreply = answer", "no attribute stat"),
            ("if True:\n    def reply(conv, text): return conv.stat", "no attribute stat"),
            ("def f(c): return c.stat\ndef reply(conv, text): return f(conv)", "1:20: conv has no attribute stat"),
            ("def f(x, c): return c.stat\ndef reply(conv, text): return f(1, conv)", "no attribute stat"),
            ("def f(x, *, c): return c.stat\ndef reply(conv, text): return f(1, c = conv)", "no attribute stat"),
            (
                "def g(c): return c.stat\ndef f(c): return g(c)\ndef reply(conv, text): return f(conv) or g(conv)",
                "no attribute stat",
            ),
            (
                "def reply(conv, text):\n    def f(): return conv.stat\n    return f()",
                "2:26: conv has no attribute stat",
            ),
        ] {
            let told = told(source);
            assert!(told.iter().any(|fault| fault.contains(what)), "{source}: {told:?}");
        }
    }

    #[test]
    fn what_may_work_is_accepted() {
        for line in [
            "return getattr(conv, \"stat\", text)",
            "return conv.stat if hasattr(conv, \"stat\") else text",
            "return str([getattr(conv, name) for name in dir(conv)]) + conv.stat",
            "return conv.stat if hasattr(conv, text) else text",
            "return conv.stat if \"stat\" in dir(conv) else text",
            "conv = struct(stat = text); return conv.stat",
            "for conv in [struct(stat = text)]: text = conv.stat",
            "return [conv.stat for conv in [struct(stat = text)]][0]",
            "return [conv.stat for x in [1] for conv in [struct(stat = x)]][0]",
            "return (lambda conv: conv.stat)(struct(stat = text))",
            "return (lambda *conv: conv[0])(text)",
            "return conv.state.anything.other",
            "conv.state[\"a\"] = conv.state.get(\"a\", 0); conv.state.pop(\"a\")",
            "conv.language = \"de\"; conv.language += \"-AT\"",
            "conv.say(text); conv.say(*[text]); say = conv.say; say(text)",
            "conv.send_sms(text, None, text); conv.send_sms(to = text, from_number = None, content = text)",
            "conv.send_sms(*[text], **{\"from_number\": None, \"content\": text})",
            "conv.send_sms_template(text, \"a\"); conv.send_sms_template(text, \"a\", variables = None)",
            "conv.log.info(text, a = 1, text = 2, **{}); conv.log.error(text); conv.log.warning(text)",
            "return \",\".join([m.role + m.text + m.at for m in conv.history] + conv.messages + [conv.id, conv.env])",
            "return conv.caller_number + conv.callee_number + str(conv.media) + str(conv.channel_type)",
            "x = struct(stat = text); return x.stat",
            "return getattr(text, \"stat\", text)",
        ] {
            assert_eq!(told(&reply(line)), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn a_function_that_may_get_something_else_is_left() {
        for source in [
            "def f(c): return c.stat\ndef reply(conv, text): return f(conv) if text else f(struct(stat = 1))",
            "def f(c): return c.stat\ng = f\ndef reply(conv, text): return f(conv)",
            "def f(c): return c.stat\ndef reply(conv, text):\n    f = lambda c: text\n    return f(conv)",
            "def f(c): return c.stat\ndef reply(conv, text): return (lambda f: f(conv))(str)",
            "def f(c): return c.stat\ndef f(c): return c.id\ndef reply(conv, text): return f(conv)",
            "def f(conv): return conv.stat\ndef reply(conv, text): return f(struct(stat = text))",
            "def f(*c): return c[0].id\ndef reply(conv, text): return f(conv)",
            "def f(x, *, c = 1): return x.id\ndef reply(conv, text): return f(conv)",
            "def f(c):\n    c = struct(stat = c.id)\n    return c.stat\ndef reply(conv, text): return f(conv)",
            "def reply(conv, text):\n    def f(conv): return conv.stat\n    return f(struct(stat = text))",
            "def reply(conv, text):\n    def f(c):\n        conv = c\n        return conv.stat\n    return text",
            "def reply(conv, text):\n    def conv(): return struct(stat = text)\n    return conv().stat",
            "if True:\n    def reply(conv, text): return conv.id\nelse:\n    def reply(conv, text): return conv.stat",
            "def reply(conv, text): return conv.stat\ndef reply(conv, text): return text",
            "conv = struct(stat = 1)\nx = conv.stat\ndef reply(c, text): return str(conv.stat)",
            "def reply(*given): return given[0].id",
        ] {
            assert_eq!(told(source), Vec::<String>::new(), "{source}");
        }
    }
}
