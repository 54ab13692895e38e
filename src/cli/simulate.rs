//! `textback simulate`: runs a simulated Twilio, and texts from simulated phones.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use twilio_simulator::{Account, NewText, Remote, RemoteError, Settings, Simulator};
use url::Url;

use super::{Done, print, stop_signal};
use crate::http::listener::Listening;
use crate::http::{body, router};

/// The subcommands of `textback simulate`.
#[derive(Subcommand)]
pub enum Command {
    /// Run a simulated Twilio on loopback; point TEXTBACK_TWILIO_API_URL at it
    Serve {
        /// The address to listen on
        #[arg(long, env = "TEXTBACK_SIMULATOR_LISTEN", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
        /// The account SID
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
    /// Send a message from a phone, and print the answer of the webhook
    Send {
        #[command(flatten)]
        at: At,
        /// The phone that sends
        #[arg(long)]
        from: String,
        /// The number that it texts
        #[arg(long)]
        to: String,
        /// The URL of a medium to attach; may be given more than once
        #[arg(long = "media-url")]
        media_urls: Vec<String>,
        /// The id of a message to deliver again
        #[arg(long)]
        sid: Option<String>,
        #[arg(default_value = "")]
        body: String,
    },
    /// Print the messages on a phone's screen
    Phone {
        #[command(flatten)]
        at: At,
        /// The phone
        number: String,
    },
    /// Advance the clock of a session of `textback dev`: all its times move into the past
    #[command(alias = "skip")]
    AdvanceClock {
        /// The console of `textback dev`
        #[arg(long, env = "TEXTBACK_CONSOLE_URL", default_value = "http://127.0.0.1:8080/console")]
        console_url: Url,
        /// The phone
        #[arg(long)]
        from: String,
        /// The number that it texted
        #[arg(long)]
        to: String,
        /// By how many seconds
        #[arg(long, default_value_t = 24 * 3600)]
        seconds: u32,
    },
}

/// The simulator to use.
#[derive(Args)]
pub struct At {
    /// The URL of the simulated Twilio
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
            let signal = stop_signal();
            tracing::info!(address = %listening.address(), account_sid, numbers = numbers.join(" "), "simulating");
            listening.serve(router::edge(body::bounded(simulator.routes())), signal).await?;
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
                let arrow = if text.mine { "->" } else { "<-" };
                print(&format!(
                    "{} {arrow} {} [{}] {}",
                    text.at.format("%H:%M:%S"),
                    text.peer,
                    text.status,
                    text.body
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::AdvanceClock { console_url, from, to, seconds } => {
            let form = [("contact", &from), ("number", &to), ("seconds", &seconds.to_string())];
            let url = format!("{}/advance-clock", console_url.as_str().trim_end_matches('/'));
            let answer = reqwest::Client::new().post(&url).header("X-Textback-Console", "1").form(&form).send().await;
            let answer =
                answer.map_err(|_| format!("there is no console at {console_url}; is textback dev running?"))?;
            if !answer.status().is_success() {
                return Err(format!("the console refused: {}", answer.text().await?).into());
            }
            print(&format!("the clock of the session between {from} and {to} is {seconds} seconds ahead"))?;
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
