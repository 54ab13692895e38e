//! Tests which texts are consent keywords.

use proptest::prelude::*;

use super::*;

#[test]
fn a_keyword_is_one_as_people_type_it() {
    for (body, keyword) in [
        ("STOP", Keyword::Stop),
        ("  stop\n", Keyword::Stop),
        ("Unsubscribe!", Keyword::Stop),
        ("quit ;", Keyword::Stop),
        ("optout", Keyword::Stop),
        ("UnStop.", Keyword::Start),
        ("yes", Keyword::Yes),
        ("Info?", Keyword::Help),
        // Invisible characters.
        ("STOP\u{200b}", Keyword::Stop),
        ("\u{feff}STOP", Keyword::Stop),
        ("S\u{200d}TO\u{ad}P", Keyword::Stop),
        ("STOP\u{fffc}", Keyword::Stop),
        ("\u{202a}STOP\u{202c}", Keyword::Stop),
        ("STOP\0", Keyword::Stop),
        ("\u{2800}stop\u{3000}", Keyword::Stop),
        // Compatible characters.
        ("ＳＴＯＰ", Keyword::Stop),
        ("ｓｔｏｐ！", Keyword::Stop),
        ("𝐒𝐓𝐎𝐏", Keyword::Stop),
        ("ⓢⓣⓞⓟ", Keyword::Stop),
        ("🅂🅃🄾🄿", Keyword::Stop),
        ("ſTOP", Keyword::Stop),
        ("quıt", Keyword::Stop),
        ("UNSUBSCRİBE", Keyword::Stop),
        ("S\u{336}T\u{336}O\u{336}P\u{336}", Keyword::Stop),
        // Phrases.
        ("STOP ALL", Keyword::Stop),
        ("stop  all!", Keyword::Stop),
        ("Opt out", Keyword::Stop),
        ("OPT-OUT", Keyword::Stop),
        ("opt_out", Keyword::Stop),
        ("opt\u{2011}out", Keyword::Stop),
        ("opt\u{a0}out", Keyword::Stop),
    ] {
        assert_eq!(Keyword::of(body), Some(keyword), "{body:?}");
    }
}

#[test]
fn quotes_brackets_and_marks_around_a_keyword_do_not_count() {
    for (body, keyword) in [
        ("“STOP”", Keyword::Stop),
        ("„Stop“", Keyword::Stop),
        ("'stop'", Keyword::Stop),
        ("`stop`", Keyword::Stop),
        ("«STOP»", Keyword::Stop),
        ("「stop」", Keyword::Stop),
        ("ʻSTOPʼ", Keyword::Stop),
        ("ˮstopˮ", Keyword::Stop),
        ("״STOP״", Keyword::Stop),
        ("﴾STOP﴿", Keyword::Stop),
        ("\u{2068}“STOP”\u{2069}", Keyword::Stop),
        ("(STOP)", Keyword::Stop),
        ("（ＳＴＯＰ）", Keyword::Stop),
        ("[“(STOP!)”].", Keyword::Stop),
        ("<stop>", Keyword::Stop),
        ("STOP!!", Keyword::Stop),
        ("stop.!", Keyword::Stop),
        ("STOP…", Keyword::Stop),
        ("...stop...", Keyword::Stop),
        ("¡STOP!", Keyword::Stop),
        ("*STOP*", Keyword::Stop),
        ("_stop_", Keyword::Stop),
        ("~~stop~~", Keyword::Stop),
        ("— STOP —", Keyword::Stop),
        ("/stop", Keyword::Stop),
        ("STOP。", Keyword::Stop),
        ("STOP 🛑", Keyword::Stop),
        ("🛑STOP🛑", Keyword::Stop),
        ("stop ✋🏽", Keyword::Stop),
        ("stop 🙅\u{200d}♀\u{fe0f}", Keyword::Stop),
        ("STOP!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!", Keyword::Stop),
        ("“START”", Keyword::Start),
        ("(help)", Keyword::Help),
        ("Yes 👍", Keyword::Yes),
    ] {
        assert_eq!(Keyword::of(body), Some(keyword), "{body:?}");
    }
}

#[test]
fn a_sentence_or_another_word_is_no_keyword() {
    for body in [
        "",
        " ",
        "!",
        "🛑",
        "\u{200b}",
        "stop please",
        "please stop",
        "st op",
        "S T O P",
        "S-T-O-P",
        "S.T.O.P",
        // Cyrillic and Greek letters.
        "ЅTOP",
        "STΟP",
        "stopp",
        "stöp",
        "STOP1",
        "1. STOP",
        "yes sir",
        "non-stop",
        "#stop",
        "＃stop",
        "@stop",
        "stop\nall of it",
        "opt out of this",
        "the end",
        "endе",
    ] {
        assert_eq!(Keyword::of(body), None, "{body:?}");
    }
}

#[test]
fn only_the_words_alone_are_known_to_the_carrier() {
    for (body, known_by) in [
        ("HELP", KnownBy::CarrierDefault),
        (" help\n", KnownBy::CarrierDefault),
        ("help!", KnownBy::Us),
        ("“STOP”", KnownBy::Us),
        ("ＳＴＯＰ", KnownBy::Us),
        ("stop all", KnownBy::Us),
    ] {
        let Reading::Keyword(found) = read(body) else { panic!("{body:?}") };
        assert_eq!(found.known_by, known_by, "{body:?}");
    }
}

#[test]
fn a_short_text_may_be_a_word_of_the_project_and_a_long_one_is_not_read() {
    for (body, reading) in [
        ("ARRET", Reading::MayBeOwnWord("arret".to_owned())),
        ("«ARRÊT» !", Reading::MayBeOwnWord("arrêt".to_owned())),
        ("Abmelden!", Reading::MayBeOwnWord("abmelden".to_owned())),
        ("ne  plus-recevoir", Reading::MayBeOwnWord("ne plus recevoir".to_owned())),
        ("Schluß", Reading::MayBeOwnWord("schluss".to_owned())),
        ("ΤΕΛΟΣ", Reading::MayBeOwnWord("τελοσ".to_owned())),
        ("τελος", Reading::MayBeOwnWord("τελοσ".to_owned())),
        ("İPTAL", Reading::MayBeOwnWord("iptal".to_owned())),
        ("रोकें", Reading::MayBeOwnWord("रोकें".to_owned())),
        ("停止。", Reading::MayBeOwnWord("停止".to_owned())),
        ("one two three four five", Reading::Text),
        (&"x".repeat(33), Reading::Text),
        (&"я".repeat(33), Reading::Text),
        (&"\u{200b}x".repeat(2000), Reading::Text),
    ] {
        assert_eq!(read(body), reading, "{body:?}");
    }
}

fn words(given: &[&str]) -> Vec<String> {
    given.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_projects_words_are_compared_as_the_others_are() {
    let own = OwnWords::new(&words(&["ARRÊT", "Baja", "no más"]), &words(&["ALTA"]), &words(&["Aide"])).expect("words");
    assert_eq!(own.opt_out, ["arrêt", "baja", "no más"], "they are kept as they are compared");
    for (text, keyword) in [
        ("arrêt", Some(Keyword::Stop)),
        ("ARRE\u{302}T !", Some(Keyword::Stop)),
        ("“BAJA”", Some(Keyword::Stop)),
        ("No más", Some(Keyword::Stop)),
        ("alta.", Some(Keyword::Start)),
        ("aide?", Some(Keyword::Help)),
        ("ARRET", Some(Keyword::Stop)),
        ("NO MAS!", Some(Keyword::Stop)),
        ("bäja", Some(Keyword::Stop)),
        ("áide", Some(Keyword::Help)),
        ("बाजा", None),
        ("baja por favor", None),
    ] {
        let found = match read(text) {
            Reading::MayBeOwnWord(word) => own.find(&word),
            Reading::Keyword(found) => Some(found),
            Reading::Text => None,
        };
        assert_eq!(found.map(|found| found.keyword), keyword, "{text:?}");
    }
}

#[test]
fn a_word_has_one_meaning_and_carriers_words_keep_theirs() {
    let none: &[&str] = &[];
    let many: Vec<String> = (0..21).map(|n| format!("word{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (opt_out, opt_in, help, told) in [
        (&["  "][..], none, none, "is no keyword"),
        (&["\u{200b}"], none, none, "is no keyword"),
        (&["!!!"], none, none, "is no keyword"),
        (&["#"], none, none, "is no keyword"),
        (&["a b c d e"], none, none, "is no keyword"),
        (none, &["HELP"], none, "of carriers"),
        (&["“Stop”"], none, none, "of carriers"),
        (none, &["yes"], none, "of carriers"),
        (&["Arret", "ARRET!"], none, none, "twice"),
        (&["baja"], &["BAJA"], none, "twice"),
        (&["no-mas"], none, &["no mas"], "twice"),
        (&many, none, none, "21 words"),
    ] {
        let fault = OwnWords::new(&words(opt_out), &words(opt_in), &words(help)).expect_err(told);
        assert!(fault.to_string().contains(told), "{fault}");
    }
}

fn decorations() -> impl Strategy<Value = String> {
    let mark = prop_oneof![
        proptest::sample::select(
            &["“", "”", "(", ")", "!", "…", "*", " ", "\n", "'", "«", "[", "🛑", "👍🏽", "—", "。", "~"][..]
        ),
        proptest::sample::select(&["\u{200b}", "\u{feff}", "\u{fe0f}", "\u{2800}", "\u{202e}", "\0"][..]),
    ];
    proptest::collection::vec(mark, 0..40).prop_map(|marks| marks.concat())
}

proptest! {
    #[test]
    fn what_stands_around_a_word_changes_nothing(
        before in decorations(),
        word in proptest::sample::select(&["STOP", "stop all", "Opt-Out", "ＱＵＩＴ", "yes", "please stop", "hello", "ЅTOP"][..]),
        after in decorations(),
    ) {
        prop_assert_eq!(Keyword::of(&format!("{before}{word}{after}")), Keyword::of(word));
    }

    #[test]
    fn a_word_is_compared_as_itself(text in ".{0,40}") {
        if let Reading::MayBeOwnWord(word) = read(&text) {
            prop_assert_eq!(read(&word), Reading::MayBeOwnWord(word));
        }
    }

    #[test]
    fn ascii_is_read_as_all_other_texts(text in "[ -~\t\n]{0,40}") {
        let core = text.trim_matches(is_mark);
        if core.chars().nth(MOST_READ).is_none() {
            let word = folded(core);
            let fits = (1..=MOST_CHARACTERS).contains(&word.chars().count()) && word.split(' ').count() <= MOST_WORDS;
            prop_assert_eq!(compared(&text).map(Cow::into_owned), fits.then_some(word));
        }
    }

    #[test]
    fn nothing_that_is_texted_panics(body: String) {
        let _ = read(&body);
    }
}
