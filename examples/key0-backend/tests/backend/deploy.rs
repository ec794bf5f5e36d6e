//! The files of `deploy/`: what can be run here is run, of the rest the names are checked.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::fd::AsRawFd,
    path::Path,
    process::{Command, Stdio},
};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::process::{Request, Setup};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(DEPLOY).join(name)).unwrap()
}

/// Words that look like names of variables: capitals with an underscore in between.
fn names(text: &str) -> BTreeSet<String> {
    let of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !of_name(c) && !c.is_ascii_lowercase());
    let is_name = |word: &&str| word.contains('_') && word.chars().all(of_name) && word.len() > 3;
    words.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_files_name_variables_that_exist() {
    let known = names(&file(".env.example"));
    let others = ["AF_INET", "AF_INET6", "AF_UNIX", "POSTGRES_USER", "POSTGRES_DB"];
    let others: BTreeSet<_> = others.into_iter().chain(["POSTGRES_PASSWORD_FILE"]).collect();
    for name in [
        "Dockerfile",
        "compose.yaml",
        "kubernetes.yaml",
        "key0-backend.service",
        "key0-backend.socket",
    ] {
        for word in names(&file(name)) {
            let variable = word.strip_suffix("_FILE").unwrap_or(&word);
            assert!(known.contains(variable) || others.contains(&*word), "{name}: {word}");
        }
    }
}

/// Probes and checks ask for paths that the backend has.
#[test]
fn the_probes_ask_for_paths_that_exist() {
    let backend = Setup::new().start();
    let kubernetes = file("kubernetes.yaml");
    let paths = kubernetes.split("path: ").skip(1).map(|rest| rest.split(',').next().unwrap());
    let paths: Vec<_> = paths.collect();
    assert_eq!(paths.len(), 3);
    for path in paths {
        assert_eq!(Request::get(path).send(backend.public).status, 200, "{path}");
    }
    assert!(file("Dockerfile").contains(r#"CMD ["key0-backend", "healthcheck"]"#));
}

#[test]
fn systemd_takes_the_unit_and_the_socket() {
    let Ok(found) = Command::new("systemd-analyze").arg("--version").output() else {
        println!("skipped: systemd-analyze is not there");
        return;
    };
    assert!(found.status.success());
    let folder = tempfile::TempDir::new().unwrap();
    // Of the paths that the unit names, the program, its variables and its manual are not here.
    let unit = file("key0-backend.service")
        .replace("/usr/local/bin/key0-backend", env!("CARGO_BIN_EXE_key0-backend"))
        .replace("EnvironmentFile=/etc", "EnvironmentFile=-/etc")
        .replace("Documentation=man:key0-backend(1)\n", "");
    let written =
        [("key0-backend.service", unit), ("key0-backend.socket", file("key0-backend.socket"))];
    let paths = written.map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let verified = Command::new("systemd-analyze").arg("verify").args(&paths).output().unwrap();
    let told = String::from_utf8_lossy(&verified.stderr);
    let about_ours: Vec<_> = told.lines().filter(|line| line.contains("key0-backend")).collect();
    assert!(verified.status.success() && about_ours.is_empty(), "{told}");
}

/// As a service manager does: the socket is there before the process, which is told of it.
#[test]
fn a_socket_of_the_service_manager_takes_the_place_of_host_and_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    let script = format!(
        r#"export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDS_FIRST_FD={}; exec "$0" "$@""#,
        listener.as_raw_fd()
    );
    // The port of the configuration is taken, which does not matter.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let backend = Setup::new().set("PORT", port.to_string()).start_by_shell(&script);
    assert_eq!(backend.public, address);
    assert_eq!(Request::get("/health").send(address).status, 200);
}

/// A door counts as open by where it can be reached, not by what the variables say.
#[test]
fn an_open_door_is_refused_on_a_socket_that_others_can_reach() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    let socket = listener.as_raw_fd();
    let given = |setup: Setup, sockets: u8| {
        // A plain shell takes only descriptors of one digit.
        let script = format!(
            r#"exec bash -c 'exec 3<&{socket} 4<&{socket}; LISTEN_PID=$$ exec "$0" "$@"' "$0" "$@""#
        );
        setup.set("LISTEN_FDS", sockets.to_string()).run_by_shell(&script)
    };
    let open = Setup::new().set("INTERNAL_AUTH_STRATEGY", "none").set("HOST", "127.0.0.1");
    let ended = given(open, 1);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("0.0.0.0 is not a loopback address"), "{}", ended.stderr);

    // One more than there are listeners would take connections that nobody answers.
    let ended = given(Setup::new(), 2);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("LISTEN_FDS"), "{}", ended.stderr);
}

#[test]
fn a_reader_of_the_demo_may_leave() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_key0-backend"))
        .args(["demo", "--exit"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(demo.stdout.take());
    let ended = demo.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
