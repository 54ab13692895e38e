//! `textback agent chat`: a conversation with an agent in the terminal, without a database.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Map;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::model::Recordings;
use super::player::{PlayOptions, Played, Player};
use super::show;
use crate::cli::{Done, print};
use crate::domain::keyword::{Keyword, Reading};
use crate::domain::session::Channel;
use crate::jobs::turns::rehearsal::{self, Rehearsal};

/// The contact of a conversation unless it is given.
pub(super) const CONTACT: &str = "+14155550101";

/// The options of `textback agent chat`.
#[derive(Args)]
pub struct ChatOptions {
    /// The folder of the agent, or its file
    path: PathBuf,
    /// The channel: sms, webchat or voice [default: sms]
    #[arg(long)]
    channel: Option<Channel>,
    /// Who texts
    #[arg(long, default_value = CONTACT)]
    contact: String,
    /// Print only the answers, without tool calls, changes of the state and segments
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    play: PlayOptions,
}

/// Runs `textback agent chat` until the input ends or the agent hangs up.
pub(super) async fn run(options: ChatOptions) -> Done {
    let ChatOptions { path, channel, contact, quiet, play } = options;
    let mut player = Player::open(&path, play, Recordings::None).await?;
    let mut session = Rehearsal::new(channel.unwrap_or_else(rehearsal::default_channel), &contact, Map::new());
    let printer = Printer { is_terminal: std::io::stdout().is_terminal(), quiet };
    if let Some(notice) = player.notice() {
        printer.note(notice)?;
    }
    let mut lines = lines();
    loop {
        printer.prompt()?;
        let Some(text) = lines.recv().await else { return Ok(ExitCode::SUCCESS) };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        match player.reload().await {
            Ok(false) => ExitCode::SUCCESS,
            Ok(true) => printer.note("the agent was loaded again")?,
            Err(error) => printer.problem(&format!("{error}\nthe agent from before answers"))?,
        };
        if let Reading::Keyword(found) = session.read(text)
            && found.keyword != Keyword::Yes
        {
            printer.note("textback acts on this keyword itself (docs/consent.md); the agent does not get it")?;
            continue;
        }
        let played = player.turn(&mut session, &[text.to_owned()]).await;
        printer.played(&played)?;
        if session.has_ended() {
            printer.note("the agent ended the conversation")?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The lines of the input. A thread of its own reads them, because a read can't be cancelled.
fn lines() -> UnboundedReceiver<String> {
    let (to, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| to.send(line));
    });
    lines
}

struct Printer {
    is_terminal: bool,
    quiet: bool,
}

impl Printer {
    /// Tells a person that a text may be typed.
    fn prompt(&self) -> std::io::Result<()> {
        if self.is_terminal && std::io::stdin().is_terminal() {
            std::io::stdout().write_all(b"> ")?;
            std::io::stdout().flush()?;
        }
        Ok(())
    }

    fn played(&self, played: &Played) -> Done {
        for deed in show::deeds(played) {
            self.note(&deed)?;
        }
        if let Some(error) = &played.error {
            self.problem(&format!("the agent failed: {error}"))?;
        }
        if played.messages.is_empty() && played.error.is_none() {
            self.note("the agent says nothing")?;
        }
        for message in &played.messages {
            print(&format!("< {}", message.body()))?;
            if let Some(cost) = show::cost(message) {
                self.note(&cost)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the contact would not see.
    fn note(&self, text: &str) -> Done {
        match (self.quiet, self.is_terminal) {
            (true, _) => Ok(ExitCode::SUCCESS),
            (false, true) => print(&format!("\u{1b}[2m  · {text}\u{1b}[0m")),
            (false, false) => print(&format!("  · {text}")),
        }
    }

    fn problem(&self, text: &str) -> Done {
        print(&format!("  ! {}", text.replace('\n', "\n  ! ")))
    }
}
