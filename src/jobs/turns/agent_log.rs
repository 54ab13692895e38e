//! Writes the log lines of an agent to the log of textback, with their levels. Each line and each turn has a limit.

use serde_json::Value;

use crate::agents::LogLine;
use crate::domain::bounds;

/// Writes log lines in the span of their turn. `left` is how many bytes the turn may still log; the lines that do not
/// fit are left out.
pub(crate) fn write_log(lines: &[LogLine], left: &mut usize) {
    for (n, LogLine { level, text, fields }) in lines.iter().enumerate() {
        let text = bounds::text(text, bounds::LOG_LINE_BYTES / 2);
        let printed = Value::from(fields.clone()).to_string();
        let fields = bounds::text(&printed, bounds::LOG_LINE_BYTES / 2);
        let Some(after) = left.checked_sub(text.len() + fields.len()) else {
            *left = 0;
            let lines = lines.len() - n;
            tracing::warn!(target: "textback::agents", lines, "the agent logs too much in one turn; the rest is left out");
            return;
        };
        *left = after;
        match level.as_str() {
            "error" => tracing::error!(target: "textback::agents", %fields, "{text}"),
            "warning" => tracing::warn!(target: "textback::agents", %fields, "{text}"),
            _ => tracing::info!(target: "textback::agents", %fields, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn lines(count: usize, bytes: usize) -> Vec<LogLine> {
        let line = LogLine { level: "info".to_owned(), text: "x".repeat(bytes), fields: Map::new() };
        vec![line; count]
    }

    #[test]
    fn the_log_lines_of_a_turn_share_one_limit() {
        let mut left = bounds::TURN_LOG_BYTES;
        write_log(&lines(3, 100), &mut left);
        assert_eq!(left, bounds::TURN_LOG_BYTES - 3 * 102, "a text and no fields");
        write_log(&lines(100, 100_000), &mut left);
        assert_eq!(left, 0, "the rest is left out");
    }
}
