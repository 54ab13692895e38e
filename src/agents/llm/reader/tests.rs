//! Tests the reader with the forms that compatible servers give.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The answer whose message and finish reason are these.
fn answer(message: Value, finish: Value) -> Completion {
    let body = json!({"choices": [{"message": message, "finish_reason": finish}]});
    read(body.to_string().as_bytes(), "call_t_0").expect("an answer")
}

fn call(id: &str, name: &str, arguments: Value) -> ModelCall {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    ModelCall { id: id.to_owned(), name: name.to_owned(), arguments: Ok(arguments) }
}

#[test]
fn texts_are_read_in_each_form_that_servers_give() {
    for (content, text) in [
        (json!("Hi"), "Hi"),
        (json!("  Hi\n"), "Hi"),
        (json!(null), ""),
        (json!([{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]), "Hi there"),
        (json!(["Hi"]), "Hi"),
        (json!("<think>a greeting</think>Hi"), "Hi"),
        (json!({"odd": 1}), ""),
    ] {
        assert_eq!(answer(json!({"role": "assistant", "content": content}), json!("stop")).text, text, "{content}");
    }
    assert_eq!(answer(json!({}), json!(null)).text, "");
    let thought = answer(json!({"content": null, "reasoning_content": "They greet me."}), json!("stop"));
    assert_eq!(thought.text, "", "a thought is no answer");
}

#[test]
fn calls_are_read_whatever_the_finish_reason_is() {
    let wanted = call("c1", "book", json!({"day": "Monday"}));
    for finish in [json!("tool_calls"), json!("stop"), json!(""), json!("eos"), json!(null)] {
        let message = json!({"tool_calls": [{"id": "c1", "type": "function",
            "function": {"name": "book", "arguments": "{\"day\":\"Monday\"}"}}]});
        assert_eq!(answer(message, finish.clone()).calls, std::slice::from_ref(&wanted), "{finish}");
    }
}

#[test]
fn arguments_are_read_in_each_form_that_servers_give() {
    let wanted = json!({"day": "Monday"});
    for arguments in [
        json!("{\"day\":\"Monday\"}"),
        json!("\"{\\\"day\\\":\\\"Monday\\\"}\""),
        json!({"day": "Monday"}),
        json!({"name": "book", "arguments": {"day": "Monday"}}),
        json!("{\"name\":\"book\",\"parameters\":{\"day\":\"Monday\"}}"),
    ] {
        let read =
            answer(json!({"tool_calls": [{"function": {"name": "book", "arguments": arguments}}]}), json!("stop"));
        assert_eq!(read.calls, [call("call_t_0_0", "book", wanted.clone())], "{arguments}");
    }
    for (arguments, wanted) in [(json!(""), json!({})), (json!(null), json!({})), (json!({}), json!({}))] {
        let read =
            answer(json!({"tool_calls": [{"function": {"name": "now", "arguments": arguments}}]}), json!("stop"));
        assert_eq!(read.calls, [call("call_t_0_0", "now", wanted)], "{arguments}");
    }
    for arguments in [json!("{\"day\":"), json!("[1]"), json!(7), json!("Monday")] {
        let read =
            answer(json!({"tool_calls": [{"function": {"name": "book", "arguments": arguments}}]}), json!("stop"));
        let told = read.calls.first().map(|call| call.arguments.clone());
        assert!(
            matches!(&told, Some(Err(what)) if what.contains("the arguments are no JSON")),
            "{arguments}: {told:?}"
        );
    }
}

#[test]
fn calls_of_other_forms_are_read() {
    let old = answer(json!({"function_call": {"name": "book", "arguments": "{}"}}), json!("function_call"));
    assert_eq!(old.calls, [call("call_t_0_0", "book", json!({}))]);
    let flat = answer(json!({"tool_calls": [{"index": 0, "name": "book", "arguments": {}}]}), json!("stop"));
    assert_eq!(flat.calls, [call("call_t_0_0", "book", json!({}))]);
    for text in [
        "<tool_call>{\"name\": \"book\", \"arguments\": {\"day\": \"Monday\"}}</tool_call>",
        "<tool_call>\n{\"name\": \"book\", \"arguments\": {\"day\": \"Monday\"}}",
    ] {
        let read = answer(json!({"content": format!("One moment. {text}")}), json!("stop"));
        assert_eq!(read.calls, [call("call_t_0_0", "book", json!({"day": "Monday"}))], "{text}");
        assert_eq!(read.text, "One moment.");
    }
    let prose = answer(json!({"content": "Write <tool_call> before it."}), json!("stop"));
    assert_eq!((prose.calls.len(), prose.text.as_str()), (0, "Write <tool_call> before it."));
    let nameless = answer(json!({"content": "Hi", "tool_calls": [{"function": {"arguments": "{}"}}]}), json!("stop"));
    assert_eq!((nameless.calls.len(), nameless.message.get("tool_calls")), (0, None));
}

#[test]
fn reasons_usage_and_refusals_are_read_or_left() {
    for (reason, finish) in [
        (json!("stop"), Finish::Done),
        (json!("length"), Finish::Length),
        (json!("content_filter"), Finish::Filtered),
        (json!("eos_token"), Finish::Done),
        (json!(7), Finish::Done),
    ] {
        assert_eq!(answer(json!({"content": "Hi"}), reason.clone()).finish, finish, "{reason}");
    }
    for (refusal, refuses) in [(json!(null), false), (json!(""), false), (json!("I can't help with that."), true)] {
        assert_eq!(answer(json!({"refusal": refusal}), json!("stop")).refuses, refuses, "{refusal}");
    }
    let usage = |usage: Value| {
        let body = json!({"choices": [{"message": {"content": "Hi"}}], "usage": usage, "service_tier": "on_demand"});
        read(body.to_string().as_bytes(), "c").expect("an answer").usage
    };
    let told = usage(json!({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3}}));
    assert_eq!(told, Usage { prompt: Some(9), cached: Some(8), output: Some(4), reasoning: Some(3) });
    for untold in [json!({}), json!(null), json!("none"), json!({"prompt_tokens": "9"}), json!({"prompt_tokens": -1})] {
        assert_eq!(usage(untold.clone()), Usage::default(), "{untold}");
    }
}

#[test]
fn a_message_can_be_sent_back_to_every_server() {
    let came = json!({"role": "assistant", "content": null, "reasoning_content": "I look it up.",
        "tool_calls": [{"index": 0, "function": {"name": "book", "arguments": {"day": "Monday"}},
            "extra_content": {"google": {"thought_signature": "abc"}}}, {"function": {"name": "now", "arguments": "{"}}]});
    let sent = answer(came, json!("tool_calls")).message;
    assert_eq!(sent["reasoning_content"], "I look it up.");
    assert_eq!(
        sent["tool_calls"],
        json!([
            {"index": 0, "id": "call_t_0_0", "type": "function",
                "function": {"name": "book", "arguments": "{\"day\":\"Monday\"}"},
                "extra_content": {"google": {"thought_signature": "abc"}}},
            {"id": "call_t_0_1", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ])
    );
}

#[test]
fn what_is_no_answer_is_told() {
    for (body, what) in [
        ("<html>", "no JSON"),
        ("", "no JSON"),
        ("{}", "without choices"),
        ("[]", "without choices"),
        ("{\"choices\": []}", "without choices"),
        ("{\"choices\": [{}]}", "without a message"),
        ("{\"choices\": [{\"message\": \"Hi\"}]}", "without a message"),
        ("{\"error\": {\"message\": \"overloaded\"}}", "an error with the status of a success"),
    ] {
        assert!(read(body.as_bytes(), "c").is_err_and(|told| told.contains(what)), "{body}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(body in ".{0,200}") {
        let _ = read(body.as_bytes(), "c");
    }

    #[test]
    fn any_arguments_are_read_or_told(arguments in ".{0,80}") {
        let message = json!({"tool_calls": [{"function": {"name": "book", "arguments": arguments}}]});
        let read = answer(message, json!("stop"));
        prop_assert_eq!(read.calls.len(), 1);
        let sent = read.message["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned);
        prop_assert!(sent.is_some_and(|sent| serde_json::from_str::<Map<String, Value>>(&sent).is_ok()));
    }
}
