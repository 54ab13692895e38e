//! Tests what is refused when a script is saved: each refused script also fails when it runs, and
//! each accepted one runs.

use std::time::Duration;

use starlark::values::list::ListRef;

use super::flow;
use super::functions::Purpose;
use super::interpret::{Script, on_own_thread};
use super::tests::{answered, check, conversation, replying};
use crate::agents::{AgentError, Answer};

pub(super) fn refusals(source: &str) -> Vec<String> {
    check(source).into_iter().filter(|fault| fault.fatal).map(|fault| fault.to_string()).collect()
}

/// What a script answers to a text.
pub(super) fn answer(source: &str, text: &str) -> Result<Answer, AgentError> {
    answered(&Script::compile(source)?, replying(conversation("sms"), &[text]))
}

/// A script whose reply runs some lines.
pub(super) fn reply(lines: &str) -> String {
    let lines: Vec<String> = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("def reply(conv, text):\n{}", lines.concat())
}

/// Scripts that fail by the types of their values, and what is told.
const FAILS_BY_TYPES: &[(&str, &str)] = &[
    ("return text.uper()", "2:17: Object of type `string` has no attribute `uper`, did you mean `upper`?"),
    ("return \"a\".uper()", "Object of type `string` has no attribute `uper`, did you mean `upper`?"),
    (
        "if conv.media: return conv.media[0].url\nreturn text.uper()",
        "2:41: Object of type `dict` has no attribute `url`",
    ),
    (
        "for h in conv.history:\n    if h.content: text = \"x\"\nreturn text.uper()",
        "conv.history has no attribute content; it has role",
    ),
    ("return conv.history[0][\"text\"]", "Operation `[]` not supported for types `struct` and `string`"),
    ("return conv.messages[0].text", "Object of type `string` has no attribute `text`"),
    ("for m in conv.messages: text += m.text", "Object of type `string` has no attribute `text`"),
    ("return str([m.text for m in conv.messages])", "Object of type `string` has no attribute `text`"),
    ("for m in conv.messages: conv.say(m - 1)", "Operation `-` not supported for types `string` and `int`"),
    ("h = conv.history[-1]\nreturn h.txt", "an entry of conv.history has no attribute txt; it has role, text, at"),
    ("return str([h.content for h in conv.history[-5:]] + text)", "no attribute content"),
    (
        "for h in conv.history or []:\n    conv.say(h)\nreturn text.uper()",
        "Type of parameter `text` doesn't match, expected `str`, actual `struct`",
    ),
    ("return conv.media[0][\"ur\"]", "2:26: an item of conv.media has no key \"ur\"; did you mean \"url\"?"),
    ("for m in conv.media: conv.say(m[\"type\"])\nreturn text.uper()", "no key \"type\"; it has id, content_type"),
    ("m = conv.media[0]\nreturn m[\"size\"]", "no key \"size\""),
    ("for i in range(1000000000): pass", "at most 2000000 rounds"),
    ("for i in range(0, 9000000, 2): text += \"x\"", "at most 2000000 rounds"),
    ("return str(len([i for i in range(3000000)]))", "at most 2000000 rounds"),
    ("[1].add(2)", "Object of type `list` has no attribute `add`"),
    ("{}.push(1)", "Object of type `dict` has no attribute `push`"),
    ("return str(text).foo()", "Object of type `string` has no attribute `foo`"),
    ("return f\"{text}\".foo()", "Object of type `string` has no attribute `foo`"),
    ("return (text + \"x\").foo()", "Object of type `string` has no attribute `foo`"),
    ("return (\"x\" + text).lowr()", "Object of type `string` has no attribute `lowr`, did you mean `lower`?"),
    ("return text.split(\" \")[0].foo()", "Object of type `string` has no attribute `foo`"),
    ("return text.upper().lowr()", "Object of type `string` has no attribute `lowr`, did you mean `lower`?"),
    ("return conv.channel_type.uper()", "Object of type `string` has no attribute `uper`, did you mean `upper`?"),
    ("x = 5\nreturn x.foo()", "Object of type `int` has no attribute `foo`"),
    ("return len(text).foo", "Object of type `int` has no attribute `foo`"),
    ("return json.encod(text)", "Object of type `namespace` has no attribute `encod`, did you mean `encode`?"),
    ("return struct(a = 1).b", "Object of type `struct` has no attribute `b`, did you mean `a`?"),
    ("c = conv\nc.sya(\"x\")", "conv has no attribute sya"),
    ("conv.say(5)", "2:5: Type of parameter `text` doesn't match, expected `str`, actual `int`"),
    ("conv.say(len(text))", "Type of parameter `text` doesn't match, expected `str`, actual `int`"),
    ("conv.say([text])", "Type of parameter `text` doesn't match, expected `str`, actual `list`"),
    ("conv.send_sms(5, None, text)", "Type of parameter `to` doesn't match, expected `str`, actual `int`"),
    ("conv.log.info(5)", "Type of parameter `text` doesn't match, expected `str`, actual `int`"),
    ("conv.state.get(5)", "Type of parameter `key` doesn't match, expected `str`, actual `int`"),
    ("return text.split(5)", "Type of parameter `sep` doesn't match, expected `None | str`, actual `int`"),
    (
        "return text.startswith(5)",
        "Type of parameter `prefix` doesn't match, expected `str | tuple[str, ...]`, actual `int`",
    ),
    ("return \"\".join(5)", "Operation `(iter)` not supported on type `int`"),
    ("return int([1])", "Type of parameter `a` doesn't match, expected `bool | float | int | str`, actual `list`"),
    ("return range(\"a\")", "Type of parameter `a1` doesn't match, expected `int`, actual `string`"),
    ("return str(sorted(5))", "Operation `(iter)` not supported on type `int`"),
    ("return str(len())", "Wrong number of positional arguments, expected 1, got 0"),
    ("return str(len(text, text))", "Wrong number of positional arguments, expected 1, got 2"),
    ("return str()", "Wrong number of positional arguments, expected 1, got 0"),
    ("return text.replace(\"a\")", "Wrong number of positional arguments, expected between 2 and 3, got 1"),
    ("return str(5())", "Operation `call()` not supported on type `int`"),
    ("return \"a\"(\"b\")", "Operation `call()` not supported on type `string`"),
    ("return text(1)", "Operation `call()` not supported on type `string`"),
    ("return text - text", "Operation `-` not supported for types `string` and `string`"),
    ("return text + 5", "Operation `+` not supported for types `string` and `int`; str(…) makes a string of a value"),
    (
        "return \"n \" + len(text)",
        "Operation `+` not supported for types `string` and `int`; str(…) makes a string of a value",
    ),
    (
        "return len(text) + \" letters\"",
        "Operation `+` not supported for types `int` and `string`; str(…) makes a string of a value",
    ),
    ("return \"yes\" if text < 5 else \"no\"", "Operation `cmp()` not supported for types `string` and `int`"),
    ("return -text", "Operation `-` not supported on type `string`"),
    ("for x in 5: pass", "Operation `(iter)` not supported on type `int`"),
    ("for x in text: pass", "a string has no items to go over; text.split() gives its words"),
    ("return str([x for x in text])", "a string has no items to go over"),
    ("a, b = [1, 2, 3]", "2:12: Unpacked 3 values but expected 2"),
    ("a, b = (1,)", "Unpacked 1 values but expected 2"),
    ("a, b = \"ab\"", "a string has no items to go over"),
    ("conv.send_sms(\"12345\", None, text)", "2:19: \"12345\" is not in E.164"),
    ("conv.send_sms(\"+14155550102\", \"me!\", text)", "\"me!\" is neither in E.164"),
    ("conv.send_sms(\"+14155550102\", None, \"\")", "takes 1 to 1600 characters, not 0"),
    ("conv.send_sms_template(to = \"+14155550102\", template = \"a b\")", "\"a b\" is not a template name"),
    ("conv.language = \"not a tag\"", "conv.language takes a language tag"),
    ("conv.language = 5", "conv.language takes a language tag"),
];

#[test]
fn what_fails_by_the_types_of_its_values_is_refused() {
    let mut wrong = Vec::new();
    for (lines, what) in FAILS_BY_TYPES.iter().copied() {
        let source = reply(lines);
        let told = refusals(&source);
        if !told.iter().any(|fault| fault.contains(what)) || answer(&source, "hi").is_ok() {
            wrong.push(format!("{lines}: {told:?} {:?}", answer(&source, "hi").err()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_fails_in_the_scripts_own_functions_is_refused() {
    let mut wrong = Vec::new();
    for (source, what) in [
        ("def f(a, b): return a\ndef reply(conv, text): return f(text)", "f takes (a, b), and b is missing"),
        (
            "def f(a): return a\ndef reply(conv, text): return f(text, 1)",
            "f takes (a), and it is called with 2 arguments",
        ),
        ("def f(a): return a\ndef reply(conv, text): return f(b = text)", "and it has no argument by the name b"),
        ("def f(lang): return lang\ndef reply(conv, text): return f(lnag = text)", "did you mean lang?"),
        (
            "def f(c): c.sya(\"x\")\ndef reply(conv, text): f(conv)",
            "1:13: conv has no attribute sya; did you mean say?",
        ),
        (
            "def f(c): c.say(5)\ndef reply(conv, text): f(conv)",
            "Type of parameter `text` doesn't match, expected `str`, actual `int`",
        ),
        (
            "def f(t): return t.uper()\ndef reply(conv, text): return f(text)",
            "Object of type `string` has no attribute `uper`, did you mean `upper`?",
        ),
        (
            "def g(t): return t.uper()\ndef f(t): return g(t)\ndef reply(conv, text): return f(text)",
            "Object of type `string` has no attribute `uper`, did you mean `upper`?",
        ),
        (
            "def f(t): return t.uper()\ndef reply(conv, text): return f(\"a\") + f(text)",
            "Object of type `string` has no attribute `uper`, did you mean `upper`?",
        ),
        (
            "def reply(conv, text: int) -> int: return text.uper()",
            "Object of type `string` has no attribute `uper`, did you mean `upper`?",
        ),
        ("N = 0\ndef reply(conv, text):\n    N += 1", "3:5: N has no value here: an assignment in reply makes a name"),
        ("N = 0\ndef reply(conv, text):\n    N = N + 1", "3:9: N has no value here"),
        ("SEEN = []\ndef reply(conv, text):\n    SEEN.append(text)", "3:5: this changes a value of the top level"),
        ("SEEN = {}\ndef reply(conv, text):\n    SEEN[text] = 1", "this changes a value of the top level"),
        (
            "SEEN = []\ndef add(x): SEEN.append(x)\ndef reply(conv, text):\n    if text == \"order\":\n        add(text)",
            "this changes a value",
        ),
        ("reply = lambda conv, text: text.uper()", "has no attribute `uper`"),
        ("def reply(conv, text):\n    return (lambda t: t.uper())(text)", "has no attribute `uper`"),
        (
            "def reply(conv, text):\n    parts = text.split(\" \")\n    return parts[0].uper()",
            "has no attribute `uper`",
        ),
    ] {
        let told = refusals(source);
        let fails = ["hi", "order"].iter().any(|text| answer(source, text).is_err());
        if !fails || !told.iter().any(|fault| fault.contains(what)) {
            wrong.push(format!("{source}: {told:?} {:?}", answer(source, "hi").err()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_fails_with_all_samples_and_may_work_is_a_warning() {
    let mut wrong = Vec::new();
    for (source, what) in [
        ("def reply(conv, text):\n    return \"n\" + conv.state.get(\"n\", 0)", "fails: Operation `+` not supported"),
        ("H = {\"a\": lambda c: \"x\"}\ndef reply(conv, text):\n    return H[\"a\"]()", "Missing"),
        ("def reply(conv, text):\n    x = [1]\n    for y in x:\n        x.append(y)", "mutates an iterable"),
        (
            "def start(conv):\n    conv.state.greet_message = len(\"hi\")\ndef reply(conv, text): return text",
            "greet_message to 2; it must be a text or None",
        ),
        (
            "def reply(conv, text):\n    x = [conv.state, text]\n    return x[len(text) % 2].uper()",
            "has no attribute `uper`",
        ),
        ("def reply(conv, text):\n    x = text.split(\" \")[0]\n    return getattr(x, \"up\" + text)", "not supported"),
        ("E = []\ndef reply(conv, text):\n    conv.state.get(\"cart\", E).append(text)", "this changes a value"),
        ("M = {\"a\" + \"b\": \"x\"}\ndef reply(conv, text):\n    return M.get(text[1:], 0) + \"x\"", "not supported"),
    ] {
        let told = check(source);
        if !told.iter().any(|fault| fault.to_string().contains(what)) || told.iter().any(|fault| fault.fatal) {
            wrong.push(format!("{source}: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Refuses no script, and runs each one.
pub(super) fn assert_accepted(scripts: &[(String, &str)]) {
    let mut wrong = Vec::new();
    for (source, text) in scripts {
        let (told, answered) = (refusals(source), answer(source, text));
        if !told.is_empty() || answered.is_err() {
            wrong.push(format!("{source}: {told:?} {:?}", answered.err()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_looks_wrong_and_works_is_accepted() {
    assert_accepted(&[
        (reply("d = {\"a\": 1}\nd.update([(\"b\", \"x\")])\nreturn d[\"b\"].upper()"), "hi"),
        (reply("x = [1]\ny = x\ny.append(\"a\")\nreturn x[1].upper()"), "hi"),
        (reply("x = []\ny = x\ny.append(\"a\")\nx.append(1)\nreturn x[0].upper()"), "hi"),
        (reply("d = {\"a\": {}}\nd[\"a\"][\"b\"] = \"c\"\nreturn d[\"a\"][\"b\"].upper()"), "hi"),
        (reply("d = {}\nd.setdefault(\"a\", []).append(1)\nreturn str(d[\"a\"][0] + 1)"), "hi"),
        (reply("x = None\nfor y in [\"a\", \"b\"]:\n    if x != None: return x.upper()\n    x = y"), "hi"),
        (reply("x = None\nif x != None: return x.upper()\nreturn text"), "hi"),
        (reply("x = 5\nif type(x) == \"string\": return x.upper()\nreturn text"), "hi"),
        (reply("x = 5\nif hasattr(x, \"upper\"): return x.upper()\nreturn text"), "hi"),
        (reply("return getattr(text, \"uper\", lambda: text)()"), "hi"),
        (reply("if False: return text.uper()\nreturn text"), "hi"),
        (reply("return text\nreturn text.uper()"), "hi"),
        (reply("return text if True else text.uper()"), "hi"),
        (reply("return str(int(text) + 1)"), "41"),
        (reply("return {\"a\": \"x\"}[text]"), "a"),
        (reply("if text != \"a\": fail(\"only a\")\nreturn text"), "a"),
        (reply("return text.split(\" \")[4]"), "a b c d e"),
        (reply("a, b = text.split(\"/\")\nreturn a"), "a/b"),
        (reply("return str(10 // int(text))"), "5"),
        (reply("text = text.split(\" \")\nreturn text[0].upper() + \" \".join(text[1:])"), "hi you"),
        (reply("x = (\"a\" if text else 5)\nreturn x.upper()"), "hi"),
        (reply("t = (1, \"a\")\nreturn t[1].upper()"), "hi"),
        (reply("x = [1, 2]\nfor i in range(2): x[i] = str(x[i])\nreturn \",\".join(x)"), "hi"),
        (
            reply(
                "parts = text.split(\",\")\nfor i in range(len(parts)): parts[i] = int(parts[i])\nreturn str(parts[0] - 1)",
            ),
            "5,6",
        ),
        (reply("return \"yes\" if text == 5 else \"no\""), "hi"),
        (reply("return \"yes\" if 5 in [text] or 5 in {\"a\": 1} else \"no\""), "hi"),
        (reply("return \"%s is %d\" % (text, 5)"), "hi"),
        (reply("return text * 2 + 2 * \"x\""), "hi"),
        (reply("return str([1] + [text]) + str((1,) + (text,)) + str({\"a\": 1} | {\"b\": text})"), "hi"),
        (reply("return str(1 + 2.5 - 3 * 2 // 1 % 5) + str(1 < 2.5)"), "hi"),
        (reply("return str(max(1, 2)) + str(sorted([\"b\", \"a\"], key = len, reverse = True))"), "hi"),
        (reply("return str(enumerate([\"a\"])[0][1].upper()) + str(zip([1], [\"a\"])[0][1].upper())"), "hi"),
        (reply("return [\"a\", \"b\"].pop().upper() + [\"a\"].pop(0)"), "hi"),
        (reply("return str([1, 2, 3].index(2, 0, 3)) + str([1].count)").replace(" + str([1].count)", ""), "hi"),
        (reply("s = struct(a = \"x\", b = [1])\nreturn s.a.upper() + str(s.b[0] + 1)"), "hi"),
        (reply("x = json.decode(\"{\\\"a\\\": [1]}\")\nreturn str(x[\"a\"][0] + 1)"), "hi"),
        (reply("s = set([1])\ns.add(\"a\")\nreturn \"yes\" if \"a\" in s else \"no\""), "hi"),
    ]);
}

#[test]
fn what_only_looks_wrong_is_accepted() {
    assert_accepted(&[
        (reply("f = lambda x: x + 1\nreturn str(f(1))"), "hi"),
        (reply("def f(x): return x + 1\nreturn str(f(1))"), "hi"),
        (reply("n = 0\nn += 1.5\nfor x in [1]: n += x\nreturn str(n)"), "hi"),
        (reply("return \"yes\" if \"x\" in conv.state else str(conv.state.items())"), "hi"),
        (reply("conv.state.cart = conv.state.get(\"cart\", []) + [text]\nconv.state.cart.append(1)"), "hi"),
        (
            reply(
                "if not conv.state.step:\n    conv.state.step = \"name\"\n    conv.state.items_ = []\nelse:\n    conv.state.items_.append(text)",
            ),
            "hi",
        ),
        (reply("x = [i for i in range(100000)]\nreturn str(len(x))"), "hi"),
        (reply("return conv.history[0].text if conv.history else text"), "hi"),
        (reply("return \",\".join([m for m in conv.messages] + [x for x in text.elems()])"), "hi"),
        (reply("return text.format(1, a = 2) + \"\".join(reversed([\"a\"]))"), "hi"),
        (reply("x = []\nreturn x[0] if x else text"), "hi"),
        (reply("for h in conv.history: text += h.role + h.text + h.at\nreturn text"), "hi"),
        (reply("for m in conv.messages + [\"a\"]: text += m.upper()\nreturn text"), "hi"),
        (
            reply(
                "for m in conv.media: text += m[\"url\"] + str(m.get(\"size\")) + str(m.get(\"bytes\", 0))\nreturn text",
            ),
            "hi",
        ),
        (reply("for m in conv.media:\n    m[\"size\"] = 1\n    text += str(m[\"size\"])\nreturn text"), "hi"),
        (reply("for m in conv.media:\n    if \"size\" in m: text += m[\"size\"]\nreturn text"), "hi"),
        (reply("conv.messages.append(struct(text = \"a\"))\nreturn conv.messages[-1].text"), "hi"),
        (reply("x = conv.messages\nx.append({\"a\": text})\nreturn conv.messages[-1][\"a\"]"), "hi"),
        (reply("def add(x): x.append(5)\nadd(conv.messages)\nreturn str(conv.messages[-1] - 1)"), "hi"),
        (reply("conv.messages[0] = 5\nreturn str(conv.messages[0] - 1)"), "hi"),
        (reply("for m in conv.messages:\n    if hasattr(m, \"text\"): m = m.text\nreturn text"), "hi"),
        (reply("for i in range(1000000000):\n    if i > 5: break\nreturn text"), "hi"),
        (reply("for i in range(1000000000):\n    if i > 5: return text"), "hi"),
        (reply("return str(len(range(1000000000)))"), "hi"),
        (reply("return text if 5 in range(1000000000) else \"\""), "hi"),
        (reply("return str(conv.state.get(\"n\", default = 3)) + str(conv.state.pop(\"m\", default = 4))"), "hi"),
        (reply("return conv.state.get(\"n\", default = text) + conv.state.pop(\"m\", text)"), "hi"),
        (reply("x = [[1, 2], [3, 4]]\nfor a, b in x: text += str(a + b)\nreturn text"), "hi"),
        (
            reply(
                "conv.language = None\nconv.language = \"de\"\nconv.send_sms(\"+14155550102\", \"MG0123456789abcdef0123456789abcdef\", text)",
            ),
            "hi",
        ),
    ]);
}

#[test]
fn a_whole_script_that_looks_wrong_and_works_is_accepted() {
    assert_accepted(&[
        (reply("if text == \"begin\": conv.state.cart = []\nconv.state.cart.append(text)"), "begin"),
        (reply("for i in range(1000000): pass\nreturn text"), "hi"),
        ("G = None\ndef reply(conv, text):\n    if G: return G.strip()\n    return text".to_owned(), "hi"),
        ("G = None\ndef reply(conv, text):\n    return G.strip() if G != None else text".to_owned(), "hi"),
        ("D = False\ndef reply(conv, text):\n    if D: text.uper()\n    return text".to_owned(), "hi"),
        ("N = 0\ndef reply(conv, text):\n    n = N\n    n += 1\n    return str(n)".to_owned(), "hi"),
        ("X = []\ndef add(x): X.append(x)\nadd(\"a\")\ndef reply(conv, text): return X[0]".to_owned(), "hi"),
        ("X = {\"a\": []}\ndef reply(conv, text):\n    x = dict(X)\n    x[\"b\"] = 1\n    return str(x)".to_owned(), "hi"),
        ("M = {\"pizza\": struct(price = 5)}\ndef reply(conv, text):\n    return str(M.get(text, \"none\").price)".to_owned(), "pizza"),
        ("M = {\"p%d\" % i: \"5\" for i in range(9)}\ndef reply(conv, text):\n    return \"Price \" + M.get(text, 0)".to_owned(), "p3"),
        ("H = {\"hi\": lambda c: \"x\"}\ndef reply(conv, text):\n    return H.get(text, lambda c, d: \"y\")(conv)".to_owned(), "hi"),
        ("def f(x: int): return x.upper()\ndef reply(conv, text: str) -> None: return f(text)".to_owned(), "hi"),
        ("def f(c): return c.stat\ndef reply(conv, text): return f(struct(stat = text)) if text else f(conv)".to_owned(), "hi"),
        ("def f(n): return \"x\" if n == 0 else f(n - 1)\ndef reply(conv, text): return f(len(text) % 5)".to_owned(), "hi"),
        ("def f(*args, **more): return str(args) + str(more)\ndef reply(conv, text): return f(1, text, a = 2)".to_owned(), "hi"),
        ("def f(a, b = 1, *, c = 2): return str(a) + str(b) + str(c)\ndef reply(conv, text): return f(text, c = 3) + f(*[1, 2])".to_owned(), "hi"),
        ("def reply(conv, text):\n    if text.isdigit(): return str(int(text) + 1)\n    return text".to_owned(), "hi"),
        ("def reply(conv, text):\n    f = {\"a\": str.upper}.get(text) if False else None\n    return text".to_owned(), "hi"),
        ("def reply(conv, text):\n    return text.strip().lower().replace(\"a\", \"b\", 1)[0:3]".to_owned(), "hi"),
    ]);
}

/// Each method of each type and each built-in function, with arguments of each type: what the types
/// refuse fails when it runs. The checker knows the interpreter's functions only from their
/// descriptions.
#[test]
fn no_call_of_a_function_of_the_language_is_refused_that_works() {
    let values = [
        "text",
        "\"a b\"",
        "5",
        "1.5",
        "True",
        "[\"a\", \"b\"]",
        "{\"a\": 1}",
        "(\"a\", 1)",
        "range(3)",
        "len",
        "struct(a = 1)",
        "set([1])",
    ];
    let mut calls: Vec<String> = Vec::new();
    let mut with_arguments = |called: &str| {
        calls.push(format!("{called}()"));
        for first in values {
            calls.push(format!("{called}({first})"));
            for second in ["text", "5", "[\"a\"]", "{\"a\": 1}"] {
                calls.push(format!("{called}({first}, {second})"));
            }
        }
        calls.extend(["5, 0, 1", "\"a\", 0, 2", "\"a\", \"b\", 1"].map(|three| format!("{called}({three})")));
    };
    for name in super::interpret::globals().names() {
        if !matches!(name.as_str(), "fail" | "True" | "False" | "None" | "json") {
            with_arguments(name.as_str());
        }
    }
    for value in ["text", "[\"a\", \"b\"]", "{\"a\": 1}", "set([1])"] {
        for method in methods_of(value) {
            with_arguments(&format!("{value}.{method}"));
        }
    }
    for left in values {
        for right in values {
            let operators =
                ["+", "-", "*", "/", "//", "%", "<", "<=", "==", "!=", "in", "and", "or", "&", "|", "^", "<<"];
            calls.extend(operators.map(|operator| format!("{left} {operator} {right}")));
            calls.push(format!("{left}[{right}]"));
        }
        calls.extend([format!("-{left}"), format!("+{left}"), format!("~{left}"), format!("{left}[0:1]")]);
        calls.extend([format!("[x for x in {left}]"), format!("{left}()")]);
    }
    assert!(calls.len() > 5000, "{}", calls.len());
    let works = |call: &&String| answer(&reply(&format!("x = {call}")), "a").is_ok();
    let refused = refused_by_values(&calls);
    assert!(refused.len() > 1000, "{}", refused.len());
    let wrong: Vec<&String> = refused.into_iter().filter(works).collect();
    assert_eq!(wrong, Vec::<&String>::new(), "these are refused, and work");
}

/// The methods of a value, as it is written.
fn methods_of(written: &str) -> Vec<String> {
    let source = format!("text = \"\"\nMETHODS = dir({written})\ndef reply(conv, text): return text");
    let script = Script::compile(&source).expect("compiled");
    let (methods, _) = script.module.get_any_visibility("METHODS").expect("a name");
    let names = ListRef::from_value(methods.value()).expect("a list");
    names.iter().map(|name| name.unpack_str().expect("a string").to_owned()).collect()
}

/// The expressions that are refused for their values, each in a script of some hundred of them.
fn refused_by_values(calls: &[String]) -> Vec<&String> {
    let refused_in = |calls: &'_ [String]| -> Vec<usize> {
        let lines: Vec<String> = calls.iter().map(|call| format!("    x = {call}\n")).collect();
        let source = format!("def reply(conv, text):\n{}", lines.concat());
        let checked = on_own_thread(move || {
            let script = Script::compile_here(&source, &Purpose::Answers)?;
            Ok(flow::faults_within(&source, &Purpose::Answers, &script, Duration::from_secs(600)))
        });
        checked.expect("checked").into_iter().map(|fault| fault.line - 2).collect()
    };
    calls.chunks(200).flat_map(|some| refused_in(some).into_iter().map(move |index| &some[index])).collect()
}
