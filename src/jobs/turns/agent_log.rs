//! Writes an agent's log lines to textback's log, with a limit for each line and each turn. Keeps the level of each
//! line.

use serde_json::Value;

use crate::agents::LogLine;
use crate::domain::bounds;

/// Writes the agent's lines in the span of its turn, until the turn's bytes are used up.
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
    fn a_turn_has_so_many_bytes_for_all_that_its_agent_logs() {
        let mut left = bounds::TURN_LOG_BYTES;
        write_log(&lines(3, 100), &mut left);
        assert_eq!(left, bounds::TURN_LOG_BYTES - 3 * 102, "a text and no fields");
        write_log(&lines(100, 100_000), &mut left);
        assert_eq!(left, 0, "the rest was left out");
    }
}
