//! Counts the wrong keys and passwords of each address within a minute.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::future::Cache;
use poem::Request;

/// How many wrong guesses an address may make within `WINDOW`, counted from its first wrong guess.
pub const MAX_GUESSES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// How many seconds a client that guessed too often is told to wait.
pub const WAIT_SECONDS: u32 = 60;

/// The wrong guesses of the last minute, by address. At most 10,000 addresses are kept.
#[derive(Clone)]
pub struct FailedAttempts(Cache<IpAddr, Arc<AtomicU32>>);

impl Default for FailedAttempts {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(10_000).time_to_live(WINDOW).build())
    }
}

impl FailedAttempts {
    /// Whether the address of a request has guessed too often. Then the console compares no
    /// password, and the API looks its keys up one at a time.
    pub async fn are_too_many(&self, request: &Request) -> bool {
        self.are_too_many_from(address_of(request)).await
    }

    /// Counts a wrong guess. Returns whether the address had reached the limit before.
    pub async fn note(&self, request: &Request) -> bool {
        self.note_from(address_of(request)).await
    }

    async fn are_too_many_from(&self, from: IpAddr) -> bool {
        self.0.get(&network_of(from)).await.is_some_and(|guesses| guesses.load(Ordering::Relaxed) >= MAX_GUESSES)
    }

    async fn note_from(&self, from: IpAddr) -> bool {
        let guesses = self.0.get_with(network_of(from), std::future::ready(Arc::default())).await;
        let add_one = |guesses: u32| Some(guesses.saturating_add(1));
        guesses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add_one).unwrap_or_default() >= MAX_GUESSES
    }
}

fn address_of(request: &Request) -> IpAddr {
    request.remote_addr().as_socket_addr().map_or(Ipv6Addr::UNSPECIFIED.into(), |peer| peer.ip())
}

/// The address itself, or for IPv6 its /64, because a client can choose any address of its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_twenty_guesses_and_an_ipv6_network_counts_as_one() {
        let guesses = FailedAttempts::default();
        let note = |text: &str| guesses.note_from(text.parse().expect("an address"));
        for n in 0..MAX_GUESSES {
            assert!(!note(&format!("2001:db8::{n}")).await, "{n}");
        }
        let are_too_many = |text: &str| guesses.are_too_many_from(text.parse().expect("an address"));
        assert!(are_too_many("2001:db8::1:2:3").await && !are_too_many("2001:db8:0:1::1").await);
        assert!(note("2001:db8::ffff").await);
        assert!(!note("2001:db8:0:1::1").await && !note("192.0.2.1").await);
    }
}
