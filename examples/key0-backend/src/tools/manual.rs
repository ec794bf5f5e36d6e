use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;

/// For which shell.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionsOptions {
    shell: Shell,
}

/// Prints a script that completes this command line.
pub(crate) fn completions(options: &CompletionsOptions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::whole(), "key0-backend", &mut script);
    print(&script)
}

/// Prints the manual page: the commands one after the other, each with its options.
pub(crate) fn man() -> ExitCode {
    let mut command = Cli::whole();
    command.build();
    let mut page = Vec::new();
    let mut made = Man::new(command.clone()).render(&mut page);
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let man = Man::new(subcommand.clone());
        let heading = format!(".SH \"{}\"\n", subcommand.get_name().to_uppercase());
        page.extend_from_slice(heading.as_bytes());
        made = made
            .and_then(|()| man.render_description_section(&mut page))
            .and_then(|()| man.render_options_section(&mut page))
            .and_then(|()| man.render_extra_section(&mut page));
    }
    match made {
        Ok(()) => print(&page),
        Err(error) => {
            crate::fail(&[error.to_string()], false);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &[u8]) -> ExitCode {
    crate::told(&String::from_utf8_lossy(text))
}
