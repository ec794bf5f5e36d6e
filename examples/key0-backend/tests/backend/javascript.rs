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
