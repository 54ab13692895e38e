//! What requests to language models may use and cost. Limits are kept by counters in the database;
//! docs/decisions/047-model-budgets.md has the reasons.

use super::words::words;

words! {
    /// What became of a request to count what a model may use.
    pub enum ReservationOutcome {
        /// It is counted.
        Reserved = "reserved",
        /// The requests that run may reach the limit of the project's day, and may not.
        Busy = "busy",
        /// The session has reached its limit.
        SessionSpent = "session_spent",
        /// The project has reached its limit of the day.
        ProjectSpent = "project_spent",
    }
}

/// The greatest limit and the greatest price of an agent or a project.
pub const MOST: i64 = 1_000_000_000_000;

/// The most models with a price that a project may have.
pub const MOST_PRICES: usize = 100;

/// The tokens of a request to a model and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelTokens {
    /// All tokens of the request.
    pub prompt: i64,
    /// Those among them that the provider had cached.
    pub cached: i64,
    /// All tokens of the answer, thoughts among them.
    pub output: i64,
}

impl ModelTokens {
    /// All of them.
    pub const fn total(self) -> i64 {
        self.prompt.saturating_add(self.output)
    }
}

/// What a project pays for a million tokens of a model, in millionths of its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelPrice {
    pub input: i64,
    /// Without it, cached tokens cost as much as the others.
    pub cached_input: Option<i64>,
    pub output: i64,
}

impl ModelPrice {
    /// The cost of tokens in millionths of the currency, rounded up.
    pub fn cost(self, tokens: ModelTokens) -> i64 {
        let cached = tokens.cached.clamp(0, tokens.prompt.max(0));
        let parts = [
            (tokens.prompt - cached, self.input),
            (cached, self.cached_input.unwrap_or(self.input)),
            (tokens.output, self.output),
        ];
        let millionths: i128 =
            parts.iter().map(|(count, price)| i128::from((*count).max(0)) * i128::from(*price)).sum();
        i64::try_from((millionths + 999_999) / 1_000_000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cost_what_the_project_pays_rounded_up() {
        // $0.25 and $2 for a million tokens, and a tenth for cached ones.
        let small = ModelPrice { input: 250_000, cached_input: Some(25_000), output: 2_000_000 };
        let without = ModelPrice { cached_input: None, ..small };
        let free = ModelPrice { input: 0, cached_input: None, output: 0 };
        let tokens = |prompt, cached, output| ModelTokens { prompt, cached, output };
        for (price, used, cost) in [
            (small, tokens(0, 0, 0), 0),
            (small, tokens(1_000_000, 0, 1_000_000), 2_250_000),
            (small, tokens(1_000_000, 1_000_000, 0), 25_000),
            (small, tokens(4_000, 3_000, 100), 525),
            (without, tokens(4_000, 3_000, 100), 1_200),
            (small, tokens(1, 0, 0), 1),
            (small, tokens(1, 0, 1), 3),
            // What a server says may be wrong.
            (small, tokens(100, 1_000, 0), 3),
            (small, tokens(-5, -5, -5), 0),
            (free, tokens(9_000, 0, 9_000), 0),
            (ModelPrice { input: MOST, ..small }, tokens(i64::MAX, 0, 0), i64::MAX),
        ] {
            assert_eq!(price.cost(used), cost, "{used:?}");
        }
    }
}
