//! The authorization server, through its front door; tests are named after the requirements.

mod clients;
mod codes;
mod flow;
mod load;
mod redirects;
mod refreshing;
mod revoking;
mod rmcp;
mod steps;
mod tokens;
