//! The floors of the sources: a room imports only from lower floors, never from a sibling.
//!
//! Read from the sources themselves, code under `#[cfg(test)]` left out: every path that starts
//! with `crate`, `self`, `super` or the crate's name, in use trees, inline and inside macros. A
//! name that the root re-exports counts for the room where it lives.

mod reader;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use reader::{SourceFile, Spelled};

/// The rooms by floor. Two rooms on one floor don't know each other.
const FLOORS: [&[&str]; 11] = [
    &["error", "metrics"],
    &["domain"],
    &["token", "apikey"],
    &["store"],
    &["auth"],
    &["policy"],
    &["api", "guard", "idempotency"],
    &["tower", "openapi"],
    &["axum", "actix", "client", "testing"],
    &["backend"],
    &["bin"],
];
/// The highest floor of the core, which names no framework.
const CORE: usize = 6;
const FRAMEWORKS: [&str; 12] = [
    "actix_http",
    "actix_web",
    "axum",
    "axum_core",
    "http",
    "http_body",
    "http_body_util",
    "hyper",
    "hyper_util",
    "tower",
    "tower_http",
    "tower_service",
];
/// The commands of the sample backend that work with the store. What they share stands in `operator`.
const COMMANDS: [&str; 4] = ["audit", "keys", "purchases", "store"];
const MAX_LINES: usize = 400;
const LIBRARY: &str = "key0_auth";

/// What the check found.
#[derive(Default)]
struct Findings {
    faults: Vec<String>,
    /// Which room imports from which.
    imports: BTreeSet<(String, String)>,
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Checks sources given as (path below `src/`, text).
fn check(sources: &[(&str, &str)]) -> Findings {
    let mut findings = Findings::default();
    let mut files = Vec::new();
    for (path, text) in sources {
        match SourceFile::read(path, text) {
            Ok(file) => files.push(file),
            Err(error) => findings.faults.push(format!("{path}: can't be read: {error}")),
        }
    }
    let test_modules: Vec<Vec<String>> =
        files.iter().flat_map(|file| file.test_modules.iter().cloned()).collect();
    files.retain(|file| !test_modules.iter().any(|of_tests| file.module.starts_with(of_tests)));

    let root = root_names(&files, &mut findings.faults);
    for file in &files {
        check_file(file, &root, &mut findings);
    }
    findings
}

fn check_file(file: &SourceFile, root: &BTreeMap<String, String>, findings: &mut Findings) {
    let path = &file.path;
    if file.lines > MAX_LINES {
        findings.faults.push(format!("{path}: {} lines, {MAX_LINES} are allowed", file.lines));
    }
    for (line, what) in &file.unreadable {
        findings.faults.push(format!("{path}:{line}: {what}"));
    }
    // The root is no room: it declares and re-exports all of them.
    let Some(room) = file.module.first() else { return };
    let Some(own_floor) = floor(room) else {
        findings.faults.push(format!("{path}: no floor is known for the room {room}"));
        return;
    };
    for spelled in &file.paths {
        let at = format!("{path}:{}: `{spelled}`", spelled.line);
        if own_floor <= CORE && names_framework(spelled) {
            findings.faults.push(format!("{at} names a framework in the core"));
        }
        // The sample backend is a crate of its own: its `crate::` is not the library.
        if room == "bin" {
            continue;
        }
        let Some(absolute) = resolve(spelled) else { continue };
        let target = match absolute.first() {
            Some(first) if floor(first).is_some() => first,
            Some(first) if root.contains_key(first) => &root[first],
            _ => {
                findings.faults.push(format!("{at} can't be traced to a room"));
                continue;
            }
        };
        if target == room {
            continue;
        }
        findings.imports.insert((room.clone(), target.clone()));
        let target_floor = floor(target).unwrap_or(usize::MAX);
        if target_floor >= own_floor {
            let direction = if target_floor > own_floor { "upward" } else { "sideways" };
            findings.faults.push(format!(
                "{at} runs {direction}, from {room} (floor {own_floor}) to {target} (floor \
                 {target_floor})"
            ));
        }
    }
}

/// The names that `src/lib.rs` imports or re-exports, each with the room where it lives.
fn root_names(files: &[SourceFile], faults: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let Some(lib) = files.iter().find(|file| file.path == "lib.rs") else { return names };
    for spelled in lib.paths.iter().filter(|spelled| spelled.in_use) {
        let absolute = resolve(spelled).unwrap_or_else(|| spelled.segments.clone());
        let Some(room) = absolute.first().filter(|first| floor(first).is_some()) else { continue };
        match spelled.bound_name() {
            Some(name) => {
                names.insert(name.to_owned(), room.clone());
            }
            None => faults.push(format!("lib.rs:{}: `{spelled}` hides names", spelled.line)),
        }
    }
    names
}

/// The path from the crate's root on, for a path that starts inside the crate.
fn resolve(spelled: &Spelled) -> Option<Vec<String>> {
    let mut segments = spelled.segments.iter().peekable();
    let mut absolute = match segments.next()?.as_str() {
        "crate" => Vec::new(),
        name if name == LIBRARY => Vec::new(),
        "self" => spelled.module.clone(),
        "super" => parent(&spelled.module),
        _ => return None,
    };
    while segments.next_if(|segment| *segment == "super").is_some() {
        absolute = parent(&absolute);
    }
    absolute.extend(segments.cloned());
    Some(absolute)
}

fn parent(module: &[String]) -> Vec<String> {
    module.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default()
}

/// A path into a framework crate, or the crate itself where it is imported.
fn names_framework(spelled: &Spelled) -> bool {
    FRAMEWORKS.contains(&spelled.segments[0].as_str())
        && (spelled.in_use || spelled.segments.len() > 1)
}

fn sources_below(folder: &Path, base: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, base, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(base).unwrap().to_str().unwrap().replace('\\', "/");
            into.push((below, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn rooms_import_from_lower_floors_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    sources_below(&src, &src, &mut sources);
    let backend = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/key0-backend/src");
    let mut of_backend = Vec::new();
    sources_below(&backend, &backend, &mut of_backend);
    sources.extend(of_backend.into_iter().map(|(path, text)| (format!("bin/{path}"), text)));
    sources.sort();
    let sources: Vec<(&str, &str)> =
        sources.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let findings = check(&sources);
    assert!(findings.faults.is_empty(), "\n{}\n", findings.faults.join("\n"));
    // Imports that are there, and through a re-export: the check sees what it is there for.
    for (from, to) in [("token", "domain"), ("token", "error"), ("store", "apikey")] {
        assert!(findings.imports.contains(&(from.into(), to.into())), "{from} imports {to}");
    }
}

/// Imports of a room of the sample backend from a command, which is none of its own.
fn from_other_commands(sources: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources {
        let file = SourceFile::read(path, text).unwrap();
        let Some(room) = file.module.first().map(String::as_str) else { continue };
        if room != "operator" && !COMMANDS.contains(&room) {
            continue;
        }
        for spelled in &file.paths {
            // The library has rooms of the same names.
            let is_own = spelled.segments[0] != LIBRARY;
            let target = resolve(spelled).filter(|_| is_own);
            let target = target.and_then(|absolute| absolute.first().cloned());
            let command = target.filter(|target| COMMANDS.contains(&target.as_str()));
            if command.is_some_and(|command| command != room) {
                faults.push(format!("{path}:{}: `{spelled}` is of another command", spelled.line));
            }
        }
    }
    faults
}

#[test]
fn commands_do_not_import_from_each_other() {
    let backend = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/key0-backend/src");
    let mut sources = Vec::new();
    sources_below(&backend, &backend, &mut sources);
    let faults = from_other_commands(&sources);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    for command in COMMANDS {
        let is_there = |(path, _): &(String, String)| {
            *path == format!("{command}.rs") || path.starts_with(&format!("{command}/"))
        };
        assert!(sources.iter().any(is_there), "{command} is no room");
    }
    for (path, text) in [
        ("audit.rs", "use crate::keys::List;"),
        ("purchases/mod.rs", "fn f() { crate::keys::finish() }"),
        ("operator/mod.rs", "use super::keys::KeysError;"),
    ] {
        let faults = from_other_commands(&[(path.to_owned(), text.to_owned())]);
        assert_eq!(faults.len(), 1, "{path}: {faults:?}");
    }
}

mod samples;
