//! Tries single operations in the interpreter, with values of the types that their operands may
//! have, and finds those that fail with all of them.
//!
//! An operation with exact values is tried with these, so any error is certain. With samples of a
//! type only an error of types is: another text may be a key, or a number.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Map, json};
use starlark::environment::{Globals, Module};
use starlark::syntax::AstModule;
use starlark::values::dict::AllocDict;
use starlark::values::structs::AllocStruct;
use starlark::values::tuple::AllocTuple;
use starlark::values::{Heap, OwnedFrozenValue, Value as Actual};

use super::values::{Kind, Possible, Value};
use crate::agents::script::certain;
use crate::agents::script::conv::{Conv, State};
use crate::agents::script::dry_run::later_conversation;
use crate::agents::script::interpret::{Limits, bounded, cpu_time, dialect, globals};
use crate::agents::script::protocol::Call;

/// The limits of one operation. One that exceeds them proves nothing.
const OF_AN_OPERATION: Limits = Limits { time: Duration::from_millis(20), ticks: 20_000, notes_lines: false };
/// The most alternatives of the operands that are tried together.
const MOST_COMBINATIONS: usize = 64;
/// How often an operation is tried with samples of types, and with samples of all types.
const ROUNDS: usize = 8;
const ROUNDS_OF_ANYTHING: usize = 16;

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It always fails, and why.
    Fails(String),
    Gives(Possible),
}

/// Which errors count beside those of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errors {
    OfTypes,
    /// All: what is tried is a form, such as `"%d"`, that no value of a type fits.
    All,
}

pub(super) struct Trial {
    globals: Globals,
    /// The function of [`SAMPLES`].
    maker: Option<OwnedFrozenValue>,
    /// The operations as functions, by their text.
    compiled: HashMap<String, Option<OwnedFrozenValue>>,
    known: HashMap<String, Outcome>,
    until: Duration,
}

/// How a try ended.
enum Tried {
    Worked(Option<Value>),
    /// Whether it fails always, and why.
    Failed(bool, String),
}

impl Trial {
    pub(super) fn new(time: Duration) -> Self {
        let globals = globals();
        let maker = compile(SAMPLES.to_owned(), "sample", &globals);
        Self { globals, maker, compiled: HashMap::new(), known: HashMap::new(), until: cpu_time() + time }
    }

    /// Whether no time is left.
    pub(super) fn is_over(&self) -> bool {
        cpu_time() > self.until
    }

    pub(super) fn knows_global(&self, name: &str) -> bool {
        self.globals.names().any(|known| known.as_str() == name)
    }

    /// Tries an operation: a statement of the operands `a0`, `a1` and so on.
    pub(super) fn of(&mut self, statement: &str, operands: &[&Possible], errors: Errors) -> Outcome {
        let unknown = Outcome::Gives(Possible::Anything);
        if operands.iter().any(|operand| operand.is_never()) {
            return Outcome::Gives(Possible::NEVER);
        }
        let anything: usize = operands.iter().map(|operand| count_anything(operand)).sum();
        let Some(all) = combinations(operands).filter(|_| anything <= 1) else { return unknown };
        let key = format!("{statement}\n{errors:?}{operands:?}");
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.is_over() {
            return unknown;
        }
        let (Some(function), Some(maker)) = (self.function(statement, operands.len()), &self.maker) else {
            return unknown;
        };
        let trying = AssertUnwindSafe(|| try_all([&function, maker], &all, errors));
        let outcome = catch_unwind(trying).unwrap_or(unknown);
        self.known.insert(key, outcome.clone());
        outcome
    }

    fn function(&mut self, statement: &str, operands: usize) -> Option<OwnedFrozenValue> {
        if let Some(known) = self.compiled.get(statement) {
            return known.clone();
        }
        let names: Vec<String> = (0..operands).map(|at| format!("a{at}")).collect();
        let source = format!("def operation({}):\n    {statement}\n", names.join(", "));
        let compiled = compile(source, "operation", &self.globals);
        self.compiled.insert(statement.to_owned(), compiled.clone());
        compiled
    }

    /// Gives a value in all its forms to a check of values of the interpreter. Returns why the
    /// check refuses all of them.
    pub(super) fn refused_by(
        &self,
        possible: &Possible,
        check: impl for<'v> Fn(Actual<'v>) -> Result<(), String>,
    ) -> Option<String> {
        let (all, maker) = (combinations(&[possible])?, self.maker.as_ref()?);
        let mut refused = None;
        for (operands, rounds) in &all {
            for round in 0..*rounds {
                let checking = AssertUnwindSafe(|| {
                    Module::with_temp_heap(|module| {
                        let heap = module.heap();
                        let maker = heap.access_owned_frozen_value(maker);
                        let mut samples = Samples { round, leaf: 0, maker, module: &module, heap };
                        operands.iter().try_for_each(|operand| check(samples.of_operand(operand.as_ref())))
                    })
                });
                refused = Some(catch_unwind(checking).ok()?.err()?);
            }
        }
        refused
    }
}

fn compile(source: String, name: &str, globals: &Globals) -> Option<OwnedFrozenValue> {
    let ast = AstModule::parse("operation.star", source, &dialect()).ok()?;
    Module::with_temp_heap(|module| {
        bounded(&module, &OF_AN_OPERATION).ok()?.eval_module(ast, globals).ok()?;
        module.freeze().ok()?.get(name).ok()
    })
}

/// The operands of a try, each a value or anything, and how often to try them.
type Combination = (Vec<Option<Value>>, usize);

/// The alternatives of the operands in all combinations.
fn combinations(operands: &[&Possible]) -> Option<Vec<Combination>> {
    let mut all: Vec<Vec<Option<Value>>> = vec![Vec::new()];
    for operand in operands {
        let alternatives: Vec<Option<Value>> = match operand {
            Possible::Anything => vec![None],
            Possible::OneOf(values) => values.iter().cloned().map(Some).collect(),
        };
        if all.len() * alternatives.len() > MOST_COMBINATIONS {
            return None;
        }
        let mut more = Vec::new();
        for values in &all {
            more.extend(alternatives.iter().map(|one| values.iter().chain([one]).cloned().collect()));
        }
        all = more;
    }
    let rounds = match () {
        () if operands.iter().all(|operand| is_exact(operand)) => 1,
        () if operands.iter().any(|operand| count_anything(operand) > 0) => ROUNDS_OF_ANYTHING,
        () => ROUNDS,
    };
    Some(all.into_iter().map(|values| (values, rounds)).collect())
}

fn is_exact(possible: &Possible) -> bool {
    *possible != Possible::Anything && possible.alternatives().iter().all(Value::is_exact)
}

/// How much of a value may be anything.
fn count_anything(possible: &Possible) -> usize {
    let of_value = |value: &Value| match value {
        Value::List(items) | Value::Tuple(items) => items.iter().map(count_anything).sum(),
        Value::Dict(pairs) => pairs.iter().map(|(key, value)| count_anything(key) + count_anything(value)).sum(),
        _ => 0,
    };
    match possible {
        Possible::Anything => 1,
        Possible::OneOf(values) => values.iter().map(of_value).sum(),
    }
}

fn try_all(functions: [&OwnedFrozenValue; 2], all: &[Combination], errors: Errors) -> Outcome {
    let mut gives = Possible::NEVER;
    let mut failed: Option<String> = None;
    let (mut has_worked, mut may_work) = (false, false);
    for (operands, rounds) in all {
        for round in 0..*rounds {
            match try_once(functions, operands, round, (errors, *rounds == 1)) {
                Tried::Worked(value) => {
                    has_worked = true;
                    gives = gives.or(value.map_or(Possible::Anything, Possible::from));
                }
                Tried::Failed(true, what) => failed = failed.or(Some(what)),
                // With another value it may work.
                Tried::Failed(false, _) => may_work = true,
            }
        }
    }
    match failed {
        Some(what) if !has_worked && !may_work => Outcome::Fails(what),
        _ if !has_worked => Outcome::Gives(Possible::Anything),
        _ => Outcome::Gives(gives),
    }
}

fn try_once(
    functions: [&OwnedFrozenValue; 2],
    operands: &[Option<Value>],
    round: usize,
    (errors, is_exact): (Errors, bool),
) -> Tried {
    Module::with_temp_heap(|module| {
        let heap = module.heap();
        let [function, maker] = functions.map(|one| heap.access_owned_frozen_value(one));
        let mut samples = Samples { round, leaf: 0, maker, module: &module, heap };
        let given: Vec<Actual> = operands.iter().map(|operand| samples.of_operand(operand.as_ref())).collect();
        let Ok(mut evaluator) = bounded(&module, &OF_AN_OPERATION) else { return Tried::Worked(None) };
        match evaluator.eval_function(function, &given, &[]) {
            Ok(value) => Tried::Worked(Value::of(value, is_exact)),
            Err(error) => {
                let counts = match errors {
                    Errors::All => true,
                    Errors::OfTypes => is_exact || certain::is_of_types(&error),
                };
                Tried::Failed(counts && !certain::is_of_limit(&error), certain::words(&error))
            }
        }
    })
}

/// Values of each type. They are made for each try, because a frozen one could not be changed.
const SAMPLES: &str = r#"
def sample(kind, n):
    if kind == "Text": all = ["a", "7", "", "a b", "+12025550143", "1.5,B"]
    elif kind == "Int": all = [1, 0, -1, 7, 200]
    elif kind == "Float": all = [1.5, 0.0, -2.0, 30.0]
    elif kind == "Bool": all = [True, False]
    elif kind == "List": all = [[], ["a"], [1], [None], [["a"]], [{"a": 1}], [("a", "b")], ["a", 1, {}]]
    elif kind == "Dict": all = [{}, {"utterance": "a"}, {"a": 1, "b": "a"}, {1: [1]}, {"hangup": True}]
    elif kind == "Tuple": all = [(), ("a",), (1,), ("a", "b"), ("a", 1), (1, 2, 3)]
    elif kind == "Set": all = [set(), set(["a"]), set([1, 2])]
    elif kind == "Range": all = [range(0), range(3)]
    elif kind == "Function": all = [sample]
    elif kind == "Struct": all = [struct(a = 1)]
    elif kind == "Json": all = [json]
    else: all = [None, True, 1, 1.5, "a", "7", [], ["a"], [1], {}, {"a": 1}, ("a",), set(["a"]), range(3), sample, struct(a = 1)]
    return all[n % len(all)]
"#;

/// Makes values of the interpreter.
struct Samples<'m, 'v> {
    round: usize,
    /// How many values of a type were made, so that two of them differ.
    leaf: usize,
    /// The function of [`SAMPLES`].
    maker: Actual<'v>,
    module: &'m Module<'v>,
    heap: Heap<'v>,
}

impl<'v> Samples<'_, 'v> {
    fn of_operand(&mut self, operand: Option<&Value>) -> Actual<'v> {
        match operand {
            Some(value) => self.one(value),
            None => self.anything(),
        }
    }

    fn of(&mut self, possible: &Possible) -> Actual<'v> {
        let alternatives = possible.alternatives();
        match alternatives.iter().cycle().nth(self.round) {
            Some(value) => self.one(value),
            None => self.anything(),
        }
    }

    fn one(&mut self, value: &Value) -> Actual<'v> {
        let heap = self.heap;
        match value {
            Value::None => Actual::new_none(),
            Value::Bool(truth) => Actual::new_bool(*truth),
            Value::Int(number) => heap.alloc(*number),
            Value::Float(number) => heap.alloc(*number),
            Value::Text(text) => heap.alloc(text.as_str()),
            Value::List(items) => {
                let items: Vec<Actual> = items.iter().map(|item| self.of(item)).collect();
                heap.alloc(items)
            }
            Value::Tuple(items) => {
                let items: Vec<Actual> = items.iter().map(|item| self.of(item)).collect();
                heap.alloc(AllocTuple(items))
            }
            Value::Dict(pairs) => {
                // A value that can't be a key is told before.
                let pairs = pairs.iter().map(|(key, value)| (self.of(key), self.of(value)));
                let pairs: Vec<(Actual, Actual)> = pairs.filter(|(key, _)| key.get_hashed().is_ok()).collect();
                heap.alloc(AllocDict(pairs))
            }
            Value::Struct(fields) => {
                let fields: Vec<(&str, Actual)> =
                    fields.iter().map(|(name, value)| (name.as_str(), self.of(value))).collect();
                heap.alloc(AllocStruct(fields))
            }
            Value::Of(kind) => self.of_kind(*kind),
        }
    }

    /// A value of a type, another one in each round.
    fn of_kind(&mut self, kind: Kind) -> Actual<'v> {
        let number = self.round + self.leaf * 3 + self.round * self.leaf % 5;
        self.leaf += 1;
        let list = match kind {
            Kind::Conv | Kind::State => return self.of_conv(kind),
            Kind::Log => "log",
            Kind::History | Kind::Entry => "history",
            Kind::Messages => "messages",
            Kind::Media | Kind::Medium => "media",
            other => return self.sample(&format!("{other:?}"), number),
        };
        let none = Actual::new_none();
        let attribute = self.of_conv(Kind::Conv).get_attr(list, self.heap).ok().flatten().unwrap_or(none);
        match kind {
            Kind::Entry | Kind::Medium => attribute.at(self.heap.alloc(0), self.heap).unwrap_or(none),
            _ => attribute,
        }
    }

    /// conv, or its state.
    fn of_conv(&self, kind: Kind) -> Actual<'v> {
        let fields = Map::from_iter([("a".to_owned(), json!("x")), ("b".to_owned(), json!(1))]);
        let state = State::alloc(&fields, self.heap);
        if kind == Kind::State {
            return state;
        }
        let call = Call::Reply { texts: vec!["a".to_owned()] };
        Conv::alloc(later_conversation(&fields), &call, state, self.heap)
    }

    fn anything(&mut self) -> Actual<'v> {
        self.sample("Anything", self.round)
    }

    fn sample(&mut self, of: &str, number: usize) -> Actual<'v> {
        let number = self.heap.alloc(i32::try_from(number).unwrap_or_default());
        let name = self.heap.alloc(of);
        let made = bounded(self.module, &OF_AN_OPERATION)
            .ok()
            .and_then(|mut evaluator| evaluator.eval_function(self.maker, &[name, number], &[]).ok());
        made.unwrap_or_else(Actual::new_none)
    }
}
