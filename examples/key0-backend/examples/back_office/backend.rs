//! A backend as a process of its own, so that it can really be killed.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use key0_auth::apikey::KeyFormat;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{self, Child},
    time::timeout,
};

use super::Outcome;

/// How long it may take to say where it listens.
const START: Duration = Duration::from_secs(20);

pub(crate) struct Backend {
    program: PathBuf,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    child: Child,
    address: SocketAddr,
    pub(crate) master_key: String,
}

impl Backend {
    /// Starts it on throw-away secrets, a throw-away store and a free port.
    pub(crate) async fn start() -> Outcome<Self> {
        let program = program()?;
        let folder = TempDir::with_prefix("key0-back-office-")?;
        let secret = || -> Outcome<String> { Ok(KeyFormat::default().generate()?.expose().into()) };
        let master_key = secret()?;
        let variables = vec![
            ("KEY0_ACCESS_TOKEN_SECRET", secret()?),
            ("INTERNAL_AUTH_SECRET", secret()?),
            ("MASTER_API_KEYS", master_key.clone()),
            ("DATABASE_URL", format!("sqlite://{}", folder.path().join("day.db").display())),
            ("RUST_LOG", "error".to_owned()),
        ];
        let (child, address) = spawn(&program, folder.path(), &variables, 0).await?;
        Ok(Self { program, folder, variables, child, address, master_key })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, without a warning.
    pub(crate) async fn stop(&mut self) -> Outcome {
        Ok(self.child.kill().await?)
    }

    /// Starts it again, on the same store and the same port.
    pub(crate) async fn restart(&mut self) -> Outcome {
        let port = self.address.port();
        let spawned = spawn(&self.program, self.folder.path(), &self.variables, port).await?;
        (self.child, self.address) = spawned;
        Ok(())
    }
}

async fn spawn(
    program: &Path,
    folder: &Path,
    variables: &[(&'static str, String)],
    port: u16,
) -> Outcome<(Child, SocketAddr)> {
    let mut child = process::Command::new(program)
        .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("there is no output")?).lines();
    let listening = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("listening on") {
                return Ok(url.trim().trim_start_matches("http://").parse()?);
            }
        }
        Outcome::Err("the backend ended before it listened".into())
    };
    let address = timeout(START, listening).await??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, address))
}

/// The sample backend beside this example. Cargo builds an example without the binary, so that one
/// is built here: always when Cargo has started this, which may have changed it, else when missing.
fn program() -> Outcome<PathBuf> {
    let example = env::current_exe()?;
    let profile = example.parent().and_then(Path::parent).ok_or("this is no example")?;
    let program = profile.join(format!("key0-backend{}", env::consts::EXE_SUFFIX));
    let cargo = env::var_os("CARGO");
    if cargo.is_none() && program.exists() {
        return Ok(program);
    }
    let (Some(target), Some(name)) = (profile.parent(), profile.file_name()) else {
        return Err("this is no example".into());
    };
    let name = if name == "debug" { "dev".as_ref() } else { name };
    // The example is named too, so that both are built from the same crates, which are there.
    let built = Command::new(cargo.unwrap_or("cargo".into()))
        .args(["build", "--quiet", "-p", "key0-backend", "--bin", "key0-backend"])
        .args(["--example", "back_office"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target)
        .arg("--profile")
        .arg(name)
        .status()?;
    if built.success() { Ok(program) } else { Err("the backend could not be built".into()) }
}
