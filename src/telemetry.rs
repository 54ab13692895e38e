//! Sets up logging, metrics and traces.

mod filter;
mod json_lines;
mod masking;
pub mod metrics;
pub mod traces;

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;

use crate::domain::bounds;
pub use masking::masked;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// Starts logging to stderr, filtered by `RUST_LOG`. A panic is logged like any other error.
pub fn log(format: LogFormat) {
    let ansi = std::io::stderr().is_terminal() && format == LogFormat::Text;
    // In tests, a second subscriber of the same process is refused. That is harmless.
    let given = std::env::var("RUST_LOG").ok();
    let (filter, mistake) = filter::of(given.as_deref());
    if tracing::subscriber::set_global_default(subscriber(filter, format, ansi, std::io::stderr)).is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
    }
    if let Some(mistake) = mistake {
        tracing::warn!(error = %mistake, "the variable RUST_LOG was not understood");
    }
}

fn subscriber<W>(filter: EnvFilter, format: LogFormat, ansi: bool, to: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines { format, ansi, to }).with_ansi(ansi);
    match format {
        LogFormat::Text => Box::new(subscriber.with_target(false).finish()),
        LogFormat::Json => {
            Box::new(subscriber.fmt_fields(JsonFields::new()).event_format(json_lines::JsonLines).finish())
        }
    }
}

/// The writer of log lines. It limits each line, keeps it one line, and masks phone numbers in it.
/// Every field of every line goes through it.
struct Lines<W> {
    format: LogFormat,
    ansi: bool,
    to: W,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Lines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Line { format: self.format, ansi: self.ansi, to: self.to.make_writer() }
    }
}

/// The writer of one line. tracing-subscriber writes the whole line in one call.
struct Line<W> {
    format: LogFormat,
    ansi: bool,
    to: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let kept = match self.format {
            LogFormat::Text => text_line(text, self.ansi),
            LogFormat::Json => json_line(text),
        };
        let mut kept = masking::without_numbers(kept).into_owned();
        kept.push('\n');
        self.to.write_all(kept.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// The longest line in bytes, without its line end.
const LINE_BYTES: usize = bounds::LOG_LINE_BYTES - 1;

/// A text as one line for a terminal. Input may contain line ends and characters that move the
/// cursor.
pub fn one_line(text: &str) -> Cow<'_, str> {
    text_line(text, false)
}

/// The formatter's colour codes: plain, bold, dim, italic, and a colour for each level. The
/// formatter does not escape all field contents, so no other escape sequence is let through.
const COLOURS: [&str; 9] = [
    "\u{1b}[0m",
    "\u{1b}[1m",
    "\u{1b}[2m",
    "\u{1b}[3m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[33m",
    "\u{1b}[34m",
    "\u{1b}[35m",
];

/// Whether a terminal would act on a character or show nothing of it: control characters, line and
/// paragraph separators, and Unicode's format characters (Cf), which reverse the direction of text
/// or hide letters.
fn controls(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Escapes these characters in a line of text, so that no field can start a new line, move the
/// cursor of a terminal or reverse the text after it.
fn text_line(line: &str, ansi: bool) -> Cow<'_, str> {
    if line.len() <= LINE_BYTES && !line.contains(controls) {
        return Cow::Borrowed(line);
    }
    let mut kept = String::new();
    let mut rest = line;
    while let Some(letter) = rest.chars().next() {
        let colour = COLOURS.iter().find(|colour| ansi && letter == '\u{1b}' && rest.starts_with(**colour));
        match colour {
            Some(colour) => kept.push_str(colour),
            None if controls(letter) => kept.extend(letter.escape_default()),
            None => kept.push(letter),
        }
        if kept.len() > LINE_BYTES {
            break;
        }
        rest = rest.get(colour.map_or(letter.len_utf8(), |colour| colour.len())..).unwrap_or_default();
    }
    Cow::Owned(bounds::text(&kept, LINE_BYTES).into_owned())
}

/// A line of JSON, which needs no escapes of ours. In a line that is too long, the texts are cut
/// until it fits, and the line states its original length.
fn json_line(line: &str) -> Cow<'_, str> {
    if line.len() <= LINE_BYTES {
        return Cow::Borrowed(line);
    }
    let mut kept: Value = serde_json::from_str(line).unwrap_or_default();
    if let Value::Object(fields) = &mut kept {
        fields.insert("cut_from_bytes".to_owned(), line.len().into());
    }
    for most in [1000, 500, 200, 100, 40] {
        shorten(&mut kept, most);
        let printed = kept.to_string();
        if printed.len() <= LINE_BYTES {
            return Cow::Owned(printed);
        }
    }
    let head = |name: &str| kept.get(name).cloned().unwrap_or_default();
    Cow::Owned(
        json!({"timestamp": head("timestamp"), "level": head("level"), "message": head("message"), "cut_from_bytes": line.len()})
            .to_string(),
    )
}

fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => *text = bounds::text(text, most).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, most)),
        Value::Object(fields) => fields.values_mut().for_each(|item| shorten(item, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, ansi: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let to = kept.clone();
        tracing::subscriber::with_default(subscriber(filter::of(None).0, format, ansi, move || to.clone()), log);
        let bytes = kept.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn log_what_a_tenant_chose() {
        let forged = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{2028}\u{85}\u{1b}[2J";
        let span = tracing::info_span!("turn.take", note = forged);
        let _in = span.enter();
        tracing::error!(error = forged, fields = %forged, debugged = ?forged, "{forged}");
        tracing::error!(error = "é".repeat(500_000), "long");
        tracing::error!("{}", "\n".repeat(500_000));
    }

    #[test]
    fn no_field_begins_a_line_of_its_own_or_makes_one_long() {
        for ansi in [false, true] {
            let text = logged(LogFormat::Text, ansi, log_what_a_tenant_chose);
            assert_eq!(text.split(['\n', '\r', '\u{2028}', '\u{85}']).count(), 4, "{text:?}");
            assert!(text.lines().all(|line| line.len() < bounds::LOG_LINE_BYTES), "{text:?}");
            assert!(text.contains("x\\n2026") && !text.contains("\u{1b}[2J"), "{text:?}");
        }
    }

    #[test]
    fn no_field_turns_or_hides_the_letters_of_a_text_line() {
        let turns = "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}";
        let hides = "\u{ad}\u{200b}\u{200c}\u{200d}\u{2060}\u{2064}\u{206f}\u{feff}\u{180e}\u{fff9}\u{e0001}\u{e0041}";
        for ansi in [false, true] {
            let text =
                logged(LogFormat::Text, ansi, || tracing::error!(error = turns, fields = %hides, "{turns}{hides}"));
            for letter in turns.chars().chain(hides.chars()) {
                assert!(
                    !text.contains(letter) && text.contains(&letter.escape_unicode().to_string()),
                    "{letter:?}: {text:?}"
                );
            }
        }
        assert_eq!(one_line("äöü 漢字 🙂 עברית"), "äöü 漢字 🙂 עברית");
    }

    #[test]
    fn json_lines_are_bounded_and_stay_json() {
        let lines = logged(LogFormat::Json, false, log_what_a_tenant_chose);
        let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(read.len(), 3);
        assert!(lines.lines().all(|line| line.len() < bounds::LOG_LINE_BYTES));
        assert_eq!(read[1]["message"], "long");
        assert!(read[1]["cut_from_bytes"].as_u64().is_some_and(|bytes| bytes > 1_000_000), "{}", read[1]);
    }

    #[test]
    fn a_json_line_with_too_many_fields_keeps_its_head() {
        let mut fields =
            serde_json::Map::from_iter([("message".to_owned(), json!("m")), ("level".to_owned(), json!("INFO"))]);
        fields.extend((0..500).map(|n| (format!("field_{n}"), json!("value"))));
        let line = json_line(&Value::from(fields).to_string()).into_owned();
        assert!(line.len() <= LINE_BYTES && line.contains("\"INFO\""), "{line}");
    }
}
