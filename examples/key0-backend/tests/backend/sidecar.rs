//! The sample backend as a sidecar: the ready-made files of `deploy/`, each in the program that it is
//! for, between a client and an application in JavaScript.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use key0_auth::{
    apikey::KeyDigest,
    domain::{ChallengeId, Claims, Clock, PlanId, RequestId, ResourceId, SystemClock, TxHash},
    token::TokenIssuer,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Answer, Backend, INTERNAL_SECRET, Request, Setup, token_secret};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
const GATEWAY: &str = "hush: the secret of Key0's gateway, here";
const READER: &str = "hush-a-reader-s-key-of-these-tests-32-bytes";
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program is there. In CI it must be.
fn has(program: &str, version: &str) -> bool {
    let probe = Command::new(program).arg(version).output();
    let there = probe.is_ok_and(|output| output.status.success());
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing");
        println!("skipped: {program} is not installed");
    }
    there
}

/// The application, and where it listens.
fn application() -> (Running, SocketAddr) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backend/application.mjs");
    let mut node = Command::new("node").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Running(node), SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap())))
}

fn backend() -> (Setup, Backend) {
    let setup = Setup::new()
        .set("INTERNAL_PORT", "0")
        .set("READ_API_KEYS", READER)
        .set("GATEWAY_SECRET", GATEWAY)
        .set("GATEWAY_ROUTES", "photo=GET /api/photos/{id}")
        .set("VERIFY_ROUTES", "* /api/photos/{id} resource={id}, * /orders permission=dpp:read");
    let backend = setup.start();
    (setup, backend)
}

/// An address on which nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A ready-made file with the addresses of this test, and the port that the proxy is to listen on.
fn configured(file: &str, application: SocketAddr, backend: &Backend) -> (String, SocketAddr) {
    let free = free();
    let text = fs::read_to_string(format!("{DEPLOY}/{file}")).unwrap();
    let addresses = [
        // First, as these digits could stand in another port.
        ("8000", free.port().to_string()),
        ("127.0.0.1:8080", application.to_string()),
        ("127.0.0.1:3001", backend.internal.unwrap().to_string()),
    ];
    let text = addresses.into_iter().fold(text, |text, (given, own)| {
        assert!(text.contains(given), "{file}: {given}");
        text.replace(given, &own)
    });
    (text, free)
}

/// nginx with its ready-made file, and where it listens.
fn nginx(application: SocketAddr, backend: &Backend) -> (Nginx, SocketAddr) {
    let (text, address) = configured("nginx.conf", application, backend);
    let folder = TempDir::new().unwrap();
    let files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};", folder.path().display()))
        .join(" ");
    let text = text.replace("http {", &format!("http {{ access_log off; {files}"));
    let text = text.replace("worker_processes auto;", "worker_processes 1; master_process off;");
    fs::write(folder.path().join("nginx.conf"), text).unwrap();
    let log = folder.path().join("error.log");
    let pid = format!("daemon off; pid {}/nginx.pid;", folder.path().display());
    let nginx = Command::new("nginx")
        .args(["-p", folder.path().to_str().unwrap(), "-c", "nginx.conf", "-g", &pid])
        .args(["-e", log.to_str().unwrap()])
        .spawn();
    let mut nginx = Running(nginx.unwrap());
    wait_for(&mut nginx, address);
    (Nginx { _process: nginx, _folder: folder }, address)
}

/// The process ends before its folder goes.
struct Nginx {
    _process: Running,
    _folder: TempDir,
}

fn wait_for(proxy: &mut Running, address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(proxy.0.try_wait().unwrap().is_none(), "the proxy has ended");
        assert!(Instant::now() < deadline, "the proxy does not listen");
        thread::sleep(Duration::from_millis(20));
    }
}

fn token(resource: &str) -> String {
    let now = SystemClock.now();
    let claims = Claims::new(
        RequestId::new("request-1").unwrap(),
        ChallengeId::new("challenge-1").unwrap(),
        ResourceId::new(resource).unwrap(),
        PlanId::new("basic").unwrap(),
        TxHash::new("0xabab").unwrap(),
        now.plus(Duration::from_secs(600)),
    );
    TokenIssuer::hs256(&token_secret()).access_token(&claims).unwrap()
}

/// A key that can't be looked up: what an outage of the store looks like for this key.
fn unreachable_key(setup: &Setup, backend: &Backend) -> String {
    let order = json!({"requestId": "r", "resourceId": "photo-1", "planId": "p", "txHash": "0x1"});
    let issued = Request::post("/internal/issue-token", &order).internal(INTERNAL_SECRET);
    let issued: Value =
        serde_json::from_slice(&issued.send(backend.internal.unwrap()).body).unwrap();
    let key = issued["token"].as_str().unwrap().to_owned();
    let database = rusqlite::Connection::open(setup.database()).unwrap();
    let sql = "UPDATE keys SET kind = 'visitor' WHERE digest = ?1";
    let digest = KeyDigest::of(&key);
    assert_eq!(database.execute(sql, [digest.as_bytes().as_slice()]).unwrap(), 1);
    key
}

const TOLD: [&str; 5] = [
    "x-key0-caller-kind",
    "x-key0-caller-id",
    "x-key0-resource-id",
    "x-key0-plan-id",
    "x-key0-expires-at",
];

/// What a client makes up.
fn forge(request: Request) -> Request {
    let request = TOLD.into_iter().fold(request, |request, name| request.header(name, "forged"));
    request
        .header("X-Original-URI", "/orders")
        .header("X-Original-Method", "GET")
        .header("X-Forwarded-Uri", "/orders")
        .header("X-Forwarded-Method", "DELETE")
        .header("X-Key0-Payer", "forged")
        .header("X-Key0-Tx-Hash", "forged")
}

/// The headers that the application has seen.
fn seen(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = body.to_string();
    assert!(!text.contains("forged") && !text.contains("hush"), "{text}");
    for name in ["authorization", "x-api-key", "x-key0-internal-token", "payment-signature"] {
        assert!(body["headers"].get(name).is_none(), "{name}: {text}");
    }
    body
}

/// What every proxy must do.
fn check(proxy: SocketAddr, setup: &Setup, backend: Backend) {
    let send = |request: Request| request.try_send(proxy).unwrap();
    let refused = |answer: &Answer, status: u16, code: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["code"], code);
    };
    let photo = token("photo-1");
    let get = || Request::get("/api/photos/photo-1");

    let answer = send(get());
    refused(&answer, 401, "missing_credential");
    assert!(answer.all("www-authenticate")[0].starts_with("Bearer "), "{answer:?}");
    refused(&send(get().bearer("a.b.c")), 401, "invalid_token");
    refused(
        &send(Request::get("/api/photos/photo-2").bearer(&photo)),
        403,
        "insufficient_permissions",
    );
    refused(&send(Request::get("/elsewhere").bearer(&photo)), 403, "insufficient_permissions");

    for request in [get().bearer(&photo), forge(get().bearer(&photo))] {
        let body = seen(&send(request));
        assert_eq!(body["url"], "/api/photos/photo-1");
        let told = |name: &str| body["headers"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(TOLD.map(told)[..4], ["access_token", "request-1", "photo-1", "basic"]);
        assert!(told(TOLD[4]).ends_with('Z'));
    }
    // The client's word on what it requests is not asked, nor is its query a policy.
    let request = Request::get("/api/photos/photo-2?resource=photo-1").bearer(&photo);
    refused(&send(request), 403, "insufficient_permissions");
    let request = forge(Request::get("/api/photos/photo-2").bearer(&photo));
    refused(&send(request), 403, "insufficient_permissions");
    let body = seen(&send(forge(Request::get("/orders?a=b").header("X-Api-Key", READER))));
    assert_eq!(body["headers"][TOLD[0]], "bootstrap_key");
    assert_eq!(body["headers"][TOLD[2]].as_str().unwrap_or_default(), "");
    let post = Request::new("POST", "/api/photos/photo-1").bearer(&photo).body("a body");
    assert_eq!(seen(&send(post))["body"], "a body");
    // What backends read in more than one way.
    for path in
        ["/api/photos%2Fphoto-1", "/api/photos/photo-2%2F..%2Fphoto-1", "/api//photos/photo-1"]
    {
        let status = send(Request::get(path).bearer(&photo)).status;
        assert!([400, 403].contains(&status), "{path}: {status}");
    }
    // Key0's gateway, for the call that was paid.
    let gateway = |path| Request::get(path).header("X-Key0-Internal-Token", GATEWAY);
    let body = seen(&send(forge(gateway("/api/photos/photo-7").bearer("a.b.c"))));
    assert_eq!(body["headers"][TOLD[0]], "gateway");
    assert_eq!(send(gateway("/orders")).status, 403);
    // An outage is no refusal of the credential, of the store as of all of it.
    let answer = send(get().bearer(&unreachable_key(setup, &backend)));
    refused(&answer, 503, "store_unavailable");
    backend.kill();
    refused(&send(get().bearer(&photo)), 503, "store_unavailable");
}

#[test]
fn nginx_asks_before_it_hands_a_request_on() {
    if !has("node", "--version") || !has("nginx", "-v") {
        return;
    }
    let (_application, address) = application();
    let (setup, backend) = backend();
    let (_nginx, proxy) = nginx(address, &backend);
    check(proxy, &setup, backend);
}

/// What `deploy/README.md` shows, with Express as it is installed.
#[test]
fn the_example_with_express_works_behind_nginx() {
    let script = "process.stdout.write(path.dirname(require.resolve('express/package.json')))";
    // Where Debian has it; node itself looks elsewhere.
    let modules = std::env::var("NODE_PATH").unwrap_or("/usr/share/nodejs".to_owned());
    let found = Command::new("node").args(["--eval", script]).env("NODE_PATH", &modules).output();
    let express = found.ok().filter(|found| found.status.success());
    let Some(express) = express.map(|found| String::from_utf8(found.stdout).unwrap()) else {
        assert!(std::env::var_os("CI").is_none(), "Express is missing");
        return println!("skipped: Express is not installed");
    };
    if !has("nginx", "-v") {
        return;
    }
    let page = fs::read_to_string(format!("{DEPLOY}/README.md")).unwrap();
    let between = |start: &str, end: &str| {
        let (_, rest) = page.split_once(start).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    let address = free();
    let script = between("```js\n", "```").replace("8080", &address.port().to_string());
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("app.mjs"), script).unwrap();
    fs::create_dir(folder.path().join("node_modules")).unwrap();
    std::os::unix::fs::symlink(express, folder.path().join("node_modules/express")).unwrap();
    let node = Command::new("node")
        .arg("app.mjs")
        .current_dir(folder.path())
        .env("NODE_PATH", modules)
        .spawn();
    let mut node = Running(node.unwrap());
    wait_for(&mut node, address);

    let backend = Setup::new()
        .set("INTERNAL_PORT", "0")
        .set("READ_API_KEYS", READER)
        .set("VERIFY_ROUTES", between("VERIFY_ROUTES='", "'"))
        .start();
    let (_nginx, proxy) = nginx(address, &backend);
    let send = |request: Request| request.try_send(proxy).unwrap();
    let photo = || Request::get("/api/photos/photo-1");
    let bought = token("photo-1");
    assert_eq!(send(photo()).status, 401);
    for request in [photo().bearer(&bought), forge(photo().bearer(&bought))] {
        let answer = send(request);
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, json!({"id": "photo-1", "plan": "basic", "buyer": "request-1"}));
    }
    assert_eq!(send(Request::get("/api/photos/photo-2").bearer(&bought)).status, 403);
    let answer = send(forge(Request::get("/orders").header("X-Api-Key", READER)));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let partner = body["partner"].as_str().unwrap();
    assert!(!partner.is_empty() && partner != "forged", "{body}");
    backend.kill();
}

#[test]
fn caddy_asks_before_it_hands_a_request_on() {
    if !has("node", "--version") || !has("caddy", "version") {
        return;
    }
    let (_application, address) = application();
    let (setup, backend) = backend();
    let (text, proxy) = configured("Caddyfile", address, &backend);
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("Caddyfile"), text).unwrap();
    let caddy = Command::new("caddy")
        .args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("XDG_DATA_HOME", folder.path())
        .env("XDG_CONFIG_HOME", folder.path())
        .stderr(Stdio::null())
        .spawn();
    let mut caddy = Running(caddy.unwrap());
    wait_for(&mut caddy, proxy);
    check(proxy, &setup, backend);
}

#[test]
fn a_proxy_without_an_internal_listener_needs_a_secret() {
    let secret = "hush: the secret of the proxy, in these tests";
    let backend =
        Setup::new().set("VERIFY_SECRET", secret).set("VERIFY_HEADERS", "caller-id=X-User").start();
    let ask = |path: &str| Request::get(path).bearer(&token("photo-1"));
    let address = backend.public;
    let answer = ask("/verify?resource=photo-1").header("X-Verify-Auth", secret).send(address);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("x-user"), Some("request-1"));
    assert_eq!(answer.header("x-key0-caller-id"), None);
    assert_eq!(ask("/verify?resource=photo-1").send(address).status, 401);
    let answer = ask("/verify").header("X-Verify-Auth", secret).send(address);
    assert_eq!(answer.status, 403);
    backend.kill();
    // Nobody who may ask: there is nothing to ask.
    let backend = Setup::new().start();
    assert_eq!(ask("/verify?resource=photo-1").send(backend.public).status, 404);
    let split = Setup::new().set("INTERNAL_PORT", "0").start();
    assert_eq!(ask("/verify?resource=photo-1").send(split.public).status, 404);
    assert_eq!(ask("/verify?resource=photo-1").send(split.internal.unwrap()).status, 204);
}

#[test]
fn a_backend_elsewhere_asks_about_a_token() {
    let backend = Setup::new().start();
    let ask = |token: &str| {
        Request::new("POST", "/introspect")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"))
    };
    let told = |token: &str| {
        let answer = ask(token).internal(INTERNAL_SECRET).send(backend.public);
        assert_eq!(answer.status, 200);
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let good = told(&token("photo-1"));
    assert_eq!((&good["active"], &good["resource_id"]), (&json!(true), &json!("photo-1")));
    assert_eq!(told("a.b.c"), json!({"active": false}));
    assert_eq!(ask("a.b.c").send(backend.public).status, 401);
}
