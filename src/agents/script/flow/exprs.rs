//! Follows values through expressions.

use starlark::codemap::Span;
use starlark::syntax::ast::{AstExpr, AstLiteral, AstNoPayload, BinOp, ClauseP, ExprP, ForClauseP};

use super::calls::OF_STATE;
use super::reads::{OF_ENTRY, OF_MEDIUM};
use super::stmts::items_of;
use super::trial::Errors;
use super::values::{Kind, Possible, Value};
use super::{Flow, Frame};
use crate::agents::script::conv;
use crate::agents::script::module_names::Function;
use crate::domain::suggestion::nearest;

impl<'a> Flow<'a> {
    pub(super) fn expr(&mut self, frame: &mut Frame<'a>, expr: &'a AstExpr) -> Possible {
        let span = expr.span;
        match &expr.node {
            ExprP::Literal(literal) => of_literal(literal),
            ExprP::FString(text) => {
                let parts: Vec<Possible> = text.node.expressions.iter().map(|part| self.expr(frame, part)).collect();
                if parts.iter().any(Possible::is_never) { Possible::NEVER } else { Possible::of(Kind::Text) }
            }
            ExprP::Identifier(name) => self.name(frame, &name.node.ident, span),
            ExprP::Tuple(items) => self.items(frame, items, (Kind::Tuple, Value::Tuple)),
            ExprP::List(items) => self.items(frame, items, (Kind::List, Value::List)),
            ExprP::Dict(pairs) => self.dict(frame, pairs),
            ExprP::Call(called, args) => self.call(frame, (span, called, &args.args)),
            ExprP::Dot(of, name) => {
                let of = self.expr(frame, of);
                self.attribute(&of, &name.node, name.span)
            }
            ExprP::Index(parts) => {
                let (of, key) = (self.expr(frame, &parts.0), self.expr(frame, &parts.1));
                if of.only_kind() == Some(Kind::Medium) {
                    self.tell_key(&key, parts.1.span);
                }
                self.item((&of, &key), span)
            }
            ExprP::Index2(_) => Possible::Anything,
            ExprP::Slice(of, from, until, step) => {
                let of = self.expr(frame, of);
                let bounds = [from, until, step].map(|bound| bound.as_ref().map(|bound| self.expr(frame, bound)));
                self.slice(&of, bounds, span)
            }
            ExprP::Lambda(lambda) => {
                self.read_nested(frame, Function::Lambda(lambda));
                Possible::of(Kind::Function)
            }
            ExprP::Not(of) => {
                let of = self.expr(frame, of);
                match of.truth() {
                    _ if of.is_never() => Possible::NEVER,
                    truth => truth.map_or(Possible::of(Kind::Bool), |truth| Value::Bool(!truth).into()),
                }
            }
            ExprP::Minus(of) => self.unary(frame, "-", of, span),
            ExprP::Plus(of) => self.unary(frame, "+", of, span),
            ExprP::BitNot(of) => self.unary(frame, "~", of, span),
            ExprP::Op(left, op @ (BinOp::And | BinOp::Or), right) => self.either(frame, left, *op, right),
            ExprP::Op(left, op, right) => {
                let (left, right) = (self.expr(frame, left), self.expr(frame, right));
                self.op((&left, *op, &right), span)
            }
            ExprP::If(parts) => {
                let decides = self.expr(frame, &parts.0);
                match decides.truth() {
                    _ if decides.is_never() => Possible::NEVER,
                    Some(true) => self.expr(frame, &parts.1),
                    Some(false) => self.expr(frame, &parts.2),
                    None => self.expr(frame, &parts.1).or(self.expr(frame, &parts.2)),
                }
            }
            ExprP::ListComprehension(body, first, rest) => self.comprehension(frame, (first, rest), |flow, frame| {
                flow.expr(frame, body);
                Kind::List
            }),
            ExprP::DictComprehension(body, first, rest) => self.comprehension(frame, (first, rest), |flow, frame| {
                let key = flow.expr(frame, &body.0);
                flow.apply("return {a0: 0}", &[&key], (body.0.span, Errors::OfTypes));
                flow.expr(frame, &body.1);
                Kind::Dict
            }),
        }
    }

    /// What a name means.
    pub(super) fn name(&mut self, frame: &Frame<'a>, name: &'a str, span: Span) -> Possible {
        if let Some(value) = frame.locals.get(name) {
            return value.clone();
        }
        if frame.bound.contains(name) {
            let of_top = if self.names.is_own(name) && self.script.module.get_any_visibility(name).is_ok() {
                ": an assignment in a function makes a name of its own, and no function can change a name of the top level; keep what changes in conv.state"
            } else {
                " whenever this line runs"
            };
            self.tell(span, format!("{name} has no value here{of_top}"));
            return Possible::Anything;
        }
        if let Some(value) = frame.around.get(name) {
            return value.clone();
        }
        if self.names.function(name).is_some() {
            return Possible::of(Kind::Function);
        }
        match self.script.module.get_any_visibility(name) {
            Ok((value, _)) => Value::of(value.value(), true).map_or(Possible::Anything, Possible::from),
            Err(_) => match name {
                "None" => Value::None.into(),
                "True" => Value::Bool(true).into(),
                "False" => Value::Bool(false).into(),
                "json" => Possible::of(Kind::Json),
                _ if self.trial.knows_global(name) => Possible::of(Kind::Function),
                _ => Possible::Anything,
            },
        }
    }

    fn items(
        &mut self,
        frame: &mut Frame<'a>,
        items: &'a [AstExpr],
        (kind, known): (Kind, fn(Vec<Possible>) -> Value),
    ) -> Possible {
        let items: Vec<Possible> = items.iter().map(|item| self.expr(frame, item)).collect();
        if items.iter().any(Possible::is_never) {
            return Possible::NEVER;
        }
        Possible::with_items(kind, items, known)
    }

    fn dict(&mut self, frame: &mut Frame<'a>, pairs: &'a [(AstExpr, AstExpr)]) -> Possible {
        let mut known = Vec::new();
        for (key, value) in pairs {
            let given = self.expr(frame, key);
            self.apply("return {a0: 0}", &[&given], (key.span, Errors::OfTypes));
            if given.is_exact() && known.iter().any(|(before, _)| *before == given) {
                self.tell(key.span, "this key stands in the dict before, and a dict has each key once".to_owned());
            }
            known.push((given, self.expr(frame, value)));
        }
        if known.iter().any(|(key, value)| key.is_never() || value.is_never()) {
            return Possible::NEVER;
        }
        Possible::with_items(Kind::Dict, known, Value::Dict)
    }

    fn unary(&mut self, frame: &mut Frame<'a>, operator: &str, of: &'a AstExpr, span: Span) -> Possible {
        let of = self.expr(frame, of);
        self.apply(&format!("return {operator}a0"), &[&of], (span, Errors::OfTypes))
    }

    /// `and` and `or`.
    fn either(&mut self, frame: &mut Frame<'a>, left: &'a AstExpr, op: BinOp, right: &'a AstExpr) -> Possible {
        let left = self.expr(frame, left);
        // With this truth the left side decides.
        let decisive = op == BinOp::Or;
        match left.truth() {
            _ if left.is_never() => left,
            Some(truth) if truth == decisive => left,
            Some(_) => self.expr(frame, right),
            None => left.or(self.expr(frame, right)),
        }
    }

    /// An operator with two sides.
    pub(super) fn op(&mut self, (left, op, right): (&Possible, BinOp, &Possible), span: Span) -> Possible {
        let is_form = op == BinOp::Percent && left.is_exact() && has_known_form(right);
        let errors = if is_form { Errors::All } else { Errors::OfTypes };
        let result = self.apply(&format!("return a0 {} a1", symbol(op)), &[left, right], (span, errors));
        let compares = matches!(
            op,
            BinOp::Equal
                | BinOp::NotEqual
                | BinOp::In
                | BinOp::NotIn
                | BinOp::Less
                | BinOp::LessOrEqual
                | BinOp::Greater
                | BinOp::GreaterOrEqual
        );
        if compares && result == Possible::Anything { Possible::of(Kind::Bool) } else { result }
    }

    /// The attribute of a value.
    pub(super) fn attribute(&mut self, of: &Possible, name: &str, span: Span) -> Possible {
        if self.names.tested.contains(name) || self.names.asks_for_any {
            return Possible::Anything;
        }
        match of.only_kind() {
            Some(Kind::Conv) => self.attribute_of_conv(name, span),
            // A key by the name of a method can't be read so.
            Some(Kind::State) if OF_STATE.contains(&name) => Possible::of(Kind::Function),
            Some(Kind::State) => Possible::Anything,
            Some(Kind::Log) => {
                if let Some(what) = self.members.unknown_of_log(name) {
                    self.tell(span, what);
                }
                Possible::of(Kind::Function)
            }
            Some(Kind::Entry) if OF_ENTRY.contains(&name) => Possible::of(Kind::Text),
            Some(Kind::Entry) => {
                let known = OF_ENTRY.join(", ");
                self.tell(span, format!("an entry of conv.history has no attribute {name}; it has {known}"));
                Possible::Anything
            }
            Some(Kind::Struct) => self.field(of, name, span),
            _ if *of == Possible::Anything || may_be(of, Kind::Struct) || may_be(of, Kind::State) => Possible::Anything,
            _ => self.apply(&format!("return a0.{name}"), &[of], (span, Errors::OfTypes)),
        }
    }

    fn attribute_of_conv(&mut self, name: &str, span: Span) -> Possible {
        if let Some(what) = self.members.unknown(name) {
            self.tell(span, what);
            return Possible::Anything;
        }
        Possible::of(match name {
            "state" => Kind::State,
            "log" => Kind::Log,
            "language" | "call_id" => return Possible::Anything,
            "history" | "messages" | "media" if self.changing.contains(name) => Kind::List,
            "history" => Kind::History,
            "messages" => Kind::Messages,
            "media" => Kind::Media,
            _ if conv::attributes().any(|known| known == name) => Kind::Text,
            _ => Kind::Function,
        })
    }

    /// The field of a struct.
    fn field(&mut self, of: &Possible, name: &str, span: Span) -> Possible {
        let mut values = Vec::new();
        for one in of.alternatives() {
            let Value::Struct(fields) = one else { return Possible::Anything };
            values.extend(fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()));
        }
        if values.is_empty() {
            self.apply(&format!("return a0.{name}"), &[of], (span, Errors::All));
            return Possible::Anything;
        }
        Possible::any_of(values).forgotten()
    }

    /// Tells a key that no item of `conv.media` has.
    fn tell_key(&mut self, key: &Possible, span: Span) {
        let [Value::Text(key)] = key.alternatives() else { return };
        if !OF_MEDIUM.contains(&key.as_str()) && !self.keys.may_have(key) {
            let meant = nearest(key, OF_MEDIUM).map(|meant| format!("did you mean \"{meant}\"?"));
            let told = meant.unwrap_or_else(|| format!("it has {}", OF_MEDIUM.join(", ")));
            self.tell(span, format!("an item of conv.media has no key {key:?}; {told}"));
        }
    }

    fn item(&mut self, (of, key): (&Possible, &Possible), span: Span) -> Possible {
        if of.is_never() || key.is_never() {
            return Possible::NEVER;
        }
        if *of == Possible::Anything {
            return Possible::Anything;
        }
        let errors =
            if key.is_exact() && of.alternatives().iter().all(has_known_keys) { Errors::All } else { Errors::OfTypes };
        let result = self.apply("return a0[a1]", &[of, key], (span, errors));
        if of.is_exact() && key.is_exact() {
            return result.forgotten();
        }
        let all = of.alternatives().iter().map(|one| match one {
            Value::List(items) | Value::Tuple(items) => Possible::any_of(items.iter().cloned()).forgotten(),
            Value::Dict(pairs) => Possible::any_of(pairs.iter().map(|(_, value)| value.clone())).forgotten(),
            Value::Text(_) | Value::Of(Kind::Text) => Possible::of(Kind::Text),
            other => items_of(&other.clone().into()),
        });
        let value = Possible::any_of(all.collect::<Vec<_>>());
        // An item of nothing fails, which is not for the types to tell.
        if value.is_never() { Possible::Anything } else { value }
    }

    fn slice(&mut self, of: &Possible, bounds: [Option<Possible>; 3], span: Span) -> Possible {
        let mut operands = vec![of];
        let mut written = Vec::new();
        for bound in &bounds {
            written.push(bound.as_ref().map(|_| format!("a{}", operands.len())).unwrap_or_default());
            operands.extend(bound);
        }
        let result = self.apply(&format!("return a0[{}]", written.join(":")), &operands, (span, Errors::OfTypes));
        let is_sliced =
            |value: &Value| matches!(value.kind(), Some(Kind::Text | Kind::List | Kind::Tuple | Kind::Range));
        match of.alternatives().iter().all(is_sliced) {
            _ if is_list_of_conv(of) => of.clone(),
            true if result == Possible::Anything => of.clone().general(),
            _ => result,
        }
    }

    fn comprehension(
        &mut self,
        frame: &mut Frame<'a>,
        (first, rest): (&'a ForClauseP<AstNoPayload>, &'a [ClauseP<AstNoPayload>]),
        body: impl FnOnce(&mut Self, &mut Frame<'a>) -> Kind,
    ) -> Possible {
        let before = frame.locals.clone();
        let over = self.over(frame, &first.over);
        self.unpack(frame, &first.var, (first.var.span, items_of(&over)));
        for clause in rest {
            match clause {
                ClauseP::For(each) => {
                    let over = self.over(frame, &each.over);
                    self.unpack(frame, &each.var, (each.var.span, items_of(&over)));
                }
                ClauseP::If(condition) => {
                    let decides = self.expr(frame, condition);
                    if decides.truth() == Some(false) {
                        frame.locals = before;
                        return Possible::Anything;
                    }
                }
            }
        }
        let kind = body(self, frame);
        frame.locals = before;
        if over.is_never() { Possible::NEVER } else { Possible::of(kind) }
    }
}

/// Whether a value is a list of conv, or nothing.
pub(super) fn is_list_of_conv(of: &Possible) -> bool {
    matches!(of.only_kind(), Some(Kind::History | Kind::Messages | Kind::Media))
}

pub(super) fn may_be(of: &Possible, kind: Kind) -> bool {
    *of == Possible::Anything || of.alternatives().iter().any(|one| one.kind() == Some(kind))
}

/// Whether it is known which items there are.
fn has_known_keys(of: &Value) -> bool {
    match of {
        Value::List(_) | Value::Tuple(_) => true,
        Value::Dict(pairs) => pairs.iter().all(|(key, _)| key.is_exact()),
        _ => false,
    }
}

/// Whether it is known how many values there are for a format.
fn has_known_form(of: &Possible) -> bool {
    let has = |value: &Value| match value {
        Value::Of(kind) => !matches!(kind, Kind::Tuple | Kind::Dict | Kind::List),
        _ => true,
    };
    !of.alternatives().is_empty() && of.alternatives().iter().all(has)
}

fn of_literal(literal: &AstLiteral) -> Possible {
    match literal {
        AstLiteral::String(text) => Possible::text(&text.node),
        AstLiteral::Int(number) => match number.node.to_string().parse::<i32>() {
            Ok(number) => Possible::int(number),
            Err(_) => Possible::of(Kind::Int),
        },
        AstLiteral::Float(number) => Value::Float(number.node).into(),
        AstLiteral::Bytes(_) | AstLiteral::Ellipsis => Possible::Anything,
    }
}

const fn symbol(op: BinOp) -> &'static str {
    match op {
        BinOp::Or => "or",
        BinOp::And => "and",
        BinOp::Equal => "==",
        BinOp::NotEqual => "!=",
        BinOp::Less => "<",
        BinOp::Greater => ">",
        BinOp::LessOrEqual => "<=",
        BinOp::GreaterOrEqual => ">=",
        BinOp::In => "in",
        BinOp::NotIn => "not in",
        BinOp::Subtract => "-",
        BinOp::Add => "+",
        BinOp::Multiply => "*",
        BinOp::Percent => "%",
        BinOp::Divide => "/",
        BinOp::FloorDivide => "//",
        BinOp::BitAnd => "&",
        BinOp::BitOr => "|",
        BinOp::BitXor => "^",
        BinOp::LeftShift => "<<",
        BinOp::RightShift => ">>",
    }
}
