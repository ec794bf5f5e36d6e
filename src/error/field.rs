use std::{borrow::Cow, sync::Arc};

use serde::Serialize;

use super::rejection::{Rejection, RejectionKind};

/// The most faults that one refusal tells of.
const MAX_ERRORS: usize = 100;
/// The longest name of an unknown member that is told, in bytes. Secrets and keys are longer.
pub(crate) const MAX_TOLD_NAME: usize = 31;

/// What is wrong with one member of a body: an entry of `errors` in a refusal's body.
///
/// ```
/// use key0_auth::{Rejection, RejectionKind, error::FieldError};
///
/// let errors = [FieldError::required("name"), FieldError::unknown("nmae")];
/// let refused = Rejection::new(RejectionKind::ValidationFailed).errors(errors);
/// assert_eq!(refused.message(), "name is required");
/// assert_eq!(refused.field_errors().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    path: Cow<'static, str>,
    /// The path once more: two generations of clients read it under different names.
    field: Cow<'static, str>,
    code: &'static str,
    message: Cow<'static, str>,
}

impl FieldError {
    /// `invalid`: the member is there, and its value is wrong. The message is for the caller.
    pub fn invalid(
        path: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(path.into(), "invalid", message.into())
    }

    /// `required`: the member is missing.
    pub fn required(path: impl Into<Cow<'static, str>>) -> Self {
        let path = path.into();
        let message = format!("{path} is required").into();
        Self::new(path, "required", message)
    }

    /// `unknown`: nobody reads such a member. The name is the caller's: one of more than 31
    /// characters, or of others than visible ASCII, is shown as `…`.
    pub fn unknown(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        let can_be_told =
            name.len() <= MAX_TOLD_NAME && name.bytes().all(|byte| byte.is_ascii_graphic());
        let path = if can_be_told { name } else { "…".into() };
        let message = format!("{path} is unknown").into();
        Self::new(path, "unknown", message)
    }

    fn new(path: Cow<'static, str>, code: &'static str, message: Cow<'static, str>) -> Self {
        Self { field: path.clone(), path, code, message }
    }

    /// The member: its name, after those of the members around it and full stops.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `invalid`, `required` or `unknown`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same with this text for the caller.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// The same for a member of the member `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.path = format!("{parent}.{}", self.path).into();
        self.field = self.path.clone();
        self
    }
}

impl Rejection {
    /// Tells what is wrong with each member of the body: the member `errors` of the refusal's body,
    /// of which it lists the first 100. The first one's text becomes the refusal's.
    #[must_use]
    pub fn errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        let errors: Vec<_> = errors.into_iter().take(MAX_ERRORS).collect();
        if let Some(first) = errors.first() {
            self.detail = first.message.clone();
        }
        self.errors = Some(Arc::new(errors));
        self
    }

    /// What is wrong with each member of the body, as far as it was told.
    pub fn field_errors(&self) -> &[FieldError] {
        self.errors.as_deref().map(Vec::as_slice).unwrap_or_default()
    }
}

/// 400 `invalid_request`.
impl From<FieldError> for Rejection {
    fn from(error: FieldError) -> Self {
        Self::new(RejectionKind::InvalidBody).errors([error])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_credentials_or_disturb_are_not_told() {
        for (name, told) in [
            ("nmae", "nmae"),
            ("", ""),
            ("a".repeat(31).as_str(), "a".repeat(31).as_str()),
            ("a".repeat(32).as_str(), "…"),
            ("ak_0123456789abcdef0123456789abcdef", "…"),
            ("two words", "…"),
            ("gr\u{f6}\u{df}e", "…"),
            ("\u{202e}", "…"),
            ("\u{7f}", "…"),
        ] {
            let error = FieldError::unknown(name.to_owned());
            assert_eq!((error.path(), error.message()), (told, &*format!("{told} is unknown")));
        }
    }

    #[test]
    fn a_hundred_faults_are_told_and_the_first_is_what_the_refusal_says() {
        let refused = Rejection::new(RejectionKind::ValidationFailed);
        let errors = (0..200).map(|n| FieldError::required(n.to_string()).within("rows"));
        let refused = refused.errors(errors);
        assert_eq!(refused.field_errors().len(), 100);
        assert_eq!(refused.field_errors()[7].path(), "rows.7");
        assert_eq!(refused.message(), "0 is required");
        let plain = Rejection::new(RejectionKind::InvalidBody).errors([]);
        assert_eq!(plain.message(), Rejection::new(RejectionKind::InvalidBody).message());
    }
}
