//! Channels that are listened to, on a connection of their own.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use redis::{Msg, RedisError, aio::PubSubStream};

use super::{
    Away, Redis, late,
    node::{DEAD_AFTER, Node},
    slot,
};

/// How often it is looked whether the channel's server is still the right one: a server that hangs says nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Channels that are listened to. In a cluster at the server that has the first one's slot, where senders go too, so that they hear whether
/// anybody listens; what is sent to another reaches it all the same.
pub struct Subscription {
    messages: PubSubStream,
    node: Arc<Node>,
    channels: Vec<String>,
    slot: Option<u16>,
}

impl Redis {
    /// Messages on these channels, from now until the connection ends. A connection of its own.
    pub async fn subscribe(&self, channels: &[String]) -> Result<Subscription, Away> {
        let slot = channels.first().map(|channel| slot::of_key(channel.as_bytes()));
        let subscribed = async {
            let node = self.owner(slot).await?;
            let mut connection = node.client.get_async_pubsub().await?;
            connection.subscribe(channels).await?;
            Ok::<_, RedisError>(Subscription { messages: connection.into_on_message(), node, channels: channels.to_vec(), slot })
        };
        // Connecting takes longer than a command; the caller has nothing better to do.
        match tokio::time::timeout(DEAD_AFTER + self.timeout(), subscribed).await {
            Ok(subscription) => Ok(subscription?),
            Err(_) => Err(late("no answer in time").into()),
        }
    }
}

impl Subscription {
    /// The next message; `None` when the connection has ended. Goes with its channel when that moves.
    pub async fn next(&mut self, redis: &Redis) -> Option<Msg> {
        loop {
            if let Ok(message) = tokio::time::timeout(LOOK_EVERY, self.messages.next()).await {
                return message;
            }
            let has_moved = redis.shared.topology.load().owner(self.slot).is_some_and(|owner| !Arc::ptr_eq(owner, &self.node));
            // Listening there before no longer listening here.
            if has_moved && let Ok(there) = redis.subscribe(&self.channels).await {
                *self = there;
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("node", &self.node.address).finish_non_exhaustive()
    }
}
