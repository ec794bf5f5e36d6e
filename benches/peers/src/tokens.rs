//! A token for each photo, of the form that a peer asks for. All are HS256 with the same secret.

use axum_gate::{
    accounts::Account,
    codecs::{
        Codec,
        jwt::{JsonWebToken, JsonWebTokenOptions, JwtClaims, RegisteredClaims},
    },
    groups::Group,
    jsonwebtoken::{DecodingKey, EncodingKey},
    roles::Role,
};

use crate::{
    server::Peer,
    support::{self, SECRET, TOKENS, claims, sign},
};

/// Who signs the tokens of axum-gate.
pub const ISSUER: &str = "photos";

/// The key's name, for who finds keys by it.
pub const KID: &str = "one";

pub type GateCodec = JsonWebToken<JwtClaims<Account<Role, Group>>>;

pub fn of(peer: Peer) -> Vec<String> {
    match peer {
        Peer::AxumGate => of_gate(),
        Peer::TowerOauth2 => {
            let header = format!(r#"{{"alg":"HS256","kid":"{KID}"}}"#);
            (0..TOKENS).map(|n| sign(&header, &claims(n))).collect()
        }
        _ => support::tokens(),
    }
}

pub fn gate_codec() -> GateCodec {
    let options = JsonWebTokenOptions::default()
        .with_encoding_key(EncodingKey::from_secret(SECRET.as_bytes()))
        .with_decoding_key(DecodingKey::from_secret(SECRET.as_bytes()));
    JsonWebToken::new_with_options(options)
}

/// The photo stands where axum-gate has an account's name.
fn of_gate() -> Vec<String> {
    let (codec, in_a_day) = (gate_codec(), support::now().as_seconds() + 86_400);
    let token = |n| {
        let account = Account::new(&support::resource(n), &[Role::User], &[]);
        let registered = RegisteredClaims::new(ISSUER, in_a_day.unsigned_abs());
        let token = codec.encode(&JwtClaims::new(account, registered)).expect("it can be signed");
        String::from_utf8(token).expect("it is text")
    };
    (0..TOKENS).map(token).collect()
}
