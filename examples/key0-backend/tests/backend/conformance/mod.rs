//! `key0-backend conformance`: against the backends of this crate, and against some that lack a
//! guard.
mod backend;
mod command;
mod faulty;
mod holes;

use serde_json::Value;

use crate::process;
use crate::process::{Ended, Setup};

const TOKEN_SECRET: &str = "hush-the-secret-of-access-tokens-of-these-tests";
const INTERNAL_SECRET: &str = "hush-the-secret-of-internal-calls-of-these-tests";
const PREVIOUS_TOKEN_SECRET: &str = "hush-the-secret-of-access-tokens-before-that-one";
const PREVIOUS_INTERNAL_SECRET: &str = "hush-the-secret-of-internal-calls-before-that-one";
const MASTER_KEY: &str = "hush-a-master-key-of-these-tests-32-bytes";

/// The command, with every secret.
fn conformance(url: &str) -> Setup {
    stranger(url)
        .set("KEY0_ACCESS_TOKEN_SECRET", TOKEN_SECRET)
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", PREVIOUS_TOKEN_SECRET)
        .set("INTERNAL_AUTH_SECRET", INTERNAL_SECRET)
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", PREVIOUS_INTERNAL_SECRET)
        .set("MASTER_API_KEYS", format!("{MASTER_KEY},hush-another-master-key-of-these-tests"))
}

/// The command, without any.
fn stranger(url: &str) -> Setup {
    Setup::bare().argument("--url").argument(url)
}

/// What the command has said of a backend, by `--json`.
struct Report {
    code: i32,
    json: Value,
}

impl Report {
    fn of(setup: Setup) -> Self {
        let Ended { code, stdout, stderr } = setup.argument("--json").run("conformance");
        let json =
            serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}"));
        Self { code: code.unwrap(), json }
    }

    fn count(&self, what: &str) -> usize {
        usize::try_from(self.json[what].as_u64().unwrap()).unwrap()
    }

    /// The names of the cases that came out so.
    fn names(&self, outcome: &str) -> Vec<&str> {
        let cases = self.json["cases"].as_array().unwrap().iter();
        let cases = cases.filter(|case| case["outcome"] == outcome);
        cases.map(|case| case["name"].as_str().unwrap()).collect()
    }

    /// Everything that was said of a case.
    fn case(&self, name: &str) -> &Value {
        let mut cases = self.json["cases"].as_array().unwrap().iter();
        cases.find(|case| case["name"] == name).unwrap_or_else(|| panic!("no case {name}"))
    }

    #[track_caller]
    fn assert_all_pass(&self) {
        assert_eq!(self.names("fail"), Vec::<&str>::new(), "{:#}", self.json["cases"]);
        assert_eq!(self.json["troubles"], serde_json::json!([]));
        assert_eq!((self.count("failed"), self.code), (0, 0));
        assert_eq!(self.count("passed"), self.names("pass").len());
        assert_eq!(self.count("skipped"), self.names("skip").len());
    }
}
