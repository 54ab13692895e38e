//! Defines the `conv` object that scripts use to read the conversation, to set its state and to
//! answer.

#![expect(
    unsafe_code,
    reason = "derive(Trace) implements the interpreter's unsafe trait; nothing here is written unsafe"
)]

use std::cell::RefCell;
use std::fmt;

use allocative::Allocative;
use serde_json::{Map, Value as Json};
use starlark::any::ProvidesStaticType;
use starlark::collections::SmallMap;
use starlark::docs::DocType;
use starlark::environment::{Methods, MethodsBuilder};
use starlark::starlark_module;
use starlark::typing::Ty;
use starlark::values::dict::AllocDict;
use starlark::values::none::{NoneOr, NoneType};
use starlark::values::structs::AllocStruct;
use starlark::values::{Heap, NoSerialize, StarlarkValue, Trace, Value, ValueLike, starlark_value};

use super::accepted;
use super::json::to_json;
use super::log::{LOG_METHODS, Log};
use super::protocol::Call;
use crate::agents::{Conversation, LogLine, MOST_SENDS, MOST_TEXTS, MessageBody, OutboundRequest};
use crate::domain::bounds;
use crate::domain::characters::is_blank;

/// `conv`.
#[derive(Debug, Trace, ProvidesStaticType, NoSerialize, Allocative)]
pub struct Conv<'v> {
    id: String,
    channel_type: String,
    caller_number: String,
    callee_number: String,
    env: String,
    language: RefCell<Option<String>>,
    state: Value<'v>,
    history: Value<'v>,
    messages: Value<'v>,
    media: Value<'v>,
    /// Only in a tool.
    call_id: Option<String>,
    log: Value<'v>,
    texts: RefCell<Vec<String>>,
    /// How many characters of further texts were cut.
    cut: RefCell<usize>,
    /// Each as JSON, like the log lines.
    sends: RefCell<Vec<String>>,
}

impl<'v> Conv<'v> {
    /// Puts a conversation on the heap, as the function that is called gets it.
    pub(super) fn alloc(conversation: Conversation, call: &Call, state: Value<'v>, heap: Heap<'v>) -> Value<'v> {
        let history: Vec<Value> = conversation
            .history
            .iter()
            .map(|entry| {
                heap.alloc(AllocStruct([
                    ("role", heap.alloc(entry.role.as_str())),
                    ("text", heap.alloc(entry.text.as_str())),
                    ("at", heap.alloc(entry.at.to_rfc3339())),
                ]))
            })
            .collect();
        let messages: &[String] = match call {
            Call::Start => &[],
            Call::Reply { texts } => texts,
            Call::Tool(tool) => &tool.texts,
        };
        let call_id = match call {
            Call::Start | Call::Reply { .. } => None,
            Call::Tool(tool) => Some(tool.call_id.clone()),
        };
        let media: Vec<Value> = conversation.media.iter().map(|medium| heap.alloc(medium)).collect();
        let log = heap.alloc_complex_no_freeze(Log { lines: RefCell::default() });
        heap.alloc_complex_no_freeze(Self {
            id: conversation.id,
            channel_type: conversation.channel_type,
            caller_number: conversation.caller_number,
            callee_number: conversation.callee_number,
            env: conversation.env,
            language: RefCell::new(conversation.language),
            state,
            history: heap.alloc(history),
            messages: heap.alloc(messages),
            media: heap.alloc(media),
            call_id,
            log,
            texts: RefCell::default(),
            cut: RefCell::default(),
            sends: RefCell::default(),
        })
    }

    /// The texts of `conv.say`, in order.
    pub fn texts(&self) -> Vec<String> {
        self.texts.borrow().clone()
    }

    /// How many characters `conv.say` cut, because the run said too many texts.
    pub fn cut(&self) -> usize {
        *self.cut.borrow()
    }

    /// The texts of `conv.send_sms` and `conv.send_sms_template`, in order.
    pub fn sends(&self) -> Vec<OutboundRequest> {
        self.sends.borrow().iter().filter_map(|send| serde_json::from_str(send).ok()).collect()
    }

    fn send(&self, send: &OutboundRequest) -> starlark::Result<NoneType> {
        let refusal = accepted::bad_recipient(&send.to).or_else(|| accepted::bad_sender(send.from.as_deref()?));
        if let Some(what) = refusal {
            return Err(refused(what));
        }
        let mut sends = self.sends.borrow_mut();
        if sends.len() >= MOST_SENDS {
            return Err(refused(format!("a turn sends at most {MOST_SENDS} texts outside its answer")));
        }
        sends.push(serde_json::to_string(send).map_err(|error| refused(error.to_string()))?);
        Ok(NoneType)
    }

    /// The lines that the script logged.
    pub fn log_lines(&self) -> Vec<LogLine> {
        let log = self.log.downcast_ref::<Log>();
        let lines = log.map(|log| log.lines.borrow().clone()).unwrap_or_default();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The language as the script left it.
    pub fn language(&self) -> Option<String> {
        self.language.borrow().clone()
    }
}

impl fmt::Display for Conv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv({})", self.id)
    }
}

/// How an attribute is read.
type Read = for<'v> fn(&Conv<'v>, Heap<'v>) -> Value<'v>;

/// An attribute of `conv`: its name, its type, and how it is read.
type Attribute = (&'static str, fn() -> Ty, Read);

/// The attributes of `conv` with their types; the methods are below. The check of scripts knows
/// both from here. The items of a list may be changed, so lists are of any type.
const ATTRIBUTES: [Attribute; 12] = [
    ("id", Ty::string, |conv, heap| heap.alloc(conv.id.as_str())),
    ("channel_type", Ty::string, |conv, heap| heap.alloc(conv.channel_type.as_str())),
    ("caller_number", Ty::string, |conv, heap| heap.alloc(conv.caller_number.as_str())),
    ("callee_number", Ty::string, |conv, heap| heap.alloc(conv.callee_number.as_str())),
    ("env", Ty::string, |conv, heap| heap.alloc(conv.env.as_str())),
    ("language", Ty::any, |conv, heap| conv.language().map_or(Value::new_none(), |language| heap.alloc(language))),
    ("state", Ty::starlark_value::<State>, |conv, _| conv.state),
    ("history", Ty::any, |conv, _| conv.history),
    ("messages", Ty::any, |conv, _| conv.messages),
    ("media", Ty::any, |conv, _| conv.media),
    ("call_id", Ty::any, |conv, heap| conv.call_id.as_deref().map_or(Value::new_none(), |id| heap.alloc(id))),
    ("log", Ty::starlark_value::<Log>, |conv, _| conv.log),
];

/// The names of the attributes of `conv`.
pub(super) fn attributes() -> impl Iterator<Item = &'static str> {
    ATTRIBUTES.iter().map(|(name, ..)| *name)
}

/// The methods of `conv`, of `conv.state` and of `conv.log`, with their parameters.
pub(super) fn methods() -> [DocType; 3] {
    [&CONV_METHODS, &STATE_METHODS, &LOG_METHODS].map(|of| of.methods().documentation(Ty::any()))
}

/// Why an attribute of `conv` can't be set, if it can't.
pub(super) fn not_settable(attribute: &str) -> Option<String> {
    (attribute != "language").then(|| format!("conv.{attribute} can't be set; conv.language and conv.state.<name> can"))
}

#[starlark_value(type = "conv")]
impl<'v> StarlarkValue<'v> for Conv<'v> {
    fn get_methods() -> Option<&'static Methods> {
        Some(CONV_METHODS.methods())
    }

    fn attr_ty(attribute: &str) -> Option<Ty> {
        ATTRIBUTES.iter().find(|(name, ..)| *name == attribute).map(|(_, of, _)| of())
    }

    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        ATTRIBUTES.iter().find(|(name, ..)| *name == attribute).map(|(_, _, read)| read(self, heap))
    }

    fn set_attr(&self, attribute: &str, new_value: Value<'v>) -> starlark::Result<()> {
        if let Some(what) = not_settable(attribute) {
            return Err(refused(what));
        }
        let language = new_value.unpack_str();
        // Neither a text nor None is as wrong as a text that is no tag.
        let given = language.or(new_value.is_none().then_some("")).unwrap_or(" ");
        if let Some(what) = accepted::bad_language(given) {
            return Err(refused(what));
        }
        *self.language.borrow_mut() = language.map(str::to_owned);
        Ok(())
    }

    fn dir_attr(&self) -> Vec<String> {
        attributes().map(str::to_owned).collect()
    }
}

starlark::methods_static!(CONV_METHODS = conv_methods);

#[starlark_module]
fn conv_methods(builder: &mut MethodsBuilder) {
    /// Adds a text to the answer, before the text that the function returns.
    fn say(this: Value, #[starlark(require = pos)] text: &str) -> starlark::Result<NoneType> {
        let conv = this.downcast_ref_err::<Conv>()?;
        let mut texts = conv.texts.borrow_mut();
        if is_blank(text) {
            return Ok(NoneType);
        }
        if texts.len() < MOST_TEXTS {
            texts.push(text.to_owned());
        } else {
            *conv.cut.borrow_mut() += text.chars().count();
        }
        Ok(NoneType)
    }

    /// Sends a text outside the answer after the turn, from one of the project's numbers (None: the
    /// session's) or of a pool's.
    fn send_sms(this: Value, to: &str, from_number: NoneOr<&str>, content: &str) -> starlark::Result<NoneType> {
        if let Some(what) = accepted::bad_content(content) {
            return Err(refused(what));
        }
        let from = from_number.into_option().map(str::to_owned);
        this.downcast_ref_err::<Conv>()?.send(&OutboundRequest {
            to: to.to_owned(),
            from,
            body: MessageBody::Text(content.to_owned()),
        })
    }

    /// Sends a rendered template of the project after the turn.
    fn send_sms_template<'v>(
        this: Value<'v>,
        to: &str,
        template: &str,
        #[starlark(default = NoneOr::None)] variables: NoneOr<Value<'v>>,
    ) -> starlark::Result<NoneType> {
        if let Some(what) = accepted::bad_template(template) {
            return Err(refused(what));
        }
        let variables = match variables.into_option().map(to_json) {
            None => Map::new(),
            Some(Ok(Json::Object(mut fields))) => {
                bounds::object(&mut fields, bounds::VARIABLES_BYTES)
                    .map_err(|what| refused(format!("the variables of a template: {what}")))?;
                fields
            }
            Some(Ok(_)) => return Err(refused("the variables of a template are a dict".to_owned())),
            Some(Err(what)) => return Err(refused(format!("the variables of a template: {what}"))),
        };
        this.downcast_ref_err::<Conv>()?.send(&OutboundRequest {
            to: to.to_owned(),
            from: None,
            body: MessageBody::Template { name: template.to_owned(), variables },
        })
    }
}

/// `conv.state`: a dict whose keys are also attributes. A missing attribute is None.
#[derive(Debug, Trace, ProvidesStaticType, NoSerialize, Allocative)]
pub struct State<'v> {
    values: RefCell<SmallMap<String, Value<'v>>>,
}

impl<'v> State<'v> {
    /// Puts a state on the heap.
    pub fn alloc(state: &Map<String, Json>, heap: Heap<'v>) -> Value<'v> {
        let values = state.iter().map(|(key, value)| (key.clone(), heap.alloc(value))).collect();
        heap.alloc_complex_no_freeze(Self { values: RefCell::new(values) })
    }

    /// The state as JSON. The error names a value that can't be stored.
    pub fn to_json(&self) -> Result<Map<String, Json>, String> {
        self.values
            .borrow()
            .iter()
            .map(|(key, value)| {
                Ok((key.clone(), to_json(*value).map_err(|what| format!("conv.state[{key:?}]: {what}"))?))
            })
            .collect()
    }

    fn key(index: Value<'v>) -> starlark::Result<&'v str> {
        index.unpack_str().ok_or_else(|| refused(format!("conv.state has strings as keys, not a {}", index.get_type())))
    }

    fn set(&self, key: &str, value: Value<'v>) -> starlark::Result<()> {
        if key.contains('\0') {
            return Err(refused("a key of conv.state holds the character NUL".to_owned()));
        }
        self.values.borrow_mut().insert(key.to_owned(), value);
        Ok(())
    }
}

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conv.state(")?;
        for (position, (key, value)) in self.values.borrow().iter().enumerate() {
            write!(f, "{}{key}={value}", if position > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}

#[starlark_value(type = "state")]
impl<'v> StarlarkValue<'v> for State<'v> {
    fn get_methods() -> Option<&'static Methods> {
        Some(STATE_METHODS.methods())
    }

    fn get_attr(&self, attribute: &str, _heap: Heap<'v>) -> Option<Value<'v>> {
        Some(self.values.borrow().get(attribute).copied().unwrap_or_else(Value::new_none))
    }

    fn set_attr(&self, attribute: &str, new_value: Value<'v>) -> starlark::Result<()> {
        self.set(attribute, new_value)
    }

    fn at(&self, index: Value<'v>, _heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let key = Self::key(index)?;
        self.values.borrow().get(key).copied().ok_or_else(|| {
            refused(format!("conv.state has no key \"{key}\"; conv.state.get(\"{key}\") gives None instead"))
        })
    }

    fn set_at(&self, index: Value<'v>, new_value: Value<'v>) -> starlark::Result<()> {
        self.set(Self::key(index)?, new_value)
    }

    fn is_in(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(self.values.borrow().contains_key(Self::key(other)?))
    }

    fn dir_attr(&self) -> Vec<String> {
        self.values.borrow().keys().cloned().collect()
    }
}

starlark::methods_static!(STATE_METHODS = state_methods);

#[starlark_module]
fn state_methods(builder: &mut MethodsBuilder) {
    /// The value of a key, or the default.
    fn get<'v>(
        this: Value<'v>,
        #[starlark(require = pos)] key: &str,
        default: Option<Value<'v>>,
    ) -> starlark::Result<Value<'v>> {
        let state = this.downcast_ref_err::<State>()?;
        let found = state.values.borrow().get(key).copied();
        Ok(found.or(default).unwrap_or_else(Value::new_none))
    }

    /// Removes a key and returns its value, or the default.
    fn pop<'v>(
        this: Value<'v>,
        #[starlark(require = pos)] key: &str,
        default: Option<Value<'v>>,
    ) -> starlark::Result<Value<'v>> {
        let state = this.downcast_ref_err::<State>()?;
        let removed = state.values.borrow_mut().shift_remove(key);
        Ok(removed.or(default).unwrap_or_else(Value::new_none))
    }

    /// A copy of the state as a dict.
    fn items<'v>(this: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let state = this.downcast_ref_err::<State>()?;
        let values = state.values.borrow();
        Ok(heap.alloc(AllocDict(values.iter().map(|(key, value)| (key.as_str(), *value)))))
    }
}

fn refused(text: String) -> starlark::Error {
    starlark::Error::new_kind(starlark::ErrorKind::Value(std::io::Error::other(text).into()))
}
