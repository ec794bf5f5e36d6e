use std::fs;

use crate::{
    apikey::BootstrapKeys,
    domain::{Secret, SecretSet, flaw_at_ends},
    error::ConfigFault,
};

/// Reads variables, and collects all that is wrong with them.
pub(super) struct Variables<'a> {
    look_up: &'a dyn Fn(&str) -> Option<String>,
    pub(super) faults: Vec<ConfigFault>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(look_up: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { look_up, faults: Vec::new() }
    }

    /// The value of a variable. One that is set to nothing counts as not set.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.look_up)(name).filter(|value| !value.trim().is_empty())
    }

    /// Whether a secret is given in one of its two ways, be it legible or not.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.get(name).is_some() || self.get(&file_of(name)).is_some()
    }

    pub(super) fn invalid(&mut self, name: &str, reason: &str) {
        self.faults.push(ConfigFault::invalid(name, reason));
    }

    pub(super) fn missing(&mut self, name: &str, why: &str) {
        self.faults.push(ConfigFault::missing(name, why));
    }

    /// What `take` makes of something, or its fault.
    pub(super) fn keep<T>(&mut self, made: Result<T, ConfigFault>) -> Option<T> {
        made.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// A text from the variable, or from the file that `NAME_FILE` names, without the line end at
    /// the file's end.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let file = file_of(name);
        match (self.get(name), self.get(&file)) {
            (None, None) => None,
            (Some(text), None) => Some(text),
            (Some(_), Some(_)) => {
                self.invalid(name, &format!("{file} is given as well; one is enough"));
                None
            }
            (None, Some(path)) => match fs::read_to_string(path.trim()) {
                Ok(text) => {
                    let line = text.strip_suffix('\n').unwrap_or(&text);
                    let line = line.strip_suffix('\r').unwrap_or(line);
                    if line.is_empty() {
                        self.invalid(&file, "the file is empty");
                    }
                    Some(line.to_owned()).filter(|line| !line.is_empty())
                }
                Err(error) => {
                    self.invalid(&file, &format!("the file can't be read: {error}"));
                    None
                }
            },
        }
    }

    /// Whether something is on that is off by default.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.get(name).as_deref().map_or("false", str::trim) {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => {
                self.invalid(name, "it is true or false");
                false
            }
        }
    }

    /// One secret.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret> {
        let text = self.text(name)?;
        self.exact(name, &text)
    }

    /// Any number of secrets, with commas or line ends between them.
    pub(super) fn secrets(&mut self, name: &str) -> Vec<Secret> {
        self.items(name).iter().filter_map(|(name, item)| self.exact(name, item)).collect()
    }

    /// Any number of keys, each written `name=key` or bare.
    pub(super) fn keys(&mut self, name: &str) -> Vec<(Option<String>, Secret)> {
        let items = self.items(name);
        let keys = items.iter().filter_map(|(setting, item)| {
            let (name, key) = BootstrapKeys::split_name(item);
            Some((name.map(str::to_owned), self.exact(setting, key)?))
        });
        keys.collect()
    }

    /// The items of a list, each with its name in faults.
    fn items(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(text) = self.text(name) else { return Vec::new() };
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<_> = (1..)
            .zip(items)
            .map(|(place, item)| (format!("{name} (number {place})"), item.to_owned()))
            .collect();
        if items.is_empty() {
            self.invalid(name, "it is given and holds none");
        }
        items
    }

    fn exact(&mut self, name: &str, text: &str) -> Option<Secret> {
        match flaw_at_ends(text) {
            Some(flaw) => {
                self.invalid(name, flaw);
                None
            }
            None => self.keep(Secret::new(name, text)),
        }
    }

    /// A current secret and its previous ones.
    pub(super) fn set(&mut self, current: &str, previous: &str) -> Option<SecretSet> {
        let first = self.secret(current);
        let others = self.secrets(previous);
        if !self.is_given(current) && !others.is_empty() {
            self.missing(current, &format!("{previous} needs a current one"));
        }
        first.map(|first| others.into_iter().fold(SecretSet::new(first), SecretSet::previous))
    }
}

pub(super) fn file_of(name: &str) -> String {
    format!("{name}_FILE")
}

/// The same fault under the variable's name.
pub(super) fn renamed(fault: ConfigFault, name: &str) -> ConfigFault {
    match fault {
        ConfigFault::Invalid { reason, .. } => ConfigFault::invalid(name, reason),
        fault => fault,
    }
}
