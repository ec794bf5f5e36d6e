//! Notification by pub/sub, and behind it a log of changes with a counter.

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Client, PushInfo, PushKind, ScriptInvocation, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::sync::mpsc::{Receiver, channel};

use super::{
    link::{Link, connect},
    row::fault,
    scripts,
};
use crate::{
    error::StoreError,
    store::{
        Change,
        feed::{Listening, Notification, Source},
    },
};

/// How many messages may wait. What does not fit is found by the next look.
const MOST_WAITING: usize = 1_024;
/// From so many changes at once on, anything may have changed.
const MOST_CHANGES: i64 = 1_000;

/// Where the change notifications of one database come from.
pub(super) struct Channel {
    client: Client,
    links: [Arc<Link>; 2],
    version_key: String,
    version: String,
    name: String,
}

/// A connection that has subscribed.
pub(super) struct Subscription {
    connection: MultiplexedConnection,
    messages: Receiver<PushInfo>,
    /// The store's other connections.
    links: [Arc<Link>; 2],
    call: NotificationCall,
    /// The last change that was told.
    revision: i64,
}

/// What the script of the changes takes every time.
struct NotificationCall {
    version_key: String,
    version: String,
}

#[derive(Debug, thiserror::Error)]
#[error("the connection that listens is closed")]
struct Closed;

impl Channel {
    pub(super) fn new(
        client: Client,
        links: [Arc<Link>; 2],
        prefix: &str,
        version_key: &str,
        version: &str,
    ) -> Self {
        Self {
            client,
            links,
            version_key: version_key.to_owned(),
            version: version.to_owned(),
            // Every database has its own: pub/sub knows no database numbers.
            name: format!("{prefix}changes:{version}"),
        }
    }
}

impl Source for Channel {
    type Listening = Subscription;

    async fn open(&self) -> Result<Subscription, StoreError> {
        let (sender, messages) = channel(MOST_WAITING);
        let push = move |message| sender.try_send(message).map_err(|_| SendError);
        let config = AsyncConnectionConfig::new().set_push_sender(push);
        let mut connection = connect(&self.client, config).await.map_err(fault)?;
        connection.subscribe(&self.name).await.map_err(fault)?;
        let call = NotificationCall {
            version_key: self.version_key.clone(),
            version: self.version.clone(),
        };
        let (revision, _) = call.run(&mut connection, 0, 0).await?;
        Ok(Subscription { connection, messages, links: self.links.clone(), call, revision })
    }
}

impl Drop for Subscription {
    /// What has happened to this connection may have happened to the others, which notice it only
    /// when they are used.
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.give_up());
    }
}

impl Listening for Subscription {
    async fn hear(&mut self) -> Result<Notification, StoreError> {
        loop {
            let message = self.messages.recv().await;
            let Some(PushInfo { kind, data }) = message else {
                return Err(StoreError::unavailable(Closed));
            };
            match kind {
                PushKind::Message => {}
                PushKind::Disconnection => return Err(StoreError::unavailable(Closed)),
                _ => continue,
            }
            match data.get(1).and_then(entry) {
                Some((revision, _)) if revision <= self.revision => {}
                Some((revision, change)) if revision == self.revision + 1 => {
                    self.revision = revision;
                    return Ok(Notification::Changes(vec![change]));
                }
                _ => return Ok(Notification::Look),
            }
        }
    }

    async fn look(&mut self) -> Result<Vec<Change>, StoreError> {
        let (revision, log) =
            self.call.run(&mut self.connection, self.revision, MOST_CHANGES).await?;
        let changes = following(self.revision, revision, &log);
        self.revision = revision;
        Ok(changes.unwrap_or_else(|| vec![Change::All]))
    }
}

impl NotificationCall {
    async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        known: i64,
        most: i64,
    ) -> Result<(i64, Vec<Value>), StoreError> {
        let mut call: ScriptInvocation<'_> = scripts::CHANGES.key(&self.version_key);
        call.arg(&self.version).arg(known).arg(most);
        call.invoke_async(connection).await.map_err(fault)
    }
}

/// The changes after one revision up to another; `None` where the log does not tell them all.
fn following(known: i64, revision: i64, log: &[Value]) -> Option<Vec<Change>> {
    let entries: Option<Vec<_>> = log.iter().map(entry).collect();
    let (revisions, changes): (Vec<i64>, Vec<Change>) = entries?.into_iter().unzip();
    revisions.into_iter().eq(known + 1..=revision).then_some(changes).filter(|_| revision >= known)
}

/// A line of the log: the revision, a colon, and what has changed.
fn entry(line: &Value) -> Option<(i64, Change)> {
    let Value::BulkString(line) = line else { return None };
    let colon = line.iter().position(|byte| *byte == b':')?;
    let revision = str::from_utf8(&line[..colon]).ok()?.parse().ok()?;
    Some((revision, Change::logged(&line[colon + 1..])?))
}
