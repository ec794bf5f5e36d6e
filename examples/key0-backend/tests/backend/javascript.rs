//! A script in JavaScript against the sample backend, written as an integrator would write one.

use std::process::{Command, Output, Stdio};

use crate::process::Setup;

const MASTER: &str = "hush-a-master-key-of-these-tests-32-bytes";

/// Whether there is a node whose `fetch` needs no flag. In CI there must be one.
fn has_node() -> bool {
    let probe = Command::new("node").args(["--eval", "process.exit(Number(!fetch))"]).output();
    let there = probe.is_ok_and(|output| output.status.success());
    if !there {
        assert!(std::env::var_os("CI").is_none(), "node 18 or later is missing");
        println!("skipped: node 18 or later is not installed");
    }
    there
}

#[test]
fn a_script_of_an_integrator_works_against_v1() {
    if !has_node() {
        return;
    }
    let backend = Setup::new().set("MASTER_API_KEYS", MASTER).start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backend/integrator.mjs");
    let Output { status, stdout, stderr } = Command::new("node")
        .arg(script)
        .env("BACKEND_URL", format!("http://{}", backend.public))
        .env("MASTER_KEY", MASTER)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{stdout}");
    // No secret is in its log.
    backend.kill();
}

/// However large the body, node's own client gets the refusal and not a broken connection.
#[test]
fn a_refusal_of_a_large_body_reaches_the_fetch_of_node() {
    if !has_node() {
        return;
    }
    let backend = Setup::new().set("MASTER_API_KEYS", MASTER).start();
    let script = r#"
        const { BACKEND_URL: at, MASTER_KEY: key } = process.env;
        for (const [path, headers, status] of [
          ["/internal/issue-token", {}, 401],
          ["/nope", {}, 404],
          ["/keys", { "x-api-key": key }, 413],
        ]) for (const size of [1, 5, 16]) for (let n = 0; n < 10; n++) {
          const body = Buffer.alloc(size * 1024 * 1024);
          headers["content-type"] = "application/json";
          const answer = await fetch(at + path, { method: "POST", body, headers })
            .catch((error) => ({ status: String(error.cause ?? error), text: () => "" }));
          await answer.text();
          if (answer.status !== status) throw `${path}, ${size} MB, ${n}: ${answer.status}`;
        }
    "#;
    let output = Command::new("node")
        .args(["--input-type=module", "--eval", script])
        .env("BACKEND_URL", format!("http://{}", backend.public))
        .env("MASTER_KEY", MASTER)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    backend.kill();
}
