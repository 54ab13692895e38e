//! `textback simulate`: a Twilio on loopback, and phones for the shell.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use twilio_simulator::{Account, NewText, Remote, RemoteError, Settings, Simulator};
use url::Url;

use super::{Done, print, told_to_stop};
use crate::http::listener::Listening;
use crate::http::{body, router};

/// What `textback simulate` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run a simulated Twilio on loopback; point TEXTBACK_TWILIO_API_URL at it
    Serve {
        /// Where it listens
        #[arg(long, env = "TEXTBACK_SIMULATOR_LISTEN", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
        /// Its account
        #[arg(long, default_value = "AC00000000000000000000000000000000")]
        account_sid: String,
        /// The account's auth token
        #[arg(long, default_value = "simulated-auth-token")]
        auth_token: String,
        /// A number that the account owns; may be given more than once
        #[arg(long = "number", default_value = "+14155550199")]
        numbers: Vec<String>,
        /// Milliseconds from one delivery status to the next
        #[arg(long, default_value_t = 300)]
        pace_ms: u64,
    },
    /// Send a text from a phone, and print what the webhook answered
    Send {
        #[command(flatten)]
        at: At,
        /// The phone that sends
        #[arg(long)]
        from: String,
        /// The number that it texts
        #[arg(long)]
        to: String,
        /// URLs of pictures that come with it
        #[arg(long = "media-url")]
        media_urls: Vec<String>,
        /// Deliver a text again: the id that it had
        #[arg(long)]
        sid: Option<String>,
        #[arg(default_value = "")]
        body: String,
    },
    /// Print what is on a phone's screen
    Phone {
        #[command(flatten)]
        at: At,
        /// The phone
        number: String,
    },
    /// Let time pass in a session of `textback dev`: everything in it happened so much earlier
    Skip {
        /// The console of `textback dev`
        #[arg(long, env = "TEXTBACK_CONSOLE_URL", default_value = "http://127.0.0.1:8080/console")]
        console_url: Url,
        /// The phone
        #[arg(long)]
        from: String,
        /// The number that it texted
        #[arg(long)]
        to: String,
        /// How many seconds; a day unless you say otherwise
        #[arg(long, default_value_t = 24 * 3600)]
        seconds: u32,
    },
}

/// Which simulator.
#[derive(Args)]
pub struct At {
    /// The simulated Twilio
    #[arg(long, env = "TEXTBACK_SIMULATOR_URL", default_value = "http://127.0.0.1:8081")]
    simulator_url: Url,
}

/// Runs `textback simulate`.
pub async fn run(command: Command) -> Done {
    match command {
        Command::Serve { listen, account_sid, auth_token, numbers, pace_ms } => {
            let simulator = Simulator::new(Settings { status_delay: Duration::from_millis(pace_ms) })?;
            simulator.add_account(Account::new(&account_sid, &auth_token));
            for number in &numbers {
                simulator.add_number(&account_sid, number);
            }
            let listening = Listening::at(listen, "TEXTBACK_SIMULATOR_LISTEN").await?;
            let told = told_to_stop();
            tracing::info!(address = %listening.address(), account_sid, numbers = numbers.join(" "), "simulating");
            listening.serve(router::edge(body::bounded(simulator.routes())), told).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Send { at, from, to, media_urls, sid, body } => {
            let text = NewText { from, to, body, media_urls, sid };
            let texted = Remote::new(at.simulator_url)?.text(&text).await.map_err(explain)?;
            print(&serde_json::to_string(&texted)?)?;
            Ok(if texted.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Phone { at, number } => {
            for text in Remote::new(at.simulator_url)?.screen(&number).await.map_err(explain)? {
                let way = if text.mine { "->" } else { "<-" };
                print(&format!("{} {way} {} [{}] {}", text.at.format("%H:%M:%S"), text.peer, text.status, text.body))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Skip { console_url, from, to, seconds } => {
            let form = [("contact", &from), ("number", &to), ("seconds", &seconds.to_string())];
            let url = format!("{}/skip", console_url.as_str().trim_end_matches('/'));
            let answer = reqwest::Client::new().post(&url).header("HX-Request", "true").form(&form).send().await;
            let answer = answer.map_err(|_| format!("no console answers at {console_url}; textback dev has one"))?;
            if !answer.status().is_success() {
                return Err(format!("the console refused: {}", answer.text().await?).into());
            }
            print(&format!("{seconds} seconds have passed between {from} and {to}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The error with advice where the simulator could not be reached.
fn explain(error: RemoteError) -> String {
    match error {
        RemoteError::NotReached(_) => format!("{error}; textback dev starts one (or give --simulator-url)"),
        RemoteError::Refused(_) => error.to_string(),
    }
}
