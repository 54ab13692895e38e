//! What is a mark of markdown, and what is only a character.

use proptest::prelude::*;

use super::*;

#[test]
fn marks_are_taken_out() {
    for (text, plain) in [
        ("**Open** until *5*", "Open until 5"),
        ("__Open__ until _five_", "Open until five"),
        ("***Open*** and ~~closed~~", "Open and closed"),
        ("**API**s and **5**€", "APIs and 5€"),
        ("**Name:** Ada", "Name: Ada"),
        ("请**注意**安全", "请注意安全"),
        ("**🎉**", "🎉"),
        ("# Menu\nPizza", "Menu\nPizza"),
        ("## Menu ##\n\nPizza", "Menu\n\nPizza"),
        ("Hi\n\n### C# ###\nx", "Hi\n\nC#\nx"),
        ("# **Menu**\nPizza", "Menu\nPizza"),
        ("# # a\nb", "a\nb"),
        ("* a\n* b", "- a\n- b"),
        ("Hi:\n* a\n  * b\n* c\n", "Hi:\n- a\n  - b\n- c\n"),
        ("* **a**\n\n* b", "- a\n\n- b"),
        ("- a\n- *b*", "- a\n- b"),
        ("1. *a*\n1. b", "1. a\n1. b"),
        ("call `reply()` now", "call reply() now"),
        ("`` a`b ``", "a`b"),
        ("```py\nx = 1\n```\nok", "x = 1\nok"),
        ("ok\n\n```\n  x\n```", "ok\n\n  x"),
        ("```\nx", "x"),
        // The filter flattens what is left once more.
        ("```markdown\n# a\n**b**\n```", "# a\n**b**"),
        ("> quoted *words*\n> and more\n\nok", "quoted words\nand more\n\nok"),
        ("> > twice\n>\n> once", "twice\n\nonce"),
        ("[menu](https://x.y/m)", "menu (https://x.y/m)"),
        ("see [the *menu*](https://x.y/m \"ours\").", "see the menu (https://x.y/m)."),
        ("[https://x.y/m](https://x.y/m)", "https://x.y/m"),
        ("[x.y](https://x.y/)", "https://x.y/"),
        ("[](https://x.y)", "https://x.y"),
        ("[mail](mailto:a@x.y) or [call](tel:+14155550101)", "mail (a@x.y) or call (+14155550101)"),
        ("<https://x.y> <a@x.y>", "https://x.y a@x.y"),
        ("![our cat](https://x.y/c.png)", "our cat (https://x.y/c.png)"),
        ("![](https://x.y/c.png)", "https://x.y/c.png"),
        ("[![cat](https://x.y/c.png)](https://x.y)", "cat (https://x.y/c.png) (https://x.y)"),
        ("[a](https://x.y/_b_*c*)", "a (https://x.y/_b_*c*)"),
        ("**https://x.y/a_b_c**", "https://x.y/a_b_c"),
        ("| a | b |\n|---|--:|\n| **c** | d |\n\nok", "a | b\nc | d\n\nok"),
        ("| long name  | b |\n|------------|---|\n| c          |   |", "long name | b\nc"),
        ("a|b\n-|-", "a|b"),
        ("Hi\n\n| a |\n|---|\n| b |", "Hi\n\na\nb"),
    ] {
        assert_eq!(flatten(text), plain, "{text:?}");
    }
}

#[test]
fn plain_text_stays_byte_for_byte_as_it_is() {
    for text in [
        "",
        "*",
        "a * b",
        "a * b * c",
        "2*3*4",
        "2**3**4",
        "5*3 and 4*2",
        "* with cheese",
        "Pizza 9*\n\n* with cheese",
        "** sale **",
        "*_* ^_^ -_- >_< *.* T_T o_O",
        "snake_case_name and _id",
        "\\_o_/",
        "¯\\_(ツ)_/¯",
        "1. maj",
        "1. a\n3. b",
        "1) a\n2) b",
        "- a\n- b",
        "-a\n--b\n---\nc\n-",
        "Hello\n-\nBob",
        "Menu\n====\nPizza",
        "+ 5 EUR\n+ 3 EUR",
        "#",
        "# 5 please",
        "#5\nplease",
        "#hashtag\n#other",
        ":-) :) >:( 8-) :'( <3 </3 :*",
        ">:( never\nagain",
        "> 5 pieces\n> 9 pieces",
        ">>> sale",
        "5 < 6 > 3 && 7 <> 8",
        "R&amp;D &lt;b&gt; &#39;",
        "  two\n    four\n\tone",
        "a\n\n\n\nb  \nc\\\nd",
        "http://x.y/a_b_c http://x.y/_a_/b https://x.y/*a*/b",
        "$5, $6 and 7$",
        "~5 min or ~10 min~",
        "~~~ SALE ~~~",
        "rock `n roll",
        "``",
        "[x] done [ ] open [1]",
        "a[i](j) and f(x)[0]",
        "[menu] (https://x.y)",
        "see the [menu][1]\n\n[1]: https://x.y",
        "a | b\nc | d",
        "| a |",
        "<b>bold</b> <br>",
        "C:\\dir\\*.txt",
        "f(*args, **kwargs)",
        "\r\na\r\n",
        "Q: **?",
        // Without its marks, code would be read as markdown.
        "set `__init__` or `*a*`",
        "```py\n# a comment\nx = 1\n```",
    ] {
        assert_eq!(flatten(text), text);
    }
}

#[test]
fn marks_of_a_code_without_an_end_take_no_time() {
    for text in ["`".repeat(20_000), "[".repeat(20_000), "*a ".repeat(20_000), "> ".repeat(2_000), "![".repeat(20_000)]
    {
        let began = std::time::Instant::now();
        flatten(&text);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", text.get(..4));
    }
}

/// Text with punctuation and with marks that stand alone: each at most once, or between blanks.
fn plain() -> impl Strategy<Value = String> {
    let words = "[A-Za-z0-9äß字🎉.,;:!?'\"()/&$%@= -]{0,12}";
    let lone = prop_oneof![
        Just(" * "),
        Just(" _ "),
        Just(" ~ "),
        Just("a # "),
        Just("\n"),
        Just("\n\n"),
        Just("a > "),
        Just(" < "),
        Just(" | "),
        Just(" + "),
        Just("-"),
        Just("a_b"),
        Just("2*3"),
        Just(" ** ")
    ];
    proptest::collection::vec((words, lone), 0..8)
        .prop_map(|parts| parts.into_iter().map(|(words, lone)| format!("{words}{lone}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn text_without_pairs_of_marks_stays_as_it_is(text in plain()) {
        prop_assert_eq!(flatten(&text), text.as_str());
    }

    #[test]
    fn no_text_gets_longer(text in "([*_~`#>|]|\\*\\*|```|\\[|\\]\\(|\\)|https://x\\.y|-|\n|a|b| |1\\.|!|<|é){0,24}") {
        let plain = flatten(&text);
        prop_assert!(plain.chars().count() <= text.chars().count(), "{:?}", plain);
    }

    #[test]
    fn any_text_is_read(text: String) {
        prop_assert!(flatten(&text).chars().count() <= text.chars().count());
    }
}
