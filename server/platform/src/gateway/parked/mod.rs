//! A request that asked something of a stateless caller: it waits on this replica while the caller comes back, on whichever replica, with
//! the answer. That request is then a window onto this one.

mod host;
mod letters;
mod window;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    converse::{AnswerTo, Asked, Ongoing, farewell},
    draft::Draft,
    slot::MOST_AT_ONCE,
};
use crate::{
    Platform,
    bus::{Address, Mailbox},
    ids::{AgentId, ToolId},
};
use host::Host;
pub(super) use window::resume;

/// Requests that wait on one replica: of all agents, of one, and of one tool, whose other callers need its slots.
const MOST: usize = 2_000;
const MOST_OF_ONE: usize = 64;
const MOST_OF_TOOL: usize = MOST_AT_ONCE as usize / 2;
/// How often a parked request tells its window that it is there.
const BEAT: Duration = Duration::from_secs(3);

/// How many wait, by agent and by tool.
#[derive(Debug, Default)]
pub struct Parked(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    of_agent: HashMap<AgentId, usize>,
    of_tool: HashMap<ToolId, usize>,
}

impl Parked {
    fn enter(&self, agent: AgentId, tool: Option<ToolId>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.of_agent.values().sum();
        let of_agent = waiting.of_agent.get(&agent).copied().unwrap_or_default();
        let of_tool = tool.and_then(|tool| waiting.of_tool.get(&tool).copied()).unwrap_or_default();
        let has_room = all < MOST && of_agent < MOST_OF_ONE && of_tool < MOST_OF_TOOL;
        if has_room {
            *waiting.of_agent.entry(agent).or_default() += 1;
            if let Some(tool) = tool {
                *waiting.of_tool.entry(tool).or_default() += 1;
            }
        }
        has_room
    }

    fn leave(&self, agent: AgentId, tool: Option<ToolId>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        one_less(&mut waiting.of_agent, &agent);
        if let Some(tool) = tool {
            one_less(&mut waiting.of_tool, &tool);
        }
    }
}

fn one_less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A place among those that wait; free again when this is dropped.
struct Seat {
    platform: Platform,
    agent: AgentId,
    tool: Option<ToolId>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.platform.parked.leave(self.agent, self.tool);
    }
}

/// Takes a request over. `None` if too many wait already; it is stopped then. `draft` records its end if no window is there to do so.
pub(super) fn hold(
    platform: &Platform,
    ongoing: Ongoing,
    draft: Option<Draft>,
    asked: Asked,
    answer: AnswerTo,
) -> Option<Address> {
    let agent = ongoing.agent;
    let tool = draft.as_ref().and_then(Draft::tool);
    if !platform.parked.enter(agent, tool) {
        if let Some(draft) = draft {
            draft.discard();
        }
        farewell(platform, ongoing);
        return None;
    }
    let seat = Seat { platform: platform.clone(), agent, tool };
    let mailbox = Mailbox::open(platform);
    let address = mailbox.address().clone();
    let host = Host::new(platform, ongoing, mailbox);
    platform.conversations.spawn(async move {
        host.run(asked, answer, draft).await;
        drop(seat);
    });
    Some(address)
}
