//! `textback simulate`: runs a simulated Twilio, and texts from simulated phones.

mod conversation;

use std::io::{BufRead, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::sync::mpsc;
use twilio_simulator::{Account, NewText, Remote, RemoteError, Settings, Simulator};
use url::Url;

use super::{Done, print, stop_signal};
use crate::config::{parse_address, parse_http_url, shown_url};
use crate::domain::phone_number::{is_e164, is_e164_or_short_code, is_short_code};
use crate::http::listener::Listening;
use crate::http::{body, router};
use conversation::{Conversation, DevApi, Event, Fate, LOOK_EVERY};

/// Where the simulated Twilio is, if nothing else is said.
pub(super) const SIMULATOR_URL: &str = "http://127.0.0.1:8081";

/// The subcommands of `textback simulate`.
#[derive(Subcommand)]
pub enum Command {
    /// Run a simulated Twilio on loopback; point TEXTBACK_TWILIO_API_URL at it
    Serve {
        /// The address to listen on
        #[arg(long, env = "TEXTBACK_SIMULATOR_LISTEN", default_value = "127.0.0.1:8081", value_parser = parse_address)]
        listen: SocketAddr,
        /// The account SID
        #[arg(long, default_value = "AC00000000000000000000000000000000")]
        account_sid: String,
        /// The account's auth token
        #[arg(long, default_value = "simulated-auth-token")]
        auth_token: String,
        /// A number or a short code that the account owns; may be given more than once
        #[arg(long = "number", default_value = "+14155550199", value_parser = parse_number)]
        numbers: Vec<String>,
        /// Milliseconds from one delivery status to the next
        #[arg(long, default_value_t = 300)]
        pace_ms: u64,
    },
    /// Send a message from a phone, wait for the answer and print its texts. The exit code is 1 if
    /// there is none
    Send {
        #[command(flatten)]
        at: At,
        /// The phone that sends
        #[arg(long, value_parser = parse_phone)]
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
        /// Do not wait: print what the webhook answered, as JSON
        #[arg(long)]
        no_wait: bool,
        /// How many seconds to wait for the answer
        #[arg(long, default_value_t = 60)]
        wait_seconds: u64,
        #[arg(default_value = "")]
        body: String,
    },
    /// Converse from a phone: each line of the standard input is a text, and the answers are
    /// printed as they come. Ctrl-D ends it
    Chat {
        #[command(flatten)]
        at: At,
        /// The phone that texts
        #[arg(long, value_parser = parse_phone)]
        from: String,
        /// The number that it texts
        #[arg(long)]
        to: String,
        /// How many seconds to wait for an answer
        #[arg(long, default_value_t = 60)]
        wait_seconds: u64,
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
        #[arg(long, env = "TEXTBACK_CONSOLE_URL", default_value = "http://127.0.0.1:8080/console", value_parser = parse_http_url)]
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
    #[arg(long, env = "TEXTBACK_SIMULATOR_URL", default_value = SIMULATOR_URL, value_parser = parse_http_url)]
    simulator_url: Url,
    /// The data folder of the textback dev that uses the simulator. Its API tells why a text gets
    /// no answer
    #[arg(long, env = "TEXTBACK_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
}

impl At {
    /// A phone that texts a number, with what is on its screen already.
    async fn conversation(
        self,
        from: String,
        to: String,
        wait_seconds: u64,
    ) -> Result<Conversation, Box<dyn std::error::Error>> {
        let dev = DevApi::find(&self.data_dir, &self.simulator_url);
        let remote = Remote::new(self.simulator_url)?;
        Ok(Conversation::begin(remote, dev, (from, to), Duration::from_secs(wait_seconds)).await?)
    }
}

/// Runs `textback simulate`.
pub async fn run(command: Command) -> Done {
    match command {
        Command::Serve { listen, account_sid, auth_token, numbers, pace_ms } => {
            let simulator = Simulator::new(Settings { status_delay: Duration::from_millis(pace_ms) })?;
            simulator.add_account(Account::new(&account_sid, &auth_token));
            for number in &numbers {
                match is_short_code(number) {
                    true => simulator.add_short_code(&account_sid, number),
                    false => simulator.add_number(&account_sid, number),
                };
            }
            let listening = Listening::at(listen, "TEXTBACK_SIMULATOR_LISTEN").await?;
            let signal = stop_signal();
            tracing::info!(address = %listening.address(), account_sid, numbers = numbers.join(" "), "simulator started");
            listening.serve(router::edge(body::bounded(simulator.routes())), signal).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Send { at, from, to, media_urls, sid, no_wait: true, body, .. } => {
            let text = NewText { from, to, body, media_urls, sid };
            let texted = Remote::new(at.simulator_url)?.text(&text).await.map_err(explain)?;
            print(&serde_json::to_string(&texted)?)?;
            Ok(if texted.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Send { at, from, to, media_urls, sid, no_wait: false, wait_seconds, body } => {
            let mut conversation = at.conversation(from, to, wait_seconds).await?;
            conversation.text(body, media_urls, sid).await?;
            answer(&mut conversation).await
        }
        Command::Chat { at, from, to, wait_seconds } => chat(at.conversation(from, to, wait_seconds).await?).await,
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
            let answer = answer.map_err(|_| {
                format!("there is no console at {}; is textback dev running?", shown_url(console_url.as_str()))
            })?;
            if !answer.status().is_success() {
                let refusal = answer.text().await?;
                let problem: serde_json::Value = serde_json::from_str(&refusal).unwrap_or_default();
                let detail = problem.get("detail").and_then(serde_json::Value::as_str).unwrap_or(&refusal);
                return Err(format!("the clock of {from} and {to} is not advanced: {detail}").into());
            }
            print(&format!("the clock of the session between {from} and {to} is {seconds} seconds ahead"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A number that textback would not attach would be of no use.
fn parse_number(text: &str) -> Result<String, &'static str> {
    if is_e164_or_short_code(text) {
        return Ok(text.to_owned());
    }
    Err(
        "a number is in E.164, + and the digits with the country code, such as +14155550199, or a short code of 3 to 8 digits",
    )
}

/// A simulated phone is found again by its number, so a number without its plus would never see the
/// answer.
fn parse_phone(text: &str) -> Result<String, &'static str> {
    if is_e164(text) {
        return Ok(text.to_owned());
    }
    Err("a phone's number is in E.164, + and the digits with the country code, such as +14155550101")
}

/// Waits for the answer to the text that was sent, and prints its texts.
async fn answer(conversation: &mut Conversation) -> Done {
    loop {
        for event in conversation.look().await? {
            match event {
                Event::Text(body) => {
                    print(&body)?;
                }
                Event::Ended(Fate::Answered) => return Ok(ExitCode::SUCCESS),
                Event::Ended(Fate::Silent(why)) => {
                    eprintln!("{why}");
                    return Ok(ExitCode::SUCCESS);
                }
                Event::Ended(Fate::NotAnswered(why)) => return Err(why.into()),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Texts each line of the standard input and prints what comes. What is no terminal is read on only
/// after an answer, so that lines of a pipe do not become one turn.
async fn chat(mut conversation: Conversation) -> Done {
    let is_terminal = std::io::stdin().is_terminal();
    let mut lines = lines_of_input();
    let (mut is_over, mut failed) = (false, false);
    while !is_over || conversation.is_waiting() {
        let reads = !is_over && (is_terminal || !conversation.is_waiting());
        tokio::select! {
            line = lines.recv(), if reads => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => conversation.text(line, Vec::new(), None).await?,
                None => is_over = true,
            },
            () = tokio::time::sleep(LOOK_EVERY) => failed |= print_events(conversation.look().await?)?,
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The lines of the standard input. A thread of its own reads them, which ends with the process:
/// nothing can interrupt a read from a terminal.
fn lines_of_input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n').map_while(Result::ok) {
            // A file may be in another encoding. A line of it is a text all the same.
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Prints the texts that came, and why there is none. Returns whether a text got no answer.
fn print_events(events: Vec<Event>) -> Result<bool, Box<dyn std::error::Error>> {
    let mut failed = false;
    for event in events {
        match event {
            Event::Text(body) => {
                print(&format!("< {}", body.replace('\n', "\n  ")))?;
            }
            Event::Ended(Fate::Answered) => {}
            Event::Ended(Fate::Silent(why)) => eprintln!("{why}"),
            Event::Ended(Fate::NotAnswered(why)) => {
                failed = true;
                eprintln!("{why}");
            }
        }
    }
    Ok(failed)
}

/// The error with advice where the simulator could not be reached.
fn explain(error: RemoteError) -> String {
    match error {
        RemoteError::NotReached(url) => format!(
            "no simulator answers at {}; textback dev starts one (or give --simulator-url)",
            shown_url(url.as_str())
        ),
        RemoteError::Refused(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_simulated_can_be_attached_and_a_phone_is_in_e164() {
        for (text, number, phone) in [
            ("+14155550199", true, true),
            ("72975", true, false),
            ("12", false, false),
            ("7297a", false, false),
            ("+72975", false, false),
            ("14155550199", false, false),
        ] {
            assert_eq!((parse_number(text).is_ok(), parse_phone(text).is_ok()), (number, phone), "{text}");
        }
    }
}
