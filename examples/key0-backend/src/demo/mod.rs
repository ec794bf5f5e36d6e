//! The whole story over real HTTP, on throw-away secrets and a throw-away store.

mod key0;
mod operator;
mod server;
mod story;

use std::process::ExitCode;

use clap::Args;

use self::{server::Server, story::Story};
use crate::signals::interrupted;

/// How the demo runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoOptions {
    /// End after the story instead of staying up
    #[arg(long)]
    pub(crate) exit: bool,
}

/// What went wrong around the story, rather than in it.
pub(crate) type DemoError = Box<dyn std::error::Error + Send + Sync>;

/// Plays the story. Fails when any step differs from what it should be.
pub(crate) fn run(options: &DemoOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = match runtime {
        Ok(runtime) => runtime.block_on(tell(options)),
        Err(error) => Err(error.into()),
    };
    match told {
        Ok(0) => ExitCode::SUCCESS,
        Ok(differing) => {
            eprintln!("error: {differing} steps differ from what they should be");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: the demo broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tell(options: &DemoOptions) -> Result<usize, DemoError> {
    let mut server = Server::start().await?;
    let mut story = Story::new(&server)?;
    let told = tokio::select! {
        told = story.tell(&mut server) => told,
        _ = interrupted() => Err("interrupted".into()),
    };
    if told.is_ok() && !options.exit {
        story.print_curl_lines(&server)?;
        tokio::select! {
            _ = interrupted() => {}
            _ = server.ended() => eprintln!("the server has ended"),
        }
    }
    server.stop().await;
    told.map(|()| story.differing())
}
