use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args;
use key0_auth::{
    domain::{Clock, SystemClock, Timestamp},
    store::{PostgresOpenError, SqliteOpenError},
};
use serde_json::{Value, json};

use crate::{
    config::{Config, ServeOptions, Setting},
    database::{Database, DatabaseError, Opening},
    logging::Chain,
};

/// 2026-01-01T00:00:00Z: before it this program was not there, and the clock is wrong.
const NOT_BEFORE: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// Which configuration is looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    is_fine: bool,
    told: String,
}

/// Says how the configuration is understood and whether a server could work with it: exit code 0
/// where it could, 1 where something fails, 2 where the configuration is wrong.
pub(crate) fn run(options: &DoctorOptions) -> ExitCode {
    let settings = ServeOptions { env_file: options.env_file.clone(), ..ServeOptions::default() };
    let (settings, config) = Config::examine(&settings);
    let mut findings = Vec::new();
    let mut code = ExitCode::SUCCESS;
    match &config {
        Ok(config) => {
            findings.push(store(&config.database));
            let doors = [("public", Some(config.public)), ("internal", config.internal)];
            findings
                .extend(doors.into_iter().filter_map(|(name, door)| Some(listener(name, door?))));
            findings.extend(config.warnings.iter().map(|warning| Finding {
                what: "open door",
                is_fine: true,
                told: warning.clone(),
            }));
        }
        Err(error) => {
            code = ExitCode::from(2);
            findings.extend(error.faults().iter().map(|fault| Finding {
                what: "configuration",
                is_fine: false,
                told: fault.to_string(),
            }));
        }
    }
    let now = SystemClock.now();
    findings.push(Finding { what: "clock", is_fine: now > NOT_BEFORE, told: now.to_string() });
    let is_fine = findings.iter().all(|finding| finding.is_fine);
    if code == ExitCode::SUCCESS && !is_fine {
        code = ExitCode::FAILURE;
    }
    let printed = crate::told(&told(&settings, &findings, options.json));
    if code == ExitCode::SUCCESS { printed } else { code }
}

fn store(database: &Database) -> Finding {
    let finding = |is_fine, told| Finding { what: "store", is_fine, told };
    if matches!(database, Database::Memory) {
        return finding(true, database.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finding(false, format!("the runtime did not start: {error}")),
    };
    runtime.block_on(async {
        let opened = match database.open(Opening::Existing).await {
            Ok(opened) => opened,
            Err(
                DatabaseError::Sqlite(SqliteOpenError::Absent { .. })
                | DatabaseError::Postgres(PostgresOpenError::Absent { .. }),
            ) => return finding(true, format!("{database}: not there yet, serve makes it")),
            Err(error) => return finding(false, Chain(&error).to_string()),
        };
        let answered = opened.keys.ping().await;
        let _ = opened.keys.close().await;
        match answered {
            Ok(()) => finding(true, format!("{database}: it answers")),
            Err(error) => finding(false, format!("{database}: {}", Chain(&error))),
        }
    })
}

fn listener(name: &str, address: SocketAddr) -> Finding {
    let reach = match address.ip().is_loopback() {
        true => "from this host alone",
        false => "from outside, as far as the network lets it",
    };
    let told = format!("{name} on {address}: reached {reach}");
    Finding { what: "listener", is_fine: true, told }
}

fn told(settings: &[Setting], findings: &[Finding], json: bool) -> String {
    if json {
        let settings = settings.iter().map(|Setting { name, value, source }| {
            (name.to_string(), json!({ "value": value, "source": source }))
        });
        let findings = findings.iter().map(|Finding { what, is_fine, told }| {
            json!({ "what": what, "isFine": is_fine, "told": told })
        });
        let told = json!({
            "configuration": settings.collect::<serde_json::Map<String, Value>>(),
            "findings": findings.collect::<Vec<_>>(),
        });
        return format!("{told}\n");
    }
    let mut text = String::new();
    for Setting { name, value, source } in settings {
        text.push_str(&format!("{name:36} {} ({source})\n", value.as_deref().unwrap_or("-")));
    }
    text.push('\n');
    for Finding { what, is_fine, told } in findings {
        let mark = if *is_fine { "ok   " } else { "FAILS" };
        text.push_str(&format!("{mark} {what}: {told}\n"));
    }
    text
}
