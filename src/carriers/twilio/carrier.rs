//! The trait, implemented for Twilio by the modules beside this one.

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderValue};

use super::client::ApiError;
use super::form::Form;
use super::services::ServiceCache;
use super::{Twilio, services, signature, webhooks};
use crate::carriers::error::{CarrierError, CarrierErrorKind, CredentialsError};
use crate::carriers::media::{FetchedMedia, MediaError};
use crate::carriers::message::{
    InboundMedia, InboundMessage, OutboundMessage, ReceivedMessage, Sent, SentMessage, StatusNotice,
};
use crate::carriers::number::{
    AvailableNumber, CarrierNumber, Freshness, InboundRoute, NumberSearch, RegistrationFacts, RegistrationQuery,
};
use crate::carriers::webhook::{Acknowledgement, WebhookRefusal, WebhookRequest, WebhookUrls};
use crate::carriers::{Capabilities, Carrier};
use crate::domain::carrier_account::{CarrierAccount, Credentials};
use crate::domain::delivery::DeliveryErrorClass;
use crate::domain::phone_number::is_short_code;

impl Carrier for Twilio {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            segments: true,
            consent_keywords: true,
            media: true,
            delivery_reports: true,
            number_purchase: true,
            registration: true,
            lists_sent: true,
            lists_received: true,
        }
    }

    /// Twilio answers no keyword that comes to a short code, unless Advanced Opt-Out is on, which
    /// its webhooks tell (<https://support.twilio.com/hc/en-us/articles/223181748>).
    fn answers_keywords(&self, number: &str) -> bool {
        !is_short_code(number)
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), WebhookRefusal> {
        signature_in(headers).map(|_| ())
    }

    fn verify(&self, account: &CarrierAccount, request: WebhookRequest<'_>) -> Result<(), WebhookRefusal> {
        let given = signature_in(request.headers)?;
        let form = Form::read(request.body);
        if signature::verify(account.credentials.signing_tokens(), request.url, &form, given) {
            return Ok(());
        }
        let base = request.url.split("/webhooks/").next().unwrap_or_default();
        Err(WebhookRefusal(format!(
            "the signature does not fit; it is checked over the URL {base}/… (TEXTBACK_PUBLIC_URL) with the account's auth token: both must be the carrier's"
        )))
    }

    fn parse_message(&self, account: &CarrierAccount, request: WebhookRequest<'_>) -> InboundMessage {
        webhooks::parse_message(&Form::read(request.body), account.id())
    }

    fn parse_status(&self, _: &CarrierAccount, request: WebhookRequest<'_>) -> StatusNotice {
        webhooks::parse_status(&Form::read(request.body))
    }

    fn acknowledgement(&self) -> Acknowledgement {
        webhooks::EMPTY
    }

    fn sign_empty(&self, account: &CarrierAccount, url: &str) -> HeaderMap {
        let signature = signature::sign(&account.credentials.auth_token, url, &Form::default());
        let value = HeaderValue::try_from(signature).ok();
        value.into_iter().map(|value| (signature::header_name(), value)).collect()
    }

    fn send<'a>(&'a self, account: &'a CarrierAccount, message: &'a OutboundMessage<'a>) -> BoxFuture<'a, Sent> {
        async move {
            let sent = self.client.send(&account.credentials, message).await.into();
            if matches!(&sent, Sent::Refused(refusal) if refusal.class == DeliveryErrorClass::NotInPool) {
                self.services.forget_of(&account.credentials).await;
            }
            sent
        }
        .boxed()
    }

    fn list_sent<'a>(
        &'a self,
        account: &'a CarrierAccount,
        from: &'a str,
        to: &'a str,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Vec<SentMessage>, CarrierError>> {
        let listing = self.client.list_sent(&account.credentials, from, to, since);
        listing.map(|listed| Ok(listed?.into_iter().map(Into::into).collect())).boxed()
    }

    fn list_received<'a>(
        &'a self,
        account: &'a CarrierAccount,
        to: &'a str,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Vec<ReceivedMessage>, CarrierError>> {
        let listing = self.client.list_received(&account.credentials, to, since);
        listing.map(|listed| Ok(listed?.into_iter().map(Into::into).collect())).boxed()
    }

    fn list_media<'a>(
        &'a self,
        account: &'a CarrierAccount,
        carrier_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<InboundMedia>, CarrierError>> {
        self.client.list_media(&account.credentials, carrier_id).map(told).boxed()
    }

    fn fetch_media<'a>(
        &'a self,
        account: &'a CarrierAccount,
        url: &'a str,
    ) -> BoxFuture<'a, Result<FetchedMedia, MediaError>> {
        self.client.fetch_media(&account.credentials, url).boxed()
    }

    fn check_credentials<'a>(&'a self, account: &'a CarrierAccount) -> BoxFuture<'a, Result<(), CredentialsError>> {
        self.check_logins(&account.credentials).boxed()
    }

    fn count_newest<'a>(&'a self, account: &'a CarrierAccount) -> BoxFuture<'a, Result<usize, CarrierError>> {
        async move { told(self.client.list_newest(&account.credentials.without_next()).await) }.boxed()
    }

    fn search_numbers<'a>(
        &'a self,
        account: &'a CarrierAccount,
        search: &'a NumberSearch,
    ) -> BoxFuture<'a, Result<Vec<AvailableNumber>, CarrierError>> {
        self.client.search_numbers(&account.credentials, search).map(told).boxed()
    }

    fn find_number<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Option<CarrierNumber>, CarrierError>> {
        self.client.find_number(&account.credentials, number).map(told).boxed()
    }

    fn buy_number<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a str,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<CarrierNumber, CarrierError>> {
        self.client.buy_number(&account.credentials, number, urls).map(told).boxed()
    }

    fn set_webhooks<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a CarrierNumber,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<(), CarrierError>> {
        self.client.set_webhooks(&account.credentials, number, urls).map(told).boxed()
    }

    fn clear_webhooks<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a CarrierNumber,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<bool, CarrierError>> {
        self.client.clear_webhooks(&account.credentials, number, urls).map(told).boxed()
    }

    fn release_number<'a>(
        &'a self,
        account: &'a CarrierAccount,
        carrier_id: &'a str,
    ) -> BoxFuture<'a, Result<(), CarrierError>> {
        self.client.release_number(&account.credentials, carrier_id).map(told).boxed()
    }

    fn inbound_route<'a>(
        &'a self,
        account: &'a CarrierAccount,
        carrier_id: &'a str,
        urls: &'a WebhookUrls,
        freshness: Freshness,
    ) -> BoxFuture<'a, Result<InboundRoute, CarrierError>> {
        async move {
            let services = match freshness {
                Freshness::Cached => self.services.clone(),
                Freshness::Now => ServiceCache::default(),
            };
            let service = services.service(&self.client, &account.credentials, carrier_id).await;
            let service = service.map_err(without_permission)?;
            Ok(service.map(|service| service.route(urls)).unwrap_or_default())
        }
        .boxed()
    }

    fn registration<'a>(
        &'a self,
        account: &'a CarrierAccount,
        query: RegistrationQuery<'a>,
    ) -> BoxFuture<'a, Result<RegistrationFacts, CarrierError>> {
        let reading = self.client.registration(&account.credentials, query);
        reading.map(|read| read.map_err(without_permission)).boxed()
    }

    fn check_pool_id(&self, pool_id: &str) -> Result<(), &'static str> {
        services::check_id(pool_id)
    }

    fn forget_cached(&self) {
        self.services.forget();
    }
}

impl Twilio {
    /// The token signs, and logs in when there is no key. Each is tried by itself.
    async fn check_logins(&self, account: &Credentials) -> Result<(), CredentialsError> {
        const BY_KEY: &str = "the carrier does not take the API key; give the SK… and the secret of a key of this very account, or leave both out";
        const BY_TOKEN: &str = "the carrier does not take account_sid and auth_token; both are on the first page of its console, and the token must be the primary one";
        const BY_NEXT_TOKEN: &str =
            "the carrier does not take next_auth_token; make a secondary token in its console first, or leave it out";
        account.check_ids().map_err(CredentialsError::Refused)?;
        let first = account.without_next();
        if account.api_key.is_some() {
            self.check_login(&first, BY_KEY).await?;
        }
        let by_token = Credentials { api_key: None, ..first };
        self.check_login(&by_token, BY_TOKEN).await?;
        // Twilio takes the next token too, from when it was made.
        if let Some(next) = &account.next_auth_token {
            let by_next = Credentials { auth_token: next.clone(), ..by_token };
            self.check_login(&by_next, BY_NEXT_TOKEN).await?;
        }
        Ok(())
    }

    async fn check_login(&self, account: &Credentials, refusal: &'static str) -> Result<(), CredentialsError> {
        match self.client.try_login(account).await {
            Ok(()) => Ok(()),
            Err(ApiError::Refused { status: 401, .. }) => Err(CredentialsError::Refused(refusal)),
            Err(error) => Err(CredentialsError::Failed(error.into())),
        }
    }
}

/// The signature of a request, if it has one that we can check.
fn signature_in(headers: &HeaderMap) -> Result<&str, WebhookRefusal> {
    if headers.contains_key(signature::SETTINGS_HEADER) {
        return Err(WebhookRefusal(
            "signed with a shared key of the carrier's webhook settings, which is not supported; take this address out of the setting".to_owned(),
        ));
    }
    let refused = |what: &str| WebhookRefusal(what.to_owned());
    let mut given = headers.get_all(signature::HEADER).iter();
    match (given.next(), given.next()) {
        (None, _) => Err(refused("no X-Twilio-Signature; only the carrier may call this address")),
        (Some(_), Some(_)) => Err(refused("X-Twilio-Signature is given more than once")),
        (Some(value), None) => value.to_str().map_err(|_| refused("X-Twilio-Signature is not visible ASCII")),
    }
}

/// An answer of the API in the words of the trait.
fn told<T>(answer: Result<T, ApiError>) -> Result<T, CarrierError> {
    answer.map_err(Into::into)
}

/// The error of messaging services and registrations. A restricted key may lack the permission to
/// read them.
fn without_permission(error: ApiError) -> CarrierError {
    let error = CarrierError::from(error);
    match error.kind {
        CarrierErrorKind::Credentials | CarrierErrorKind::Permission => CarrierError {
            text: format!(
                "the key may not read messaging services and registrations ({error}); give it read permission for Messaging, or PUT /v1/carrier without a key"
            ),
            ..error
        },
        CarrierErrorKind::NotFound
        | CarrierErrorKind::Invalid
        | CarrierErrorKind::Refused
        | CarrierErrorKind::Overloaded
        | CarrierErrorKind::NotReached
        | CarrierErrorKind::Unreadable
        | CarrierErrorKind::Unsupported => error,
    }
}
