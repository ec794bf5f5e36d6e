use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use key0_auth::{AccessTokens, RejectionKind, domain::Timestamp, validate_key0_token};
use serde_json::{Map, Value, json};

use crate::{
    config::{Config, ServeOptions},
    operator::harmless,
};

/// The members of the header and of the claims that are shown.
const HEADER: [&str; 3] = ["alg", "typ", "kid"];
const CLAIMS: [&str; 11] =
    ["sub", "jti", "resourceId", "planId", "tierId", "txHash", "iss", "aud", "iat", "nbf", "exp"];

/// What is done with an access token.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenOptions {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum TokenCommand {
    /// Say what an access token holds, and which check it passes or fails with the keys of this
    /// configuration. Nobody is asked for a key, and the token is not shown.
    Inspect {
        /// The token; - for standard input, so that it stands in no list of processes
        token: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// File with further variables (default: .env, where it is there)
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
}

/// One check, in the order in which the backend makes them.
struct Check {
    name: &'static str,
    /// Nothing where an earlier one failed.
    passed: Option<bool>,
    why: String,
}

/// Exit code 0 where the token is good now, 1 where it is not, 2 for a wrong configuration.
pub(crate) fn run(options: &TokenOptions) -> ExitCode {
    let TokenCommand::Inspect { token, json, env_file } = &options.command;
    let settings = ServeOptions { env_file: env_file.clone(), ..ServeOptions::default() };
    let tokens = match Config::load_tokens(&settings) {
        Ok(tokens) => tokens,
        Err(error) => {
            let faults: Vec<_> = error.faults().iter().map(ToString::to_string).collect();
            crate::fail(&faults, *json);
            return ExitCode::from(2);
        }
    };
    let mut text = token.clone();
    if token == "-" {
        text.clear();
        if let Err(error) = io::stdin().take(64 * 1024).read_to_string(&mut text) {
            crate::fail(&[format!("standard input can't be read: {error}")], *json);
            return ExitCode::FAILURE;
        }
    }
    let text = text.trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text).trim();
    let parts = decoded(text);
    let checks = checks(&tokens, text, parts.is_some());
    let is_good = checks.iter().all(|check| check.passed == Some(true));
    let printed = crate::told(&told(parts, &checks, is_good, *json));
    if is_good { printed } else { ExitCode::FAILURE }
}

/// The header and the claims, whether or not anything about them is right.
fn decoded(token: &str) -> Option<[Map<String, Value>; 2]> {
    let part = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    match token.split('.').collect::<Vec<_>>()[..] {
        [header, claims, _] => Some([part(header)?, part(claims)?]),
        _ => None,
    }
}

fn checks(tokens: &AccessTokens, token: &str, is_jwt: bool) -> Vec<Check> {
    const NAMES: [&str; 4] = ["form", "signature", "claims", "time"];
    let outcome = validate_key0_token(format!("Bearer {token}"), tokens);
    let outcome = outcome.map(|claims| claims.expires_at());
    let (failed, passes, why) = match &outcome {
        Ok(until) => {
            let until = until.map(|until| format!("good until {until}"));
            (NAMES.len(), true, until.unwrap_or_default())
        }
        Err(refusal) => {
            let why = refusal.message();
            let at = match refusal.kind() {
                RejectionKind::TokenExpired => 3,
                RejectionKind::StoreUnavailable => 1,
                _ if !is_jwt || why.contains("malformed") || why.contains("another type") => 0,
                _ if why.contains("signature") => 1,
                _ if why.contains("not valid yet") => 3,
                _ => 2,
            };
            // Nobody is asked for the keys behind a URL.
            let undecided = refusal.kind() == RejectionKind::StoreUnavailable;
            let why = match undecided {
                true => "no key that is at hand has signed it; KEY0_JWKS_URL is not asked here",
                false => why,
            };
            (at, false, why.to_owned())
        }
    };
    let check = |(at, name)| {
        let passed = match at {
            _ if passes || at < failed => Some(true),
            _ if at == failed => Some(false),
            _ => None,
        };
        let says = at == failed || (passes && at + 1 == NAMES.len());
        Check { name, passed, why: if says { why.clone() } else { String::new() } }
    };
    NAMES.into_iter().enumerate().map(check).collect()
}

fn told(
    parts: Option<[Map<String, Value>; 2]>,
    checks: &[Check],
    is_good: bool,
    json: bool,
) -> String {
    let [header, claims] = parts.unwrap_or_default();
    if json {
        let of = |members: &Map<String, Value>, names: &[&str]| -> Map<String, Value> {
            let known = members.iter().filter(|(name, _)| names.contains(&name.as_str()));
            known.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let checks = checks.iter().map(
            |Check { name, passed, why }| json!({ "name": name, "passed": passed, "why": why }),
        );
        let told = json!({
            "good": is_good,
            "checks": checks.collect::<Vec<_>>(),
            "header": of(&header, &HEADER),
            "claims": of(&claims, &CLAIMS),
        });
        return format!("{told}\n");
    }
    let mut text = String::new();
    let members = HEADER.iter().map(|name| (name, &header));
    for (name, members) in members.chain(CLAIMS.iter().map(|name| (name, &claims))) {
        let Some(value) = members.get(*name) else { continue };
        let mut shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let (true, Some(seconds)) = (["iat", "nbf", "exp"].contains(name), value.as_f64()) {
            shown = format!("{shown} ({})", Timestamp::from_seconds(seconds as i64));
        }
        text.push_str(&format!("{name:12} {}\n", harmless(&shown)));
    }
    for Check { name, passed, why } in checks {
        let passed = match passed {
            Some(true) => "ok",
            Some(false) => "FAILS",
            None => "not looked at",
        };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        text.push_str(&format!("{name:12} {passed}{why}\n"));
    }
    if let Some(purchase) = claims.get("jti").and_then(Value::as_str) {
        // Somebody may paste the command, and the token may be a stranger's.
        let is_plain =
            |byte| matches!(byte, b'-' | b'_' | b'.' | b':') || byte.is_ascii_alphanumeric();
        let purchase = if purchase.bytes().all(is_plain) { purchase } else { "with the jti above" };
        text.push_str(&format!("revoked      not looked at: purchases show {purchase}\n"));
    }
    text
}
