//! What must be so before any time is taken: a guard that lets everybody in costs nothing.

use std::io;

use tokio::runtime::Runtime;

use crate::{
    load::call,
    photo::Photo,
    requests::photo,
    server::Server,
    support::{PHOTO, PLAN, resource, tokens},
};

/// Everybody gets the photo.
pub fn is_open(runtime: &Runtime, server: &Server) -> io::Result<()> {
    asked(runtime, server, PHOTO, None, 200)
}

/// Who has a token or a key for the photo gets it, and nobody else.
pub fn guards(runtime: &Runtime, server: &Server) -> io::Result<()> {
    guards_by_tokens(runtime, server)?;
    let key = server.keys.first().map_or("", String::as_str);
    asked(runtime, server, PHOTO, Some(key), 200)?;
    asked(runtime, server, "photo-2", Some(key), 403)?;
    asked(runtime, server, PHOTO, key.get(..key.len() - 1), 401)
}

/// The same with tokens alone.
pub fn guards_by_tokens(runtime: &Runtime, server: &Server) -> io::Result<()> {
    let tokens = tokens();
    let signature = |token: &str| token.rfind('.').expect("three parts");
    let (own, other) = (&tokens[0], &tokens[1]);
    let forged = format!("{}{}", &own[..signature(own)], &other[signature(other)..]);
    asked(runtime, server, &resource(0), Some(own), 200)?;
    asked(runtime, server, &resource(1), Some(own), 403)?;
    asked(runtime, server, &resource(0), Some(&forged), 401)?;
    asked(runtime, server, &resource(0), None, 401)
}

fn asked(
    runtime: &Runtime,
    server: &Server,
    id: &str,
    credential: Option<&str>,
    expected: u16,
) -> io::Result<()> {
    let (status, body) = call(runtime, server.address, &photo(id, credential))?;
    assert_eq!(status, expected, "{body}");
    if status == 200 {
        assert_eq!(body, serde_json::to_string(&Photo::new(id, PLAN))?);
    }
    Ok(())
}
