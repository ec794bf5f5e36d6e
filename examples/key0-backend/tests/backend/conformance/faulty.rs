//! Backends that lack one guard each: the run must name the cases that show it, and no others.

use crate::conformance::{
    Report, conformance,
    holes::{FaultyBackend, Hole},
};

/// The report on a backend with this hole: each failed case begins with one of `wanted`, each of
/// these is the beginning of a failed case, and no key is left behind.
fn check(hole: Hole, wanted: &[&str]) -> Report {
    let faulty = FaultyBackend::start(hole);
    let setup = conformance(&faulty.url()).argument("--timeout-seconds").argument("1");
    let setup = setup.argument("--unreachable-key").argument(&faulty.unreachable);
    let report = Report::of(setup);
    let failed = report.names("fail");
    for name in wanted {
        let named = failed.iter().any(|failed| failed.starts_with(name));
        assert!(named, "{hole:?}: {name} did not fail, but {failed:#?}");
    }
    for failed in &failed {
        let meant = wanted.iter().any(|name| failed.starts_with(name));
        assert!(meant, "{hole:?}: {failed} failed: {:#}", report.case(failed));
    }
    assert_eq!(report.code, i32::from(!wanted.is_empty()), "{hole:?}");
    assert_eq!(report.count("failed"), failed.len(), "{}", report.json["troubles"]);
    assert_eq!(faulty.keys_in_force(), 0, "{hole:?}");
    report
}

#[test]
fn without_a_hole_all_pass() {
    let report = check(Hole::None, &[]);
    report.assert_all_pass();
    assert_eq!(report.names("skip"), Vec::<&str>::new());
}

#[test]
fn holes_in_checking_tokens() {
    let now = "a token is expired in the very second of its exp";
    let fraction = "an expired token with a fraction in its exp";
    let keys = "keys with an expired token";
    let holder = "a token that is over is told so at /credential, too";
    check(Hole::NoExpiryCheck, &["an expired token", now, fraction, keys, holder]);
    check(Hole::SecondOfLeeway, &[now, fraction]);
    check(Hole::NoExpNeeded, &["a token without a claim: exp"]);
    check(
        Hole::AlgNoneAccepted,
        &["a token of another algorithm: algNone", "a token of another algorithm: algNoneSpelled"],
    );
    check(Hole::LongTokenIsTooLarge, &["a genuine token over 8 KiB"]);
    let system = "a system token opens no photo";
    for (claim, also) in [("sub", true), ("planId", true), ("tierId", false), ("txHash", true)] {
        let mark = format!("a single mark of a system token bars it: {claim}");
        let wanted = [&*mark, system];
        check(Hole::MarkAccepted(claim), if also { &wanted } else { &wanted[..1] });
    }
}

#[test]
fn holes_in_reading_credentials() {
    let schemes = [
        "the scheme's case does not matter",
        "the scheme that the challenge names opens with a bought key",
    ];
    check(Hole::SchemeIsCaseSensitive, &schemes);
    let twice = [
        "two Authorization headers",
        "two key headers",
        "the secret twice",
        "the secret as bearer, twice",
        "keys with a master key, twice",
    ];
    check(Hole::FirstHeaderCounts, &[&twice[..], &["the secret and then another"]].concat());
    check(Hole::LastHeaderCounts, &[&twice[..], &["another and then the secret"]].concat());
    check(
        Hole::NoResourceCheck,
        &[
            "a token for one photo does not open another",
            "a token for one photo does not open other data",
            "the word default opens nothing by itself",
            "the case of a resource matters",
            "a master key opens no photo",
            "a master key as bearer opens no photo",
            "an issued key opens no other photo",
            "an issued key opens no other data",
            "an integrator's key opens no photo",
            "HEAD is answered like GET: a token for another photo",
        ],
    );
}

#[test]
fn holes_in_the_internal_endpoints() {
    check(
        Hole::AbsentSecretOpens,
        &[
            "nobody sent: issue-token",
            "nobody sent: payment-received",
            "the secret in the header of API keys",
            "a master key: issue-token",
            "a master key: payment-received",
            "the body of a stranger is not looked at",
            "an integrator's key lets nobody into the internal endpoints",
            "a request id is echoed: POST /internal/issue-token",
        ],
    );
    check(Hole::SecretPrefixOpens, &["the secret without its last character"]);
    check(Hole::BodyBeforeCaller, &["the body of a stranger is not looked at"]);
    check(
        Hole::ReplayDiffers,
        &[
            "a retry gets the same key, byte for byte",
            "tierId is an alias of planId in a retry",
            "without a challenge the request's own id counts",
            "after all that a retry still gets the same key",
            "a media type with a parameter",
        ],
    );
    check(
        Hole::ConflictIsReceived,
        &["another payment for the same challenge", "the same payment for another challenge"],
    );
}

#[test]
fn holes_in_the_store_and_the_keys() {
    let outage = "a store that can't answer is no refusal";
    let report = check(Hole::OutageIsRefusal, &[outage, "access tokens work in an outage"]);
    let told = report.case("a store that can't answer is no refusal: /keys");
    assert_eq!(told["expected"], "503 store_unavailable");
    assert_eq!(told["faults"][0], "the status is 401, not 503");
    let dead = ["a key's life: made, listed, revoked, dead", "a revoked key is dead everywhere"];
    check(Hole::RevokedKeyWorks, &[&dead[..], &["whoever knows a key may end it"]].concat());
    let ended = "whoever knows a token may end it, and no other with it";
    let early = "a token that is not valid yet can be ended before it is";
    check(Hole::DeniedTokenWorks, &[ended, early]);
    check(
        Hole::ListingShowsKeys,
        &["a key's life: made, listed, revoked, dead", "a key is shown once"],
    );
    check(
        Hole::EverybodyIsMaster,
        &[
            "keys with",
            "a token manages no keys",
            "a payment key manages no keys",
            "a minter manages no keys",
            "a reader manages no keys",
            "a key's life: made, listed, revoked, dead",
            "a revoked key is dead everywhere",
            "the right is checked before the body",
            "a request id is echoed: GET /keys",
            "a store that can't answer is no refusal: /keys",
        ],
    );
    // The minter's key could not be revoked by its case; it was in the end.
    check(Hole::RevocationFailsOnce, &["a key's life: made, listed, revoked, dead"]);
}

#[test]
fn holes_in_the_form_of_answers() {
    check(Hole::OtherWording, &["keys without a key", "keys with the internal secret in its own"]);
    let unknown = [
        "an unknown path",
        "the path is checked before the method and the credential",
        "a path that is no text shows nothing internal",
        "a request id is echoed: GET /nowhere",
        "a key's life: made, listed, revoked, dead",
        "deleting a key that nobody knows",
        "nobody's key",
        "deeper than a key",
        "a path is checked before the credential",
        "a photo without an id",
    ];
    let report = check(Hole::CauseIsShown, &unknown);
    let told = &report.case("an unknown path: /nowhere")["faults"];
    assert_eq!(told[0], "the refusal has a member cause, which is none of the contract's");
    let report = check(
        Hole::StackIsShown,
        &[
            "an expired token",
            "a token is expired in the very second of its exp",
            "a token that is over is told so at /credential, too",
        ],
    );
    let told = &report.case("an expired token")["faults"];
    assert_eq!(told[0], "the message shows something internal: .js:");
    check(
        Hole::CredentialIsShown,
        &[
            "a system token opens no photo",
            "a single mark of a system token bars it",
            "a system token is nobody's credential",
        ],
    );
    let head = "HEAD is answered like GET: an unknown path";
    check(Hole::CachesMayKeepRefusals, &[&unknown[..], &[head]].concat());
    check(
        Hole::NoChallenge,
        &[
            "a token for one photo does not open",
            "the word default opens nothing by itself",
            "the case of a resource matters",
            "a master key opens no photo",
            "a master key as bearer opens no photo",
            "an issued key opens no other",
            "an integrator's key opens no photo",
            "HEAD is answered like GET: a token for another photo",
            "a token manages no keys",
            "a payment key manages no keys",
            "a minter manages no keys",
            "a reader manages no keys",
            "the right is checked before the body",
            "a key's life: made, listed, revoked, dead",
        ],
    );
    check(Hole::NoRequestId, &["the backend is ready"]);
    check(Hole::AnyRequestId, &["a request id that is not sane is not echoed"]);
    check(
        Hole::NoAllow,
        &[
            "a wrong method",
            "a credential is ended by POST alone",
            "the method is checked before the credential",
            "HEAD is answered like GET: a path for POST",
            "a request id is echoed: PUT /health",
        ],
    );
    check(Hole::HeadIsUnknown, &["health by HEAD", "HEAD is answered like GET"]);
}

/// The run goes on after a request without an answer.
#[test]
fn a_backend_that_hangs_is_not_waited_for() {
    let report = check(
        Hole::DataHangs,
        &[
            "a token opens its data",
            "a token for default shows what was bought",
            "a token for one photo does not open other data",
            "a master key opens no photo: data",
            "an issued key opens its data",
            "an issued key opens no other data",
            "an issued key for default opens any photo",
            "an integrator's key opens no photo",
        ],
    );
    let told = report.case("a token opens its data");
    assert_eq!(told["came"], "no answer");
    assert_eq!(told["faults"][0], "there was no answer within 1s");
    assert!(report.count("passed") > 200);
}
