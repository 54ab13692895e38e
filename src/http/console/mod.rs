//! The console of `textback dev`: a web page with a simulated phone and the sessions of the demo
//! project.
//!
//! The page works without its script: the server renders it whole, and its forms lead back to it.
//! The script keeps it up to date with the events of `/console/changes`.

pub mod guard;
mod pages;
mod stream;
mod view;
mod words;

use std::future::Future;
use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{StatusCode, header};
use poem::web::sse::SSE;
use poem::web::{Data, Form, Html};
use poem::{Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Response, Route, get, handler};
use serde::Deserialize;
use twilio_simulator::{NewText, Simulator};
use uuid::Uuid;

use crate::http::body;
use crate::http::console::guard::Sender;
use crate::http::console::view::{PageQuery, Shown, View};
use crate::http::health::Draining;
use crate::http::problem::{self, Problem};
use crate::http::query;
use crate::storage::session::{self, Filter};
use crate::storage::{Storage, database};

/// The most seconds that a session's clock can be advanced at once: the longest inactivity timeout.
const MAX_ADVANCE_SECONDS: u32 = 30 * 24 * 3600;
/// How long the database may take for a page.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// What the page says when it can't read the database.
const DATABASE_TROUBLE: &str = "The database does not answer. Trying again …";

/// The page loads only our own script and style, sends forms only here, and no other site may frame
/// it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Without our address, a browser would send `Origin: null` with the forms of the page.
const REFERRER_POLICY: &str = "same-origin";

/// The state of the console's routes.
#[derive(Clone)]
pub struct ConsoleState {
    pub storage: Storage,
    /// The project whose sessions are shown.
    pub project_id: Uuid,
    /// The carrier whose phones text.
    pub simulator: Simulator,
    /// Controls access to the console.
    pub guard: guard::Guard,
    /// Set when the process is told to stop.
    pub draining: Draining,
}

/// The routes below `/console`.
pub fn routes(console: ConsoleState) -> impl Endpoint<Output = Response> {
    let guard = console.guard.clone();
    let routes = Route::new()
        .at("/", get(page))
        .at("/changes", get(changes))
        .at("/texts", problem::post_only(send))
        .at("/advance-clock", problem::post_only(advance_clock))
        .at("/console.js", get(script))
        .at("/style.css", get(style))
        .data(console)
        .into_endpoint()
        .map_to_response();
    body::bounded(routes).around(move |next, request| {
        let guard = guard.clone();
        async move {
            // `textback simulate advance-clock` has no password, as the other commands for the
            // simulated phones.
            let admitted = match request.uri().path() {
                "/advance-clock" => guard.admit_to_simulator(&request).await,
                _ => guard.admit(&request).await,
            };
            match admitted {
                Ok(()) => next.call(request).await,
                Err(refused) => Ok(refused),
            }
        }
    })
}

/// A text from the phone of the page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    phone: String,
    number: String,
    #[serde(default)]
    body: String,
}

/// The session whose clock is advanced, or the newest of a number and a contact, and how far.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceClock {
    session: Option<Uuid>,
    contact: String,
    number: String,
    seconds: u32,
}

#[handler]
async fn page(request: &Request, console: Data<&ConsoleState>) -> Response {
    let numbers = console.simulator.phone_numbers();
    let (query, refused) = match PageQuery::read(request) {
        Ok(query) => (query, None),
        Err(refused) => (PageQuery::default(), Some(refused.detail().to_owned())),
    };
    let view = View::of(query, &numbers);
    let trouble = refused.or_else(|| view.trouble(&numbers));
    let status = if trouble.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    render(&console, &view, trouble.as_deref(), status).await
}

#[handler]
fn changes(request: &Request, console: Data<&ConsoleState>) -> Response {
    let query = match PageQuery::read(request) {
        Ok(query) => query,
        Err(refused) => return refused.as_response(),
    };
    let view = View::of(query, &console.simulator.phone_numbers());
    SSE::new(stream::events(console.clone(), view)).into_response()
}

#[handler]
async fn send(request: &Request, Form(typed): Form<Typed>, console: Data<&ConsoleState>) -> Response {
    let Some(sender) = guard::sender(request) else { return not_our_form() };
    if let Err(refused) = query::none(request) {
        return refused.as_response();
    }
    let view = View::of_pair(&typed.phone, &typed.number);
    if let Some(trouble) = view.trouble(&console.simulator.phone_numbers()) {
        return refuse(&console, sender, &view, StatusCode::BAD_REQUEST, "not_texted", &trouble).await;
    }
    if typed.body.is_empty() {
        return done(sender, &view);
    }
    let text = NewText { from: typed.phone, to: typed.number, body: typed.body, media_urls: Vec::new(), sid: None };
    match console.simulator.text(text).await.error {
        None => done(sender, &view),
        Some(error) => {
            let trouble = format!("Your text did not get through: {error}");
            refuse(&console, sender, &view, StatusCode::BAD_GATEWAY, "not_texted", &trouble).await
        }
    }
}

#[handler]
async fn advance_clock(request: &Request, Form(form): Form<AdvanceClock>, console: Data<&ConsoleState>) -> Response {
    let Some(sender) = guard::sender(request) else { return not_our_form() };
    if let Err(refused) = query::none(request) {
        return refused.as_response();
    }
    let view = View { session: form.session.map(|id| id.to_string()), ..View::of_pair(&form.contact, &form.number) };
    if form.seconds > MAX_ADVANCE_SECONDS {
        let trouble = format!("seconds is {}; at most 30 days ({MAX_ADVANCE_SECONDS}) are possible", form.seconds);
        return refuse(&console, sender, &view, StatusCode::BAD_REQUEST, "too_far", &trouble).await;
    }
    match read_within_limit(advance(&console, &form)).await {
        Ok(true) => done(sender, &view),
        Ok(false) => {
            let trouble = "no session is open between the two";
            refuse(&console, sender, &view, StatusCode::NOT_FOUND, "no_open_session", trouble).await
        }
        Err(error) => {
            tracing::warn!(%error, "the console could not advance a session's clock");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", DATABASE_TROUBLE).as_response()
        }
    }
}

async fn advance(console: &ConsoleState, form: &AdvanceClock) -> Result<bool, sqlx::Error> {
    // PostgreSQL can't compare with NUL, which no number has.
    if form.number.contains('\0') || form.contact.contains('\0') {
        return Ok(false);
    }
    let mut connection = console.storage.connection().await?;
    let id = match form.session {
        Some(id) => Some(id),
        None => {
            let number = Some(form.number.clone());
            let of_the_pair = Filter { number, contact: Some(form.contact.clone()), status: None };
            let newest = session::list(&mut connection, console.project_id, &of_the_pair, None, 1).await?.items;
            newest.first().map(|session| session.id)
        }
    };
    match id {
        Some(id) => session::skip(&mut connection, console.project_id, id, form.seconds).await,
        None => Ok(false),
    }
}

/// The page of a view.
async fn render(console: &ConsoleState, view: &View, trouble: Option<&str>, status: StatusCode) -> Response {
    match read_within_limit(view::load(console, view)).await {
        Ok(shown) => html(status, &pages::console(&shown, trouble, None)),
        Err(error) => {
            tracing::warn!(%error, "the console could not read sessions");
            let shown = Shown::nothing(view.clone(), console.simulator.phone_numbers());
            html(StatusCode::SERVICE_UNAVAILABLE, &pages::console(&shown, trouble, Some(DATABASE_TROUBLE)))
        }
    }
}

/// The answer to a form that was done: programs get no content, and a page without script is shown
/// again.
fn done(sender: Sender, view: &View) -> Response {
    match sender {
        Sender::Program => StatusCode::NO_CONTENT.into_response(),
        Sender::Page => StatusCode::SEE_OTHER.with_header(header::LOCATION, view.link()).into_response(),
    }
}

/// The answer to a form that can't be done: a problem for programs, and the page with what is
/// wrong.
async fn refuse(
    console: &ConsoleState,
    sender: Sender,
    view: &View,
    status: StatusCode,
    code: &'static str,
    trouble: &str,
) -> Response {
    match sender {
        Sender::Program => Problem::new(status, code, trouble).as_response(),
        Sender::Page => render(console, view, Some(trouble), status).await,
    }
}

fn not_our_form() -> Response {
    let told = "this form does not come from the console's own page; a program sends the header X-Textback-Console";
    Problem::new(StatusCode::FORBIDDEN, "not_our_form", told).as_response()
}

/// Ends what reads the database after [`READ_TIMEOUT`].
async fn read_within_limit<T>(reading: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(READ_TIMEOUT, reading).await.unwrap_or_else(|_| Err(database::timed_out()))
}

fn html(status: StatusCode, markup: &maud::Markup) -> Response {
    Html(markup.0.clone())
        .with_status(status)
        .with_header(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)
        .with_header(header::REFERRER_POLICY, REFERRER_POLICY)
        .into_response()
}

#[handler]
fn script() -> Response {
    asset("text/javascript", include_str!("assets/console.js"))
}

#[handler]
fn style() -> Response {
    asset("text/css", include_str!("assets/style.css"))
}

fn asset(content_type: &str, text: &'static str) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, format!("{content_type}; charset=utf-8"))
        .header(header::CACHE_CONTROL, "no-cache")
        .body(text)
}
