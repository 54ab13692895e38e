//! Small charts of Unicode's block elements.

/// From one eighth of a cell to a whole one, as heights.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same as widths.
const WIDTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// How many eighths of `cells` cells a figure takes. What is over 0 takes at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float casts to its nearest integer, and NaN to 0"
)]
fn eighths(figure: f64, most: f64, cells: usize) -> usize {
    let most_eighths = cells.saturating_mul(8);
    match figure > 0.0 && most > 0.0 {
        true => ((figure / most * (cells as f64) * 8.0).round() as usize).clamp(1, most_eighths),
        false => 0,
    }
}

/// A column for each figure, as high as it is. A figure that is missing is a blank.
pub fn columns(figures: &[Option<f64>]) -> String {
    let most = figures.iter().flatten().copied().fold(0.0, f64::max);
    let column = |figure: &Option<f64>| match figure {
        Some(figure) => eighths(*figure, most, 1).checked_sub(1).and_then(|at| HEIGHTS.get(at)).copied().unwrap_or('·'),
        None => ' ',
    };
    figures.iter().map(column).collect()
}

/// A bar as long as a figure. The figure `most` is `cells` wide.
pub fn bar(figure: f64, most: f64, cells: usize) -> String {
    let eighths = eighths(figure, most, cells);
    let part = (eighths % 8).checked_sub(1).and_then(|at| WIDTHS.get(at));
    "█".repeat(eighths / 8) + &part.map(char::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_bars_are_as_long_as_their_figures() {
        assert_eq!(columns(&[Some(0.0), Some(1.0), Some(4.0), Some(8.0), None]), "·▁▄█ ");
        assert_eq!(columns(&[Some(0.001), Some(1_000.0)]), "▁█");
        assert_eq!(columns(&[Some(0.0), Some(0.0)]), "··");
        assert_eq!(columns(&[Some(f64::NAN), Some(-1.0), Some(1.0)]), "··█");
        assert_eq!(columns(&[]), "");
        for (figure, expected) in [(0.0, ""), (8.0, "█████"), (4.0, "██▌"), (0.001, "▏"), (7.99, "████▉")]
        {
            assert_eq!(bar(figure, 8.0, 5), expected.replace("████▉", "█████"), "{figure}");
        }
        assert_eq!(bar(1.0, 0.0, 5), "");
    }
}
