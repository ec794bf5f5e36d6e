use std::{collections::HashMap, fs, net::IpAddr, ops::RangeInclusive, path::Path, str::FromStr};

use key0_auth::{
    apikey::BootstrapKeys,
    domain::{Secret, flaw_at_ends},
    error::ConfigFault,
};

use super::{
    GivenAddresses, ServeOptions,
    env_file::{self, BadLine, Entry},
    names::{Meaning, VARIABLES},
};

/// The variables by name: flags win over the environment, the environment over the file. One that
/// is set to nothing counts as not set.
pub(crate) struct Variables {
    pub(super) values: HashMap<String, Value>,
    /// Those of ours that are no text.
    unreadable: Vec<String>,
    /// The file with further variables.
    pub(super) file: String,
    /// The sockets of LISTEN_FDS, which win over the variables that name addresses.
    pub(super) given: GivenAddresses,
}

pub(super) struct Value {
    pub(super) text: String,
    pub(super) source: Source,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    File {
        /// Counted from 1.
        line: usize,
        /// Other tools may take the backslashes out of it.
        has_escapes: bool,
    },
}

impl Variables {
    pub(crate) fn load(options: &ServeOptions, faults: &mut Vec<ConfigFault>) -> Self {
        let path = options.env_file.as_deref();
        let mut variables = Self {
            values: HashMap::new(),
            unreadable: Vec::new(),
            file: path.unwrap_or(Path::new(".env")).display().to_string(),
            given: options.given,
        };
        variables.read_file(path.is_some(), faults);
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(text) => variables.put(&name, text, Source::Environment, faults),
                Err(_) if matches!(Meaning::of(&name), Meaning::Ours) => {
                    faults.push(invalid(&name, "it is not UTF-8"));
                    variables.values.remove(&name);
                    variables.unreadable.push(name);
                }
                Err(_) => {}
            }
        }
        for (name, value) in options.flags() {
            if let Some(value) = value {
                variables.put(name, value.clone(), Source::Flag, faults);
            }
        }
        variables.values.retain(|_, value| !value.text.trim().is_empty());
        variables.check_what_is_plain(faults);
        variables
    }

    /// What is no secret is exactly what its author meant, as secrets are.
    fn check_what_is_plain(&self, faults: &mut Vec<ConfigFault>) {
        let plain = VARIABLES.iter().filter(|variable| !variable.is_secret);
        for name in plain.map(|variable| variable.name) {
            if self.check_escapes(name, faults).is_some() {
                let flaw = self.get(name).and_then(flaw_at_ends);
                faults.extend(flaw.map(|flaw| invalid(name, flaw)));
            }
        }
    }

    fn put(&mut self, name: &str, text: String, source: Source, faults: &mut Vec<ConfigFault>) {
        let place = self.place(name, source);
        match Meaning::of(name) {
            Meaning::Ours => {
                self.values.insert(name.to_owned(), Value { text, source });
            }
            Meaning::FileOfNoSecret(meant) => {
                faults.push(invalid(&place, &format!("only secrets come from files; set {meant}")));
            }
            Meaning::Misspelt(meant) => {
                let why = format!("there is no such variable; {meant} was meant, most likely");
                faults.push(invalid(&place, &why));
            }
            Meaning::SomebodyElses => {}
        }
    }

    fn read_file(&mut self, is_wanted: bool, faults: &mut Vec<ConfigFault>) {
        let file = self.file.clone();
        if !is_wanted && !Path::new(&file).exists() {
            return;
        }
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) => {
                faults.push(invalid(&file, &format!("the file can't be read: {error}")));
                return;
            }
        };
        for entry in env_file::read(&text) {
            match entry {
                Ok(entry) => self.take(entry, faults),
                Err(BadLine { line, name, reason }) => {
                    let name = name.map(|name| format!(": {name}")).unwrap_or_default();
                    faults.push(invalid(&format!("{file} line {line}{name}"), reason));
                }
            }
        }
    }

    fn take(&mut self, entry: Entry<'_>, faults: &mut Vec<ConfigFault>) {
        let Entry { name, value, line, has_escapes, doubt } = entry;
        let source = Source::File { line, has_escapes };
        if matches!(Meaning::of(name), Meaning::Ours) {
            if let Some(doubt) = doubt {
                faults.push(invalid(&self.place(name, source), doubt));
            }
            if let Some(Value { source: Source::File { line, .. }, .. }) = self.values.get(name) {
                let why = format!("it is given in line {line} as well; one is enough");
                faults.push(invalid(&self.place(name, source), &why));
            }
        }
        self.put(name, value, source, faults);
    }

    /// A variable as faults name it: with its line, where it stands in the file.
    fn place(&self, name: &str, source: Source) -> String {
        match source {
            Source::File { line, .. } => format!("{} line {line}: {name}", self.file),
            Source::Flag | Source::Environment => name.to_owned(),
        }
    }

    /// Adds to faults of values in the file the lines where those stand.
    pub(crate) fn locate(&self, faults: &mut [ConfigFault]) {
        let locate = |name: &mut String| {
            let variable = name.split(' ').next().unwrap_or_default();
            let found = self.values.get(variable).or_else(|| {
                // The fault is the value's, whose place is that of the variable which names its file.
                self.values.get(&format!("{variable}_FILE"))
            });
            if let Some(Value { source: Source::File { line, .. }, .. }) = found {
                *name = format!("{} line {line}: {name}", self.file);
            }
        };
        for fault in faults {
            match fault {
                ConfigFault::TooShort { name, .. }
                | ConfigFault::BadKey { name, .. }
                | ConfigFault::Invalid { name, .. } => locate(name),
                ConfigFault::SameSecret { first, second } => {
                    locate(first);
                    locate(second);
                }
                _ => {}
            }
        }
    }

    /// Takes a secret from this file, whatever else is said of it.
    pub(crate) fn take_from_file(&mut self, name: &str, file: &Path) {
        self.values.remove(name);
        let value = Value { text: file.display().to_string(), source: Source::Flag };
        self.values.insert(format!("{name}_FILE"), value);
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.unreadable.iter().any(|other| other == name)
    }

    /// Whether it is given in one of the ways a secret can be, be it legible or not.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.is_set(name) || self.is_set(&format!("{name}_FILE"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.trim())
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
            (Some(value), None) => Some(value.text.clone()),
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

    /// Such a text that is exactly what its author meant.
    pub(super) fn exact_text(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<String> {
        let text = self.secret_text(name, faults)?;
        self.check_escapes(name, faults)?;
        match flaw_at_ends(&text) {
            Some(flaw) => {
                faults.push(invalid(name, flaw));
                None
            }
            None => Some(text),
        }
    }

    /// One secret of at least 32 bytes.
    pub(crate) fn secret(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let text = self.secret_text(name, faults)?;
        self.check_escapes(name, faults)?;
        let flaw = flaw_at_ends(&text);
        let secret = Secret::new(name, text).map_err(|fault| faults.push(fault)).ok()?;
        match flaw {
            Some(flaw) => {
                faults.push(invalid(name, flaw));
                None
            }
            None => Some(secret),
        }
    }

    /// Any number of secrets, with commas or line ends between them.
    pub(crate) fn secrets(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Vec<Secret> {
        let items = self.items(name, faults);
        let secrets = items.into_iter().filter_map(|(name, item)| {
            Secret::new(&name, item).map_err(|fault| faults.push(fault)).ok()
        });
        secrets.collect()
    }

    /// Any number of keys, each written `name=key` or bare.
    pub(crate) fn keys(
        &self,
        name: &str,
        faults: &mut Vec<ConfigFault>,
    ) -> Vec<(Option<String>, Secret)> {
        let items = self.items(name, faults);
        let keys = items.into_iter().filter_map(|(setting, item)| {
            let (name, key) = BootstrapKeys::split_name(&item);
            if let Some(flaw) = flaw_at_ends(key) {
                faults.push(invalid(&setting, flaw));
                return None;
            }
            let key = Secret::new(&setting, key).map_err(|fault| faults.push(fault)).ok()?;
            Some((name.map(str::to_owned), key))
        });
        keys.collect()
    }

    /// The items of a list, each with its name in faults.
    fn items(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Vec<(String, String)> {
        let Some(text) = self.secret_text(name, faults) else { return Vec::new() };
        if self.check_escapes(name, faults).is_none() {
            return Vec::new();
        }
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<_> = (1..)
            .zip(items)
            .map(|(place, item)| (format!("{name} (number {place})"), item.to_owned()))
            .collect();
        if items.is_empty() {
            faults.push(invalid(name, "it is given and holds none"));
        }
        let exact = items.into_iter().filter(|(name, item)| {
            let flaw = flaw_at_ends(item);
            faults.extend(flaw.map(|flaw| invalid(name, flaw)));
            flaw.is_none()
        });
        exact.collect()
    }

    /// Nothing where it is a fault.
    fn check_escapes(&self, name: &str, faults: &mut Vec<ConfigFault>) -> Option<()> {
        match self.values.get(name).map(|value| value.source) {
            Some(Source::File { has_escapes: true, .. }) => {
                let why = "it holds a backslash in double quotes, which some tools would take out; \
                           put it in single quotes";
                faults.push(invalid(name, why));
                None
            }
            _ => Some(()),
        }
    }
}

pub(super) fn invalid(name: &str, reason: &str) -> ConfigFault {
    ConfigFault::Invalid { name: name.to_owned(), reason: reason.to_owned() }
}

pub(super) fn missing(name: &str, why: &str) -> ConfigFault {
    ConfigFault::Missing { name: name.to_owned(), why: why.to_owned() }
}
