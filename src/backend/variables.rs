use std::fs;

use crate::{
    domain::{Secret, SecretSet, disturbs},
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

    /// One secret.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret> {
        let text = self.text(name)?;
        if let Some(flaw) = flaw(&text) {
            self.invalid(name, flaw);
            return None;
        }
        self.keep(Secret::new(name, text))
    }

    /// Any number of secrets, with commas or line ends between them.
    pub(super) fn secrets(&mut self, name: &str) -> Vec<Secret> {
        let Some(text) = self.text(name) else { return Vec::new() };
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<_> = (1..)
            .zip(items)
            .map(|(place, item)| (format!("{name} (number {place})"), item.to_owned()))
            .collect();
        if items.is_empty() {
            self.invalid(name, "it is given and holds none");
        }
        let secret = |(name, item): (String, String)| match flaw(&item) {
            Some(flaw) => {
                self.invalid(&name, flaw);
                None
            }
            None => self.keep(Secret::new(&name, item)),
        };
        items.into_iter().filter_map(secret).collect()
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

/// Why a text is not what its author meant, by what stands at its ends.
fn flaw(text: &str) -> Option<&'static str> {
    let ends = || [text.chars().next(), text.chars().next_back()].into_iter().flatten();
    if ends().any(char::is_whitespace) {
        // Whoever sends it, or copies it into a list, would lose it.
        Some("it begins or ends with white space")
    } else if ends().any(disturbs) {
        Some("it begins or ends with an invisible character")
    } else if ends().any(|end| matches!(end, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}')) {
        Some("it begins or ends with a quote, which would be a part of it")
    } else {
        None
    }
}

fn file_of(name: &str) -> String {
    format!("{name}_FILE")
}
