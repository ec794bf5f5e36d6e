//! What may be told of a text that a caller chose: no credential may stand in the log.

use crate::confidential::is_own_id;

const HIDDEN: &str = "…";

/// The first parts of the paths that are served. They are told of paths that lead nowhere.
const ROOTS: [&str; 17] = [
    "api",
    "audit",
    "console",
    "credential",
    "docs",
    "health",
    "internal",
    "introspect",
    "keys",
    "llms.txt",
    "metrics",
    "openapi.json",
    "purchases",
    "ready",
    "refusals",
    "v1",
    "verify",
];

/// The path for the log. Whoever takes a credential for an id must not find it there, and a
/// credential may hold slashes: so what a caller chose of the path is told where all of it together
/// is shorter than the shortest credential. `route` is the template, where the path leads somewhere; its
/// own words are told always, and so are ids that are made here.
pub(super) fn path(path: &str, route: Option<&str>, shortest: usize) -> String {
    let Some(route) = route else { return rest(path, shortest) };
    let mut told = Vec::new();
    let mut chosen = 0;
    let mut parts = path.split('/');
    for template in route.split('/') {
        if template.starts_with("{*") {
            let wild = parts.by_ref().collect::<Vec<_>>().join("/");
            // Nobody knows where in it a word of ours ends and a credential begins.
            let wild = rest(&wild, shortest);
            chosen += wild.len() + 1;
            told.push((wild, true));
            break;
        }
        let part = parts.next().unwrap_or_default();
        let is_chosen = part != template && !is_own_id(part);
        if is_chosen {
            chosen += part.len() + 1;
        }
        told.push((part.to_owned(), is_chosen));
    }
    let hides = chosen > shortest;
    let told = told.iter().map(|(part, chosen)| if hides && *chosen { HIDDEN } else { &**part });
    told.collect::<Vec<_>>().join("/")
}

/// A path that may be anything. Where it is too long to be told, its first part is, if that is a
/// word of ours.
fn rest(path: &str, shortest: usize) -> String {
    let bare = path.strip_prefix('/');
    let (slash, bare) = (if bare.is_some() { "/" } else { "" }, bare.unwrap_or(path));
    if bare.len() < shortest {
        return path.to_owned();
    }
    match bare.split_once('/') {
        Some((first, _)) if ROOTS.contains(&first) => format!("{slash}{first}/{HIDDEN}"),
        _ => format!("{slash}{HIDDEN}"),
    }
}

#[cfg(test)]
mod tests {
    fn told(path: &str, route: Option<&str>) -> String {
        super::path(path, route, 20)
    }

    const OWN: &str = "01a22919-069a-7507-bc5c-d4c013fee99f";
    /// In base64, and the key of another service.
    const KEYS: [&str; 4] = [
        "q3Jx0mZ8vT4bN6wY1kLsDf/7hGu2RcPe9AiXoQzBtE+=",
        "q3Jx/0mZ8/vT4b/N6wY/1kLs/Df/7hGu/2RcPe/9AiXo",
        "sk_live_9fK2mQ7xZ1pL",
        "0123456789abcdef0123456789abcdef",
    ];

    #[test]
    fn only_ids_of_our_own_are_told_whatever_their_length() {
        assert_eq!(told(&format!("/keys/{OWN}"), Some("/keys/{id}")), format!("/keys/{OWN}"));
        let rotated = format!("/keys/{OWN}/rotate");
        assert_eq!(told(&rotated, Some("/keys/{id}/rotate")), rotated);
        for key in [
            "01a22919069a7507bc5cd4c013fee99f",
            "550e8400-e29b-41d4-a716-446655440000",
            "{01a22919-069a-7507-bc5c-d4c013fee99f}",
            "0123456789abcdef0123456789abcdef",
            "sk_live_9fK2mQ7xZ1pL",
        ] {
            assert_eq!(told(&format!("/keys/{key}"), Some("/keys/{id}")), "/keys/…");
            assert_eq!(told(&format!("/{key}/x"), None), "/…");
        }
        for path in ["/", "/nope", "/a/b/c", "/keys/a/b/c", "//keys//x"] {
            assert_eq!(told(path, None), path);
        }
        assert_eq!(
            told("/api/photos/nineteen-characters", Some("/api/photos/{id}")),
            "/api/photos/nineteen-characters"
        );
        assert_eq!(told("/verify", Some("/verify")), "/verify");
        let of_32 = |id: &str| super::path(&format!("/api/{id}"), Some("/api/{id}"), 32);
        assert_eq!(of_32(&"i".repeat(31)), format!("/api/{}", "i".repeat(31)));
        assert_eq!(of_32(&"i".repeat(32)), "/api/…");
    }

    #[test]
    fn a_key_that_holds_slashes_is_told_nowhere() {
        for key in KEYS {
            for (path, route) in [
                (format!("/{key}"), None),
                (format!("//{key}"), None),
                (format!("/keys/{key}"), None),
                (format!("/keys//{key}"), None),
                (format!("//keys/{key}"), None),
                (format!("/verify/{key}"), Some("/verify/{*path}")),
                (format!("/verify/keys/{key}"), Some("/verify/{*path}")),
            ] {
                let told = told(&path, route);
                let shown = told.split('/').filter(|part| part.len() > 3 && *part != "keys");
                let shown: Vec<_> = shown.filter(|part| *part != "verify").collect();
                assert!(shown.is_empty(), "{path}: {told}");
            }
        }
        let two = "/a/{one}/{two}/end";
        assert_eq!(told("/a/q3Jx0mZ8vT4b/N6wY1kLsDf/end", Some(two)), "/a/…/…/end");
        assert_eq!(told("/a/b/c/end", Some(two)), "/a/b/c/end");
    }
}
