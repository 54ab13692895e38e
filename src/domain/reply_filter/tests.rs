//! Tests of the whole filter: thoughts, markdown, links and phone numbers.

use proptest::prelude::*;

use super::*;

fn settings(markdown: Markdown, links: Links) -> FilterSettings {
    FilterSettings {
        markdown,
        links,
        allowed_link_hosts: vec!["acme.com".to_owned(), "xn--mnchen-3ya.de".to_owned()],
        allowed_phone_numbers: vec!["+14155550199".to_owned()],
    }
}

fn plain() -> ReplyFilter {
    ReplyFilter::new(&settings(Markdown::Plain, Links::Any))
}

fn listed(seen: &[&str]) -> ReplyFilter {
    let mut filter = ReplyFilter::new(&settings(Markdown::Plain, Links::Listed));
    seen.iter().for_each(|text| filter.saw(text));
    filter
}

#[test]
fn thoughts_go_first_and_markdown_only_where_it_is_not_kept() {
    let text = "<think>They *want*\n</think>\n\n**Pizza** at [ours](https://evil.com)";
    for (markdown, links, filtered, removed) in [
        (Markdown::Plain, Links::Any, "Pizza at ours (https://evil.com)", 0),
        (Markdown::Keep, Links::Any, "**Pizza** at [ours](https://evil.com)", 0),
        (Markdown::Plain, Links::Listed, "Pizza at ours", 1),
        (Markdown::Keep, Links::Listed, "**Pizza** at [ours]", 1),
    ] {
        let expected = Filtered { text: filtered.to_owned(), removed: Removed { links: removed, phone_numbers: 0 } };
        assert_eq!(ReplyFilter::new(&settings(markdown, links)).apply(text), expected);
    }
    assert_eq!(plain().apply("<think>nothing else").text, "");
    assert_eq!(plain().apply("```markdown\n# Menu\n**Pizza**\n```").text, "Menu\nPizza");
    assert_eq!(plain().apply("<**th**ink>they want").text, "", "a tag that comes of two halves");
}

#[test]
fn links_that_nobody_gave_are_removed() {
    for (text, left, links) in [
        ("Book at https://acme.com/book?id=1, please.", "Book at https://acme.com/book?id=1, please.", 0),
        ("www.acme.com, shop.acme.com/x and ACME.COM", "www.acme.com, shop.acme.com/x and ACME.COM", 0),
        ("https://münchen.de/a", "https://münchen.de/a", 0),
        ("https://acme.com:8443/a", "https://acme.com:8443/a", 0),
        ("Book at https://evil.com/book, please.", "Book at, please.", 1),
        ("Book here (https://evil.com).", "Book here.", 1),
        ("Book: www.evil.com/a or evil.com", "Book: or", 2),
        ("evil.de/x", "", 1),
        ("HTTP://EVIL.COM", "", 1),
        ("ftp://evil.com/x", "", 1),
        // They look like ours and lead elsewhere.
        ("https://acme.com@evil.com/", "", 1),
        ("https://evil.com\\@acme.com/", "", 1),
        ("https://acme.com.evil.com/", "", 1),
        ("https://evilacme.com/", "", 1),
        ("https://аcme.com/", "", 1),
        ("[https://acme.com](https://evil.com)", "https://acme.com", 1),
        ("[acme.com](https://evil.com)", "acme.com", 1),
        ("请看https://evil.com/x。谢谢", "请看。谢谢", 1),
        ("看acme.com/x", "看acme.com/x", 0),
        ("- https://evil.com/1\n- https://acme.com/2", "- https://acme.com/2", 1),
        ("\"https://evil.com\"acme.com/x", "acme.com/x", 1),
        // What only looks like a link.
        ("and/or e.g./i.e. 1.5/2 a.m./p.m. 24.12/25.12", "and/or e.g./i.e. 1.5/2 a.m./p.m. 24.12/25.12", 0),
        ("Write to me@evil.com or @evil.com", "Write to me@evil.com or @evil.com", 0),
        ("node.js, main.rs and Done.in a minute...ok", "node.js, main.rs and Done.in a minute...ok", 0),
        ("a://", "a://", 0),
    ] {
        let filtered = listed(&[]).apply(text);
        assert_eq!((filtered.text.as_str(), filtered.removed.links), (left, links), "{text:?}");
    }
}

#[test]
fn links_and_numbers_that_were_seen_stay() {
    let seen = ["Is https://bit.ly/abc?x=1 yours?", r#"{"url":"https://shop.example/7","tel":"+49 151 12345678"}"#];
    for (text, left) in [
        ("Yes: https://bit.ly/abc?x=1.", "Yes: https://bit.ly/abc?x=1."),
        ("Yes: http://www.bit.ly/abc?x=1", "Yes: http://www.bit.ly/abc?x=1"),
        ("Yes: bit.ly/abc?x=1", "Yes: bit.ly/abc?x=1"),
        ("Yes: https://bit.ly/abc?x=2", "Yes:"),
        ("Yes: https://bit.ly/ABC?x=1", "Yes:"),
        ("Yes: https://bit.ly/abc", "Yes:"),
        ("At https://shop.example", "At https://shop.example"),
        ("At https://shop.example/8", "At"),
        ("Call 0151 12345678", "Call 0151 12345678"),
        ("Call +49 (151) 123-45678", "Call +49 (151) 123-45678"),
        ("Call 0151 12345679 now", "Call now"),
        ("Call +1 415 555 0199 or (415) 555-0199", "Call +1 415 555 0199 or (415) 555-0199"),
        ("Call +1 415 555 0198 (24 h)", "Call (24 h)"),
        ("On 2026-03-04 at 10:30 for $1234567", "On 2026-03-04 at 10:30 for $1234567"),
        ("Call 911", "Call 911"),
    ] {
        let filtered = listed(&seen).apply(text);
        assert_eq!(filtered.text, left, "{text:?}");
        assert_eq!(filtered.removed.is_nothing(), text == left, "{text:?}");
    }
    assert_eq!(plain().apply("https://evil.com +14155550100").removed, Removed::default());
}

#[test]
fn how_much_was_removed_is_counted() {
    let filtered = listed(&[]).apply("a https://x.example/1 b https://x.example/2 c +14155550100 d");
    let removed = Removed { links: 2, phone_numbers: 1 };
    assert_eq!(filtered, Filtered { text: "a b c d".to_owned(), removed });
}

#[test]
fn an_allowed_host_is_a_name_and_nothing_else() {
    for (given, host) in [
        ("acme.com", Some("acme.com")),
        ("WWW.Acme.com", Some("acme.com")),
        ("münchen.de", Some("xn--mnchen-3ya.de")),
        ("shop.acme.com", Some("shop.acme.com")),
        ("", None),
        ("acme", None),
        ("*.acme.com", None),
        ("https://acme.com", None),
        ("acme.com/a", None),
        ("acme.com:443", None),
        ("me@acme.com", None),
        ("a cme.com", None),
        (".acme.com", None),
        ("acme..com", None),
        ("acme.com.", None),
        ("127.0.0.1", None),
        ("www.com", None),
    ] {
        assert_eq!(allowed_host(given).as_deref(), host, "{given:?}");
    }
}

/// Texts of marks, tags, links and numbers in any order.
const HOSTILE: &str = "(<think>|</think>|<th|ink>|[*_~`#>|()\"'+]|\\*\\*|```|\\[|\\]\\(|https://|www\\.|evil\\.com|acme\\.com|/|@|555|0101|-|:|\n|a|b| |1\\.|!|<|é|字|\u{200b}){0,24}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn filtered_again_a_text_stays_the_same(text in HOSTILE) {
        for filter in [plain(), listed(&["https://seen.example/x 555-0102"])] {
            let once = filter.apply(&text).text;
            prop_assert_eq!(&filter.apply(&once).text, &once, "{:?}", text);
            prop_assert!(once.chars().count() <= text.chars().count(), "{:?}", once);
        }
    }

    #[test]
    fn no_link_is_left_that_nobody_gave(text in HOSTILE) {
        let filtered = listed(&[]).apply(&text).text;
        for link in links::links(&filtered) {
            let host = link.target.map(|target| target.host);
            prop_assert!(host.as_deref().is_some_and(|host| host.ends_with("acme.com")), "{:?}", filtered);
        }
    }

    #[test]
    fn any_text_is_filtered(text: String) {
        let once = listed(&[&text]).apply(&text);
        prop_assert_eq!(once.removed.links, links::links(&text).iter().filter(|link| link.target.is_none()).count());
        let keep = ReplyFilter::new(&settings(Markdown::Keep, Links::Listed)).apply(&text).text;
        prop_assert!(keep.len() <= text.len());
    }
}
