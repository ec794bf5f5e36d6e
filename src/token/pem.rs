//! Public keys in PEM (RFC 7468), in the spellings in which settings carry them.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const PUBLIC_KEY: &str = "PUBLIC KEY";
const RSA_PUBLIC_KEY: &str = "RSA PUBLIC KEY";

/// Why a text was not taken. Holds nothing of the text.
pub(super) type Reason = Cow<'static, str>;

/// The DER structures inside a text of one or more `-----BEGIN PUBLIC KEY-----` blocks.
///
/// Line ends may be written out (`\n`, `\r\n`), lines may be blank, and all of it may stand in
/// quotes, which container tools hand on as part of a value.
pub(super) fn public_keys(text: &str) -> Result<Vec<Vec<u8>>, Reason> {
    let text = with_line_ends(text);
    let text = unquoted(text.trim_start_matches('\u{feff}').trim());
    let (blocks, is_text_outside) = split(text)?;
    for (n, block) in blocks.iter().enumerate() {
        if let Some((what, cure)) = block.mislabelled().or_else(|| not_a_public_key(block.label)) {
            return Err(match blocks.len() {
                1 => format!("it is {what}; {cure}").into(),
                many => format!("block {} of {many} is {what}; {cure}", n + 1).into(),
            });
        }
    }
    if blocks.is_empty() {
        return Err(without_block(text).into());
    }
    if is_text_outside {
        return Err("there is text before or after its PEM block".into());
    }
    blocks.iter().map(Block::decode).collect()
}

/// The one structure inside a text of one block.
pub(super) fn public_key(text: &str) -> Result<Vec<u8>, Reason> {
    let mut keys = public_keys(text)?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (_, others) => Err(format!("it holds {} public keys, one is expected", others + 1).into()),
    }
}

/// One block with this structure, as it is written by everybody.
pub(super) fn of_public_key(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("{BEGIN}{PUBLIC_KEY}{DASHES}\n{body}\n-----END {PUBLIC_KEY}{DASHES}\n")
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

/// An RSA key's structure begins with its modulus, and an SPKI structure with its algorithm.
#[derive(Debug, PartialEq, Eq)]
enum Structure {
    Pkcs1,
    Spki,
}

impl Structure {
    fn of(der: &[u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const INTEGER: u8 = 0x02;
        let contents = |der: &[u8]| {
            let (tag, length) = (*der.first()?, *der.get(1)?);
            let long = usize::from(length & 0x7f) * usize::from(length >> 7);
            (tag == SEQUENCE).then(|| der.get(2 + long).copied()).flatten()
        };
        match contents(der)? {
            INTEGER => Some(Self::Pkcs1),
            SEQUENCE => Some(Self::Spki),
            _ => None,
        }
    }
}

impl Block<'_> {
    /// What it is, where its label says that it is something else.
    fn mislabelled(&self) -> Option<(&'static str, &'static str)> {
        match (self.label, Structure::of(&self.decode().ok()?)?) {
            (PUBLIC_KEY, Structure::Pkcs1) => Some((
                "an RSA public key in PKCS #1 under the label of another form",
                "its label is RSA PUBLIC KEY, and then openssl rsa -RSAPublicKey_in -pubout \
                 converts it",
            )),
            (RSA_PUBLIC_KEY, Structure::Spki) => Some((
                "a public key under the label of PKCS #1",
                "-----BEGIN PUBLIC KEY----- is its label",
            )),
            _ => None,
        }
    }

    fn decode(&self) -> Result<Vec<u8>, Reason> {
        let compact: String = self.body.split_ascii_whitespace().collect();
        STANDARD.decode(compact).map_err(|_| "its base64 is broken".into())
    }
}

/// The blocks, and whether anything but space stands around them.
fn split(text: &str) -> Result<(Vec<Block<'_>>, bool), Reason> {
    let (mut blocks, mut is_text_outside, mut rest) = (Vec::new(), false, text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        is_text_outside |= !before.trim().is_empty();
        let unfinished = || Reason::from("its -----BEGIN … ----- line breaks off");
        let (label, after) = after.split_once(DASHES).ok_or_else(unfinished)?;
        if label.contains('\n') {
            return Err(unfinished());
        }
        let end = format!("-----END {label}{DASHES}");
        let Some((body, after)) = after.split_once(&end) else {
            return Err(match not_a_public_key(label) {
                Some((what, cure)) => format!("it is {what}; {cure}").into(),
                None => "its -----END PUBLIC KEY----- line is missing".into(),
            });
        };
        blocks.push(Block { label, body });
        rest = after;
    }
    Ok((blocks, is_text_outside || !rest.trim().is_empty()))
}

/// What a block of this label is, where it is no public key, and what helps.
fn not_a_public_key(label: &str) -> Option<(&'static str, &'static str)> {
    Some(match label {
        PUBLIC_KEY => return None,
        private if private.ends_with("PRIVATE KEY") => {
            ("a private key", "only its public key belongs here")
        }
        RSA_PUBLIC_KEY => {
            ("an RSA public key in PKCS #1", "openssl rsa -RSAPublicKey_in -pubout converts it")
        }
        request if request.ends_with("CERTIFICATE REQUEST") => {
            ("a certificate request", "only the public key belongs here")
        }
        certificate if certificate.ends_with("CERTIFICATE") => {
            ("a certificate", "openssl x509 -pubkey -noout prints its public key")
        }
        _ => ("a PEM block of another kind", "-----BEGIN PUBLIC KEY----- is expected"),
    })
}

/// What a text without any block is.
fn without_block(text: &str) -> &'static str {
    const OPENSSH: [&str; 3] = ["ssh-", "ecdsa-sha2-", "sk-"];
    if text.is_empty() {
        "it is empty"
    } else if text.starts_with('{') && text.contains("\"keys\"") {
        "it is a JWK set, and PEM is expected (-----BEGIN PUBLIC KEY-----)"
    } else if text.starts_with('{') {
        "it is a JWK, and PEM is expected (-----BEGIN PUBLIC KEY-----)"
    } else if OPENSSH.iter().any(|start| text.starts_with(start)) {
        "it is an OpenSSH key; ssh-keygen -e -m PKCS8 converts it"
    } else {
        "it has no -----BEGIN PUBLIC KEY----- line"
    }
}

/// Line ends that are written out become line ends. Nothing of a PEM block has a backslash.
fn with_line_ends(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut lines = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        lines.push_str(before);
        let letters = after.trim_start_matches('\\');
        rest = match letters.strip_prefix(['n', 'r']) {
            Some(next) => {
                lines.push('\n');
                next
            }
            None => {
                lines.push('\\');
                after
            }
        };
    }
    lines.push_str(rest);
    lines.into()
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .map_or(text, str::trim)
}
