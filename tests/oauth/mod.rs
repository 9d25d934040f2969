//! The authorization server, through its front door; tests are named after the requirements.

mod flow;
