use crate::{
    Policy,
    api::form,
    domain::{Action, PathParameters, RouteTemplate},
    error::ConfigFault,
};

/// What a proxy asks of a caller: every one of these. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Resource(Value),
    Plan(Value),
    Permission(String, Action),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// What stands in the place of this parameter of the path.
    Parameter(String),
}

impl Asked {
    /// Reads `resource`, `plan` and `permission` out of pairs. None where there is none of them.
    ///
    /// # Errors
    ///
    /// Fails with anything else, since leaving it out could let somebody in.
    pub(super) fn read(
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<Self>, String> {
        let mut terms = Vec::new();
        for (name, value) in pairs {
            if value.is_empty() {
                return Err(format!("{name} is empty"));
            }
            terms.push(match &*name {
                "resource" => Term::Resource(Value::Text(value)),
                "plan" => Term::Plan(Value::Text(value)),
                "permission" => match value.rsplit_once(':') {
                    Some((resource, action)) if !resource.is_empty() => {
                        let action = action.parse().map_err(|_| wrong_permission(&value))?;
                        Term::Permission(resource.to_owned(), action)
                    }
                    _ => return Err(wrong_permission(&value)),
                },
                _ => return Err(format!("{name} is none of resource, plan and permission")),
            });
        }
        Ok((!terms.is_empty()).then_some(Self(terms)))
    }

    /// The policy for a request whose path has these parameters.
    pub(super) fn policy(&self, parameters: &PathParameters<'_>) -> Option<Policy> {
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.clone()),
            Value::Parameter(name) => parameters.get(name).map(str::to_owned),
        };
        let mut policies = self.0.iter().map(|term| {
            Some(match term {
                Term::Resource(id) => Policy::resource(text(id)?),
                Term::Plan(id) => Policy::plan(text(id)?),
                Term::Permission(resource, action) => Policy::permission(&**resource, *action),
            })
        });
        let first = policies.next()??;
        policies.try_fold(first, |all, policy| Some(all.and(policy?)))
    }

    /// Takes `{id}` for the parameter of that name.
    fn with_parameters(mut self, route: &RouteTemplate) -> Result<Self, String> {
        for term in &mut self.0 {
            let (Term::Resource(value) | Term::Plan(value)) = term else { continue };
            let Value::Text(text) = &*value else { continue };
            if !text.contains(['{', '}']) {
                continue;
            }
            let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name.filter(|name| route.path().parameters().any(|known| known == *name)) {
                Some(name) => *value = Value::Parameter(name.to_owned()),
                None => return Err(format!("{text} is no parameter of {route}")),
            }
        }
        Ok(self)
    }
}

fn wrong_permission(value: &str) -> String {
    format!("{value:?} is no permission such as dpp:read")
}

/// A route of the application behind the proxy, and what is asked of its callers.
#[derive(Debug, Clone)]
pub(super) struct GuardedRoute {
    pub(super) template: RouteTemplate,
    pub(super) asked: Asked,
}

impl GuardedRoute {
    pub(super) fn new(template: &str, asked: &str) -> Result<Self, ConfigFault> {
        const NAME: &str = "the routes to verify";
        let template = RouteTemplate::new(NAME, template)?;
        let fault = |reason: String| ConfigFault::invalid(NAME, format!("{template}: {reason}"));
        let pairs = form::pairs(asked).ok_or_else(|| fault("an escape is none".to_owned()))?;
        let asked = Asked::read(pairs).map_err(fault)?;
        let asked = asked.ok_or_else(|| fault("nothing is asked of its callers".to_owned()))?;
        let asked = asked.with_parameters(&template).map_err(fault)?;
        Ok(Self { template, asked })
    }
}
