//! What the day looks like on the console.

use std::{
    io::{IsTerminal, Write, stdout},
    process::ExitCode,
};

use key0_auth::error::chain;

use super::Outcome;

/// The day's story, and how many of its expectations were not met.
#[derive(Default)]
pub(crate) struct Day {
    chapters: usize,
    differing: usize,
}

/// A bar that grows on a terminal, and a line for each step elsewhere.
pub(crate) struct Bar {
    what: &'static str,
    done: usize,
    all: usize,
    terminal: bool,
}

impl Day {
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        println!("\n{}. {title}", self.chapters);
    }

    pub(crate) fn say(&self, text: String) {
        println!("   {text}");
    }

    /// Says what should be and is not.
    pub(crate) fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            self.differing += 1;
            println!(" ! it should be that {what}");
        }
    }

    pub(crate) fn bar(&self, what: &'static str, all: usize) -> Bar {
        let bar = Bar { what, done: 0, all, terminal: stdout().is_terminal() };
        bar.draw();
        bar
    }

    pub(crate) fn end(self, ended: Outcome) -> ExitCode {
        if let Err(error) = ended {
            eprintln!("\nerror: the day broke off: {}", chain(&*error));
            return ExitCode::FAILURE;
        }
        match self.differing {
            0 => println!("\nThe end: everything went as it should."),
            differing => println!("\nThe end: {differing} things went otherwise."),
        }
        if self.differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl Bar {
    pub(crate) fn advance(&mut self) {
        self.done += 1;
        self.draw();
    }

    fn draw(&self) {
        const WIDTH: usize = 32;
        let Self { what, done, all, terminal } = self;
        let full = WIDTH * done / all.max(&1);
        let bar = format!("[{}{}] {done}/{all} {what}", "#".repeat(full), "-".repeat(WIDTH - full));
        if *terminal {
            print!("\r   {bar}{}", if done == all { "\n" } else { "" });
            let _ = stdout().flush();
        } else if *done > 0 {
            println!("   {bar}");
        }
    }
}
