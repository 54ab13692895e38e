//! Resolves host names by `/etc/hosts` and the name servers of `/etc/resolv.conf`, with its search
//! domains.
//!
//! The system's resolver (`getaddrinfo`) holds a thread for each look-up until the name server
//! answers. Threads are few, and a tenant with slow name servers could use up all of them. Here a
//! look-up is a future, which ends when its caller goes away.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, TokioResolver};

/// How long the system's settings are used before they are read again, and the longest time that an
/// answer is cached. An answer with a shorter time to live is cached for that time.
const SETTINGS_TTL: Duration = Duration::from_secs(60);
/// How long a name server may take to answer, and how many times it is asked again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
const RETRIES: usize = 1;
/// How many look-ups one connection to a name server carries at a time: more than there are turns.
const MAX_ACTIVE_REQUESTS: usize = 8192;

/// Looks up host names. Clones share one resolver and are cheap.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Option<(Instant, TokioResolver)>>>);

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Names")
    }
}

impl Names {
    /// The addresses of a host name, at least one.
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        // Not parsed as IDNA, because the URL was already. A name in a private network may contain
        // an underscore.
        let found = self.resolver()?.lookup_ip(Name::from_ascii(name)?).await?;
        Ok(found.iter().collect())
    }

    /// A resolver with the system's settings, which are read again after [`SETTINGS_TTL`].
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, resolver)) = &*cached
            && read.elapsed() < SETTINGS_TTL
        {
            return Ok(resolver.clone());
        }
        let resolver = read_settings()?;
        *cached = Some((Instant::now(), resolver.clone()));
        Ok(resolver)
    }
}

fn read_settings() -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = Resolver::builder(provider.clone()).unwrap_or_else(|error| {
        // As resolv.conf(5) says: without a name server, the local machine is asked.
        tracing::debug!(%error, "no name server was found in the settings of this system");
        let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        Resolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), vec![here]), provider)
    });
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = ATTEMPT_TIMEOUT.min(options.timeout);
    options.attempts = RETRIES.min(options.attempts);
    options.max_active_requests = MAX_ACTIVE_REQUESTS;
    options.positive_max_ttl = Some(SETTINGS_TTL);
    options.negative_max_ttl = Some(SETTINGS_TTL);
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_this_machine_resolve_without_a_name_server() {
        let names = Names::default();
        let found = names.look_up("localhost").await.expect("this machine");
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert!(names.look_up("nobody.invalid").await.is_err());
    }
}
