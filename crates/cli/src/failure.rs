//! How a command fails: what is said to a person, and the exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed or was refused. The message names the thing and the remedy.
    Failed(String),
    /// No member could be reached, or none answered in time.
    Unreachable(String),
    /// The key is not there.
    Absent(String),
    /// Whoever reads the output has gone: `driftless get … | head -1`.
    OutputClosed,
}

impl Failure {
    /// A failure with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Failed(message) => (message, 1),
            Self::Unreachable(message) => (message, 3),
            Self::Absent(message) => (message, 4),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        // If stderr is gone as well there is nobody left to tell.
        let _ = io::Write::write_all(
            &mut io::stderr(),
            format!("driftless: {}\n", message.trim_end()).as_bytes(),
        );
        ExitCode::from(code)
    }
}

/// Joins what was tried to why it did not work.
pub(crate) trait Context<T> {
    /// `doing`: what was tried, as in "cannot read ./data/cluster.json".
    fn context(self, doing: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, doing: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Failed(format!("{doing}: {error}")))
    }
}

/// Writing to stdout fails in one way that is no failure.
pub(crate) fn output_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::OutputClosed
    } else {
        Failure::Failed(format!("cannot write the output: {error}"))
    }
}
