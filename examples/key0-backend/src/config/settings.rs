use super::{
    names::{VARIABLES, Variable},
    variables::{Source, Value, Variables},
};

/// What a variable is, as operators may see it.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// Nothing where neither it nor a default is there. Of a secret, its length alone.
    pub(crate) value: Option<String>,
    pub(crate) source: String,
}

impl Variables {
    /// Every variable, in the order in which they are explained.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let setting = |variable: &Variable| {
            let name = variable.name;
            let file_name = format!("{name}_FILE");
            let named = |name: &str| self.values.get(name).map(|value| (value, self.told(value)));
            let (value, source) = match (named(name), named(&file_name)) {
                (Some((value, source)), _) if variable.is_secret => {
                    (Some(format!("set, {} bytes", value.text.len())), source)
                }
                (Some((value, source)), _) => (Some(value.text.trim().to_owned()), source),
                (None, Some((value, source))) => {
                    let path = value.text.trim();
                    (Some(format!("in the file {path}")), format!("{file_name}, {source}"))
                }
                (None, None) => {
                    let default = variable.default;
                    ((!default.is_empty()).then(|| default.to_owned()), "default".to_owned())
                }
            };
            Setting { name, value, source }
        };
        VARIABLES.iter().map(setting).collect()
    }

    fn told(&self, value: &Value) -> String {
        match value.source {
            Source::Flag => "flag".to_owned(),
            Source::Environment => "environment".to_owned(),
            Source::File { line, .. } => format!("{} line {line}", self.file),
        }
    }
}
