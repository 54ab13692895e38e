//! Where the steps of a message's flow are in a trace. The ids of traces and spans are made of the
//! ids of rows, so each process finds the span before its own without anything that is stored or
//! handed on for it.

use uuid::Uuid;

/// Where a span is: its trace and its own id, both as OpenTelemetry defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

impl TraceContext {
    fn of(trace: Uuid, row: Uuid, step: &str, attempt: i32) -> Self {
        Self { trace_id: *trace.as_bytes(), span_id: span_id(row, step, attempt) }
    }

    /// The webhook or another request that brought something, in a trace. `request` is an id of
    /// this request alone.
    pub fn of_request(trace: Uuid, request: Uuid) -> Self {
        Self::of(trace, request, "request", 0)
    }

    /// The request to the API that made a message. It begins the trace of the message.
    pub fn of_api_send(message_id: Uuid) -> Self {
        Self::of(message_id, message_id, "send", 0)
    }

    /// The storing of an inbound message.
    pub fn of_ingest(message_id: Uuid) -> Self {
        Self::of(message_id, message_id, "ingest", 0)
    }

    /// An attempt of a turn. A turn has the id of the first message that it answers, so it is in
    /// the trace of that message.
    pub fn of_turn(turn_id: Uuid, attempt: i32) -> Self {
        Self::of(turn_id, turn_id, "turn", attempt)
    }

    /// A call of the agent in an attempt of a turn: of its `start` or its `reply`.
    pub fn of_agent_call(turn_id: Uuid, function: &str, attempt: i32) -> Self {
        Self::of(turn_id, turn_id, function, attempt)
    }

    /// The settling of a turn, which happens once.
    pub fn of_settling(turn_id: Uuid) -> Self {
        Self::of(turn_id, turn_id, "settle", 0)
    }

    /// The attempt of a delivery that the carrier accepted. Without a turn the delivery begins the
    /// trace of its message.
    pub fn of_accepted_delivery(message_id: Uuid, turn_id: Option<Uuid>) -> Self {
        Self::of(turn_id.unwrap_or(message_id), message_id, "delivery", 0)
    }

    /// Another attempt of a delivery.
    pub fn of_delivery(message_id: Uuid, turn_id: Option<Uuid>, attempt: i32) -> Self {
        Self::of(turn_id.unwrap_or(message_id), message_id, "delivery", attempt)
    }

    /// The header `traceparent` of a call within the span (W3C Trace Context).
    pub fn traceparent(&self, is_sampled: bool) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("00-{}-{}-{:02x}", hex(&self.trace_id), hex(&self.span_id), u8::from(is_sampled))
    }

    /// Whether the trace is among the share of traces that are kept. Each process decides the same.
    pub fn is_within(&self, share: f64) -> bool {
        let [.., a, b, c, d, e, f, g, h] = self.trace_id;
        // Ids of one millisecond differ in few bits.
        let number = mixed(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        // 53 bits are what a floating-point number holds.
        #[expect(clippy::cast_precision_loss, reason = "both have at most 53 bits")]
        let position = (number >> 11) as f64 / (1_u64 << 53) as f64;
        position < share
    }
}

/// The id of a span: a hash of what it is about. It is never zero, which would be no id.
fn span_id(row: Uuid, step: &str, attempt: i32) -> [u8; 8] {
    // FNV-1a, since the hash must be the same in each process of each version.
    let bytes =
        row.as_bytes().iter().chain(step.as_bytes()).chain(&attempt.to_be_bytes()).copied().collect::<Vec<u8>>();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed(hash).max(1).to_be_bytes()
}

/// Spreads a number over all its bits (the finalizer of SplitMix64).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ids() -> impl Iterator<Item = Uuid> {
        let first = 0x0198_3c5e_0000_7000_8000_0000_0000_0000_u128;
        (0..20_000_u128).map(move |n| Uuid::from_u128(first + (n << 32)))
    }

    #[test]
    fn each_step_has_a_span_of_its_own_in_the_trace_of_the_turn() {
        let (turn_id, reply) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let contexts = [
            TraceContext::of_request(turn_id, Uuid::from_u128(9)),
            TraceContext::of_ingest(turn_id),
            TraceContext::of_turn(turn_id, 1),
            TraceContext::of_turn(turn_id, 2),
            TraceContext::of_agent_call(turn_id, "start", 1),
            TraceContext::of_agent_call(turn_id, "reply", 1),
            TraceContext::of_settling(turn_id),
            TraceContext::of_accepted_delivery(reply, Some(turn_id)),
            TraceContext::of_delivery(reply, Some(turn_id), 1),
        ];
        assert!(contexts.iter().all(|context| context.trace_id == *turn_id.as_bytes()));
        let spans: HashSet<[u8; 8]> = contexts.iter().map(|context| context.span_id).collect();
        assert_eq!(spans.len(), contexts.len());
        assert_eq!(TraceContext::of_delivery(reply, None, 1).trace_id, *reply.as_bytes());
        assert_eq!(TraceContext::of_api_send(reply).trace_id, *reply.as_bytes());
    }

    #[test]
    fn a_span_has_the_same_id_in_each_version() {
        let context = TraceContext::of_ingest(Uuid::from_u128(0x0198_3c5e_0000_7000_8000_0000_0000_0001));
        assert_eq!(context.traceparent(true), "00-01983c5e000070008000000000000001-d2de30683dad991e-01");
        assert!(context.traceparent(false).ends_with("-00"));
    }

    #[test]
    fn a_share_of_the_traces_is_kept() {
        for (share, expected) in [(0.0, 0), (0.1, 2_000), (0.5, 10_000), (0.9, 18_000), (1.0, 20_000)] {
            let kept = ids().filter(|id| TraceContext::of_ingest(*id).is_within(share)).count();
            assert!(kept.abs_diff(expected) < 300, "{share}: {kept}");
        }
    }
}
