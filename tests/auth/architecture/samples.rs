//! Small source trees with one fault each: the check must find it, and nothing where there is none.

use super::check;

const LIB: &str = "pub mod token; pub use auth::identity::{Identity, validator::Validator as V};
                   #[cfg(feature = \"x\")] pub use self::error::{self as faults, Rejection};
                   pub use domain::Secret;";

/// The faults of one file in a tree with the root above.
fn faults(path: &str, text: &str) -> Vec<String> {
    check(&[("lib.rs", LIB), (path, text)]).faults
}

#[track_caller]
fn passes(path: &str, text: &str) {
    assert_eq!(faults(path, text), Vec::<String>::new());
}

/// Exactly one fault, at this place, with this in its text.
#[track_caller]
fn fails(path: &str, text: &str, place: &str, why: &str) {
    let faults = faults(path, text);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].starts_with(place) && faults[0].contains(why), "{faults:#?}");
}

#[test]
fn downward_and_own_room_pass() {
    passes("token/rules.rs", "use crate::{Rejection, domain::Claims, error::{self, ConfigFault}};");
    passes("token/rules.rs", "use super::{key::Key, *}; use self::x::Y; use super::super::error;");
    passes("auth/mod.rs", "pub use identity::Identity; fn f(x: crate::Secret) -> crate::V {}");
    passes("auth/mod.rs", "pub(crate) struct A(pub(in crate::auth) u8, pub(super) u8);");
    passes("tower/layer.rs", "use tower::Layer; use crate::auth::Validator; use http::Request;");
    passes("bin/app/main.rs", "use key0_auth::AuthLayer; use crate::routes; mod routes;");
}

#[test]
fn upward_fails() {
    let place = "token/rules.rs:2: ";
    for text in [
        "\nuse crate::auth::Validator;",
        "\nuse crate::{domain::Claims, auth::{internal::{A, B as C}}};",
        "\nuse super::super::auth;",
        "\nuse key0_auth::auth::X;",
        "\nuse {::std::fmt, crate::auth as a};",
        "\npub use crate::auth::*;",
        "\nfn f() -> crate::auth::X { todo!() }",
        "\nstruct S(pub crate::auth::X, u8);",
        "\nstruct S(pub (crate::auth::X, u8));",
        "\nfn f() { m!(a, { crate::auth::x() }) }",
        "\nmacro_rules! m { () => { $crate::auth::x::<u8>() } }",
        "\nmod inner { use super::super::super::auth::X; }",
        "\n#[derive(A)] #[x(crate::auth::X)] enum E {}",
        "\nfn f<T: Into<crate::auth::X>>(t: T) {}",
    ] {
        let found = faults("token/rules.rs", text);
        let upward = found.iter().filter(|f| f.starts_with(place) && f.contains("runs upward"));
        assert!(upward.count() >= 1, "{text}: {found:#?}");
    }
    fails("error/mod.rs", "use crate::domain::X;", "error/mod.rs:1: ", "upward");
    fails("api/keys.rs", "use crate::tower::X;", "api/keys.rs:1: ", "upward");
    fails("store/sqlite/mod.rs", "use crate::auth::X;", "store/sqlite/mod.rs:1: ", "upward");
    fails("testing/mod.rs", "use crate::bin::X;", "testing/mod.rs:1: ", "upward");
}

#[test]
fn sideways_fails() {
    for (from, to) in [
        ("token", "apikey"),
        ("apikey", "token"),
        ("api", "idempotency"),
        ("axum", "actix"),
        ("testing", "client"),
    ] {
        fails(&format!("{from}/a.rs"), &format!("use crate::{to}::X;"), from, "runs sideways");
    }
}

#[test]
fn a_re_export_counts_for_its_room() {
    fails("token/a.rs", "use crate::Identity;", "token/a.rs:1: ", "to auth (floor 4)");
    fails("token/a.rs", "use crate::V;", "token/a.rs:1: ", "to auth (floor 4)");
    fails("error/a.rs", "use crate::Secret;", "error/a.rs:1: ", "to domain (floor 1)");
    passes("token/a.rs", "use crate::{Rejection, faults, Secret};");
}

#[test]
fn what_can_t_be_traced_fails() {
    let why = "can't be traced";
    for text in [
        "use crate::Unknown;",
        "use crate::*;",
        "use crate as k;",
        "use crate::{self as k};",
        "macro_rules! m { ($x:ident) => { $crate::$x } }",
        "use super::super::*;",
    ] {
        fails("token/a.rs", text, "token/a.rs:1: ", why);
    }
    fails("attic/a.rs", "", "attic/a.rs: ", "no floor is known");
    fails("token/a.rs", "#[path = \"../auth/x.rs\"] mod x;", "token/a.rs:1: ", "#[path]");
    fails("token/a.rs", "include!(\"../auth/x.rs\");", "token/a.rs:1: ", "include!");
    fails("token/a.rs", "extern crate self as k;", "token/a.rs:1: ", "extern crate self");
    fails("token/a.rs", "fn {", "token/a.rs: ", "can't be read");
    let hidden = check(&[("lib.rs", "pub use auth::*;")]).faults;
    assert!(hidden[0].contains("hides names"), "{hidden:?}");
}

#[test]
fn tests_comments_and_texts_are_exempt() {
    passes("token/a.rs", "#[cfg(test)] mod tests { use crate::auth::X; mod m { use http::X; } }");
    passes("token/a.rs", "#[cfg(all(test, unix))] use crate::auth::X;");
    passes("token/a.rs", "impl A { #[cfg(test)] fn f() { crate::auth::x() } }");
    passes("token/a.rs", "trait A { #[cfg(test)] fn f() { crate::auth::x() } }");
    passes("token/a.rs", "//! crate::auth\n/// [x](crate::auth::X)\nfn f() {} // crate::auth::X");
    passes("token/a.rs", "/* crate::auth::X */ const A: &str = \"use crate::auth::X; http::Y\";");
    let upward = "use crate::auth::X;";
    let with_files_of_tests = |declared| {
        let files = [("token/tests.rs", upward), ("token/tests/more.rs", upward)];
        check(&[("token/mod.rs", declared), files[0], files[1]]).faults.len()
    };
    assert_eq!(with_files_of_tests("#[cfg(test)] mod tests;"), 0);
    assert_eq!(with_files_of_tests("mod tests;"), 2);
    assert_eq!(check(&[("token/a.rs", "#![cfg(test)] use crate::auth::X;")]).faults.len(), 0);
    for not_only_tests in ["not(test)", "any(test, feature = \"testing\")", "feature = \"test\""] {
        let text = format!("#[cfg({not_only_tests})] use crate::auth::X;");
        fails("token/a.rs", &text, "token/a.rs:1: ", "runs upward");
    }
    fails(
        "token/a.rs",
        "#[cfg(test)] mod tests {} use crate::auth::X;",
        "token/a.rs:1: ",
        "runs upward",
    );
}

#[test]
fn the_core_names_no_framework() {
    let why = "names a framework";
    for text in [
        "use http::StatusCode;",
        "use ::hyper::body;",
        "use {std::fmt, axum::{Router}};",
        "use http;",
        "extern crate http as h;",
        "fn f() -> actix_web::HttpResponse {}",
        "fn f() -> ::tower::BoxError {}",
    ] {
        fails("api/a.rs", text, "api/a.rs:1: ", why);
        passes("tower/a.rs", text);
    }
    passes("api/a.rs", "fn f(http: u8) -> u8 { let tower = http + 1; self.axum(tower) }");
}

#[test]
fn files_end_at_400_lines_without_their_tests() {
    let lines = |count: usize| "// a line\n".repeat(count);
    passes("token/a.rs", &lines(400));
    fails("token/a.rs", &lines(401), "token/a.rs: ", "401 lines");
    fails("bin/app/main.rs", &lines(401), "bin/app/main.rs: ", "401 lines");
    let tests = format!("/// Doc.\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(300));
    passes("token/a.rs", &format!("{}{tests}", lines(400)));
    fails("token/a.rs", &format!("{}{tests}", lines(401)), "token/a.rs: ", "401 lines");
}
