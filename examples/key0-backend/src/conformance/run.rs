use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    ConformanceError,
    options::ConformanceOptions,
    report::{CaseResult, Failure, Outcome, Report},
    table::{Case, Check, Circumstance, Expected, Group, Step, Values},
    target::Target,
};
use crate::{
    call::{self, Answer, Call, CallError},
    logging::Chain,
};

/// Where Key0 and the operator call.
const INTERNAL: [&str; 4] = ["/internal", "/keys", "/introspect", "/verify"];

/// One run over all cases.
#[derive(Debug)]
pub(super) struct Run {
    public: Target,
    internal: Target,
    patience: Duration,
    circumstances: Vec<Circumstance>,
    values: Values,
    /// The ids of the keys that were made and may still be in force.
    made: BTreeSet<String>,
    results: Vec<CaseResult>,
    /// What went wrong around the cases.
    troubles: Vec<String>,
}

/// How a step came out.
enum StepResult {
    Right,
    Wrong(Failure),
}

impl Run {
    pub(super) fn new(options: &ConformanceOptions, values: Values) -> Self {
        let public = options.url.clone();
        let internal = options.internal_url.clone().unwrap_or_else(|| public.clone());
        let mut circumstances = vec![match options.signed_jwt {
            true => Circumstance::SignedJwt,
            false => Circumstance::PerhapsSignedJwt,
        }];
        if public != internal {
            circumstances.push(Circumstance::TwoListeners);
        }
        let known = [
            (values.get("gatewaySecret").is_ok(), Circumstance::Gateway),
            (options.introspect, Circumstance::Introspection),
            (options.verify, Circumstance::Verification),
        ];
        circumstances.extend(known.into_iter().filter_map(|(on, what)| on.then_some(what)));
        Self {
            public,
            internal,
            patience: Duration::from_secs(options.timeout_seconds),
            circumstances,
            values,
            made: BTreeSet::new(),
            results: Vec::new(),
            troubles: Vec::new(),
        }
    }

    /// Checks that somebody is there.
    pub(super) async fn reach(&self) -> Result<(), ConformanceError> {
        for target in [&self.public, &self.internal] {
            let connected = call::connect(target.authority());
            match tokio::time::timeout(self.patience, connected).await {
                Ok(connected) => drop(connected?),
                Err(_) => return Err(CallError::TimedOut(self.patience).into()),
            }
        }
        Ok(())
    }

    pub(super) async fn check(&mut self, groups: &[Group]) {
        for group in groups {
            for case in &group.cases {
                if case.when.is_some_and(|when| !self.circumstances.contains(&when)) {
                    continue;
                }
                let outcome = self.check_case(case).await;
                let name = case.name.clone();
                self.results.push(CaseResult { group: group.name, name, outcome });
            }
        }
    }

    pub(super) fn interrupted(&mut self) {
        self.troubles.push("interrupted: the cases after this were not run".to_owned());
    }

    /// Revokes the keys that are left, as where a case failed half-way.
    pub(super) async fn clear_up(&mut self) {
        for id in std::mem::take(&mut self.made) {
            let revoked = match self.values.get("masterKey") {
                Ok(master) => {
                    let path = self.internal.path(&format!("/keys/{id}"));
                    let call = Call::new("DELETE", &path).header("x-api-key", master);
                    call.send(self.internal.authority(), self.patience).await.ok()
                }
                Err(_) => None,
            };
            if !revoked.is_some_and(|answer| matches!(answer.status.as_u16(), 204 | 404)) {
                self.troubles.push(format!("the key {id} was made and could not be revoked"));
            }
        }
    }

    pub(super) fn report(self) -> Report {
        Report { url: self.public.to_string(), cases: self.results, troubles: self.troubles }
    }

    async fn check_case(&mut self, case: &Case) -> Outcome {
        for name in case.needs() {
            if let Err(why) = self.values.get(name) {
                return Outcome::Skipped(why);
            }
        }
        for step in &case.steps {
            if let StepResult::Wrong(failure) = self.take(step).await {
                return Outcome::Failed(failure);
            }
        }
        Outcome::Passed
    }

    async fn take(&mut self, step: &Step) -> StepResult {
        let expected = step.expect.as_slice();
        let wrong = |came: String, faults: Vec<String>| {
            let expected = expected.iter().map(Expected::to_string).collect::<Vec<_>>();
            let request = step.to_string();
            StepResult::Wrong(Failure { request, expected: expected.join(", or "), came, faults })
        };
        let call = match self.values.call(step, |path| self.target(step).path(path)) {
            Ok(call) => call,
            Err(why) => return wrong("the request was not sent".to_owned(), vec![why]),
        };
        let target = self.target(step);
        let answer = match call.send(target.authority(), self.patience).await {
            Ok(answer) => answer,
            Err(error) => return wrong("no answer".to_owned(), vec![Chain(&error).to_string()]),
        };
        self.note_keys(step, &answer);
        let check = Check { values: &self.values, call: &call, answer: &answer, request_ids: true };
        // Of several, the one that fits best is told.
        let code = answer.member("code");
        let unlike = |expected: &&Expected| {
            let other_code = expected.code.as_ref().is_some_and(|wanted| *wanted != code);
            (expected.status != answer.status.as_u16(), other_code)
        };
        let faults = expected.iter().min_by_key(unlike).map(|best| check.faults(best));
        let faults = faults.unwrap_or_default();
        if !faults.is_empty() {
            let came = told(&answer);
            let redact = |text: String| self.values.redact(&text);
            return wrong(redact(came), faults.into_iter().map(redact).collect());
        }
        for (name, member) in &step.keep {
            let value = match member.as_str() {
                "body" => answer.text.clone(),
                member => answer.member(member),
            };
            self.values.keep(name, value);
        }
        StepResult::Right
    }

    fn target(&self, step: &Step) -> &Target {
        let (_, path) = step.line();
        let inside = INTERNAL.iter().any(|start| path.starts_with(start));
        if inside && !step.to_public { &self.internal } else { &self.public }
    }

    /// Remembers a key that was made, and forgets one that was revoked.
    fn note_keys(&mut self, step: &Step, answer: &Answer) {
        let (method, path) = step.line();
        match (method, answer.status.as_u16()) {
            ("POST", 201) if path == "/keys" => {
                self.made.insert(answer.member("id"));
            }
            ("DELETE", 204) => {
                let path = self.values.fill(path).unwrap_or_default();
                self.made.remove(path.rsplit('/').next().unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// An answer as it is shown: what looks like a credential is left out.
fn told(answer: &Answer) -> String {
    const LONGEST: usize = 400;
    let body = match answer.json() {
        Value::Object(mut members) => {
            for name in ["key", "token", "accessToken"] {
                if let Some(value) = members.get_mut(name) {
                    *value = "…".into();
                }
            }
            Value::Object(members).to_string()
        }
        _ => answer.text.clone(),
    };
    let mut shown: String = body.chars().take(LONGEST).collect();
    if shown.len() < body.len() {
        shown.push('…');
    }
    format!("{} {shown}", answer.status.as_u16()).trim_end().to_owned()
}
