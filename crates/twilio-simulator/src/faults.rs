//! Faults that a test plans, and how they change an answer.

use std::time::Duration;

use poem::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Simulator;
use crate::api::{Answer, ApiError};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The call is carried out, and answered with 500.
    AcceptThen500,
    /// The call is carried out, and answered after this many milliseconds.
    AcceptThenHang(u64),
    /// The call is carried out, and answered with JSON of another shape.
    AcceptThenGarbage,
    /// The call is not carried out, and answered with 500.
    Fail500,
    /// The call is not carried out, and answered with 429.
    TooManyRequests,
}

impl Fault {
    /// The refusal of a call that is not carried out.
    pub(crate) fn refusal(self) -> Option<ApiError> {
        match self {
            Self::Fail500 => Some(ApiError::internal()),
            Self::TooManyRequests => Some(ApiError::too_many_requests()),
            Self::AcceptThen500 | Self::AcceptThenHang(_) | Self::AcceptThenGarbage => None,
        }
    }

    /// What is answered instead, after the call was carried out.
    pub(crate) async fn spoil(self, answer: Answer) -> Answer {
        match self {
            Self::AcceptThen500 => Err(ApiError::internal()),
            Self::AcceptThenGarbage => {
                let created = matches!(answer, Ok((StatusCode::CREATED, _)));
                Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, json!(["garbage"])))
            }
            Self::AcceptThenHang(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                answer
            }
            Self::Fail500 | Self::TooManyRequests => answer,
        }
    }
}

/// Carries out a call about numbers or registrations, under the next fault that is planned for
/// them.
pub(crate) async fn with_number_fault(simulator: &Simulator, call: impl FnOnce() -> Answer) -> Answer {
    let fault = simulator.store.lock().number_faults.pop_front();
    let Some(fault) = fault else { return call() };
    match fault.refusal() {
        Some(refusal) => Err(refusal),
        None => {
            let answer = call();
            fault.spoil(answer).await
        }
    }
}
