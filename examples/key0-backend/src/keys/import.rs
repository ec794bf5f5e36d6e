use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    pin::pin,
    thread,
};

use clap::Args;
use key0_auth::{
    Rejection, RejectionKind,
    api::{KeysApi, Operator, Reply},
    apikey::KeyDigest,
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{options::RoleName, print::Imported};
use crate::{
    operator::{CommandError, member, value},
    signals::interrupted,
};

/// How many lines share a commit. So few, that a server on the same store need not wait for it.
const BATCH: usize = 200;
/// How many batches are on their way to the store at a time.
const AT_ONCE: usize = 2;
/// The longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// What is imported, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImportOptions {
    /// The file; - for standard input
    file: PathBuf,
    /// The role of those on lines that are not JSON
    #[arg(long)]
    role: Option<RoleName>,
    /// Say what would become of each line, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Pass over keys that are known already; so an import that broke off can be run again
    #[arg(long)]
    skip_known: bool,
}

/// What became of one line of the file.
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Accepted {
        id: String,
        /// What the operator should know of it.
        warning: Option<String>,
    },
    WouldBeAccepted {
        warning: Option<&'static str>,
    },
    Skipped,
    Refused(String),
}

/// Lines on their way to the store, and what comes back of those that got there.
struct Batch {
    /// Those that are in the task, or why they are not.
    lines: Vec<(usize, Result<(), String>)>,
    task: JoinHandle<Vec<Result<Taken, Rejection>>>,
}

enum Taken {
    Added(Reply),
    Checked(KeyDigest, Option<&'static str>),
}

/// Takes over the key of every line, whatever becomes of the others. Lines that are empty or begin
/// with # are passed over. Ends early where the store fails, or at Ctrl-C.
pub(super) async fn run(
    api: &KeysApi,
    operator: &Operator,
    options: &ImportOptions,
    imported: &mut Imported,
) -> Result<(), CommandError> {
    let mut lines = lines(&options.file)?;
    let mut interrupted = pin!(interrupted());
    let mut batches = VecDeque::new();
    let mut seen = HashSet::new();
    let mut reading = true;
    while reading || !batches.is_empty() {
        while reading && batches.len() < AT_ONCE {
            let next = tokio::select! {
                biased;
                () = &mut interrupted => {
                    imported.broken_off("interrupted");
                    None
                }
                next = lines.recv() => next,
            };
            match next {
                Some(Ok(lines)) => batches.push_back(Batch::start(api, operator, options, lines)),
                Some(Err(error)) => return Err(CommandError::File(options.file.clone(), error)),
                None => reading = false,
            }
        }
        let Some(batch) = batches.pop_front() else { continue };
        let failed = batch.end(options, &mut seen, imported).await?;
        if failed {
            reading = false;
        }
        progress(imported);
    }
    Ok(())
}

impl Batch {
    fn start(
        api: &KeysApi,
        operator: &Operator,
        options: &ImportOptions,
        lines: Vec<(usize, Vec<u8>)>,
    ) -> Self {
        let role = options.role;
        let mut bodies = Vec::with_capacity(lines.len());
        let lines = lines.into_iter().map(|(number, line)| {
            let body = body(line, role).map(|body| bodies.push(body));
            (number, body)
        });
        let lines = lines.collect();
        let (api, operator, dry_run) = (api.clone(), operator.clone(), options.dry_run);
        let task = tokio::spawn(async move {
            if !dry_run {
                let taken = api.import_many(&operator, &bodies).await.into_iter();
                return taken.map(|taken| taken.map(Taken::Added)).collect();
            }
            let mut checked = Vec::with_capacity(bodies.len());
            for body in &bodies {
                let found = api.check_import(&operator, body).await;
                checked.push(found.map(|(digest, warning)| Taken::Checked(digest, warning)));
            }
            checked
        });
        Self { lines, task }
    }

    /// Tells what became of its lines. Whether the store has failed.
    async fn end(
        self,
        options: &ImportOptions,
        seen: &mut HashSet<[u8; 32]>,
        imported: &mut Imported,
    ) -> Result<bool, CommandError> {
        let taken = self.task.await.map_err(|error| CommandError::Refused(error.to_string()))?;
        let mut taken = taken.into_iter();
        let mut failed = false;
        for (number, wanted) in self.lines {
            let outcome = match wanted {
                Err(why) => Outcome::Refused(why),
                Ok(_) => match taken.next() {
                    Some(Ok(Taken::Added(reply))) => {
                        let key = value(&reply)?;
                        let warning = key.get("warning").and_then(Value::as_str);
                        let warning = warning.map(str::to_owned);
                        Outcome::Accepted { id: member(&key, "id"), warning }
                    }
                    Some(Ok(Taken::Checked(digest, warning)))
                        if seen.insert(*digest.as_bytes()) =>
                    {
                        Outcome::WouldBeAccepted { warning }
                    }
                    Some(Ok(Taken::Checked(..))) if options.skip_known => Outcome::Skipped,
                    Some(Ok(Taken::Checked(..))) => {
                        Outcome::Refused("an earlier line has the same key".to_owned())
                    }
                    Some(Err(refusal)) => {
                        let is_known = refusal.kind() == RejectionKind::RequestConflict;
                        failed |= refusal.kind() == RejectionKind::StoreUnavailable;
                        match is_known && options.skip_known {
                            true => Outcome::Skipped,
                            false => Outcome::Refused(CommandError::from(refusal).to_string()),
                        }
                    }
                    None => Outcome::Refused("nobody said what became of it".to_owned()),
                },
            };
            imported.line(&Line { number, outcome })?;
        }
        if failed {
            imported.broken_off("the store failed");
        }
        Ok(failed)
    }
}

/// What the keys API is asked for; the line itself where it is JSON.
fn body(line: Vec<u8>, role: Option<RoleName>) -> Result<Vec<u8>, String> {
    if line.len() > MAX_LINE {
        return Err("the line has more than 64 KiB".to_owned());
    }
    if line.starts_with(b"{") {
        return Ok(line);
    }
    let text = str::from_utf8(&line).map_err(|_| "the line is not UTF-8")?;
    let role = role.ok_or("--role says nothing, and the line is not JSON with a role")?;
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let member = if is_digest { "digest" } else { "key" };
    Ok(json!({ member: text, "role": role.as_str() }).to_string().into_bytes())
}

type Lines = io::Result<Vec<(usize, Vec<u8>)>>;

/// Batches of lines, read by a thread: a pipe that nothing comes out of must not hold up Ctrl-C.
fn lines(file: &Path) -> Result<mpsc::Receiver<Lines>, CommandError> {
    let failed = |error| CommandError::File(file.to_owned(), error);
    let source: Box<dyn io::Read + Send> = match file == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    let (sender, receiver) = mpsc::channel(1);
    let reading = move || {
        let mut source = BufReader::new(source);
        let mut batch = Vec::with_capacity(BATCH);
        for number in 1.. {
            let mut line = Vec::new();
            match source.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
            // As some editors put it before the first line.
            let bare = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line).trim_ascii();
            if !bare.is_empty() && !bare.starts_with(b"#") {
                batch.push((number, bare.to_vec()));
            }
            if batch.len() == BATCH && sender.blocking_send(Ok(std::mem::take(&mut batch))).is_err()
            {
                return;
            }
        }
        if !batch.is_empty() {
            let _ = sender.blocking_send(Ok(batch));
        }
    };
    thread::Builder::new().spawn(reading).map_err(failed)?;
    Ok(receiver)
}

/// How far it is, where somebody watches.
fn progress(imported: &Imported) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() && !io::stdout().is_terminal() {
        let _ = write!(stderr, "\r{} lines", imported.lines());
        let _ = stderr.flush();
    }
}
