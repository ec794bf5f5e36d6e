//! Drives a headless Chromium over the DevTools protocol, which it speaks on two pipes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);

/// What pages are asked with: the visible element with a text or a label.
const PRELUDE: &str = "
    globalThis.visible = (selector) => [...document.querySelectorAll(selector)].filter((it) => {
      const dialog = document.querySelector('dialog[open]');
      return it.checkVisibility({visibilityProperty: true}) && (!dialog || dialog.contains(it));
    });
    globalThis.named = (name) => visible('button, a, summary').find((it) => it.textContent.trim() === name);
    globalThis.field = (name) => visible('label').find((it) => it.textContent.trim() === name)?.control;
    globalThis.text = (selector) => visible(selector).map((it) => it.innerText).join('\\n');";

/// A browser with one tab. It ends with this.
pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// Whose requests are its own.
    origin: String,
    faults: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one, which loads nothing but what is of this origin. Nothing where there is no Chromium;
    /// in CI that is a failure.
    pub(super) fn start(origin: &str) -> Option<Self> {
        let there = Command::new("chromium").arg("--version").output();
        if !there.is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "chromium is missing");
            println!("skipped: chromium is not installed");
            return None;
        }
        let profile = TempDir::new().unwrap();
        // It reads commands from descriptor 3 and writes to descriptor 4.
        let pipes = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("/bin/sh")
            .args(["-c", pipes, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let messages = BufReader::new(child.stdout.take().unwrap()).split(0);
        let (sender, from) = mpsc::channel();
        thread::spawn(move || {
            let messages = messages.map_while(Result::ok);
            messages
                .filter_map(|it| serde_json::from_slice(&it).ok())
                .all(|it| sender.send(it).is_ok())
        });
        let origin = origin.to_owned();
        let (session, faults) = (None, Vec::new());
        let mut browser =
            Self { child, to, from, last: 0, session, origin, faults, _profile: profile };
        let target = browser.send("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.send("Target.attachToTarget", target);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Network", "Log", "Audits"] {
            browser.send(&format!("{domain}.enable"), json!({}));
        }
        browser.send("Page.addScriptToEvaluateOnNewDocument", json!({"source": PRELUDE}));
        Some(browser)
    }

    pub(super) fn open(&mut self, path: &str) {
        let url = format!("{}{path}", self.origin);
        let opened = self.send("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub(super) fn eval(&mut self, expression: &str) -> Value {
        match self.try_eval(expression) {
            Ok(value) => value,
            Err(error) => panic!("{expression}: {error}"),
        }
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        let asked = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        let mut answer = self.send("Runtime.evaluate", asked);
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].take()),
            Some(details) => Err(details["exception"]["description"].clone()),
        }
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(super) fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        // While a page loads, what is asked for may not be there.
        while self.try_eval(&format!("Boolean({expression})")) != Ok(true.into()) {
            if Instant::now() > deadline {
                let page = self.eval("document.body.innerText");
                panic!("never: {expression}\n{}", page.as_str().unwrap_or_default());
            }
            thread::sleep(GLANCE);
        }
    }

    /// Waits until a text is shown.
    #[track_caller]
    pub(super) fn wait_for_text(&mut self, expected: &str) {
        self.wait_for(&format!("document.body.innerText.includes({})", json!(expected)));
    }

    /// Clicks on the button or the link with this text.
    #[track_caller]
    pub(super) fn click(&mut self, name: &str) {
        let name = json!(name);
        self.wait_for(&format!("named({name})?.disabled === false || named({name})?.href"));
        self.eval(&format!("named({name}).click()"));
    }

    /// Sets the field with this label.
    #[track_caller]
    pub(super) fn fill(&mut self, label: &str, value: &str) {
        let (label, value) = (json!(label), json!(value));
        self.wait_for(&format!("field({label})"));
        self.eval(&format!(
            "{{ const it = field({label}); it.value = {value};
                for (const kind of ['input', 'change']) it.dispatchEvent(new Event(kind, {{bubbles: true}})); }}"
        ));
    }

    /// Presses a key, as `Tab` or `Enter`.
    pub(super) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            _ => (key.to_uppercase().as_bytes()[0], key),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "text": text,
                "windowsVirtualKeyCode": code,
            });
            self.send("Input.dispatchKeyEvent", event);
        }
    }

    /// Types a text into whatever has the focus.
    pub(super) fn type_in(&mut self, text: &str) {
        self.send("Input.insertText", json!({"text": text}));
    }

    /// Moves the focus by the key Tab until it is on what an expression finds.
    #[track_caller]
    pub(super) fn tab_to(&mut self, expression: &str) {
        self.wait_for(expression);
        for _ in 0..80 {
            if self.eval(&format!("document.activeElement === {expression}")) == true {
                return;
            }
            self.press("Tab");
        }
        panic!("the key Tab does not come to {expression}");
    }

    /// Asks the browser for what shows only there.
    pub(super) fn send(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.from.recv_timeout(PATIENCE).expect("an answer of chromium");
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let url = params["request"]["url"].as_str().unwrap_or_default();
        let fault = match event["method"].as_str().unwrap_or_default() {
            "Audits.issueAdded" => params["issue"]["code"] == "ContentSecurityPolicyIssue",
            "Log.entryAdded" => params["entry"]["source"] == "security",
            "Runtime.exceptionThrown" => true,
            "Network.requestWillBeSent" => {
                let own = [self.origin.as_str(), "blob:", "data:", "about:"];
                !own.iter().any(|own| url.starts_with(own))
            }
            _ => false,
        };
        if fault {
            self.faults.push(event.to_string());
        }
    }

    /// What went wrong in the page so far: exceptions, violations of its policy, and requests to
    /// any other origin.
    pub(super) fn faults(&mut self) -> Vec<String> {
        // Whatever happened before this answer was told before it.
        self.eval("new Promise((done) => setTimeout(done))");
        std::mem::take(&mut self.faults)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
