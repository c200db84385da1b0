//! `tidegate completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Outcome};

/// Print completions for a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        let mut command = Arguments::command();
        clap_complete::generate(self.shell, &mut command, "tidegate", &mut std::io::stdout());
        Outcome::Done
    }
}
