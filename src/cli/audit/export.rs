//! `tidegate audit export`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::whereabouts::Whereabouts;
use crate::audit::fhir::audit_event;
use crate::cli::complain;
use crate::cli::lookup::LookupError;
use crate::store::StoreError;
use crate::store::audit::FILE;
use crate::store::audit::read::AuditReader;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each as it was written, which its hash is over.
    Ndjson,
    /// FHIR R4 AuditEvents, one a line; releases in the shape of IHE BALP's privacy disclosure.
    Fhir,
}

/// Write every record.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// How.
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Recorded at or after this time, such as 2026-11-22T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Recorded before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// A new file, readable by its owner alone, instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Why nothing more is written.
enum Stopped {
    Store(StoreError),
    Output(std::io::Error),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Export {
    /// Runs it.
    pub fn run(self) -> Result<(), LookupError> {
        let (dir, _) = self.whereabouts.find().map_err(LookupError::Wrong)?;
        let failed = |error: StoreError| LookupError::Failed(error.to_string());
        let reader = AuditReader::open(&dir.join(FILE)).map_err(failed)?;
        let chain = reader.chain().map_err(failed)?;
        let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match &self.output {
            Some(path) => {
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let fail = |error| LookupError::Failed(format!("{}: {error}", path.display()));
                Box::new(made.map_err(fail)?)
            }
            None => Box::new(std::io::stdout().lock()),
        });
        let mut count = 0_u64;
        // Which daemon it was, its starts say.
        let mut node = String::from("tidegate");
        let written = reader.each(|record, bytes| {
            if let Some(name) = record.says.node() {
                name.clone_into(&mut node);
            }
            let before = self.from.is_some_and(|from| record.at < from);
            if before || self.to.is_some_and(|to| record.at >= to) {
                return Ok(());
            }
            count += 1;
            let line = match self.format {
                Format::Ndjson => bytes.to_vec(),
                Format::Fhir => audit_event(&record, &node, &chain).to_string().into_bytes(),
            };
            out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(Stopped::Output)
        });
        match written.and_then(|()| out.flush().map_err(Stopped::Output)) {
            Ok(()) => complain(&format!("{count} records")),
            // A reader that has gone, as `head` does, ends the command quietly.
            Err(Stopped::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(Stopped::Output(error)) => return Err(LookupError::Failed(error.to_string())),
            Err(Stopped::Store(error)) => return Err(failed(error)),
        }
        Ok(())
    }
}
