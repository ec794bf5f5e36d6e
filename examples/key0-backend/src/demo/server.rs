use std::{fs, io, path::PathBuf, process::Stdio, time::Duration};

use key0_auth::domain::Secret;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::DemoError;

/// How long the server may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// The backend as a process of its own, so that it can really be killed.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
    authority: String,
    pub(super) token_secret: Secret,
    pub(super) internal_secret: String,
    pub(super) master_key: String,
}

impl Server {
    /// Starts it on throw-away secrets, a throw-away store and a free port.
    pub(super) async fn start() -> Result<Self, DemoError> {
        let folder = std::env::temp_dir().join(format!("key0-backend-demo-{}", random_text(8)?));
        create_private(&folder)?;
        let (token_secret, internal_secret) = (random_text(32)?, random_text(32)?);
        let master_key = random_text(32)?;
        let database = folder.join("demo.db");
        let variables = vec![
            ("KEY0_ACCESS_TOKEN_SECRET", token_secret.clone()),
            ("INTERNAL_AUTH_SECRET", internal_secret.clone()),
            ("MASTER_API_KEYS", format!("demo={master_key}")),
            ("DATABASE_URL", format!("sqlite://{}", database.display())),
            ("RUST_LOG", "warn".to_owned()),
        ];
        let (child, authority) = match spawn(&folder, &variables, "127.0.0.1:0").await {
            Ok(spawned) => spawned,
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                return Err(error);
            }
        };
        let token_secret = Secret::new("the demo's access token secret", token_secret)?;
        Ok(Self { child, folder, variables, authority, token_secret, internal_secret, master_key })
    }

    /// Where it listens, as `127.0.0.1:40123`.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Kills it without a warning and starts it again on the same store.
    pub(super) async fn crash_and_restart(&mut self) -> Result<(), DemoError> {
        self.child.kill().await?;
        let (child, authority) = spawn(&self.folder, &self.variables, &self.authority).await?;
        (self.child, self.authority) = (child, authority);
        Ok(())
    }

    /// Runs a command on the same store: whether it succeeded, and what it printed.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<(bool, String), DemoError> {
        let output = command(&self.folder, &self.variables)?.args(arguments).output().await?;
        let printed = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&printed).into_owned()))
    }

    /// Completes when the process has ended by itself.
    pub(super) async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Ends it and removes what it has written.
    pub(super) async fn stop(&mut self) {
        let _ = self.child.kill().await;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Spawns the server and waits until it says where it listens.
async fn spawn(
    folder: &PathBuf,
    variables: &[(&'static str, String)],
    address: &str,
) -> Result<(Child, String), DemoError> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    let mut child = command(folder, variables)?
        .args(["serve", "--host", host, "--port", port])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("the server has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let listening = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("listening on") {
                return Ok(url.trim().trim_start_matches("http://").to_owned());
            }
        }
        Err(DemoError::from("the server ended before it listened"))
    };
    let authority = tokio::time::timeout(START, listening).await??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, authority))
}

/// This program, in the folder of the demo.
fn command(folder: &PathBuf, variables: &[(&'static str, String)]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

fn create_private(folder: &PathBuf) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// So many random bytes in hexadecimal.
fn random_text(bytes: usize) -> Result<String, DemoError> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
