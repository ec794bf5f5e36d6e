use std::{collections::HashMap, fs, net::IpAddr, ops::RangeInclusive, path::Path, str::FromStr};

use key0_auth::{domain::Secret, error::ConfigFault};

use super::ServeOptions;

/// Every variable that has a meaning here, apart from those that name a file with a secret.
const NAMES: [&str; 38] = [
    "ACCESS_LOG",
    "API_KEY_TTL_SECONDS",
    "CACHE_TTL_SECONDS",
    "DANGEROUS_ALLOW_PUBLIC",
    "DANGEROUS_DISABLE_KEY_CHECKS",
    "DATABASE_URL",
    "HOST",
    "INTERNAL_AUTH_AUDIENCE",
    "INTERNAL_AUTH_MAX_LIFETIME_SECONDS",
    "INTERNAL_AUTH_PREVIOUS_SECRETS",
    "INTERNAL_AUTH_SECRET",
    "INTERNAL_AUTH_STRATEGY",
    "INTERNAL_HOST",
    "INTERNAL_OAUTH_AUDIENCE",
    "INTERNAL_OAUTH_CLIENT_IDS",
    "INTERNAL_OAUTH_ISSUER",
    "INTERNAL_OAUTH_JWKS_URL",
    "INTERNAL_OAUTH_SCOPE",
    "INTERNAL_PORT",
    "ISSUANCE_PREVIOUS_SECRETS",
    "ISSUANCE_SECRET",
    "ISSUE_TOKEN_AUTH",
    "KEY0_ACCESS_TOKEN_AUDIENCE",
    "KEY0_ACCESS_TOKEN_ISSUER",
    "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS",
    "KEY0_ACCESS_TOKEN_SECRET",
    "KEY0_JWKS_URL",
    "KEY0_PUBLIC_KEY",
    "LOG_FORMAT",
    "MASTER_API_KEYS",
    "MINTER_API_KEYS",
    "PORT",
    "READY_IGNORES_STORE",
    "READ_API_KEYS",
    "RUST_LOG",
    "SHUTDOWN_DELAY_SECONDS",
    "SUPPORT_API_KEYS",
    "TRUSTED_PROXIES",
];

/// Stand for `$` and `\$` while a file is read: expanding them would silently make another secret
/// of one. Both are of no use to anybody (Unicode, private use).
const DOLLAR: &str = "\u{f000}";
const ESCAPED_DOLLAR: &str = "\u{f001}";

/// The variables by name: flags win over the environment, the environment over the file. One that
/// is set to nothing counts as not set.
pub(crate) struct Variables {
    values: HashMap<String, String>,
    /// Those of ours that are no text.
    unreadable: Vec<String>,
}

impl Variables {
    pub(crate) fn load(options: &ServeOptions, faults: &mut Vec<ConfigFault>) -> Self {
        let mut values = HashMap::new();
        let mut unreadable = Vec::new();
        read_file(options.env_file.as_deref(), &mut values, faults);
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    values.insert(name, value);
                }
                Err(_) if is_ours(&name) => {
                    faults.push(invalid(&name, "it is not UTF-8"));
                    values.remove(&name);
                    unreadable.push(name);
                }
                Err(_) => {}
            }
        }
        let flags = [
            ("HOST", &options.host),
            ("PORT", &options.port),
            ("INTERNAL_HOST", &options.internal_host),
            ("INTERNAL_PORT", &options.internal_port),
            ("INTERNAL_AUTH_STRATEGY", &options.internal_auth_strategy),
            ("API_KEY_TTL_SECONDS", &options.api_key_ttl_seconds),
            ("CACHE_TTL_SECONDS", &options.cache_ttl_seconds),
            ("LOG_FORMAT", &options.log_format),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                values.insert(name.to_owned(), value.clone());
            }
        }
        values.retain(|_, value| !value.trim().is_empty());
        Self { values, unreadable }
    }

    /// Takes a secret from this file, whatever else is said of it.
    pub(crate) fn take_from_file(&mut self, name: &str, file: &Path) {
        self.values.remove(name);
        self.values.insert(format!("{name}_FILE"), file.display().to_string());
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.unreadable.iter().any(|other| other == name)
    }

    /// Whether it is given in one of the ways a secret can be, be it legible or not.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.is_set(name) || self.is_set(&format!("{name}_FILE"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.trim())
    }

    /// A switch: off unless it is true.
    pub(super) fn flag(&self, name: &str, faults: &mut Vec<ConfigFault>) -> bool {
        match self.get(name) {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => {
                faults.push(invalid(name, "it is true or false"));
                false
            }
        }
    }

    pub(super) fn number(
        &self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
        faults: &mut Vec<ConfigFault>,
    ) -> u64 {
        let Some(value) = self.get(name) else { return default };
        match value.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let what = format!("it is a number from {} to {}", range.start(), range.end());
                faults.push(invalid(name, &what));
                default
            }
        }
    }

    pub(super) fn port(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<u16> {
        let port = self.get(name).map(u16::from_str);
        port.and_then(|port| {
            port.map_err(|_| faults.push(invalid(name, "it is a port from 0 to 65535"))).ok()
        })
    }

    pub(super) fn host(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<IpAddr> {
        let text = match self.get(name) {
            None | Some("localhost") => "127.0.0.1",
            Some(text) => text,
        };
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let host = IpAddr::from_str(bare.unwrap_or(text));
        host.map_err(|_| faults.push(invalid(name, "it is an IP address or localhost"))).ok()
    }

    /// A text that may be secret: from the variable, or from the file that NAME_FILE names.
    pub(super) fn secret_text(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<String> {
        let file_name = format!("{name}_FILE");
        match (self.values.get(name), self.get(&file_name)) {
            (Some(_), Some(_)) => {
                faults.push(invalid(name, &format!("{file_name} is given as well; one is enough")));
                None
            }
            (Some(value), None) => Some(value.clone()),
            (None, Some(path)) => match fs::read_to_string(path) {
                Ok(text) => {
                    let text = text
                        .strip_suffix('\n')
                        .map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
                    if text.is_empty() {
                        faults.push(invalid(&file_name, "the file is empty"));
                    }
                    (!text.is_empty()).then(|| text.to_owned())
                }
                Err(error) => {
                    faults.push(invalid(&file_name, &format!("the file can't be read: {error}")));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// One secret of at least 32 bytes.
    pub(crate) fn secret(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let text = self.secret_text(name, faults)?;
        // Whoever sends it, or copies it into a list, would lose white space at its ends.
        let trimmed = text.trim() == text;
        let secret = Secret::new(name, text).map_err(|fault| faults.push(fault)).ok()?;
        if !trimmed {
            faults.push(invalid(name, "it begins or ends with white space"));
        }
        trimmed.then_some(secret)
    }

    /// Any number of secrets, with commas or line ends between them.
    pub(crate) fn secrets(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Vec<Secret> {
        let Some(text) = self.secret_text(name, faults) else { return Vec::new() };
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        if items.clone().next().is_none() {
            faults.push(invalid(name, "it is given and holds none"));
        }
        (1..)
            .zip(items)
            .filter_map(|(place, item)| {
                let secret = Secret::new(&format!("{name} (number {place})"), item);
                secret.map_err(|fault| faults.push(fault)).ok()
            })
            .collect()
    }
}

fn read_file(
    path: Option<&Path>,
    variables: &mut HashMap<String, String>,
    faults: &mut Vec<ConfigFault>,
) {
    let (path, wanted) = match path {
        Some(path) => (path, true),
        None => (Path::new(".env"), false),
    };
    let name = path.display().to_string();
    if !wanted && !path.exists() {
        return;
    }
    let Ok(text) = fs::read_to_string(path) else {
        faults.push(invalid(&name, "the file can't be read"));
        return;
    };
    let text = text.replace("\\$", ESCAPED_DOLLAR).replace('$', DOLLAR);
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok((name, value)) => {
                if value.contains(ESCAPED_DOLLAR) && is_ours(&name) {
                    // Whether the backslash belongs to it depends on the quotes, which are gone.
                    let why = "it holds \\$; a $ needs no backslash, as nothing is expanded";
                    faults.push(invalid(&name, why));
                }
                let value = value.replace(DOLLAR, "$").replace(ESCAPED_DOLLAR, "\\$");
                variables.insert(name, value);
            }
            // The error's own text shows the line, which may hold a secret.
            Err(_) => {
                faults.push(invalid(&name, "it holds a line that is not NAME=value"));
                return;
            }
        }
    }
}

/// Whether a variable has a meaning here.
fn is_ours(name: &str) -> bool {
    NAMES.contains(&name.strip_suffix("_FILE").unwrap_or(name))
}

pub(super) fn invalid(name: &str, reason: &str) -> ConfigFault {
    ConfigFault::Invalid { name: name.to_owned(), reason: reason.to_owned() }
}

pub(super) fn missing(name: &str, why: &str) -> ConfigFault {
    ConfigFault::Missing { name: name.to_owned(), why: why.to_owned() }
}
