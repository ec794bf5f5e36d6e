use std::{fmt, io};

use serde_json::{Value, json};

use super::table::{Expected, Step};
use crate::output;

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) cases: Vec<CaseResult>,
    pub(super) troubles: Vec<String>,
}

/// A case, and what came of it.
#[derive(Debug)]
pub(super) struct CaseResult {
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    Failed(Failure),
    /// Not checked, and why.
    Skipped(String),
}

/// The first step of a case that went otherwise.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) request: String,
    pub(super) expected: String,
    pub(super) came: String,
    pub(super) faults: Vec<String>,
}

impl Report {
    /// How many cases failed, whatever went wrong around them included.
    pub(super) fn failed(&self) -> usize {
        let failed = |case: &&CaseResult| matches!(case.outcome, Outcome::Failed(_));
        self.cases.iter().filter(failed).count() + self.troubles.len()
    }

    fn passed(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Passed)).count()
    }

    fn skipped(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Skipped(_))).count()
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        match json {
            true => output::print(&output::harmless_json(&format!("{}\n", self.json()))),
            false => output::print(&self.to_string()),
        }
    }

    fn json(&self) -> Value {
        let cases = self.cases.iter().map(|case| {
            let mut told = json!({ "group": case.group, "name": case.name });
            match &case.outcome {
                Outcome::Passed => told["outcome"] = "pass".into(),
                Outcome::Skipped(why) => {
                    told["outcome"] = "skip".into();
                    told["why"] = why.as_str().into();
                }
                Outcome::Failed(failure) => {
                    told["outcome"] = "fail".into();
                    told["request"] = failure.request.as_str().into();
                    told["expected"] = failure.expected.as_str().into();
                    told["came"] = failure.came.as_str().into();
                    told["faults"] = failure.faults.clone().into();
                }
            }
            told
        });
        json!({
            "url": self.url,
            "passed": self.passed(),
            "failed": self.failed(),
            "skipped": self.skipped(),
            "troubles": self.troubles,
            "cases": cases.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.cases.iter().map(|case| case.group.len()).max().unwrap_or_default();
        writeln!(f, "{}\n", self.url)?;
        for CaseResult { group, name, outcome } in &self.cases {
            let word = match outcome {
                Outcome::Passed => "pass",
                Outcome::Failed(_) => "FAIL",
                Outcome::Skipped(_) => "skip",
            };
            write!(f, "{word}  {group:width$}  {name}")?;
            match outcome {
                Outcome::Passed => writeln!(f)?,
                Outcome::Skipped(why) => writeln!(f, ": {why}")?,
                Outcome::Failed(failure) => {
                    writeln!(f)?;
                    writeln!(f, "        sent      {}", failure.request)?;
                    writeln!(f, "        expected  {}", failure.expected)?;
                    writeln!(f, "        came      {}", failure.came)?;
                    for fault in &failure.faults {
                        writeln!(f, "        fault     {fault}")?;
                    }
                }
            }
        }
        writeln!(f)?;
        for trouble in &self.troubles {
            writeln!(f, "FAIL  {trouble}")?;
        }
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        writeln!(f, "{passed} passed, {failed} failed, {skipped} skipped and not checked")
    }
}

/// As it stands in the table: no value is filled in, so no secret shows.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.request)?;
        for (name, values) in &self.headers {
            for value in values.as_slice() {
                write!(f, ", {name}: {value}")?;
            }
        }
        match &self.body {
            None => Ok(()),
            Some(Value::String(text)) => write!(f, ", {text}"),
            Some(json) => write!(f, ", {json}"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, " {message:?}")?;
        }
        if self.empty {
            f.write_str(" without a body")?;
        }
        for (name, value) in &self.body {
            write!(f, " {name}={value}")?;
        }
        if let Some(same) = &self.same_as {
            write!(f, ", the same body as {same}")?;
        }
        Ok(())
    }
}
