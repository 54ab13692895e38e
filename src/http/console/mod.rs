//! The console of `textback dev`: a web page with a simulated phone and the sessions of the demo project.

pub mod guard;
mod pages;

use poem::http::{StatusCode, header};
use poem::web::{Data, Form, Html, Query};
use poem::{Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Response, Route, get, handler};
use serde::Deserialize;
use twilio_simulator::{NewText, Remote};
use uuid::Uuid;

use crate::http::body;
use crate::secret::sha256;
use crate::storage::session::{self, Filter};
use crate::storage::{Storage, message};

/// The most seconds that a session's clock can be advanced at once: the longest inactivity timeout.
const MAX_ADVANCE_SECONDS: u32 = 30 * 24 * 3600;

/// No other site may frame the page, no base element may redirect its links, and forms go only to this server.
const PAGE_POLICY: &str = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

/// The state of the console's routes.
#[derive(Clone)]
pub struct ConsoleState {
    pub storage: Storage,
    /// The project whose sessions are shown.
    pub project_id: Uuid,
    /// The carrier whose phones text.
    pub simulator: Remote,
    /// Controls access to the console.
    pub guard: guard::Guard,
}

/// The routes below `/console`.
pub fn routes(console: ConsoleState) -> impl Endpoint<Output = Response> {
    let guard = console.guard.clone();
    let routes = Route::new()
        .at("/", get(page))
        .at("/texts", get(show).post(send))
        .at("/sessions", get(list))
        .at("/advance-clock", poem::post(advance_clock))
        .at("/htmx.js", get(htmx))
        .at("/style.css", get(style))
        .data(console)
        .into_endpoint()
        .map_to_response();
    body::bounded(routes).around(move |next, request| {
        let guard = guard.clone();
        async move {
            match guard.admit(&request).await {
                Ok(()) => next.call(request).await,
                Err(refused) => Ok(refused),
            }
        }
    })
}

/// A phone and the number that it texts.
#[derive(Debug, Clone, Deserialize)]
struct Pair {
    phone: String,
    number: String,
    #[serde(default)]
    seen: String,
}

/// The fingerprint of what a part of the page shows already.
#[derive(Debug, Clone, Deserialize)]
struct Seen {
    #[serde(default)]
    seen: String,
}

/// The session whose clock is advanced, and how far.
#[derive(Debug, Clone, Deserialize)]
struct AdvanceClock {
    contact: String,
    number: String,
    seconds: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct Typed {
    phone: String,
    number: String,
    body: String,
}

#[handler]
async fn page(console: Data<&ConsoleState>) -> Response {
    match console.simulator.numbers().await {
        Ok(numbers) => html(pages::console(&numbers)),
        Err(error) => html(pages::trouble(&error.to_string())),
    }
}

#[handler]
async fn show(Query(pair): Query<Pair>, console: Data<&ConsoleState>) -> Response {
    screen(&console, &pair, None).await
}

#[handler]
async fn send(request: &Request, Form(typed): Form<Typed>, console: Data<&ConsoleState>) -> Response {
    if !from_our_page(request) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let pair = Pair { phone: typed.phone, number: typed.number, seen: String::new() };
    if typed.body.is_empty() {
        return screen(&console, &pair, None).await;
    }
    let text = NewText {
        from: pair.phone.clone(),
        to: pair.number.clone(),
        body: typed.body,
        media_urls: Vec::new(),
        sid: None,
    };
    let trouble = match console.simulator.text(&text).await {
        Ok(texted) => texted.error,
        Err(error) => Some(error.to_string()),
    };
    screen(&console, &pair, trouble.as_deref()).await
}

/// Another site's page can post a form here, but it can't set this header.
fn from_our_page(request: &Request) -> bool {
    request.headers().contains_key("HX-Request")
}

async fn screen(console: &ConsoleState, pair: &Pair, trouble: Option<&str>) -> Response {
    match console.simulator.screen(&pair.phone).await {
        Ok(texts) => {
            let texts: Vec<_> = texts.into_iter().filter(|text| text.peer == pair.number).collect();
            part(&pages::screen(&texts, trouble), &pair.seen)
        }
        Err(error) => html(pages::screen(&[], Some(&error.to_string()))),
    }
}

#[handler]
async fn list(Query(Seen { seen }): Query<Seen>, console: Data<&ConsoleState>) -> Response {
    match sessions(&console).await {
        Ok(markup) => part(&markup, &seen),
        Err(error) => unreadable(&error),
    }
}

#[handler]
async fn advance_clock(request: &Request, Form(form): Form<AdvanceClock>, console: Data<&ConsoleState>) -> Response {
    if !from_our_page(request) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if form.seconds > MAX_ADVANCE_SECONDS {
        return (StatusCode::BAD_REQUEST, "at most 30 days (2592000 seconds)").into_response();
    }
    let of_the_pair = Filter { number: Some(form.number), contact: Some(form.contact), status: None };
    let advanced = async {
        let mut connection = console.storage.connection().await?;
        let newest = session::list(&mut connection, console.project_id, &of_the_pair, None, 1).await?.items;
        match newest.first() {
            Some(newest) => session::skip(&mut connection, console.project_id, newest.id, form.seconds).await,
            None => Ok(false),
        }
    };
    match advanced.await {
        Ok(true) => {}
        Ok(false) => return (StatusCode::NOT_FOUND, "no session is open between the two").into_response(),
        Err(error) => {
            // Not 200, because the clock was not advanced and the client may be a program.
            return unreadable(&error).with_status(StatusCode::SERVICE_UNAVAILABLE).into_response();
        }
    }
    match sessions(&console).await {
        Ok(markup) => part(&markup, ""),
        Err(error) => unreadable(&error),
    }
}

/// The newest sessions, and the messages of the newest one.
async fn sessions(console: &ConsoleState) -> Result<maud::Markup, sqlx::Error> {
    let mut connection = console.storage.connection().await?;
    let sessions = session::list(&mut connection, console.project_id, &Filter::default(), None, 10).await?.items;
    let Some(first) = sessions.first() else { return Ok(pages::sessions(&sessions, None, &[])) };
    let newest = session::find(&mut connection, console.project_id, first.id).await?;
    let messages = message::list(&mut connection, console.project_id, first.id, None, 100).await?.items;
    Ok(pages::sessions(&sessions, newest.as_ref(), &messages))
}

fn unreadable(error: &sqlx::Error) -> Response {
    tracing::warn!(%error, "the console can't read sessions");
    html(pages::trouble("the database does not answer"))
}

/// A part of the page, or 204 if the page shows it already, so that screen readers do not read it again.
fn part(markup: &maud::Markup, seen: &str) -> Response {
    let fingerprint = hex::encode(&sha256(markup.0.as_bytes())[..8]);
    if fingerprint == seen {
        return StatusCode::NO_CONTENT.into_response();
    }
    html(pages::with_fingerprint(markup, &fingerprint))
}

fn html(markup: maud::Markup) -> Response {
    // htmx evaluates its attributes as code, so this policy does not restrict scripts.
    Html(markup.into_string()).with_header("Content-Security-Policy", PAGE_POLICY).into_response()
}

#[handler]
fn htmx() -> Response {
    asset("text/javascript", include_str!("assets/htmx.min.js"))
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
