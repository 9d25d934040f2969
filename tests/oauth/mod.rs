//! The authorization server, through its front door; tests are named after the requirements.

mod assertions;
mod certificates;
mod clients;
mod codes;
mod doctor;
mod exchange;
mod flow;
mod killed;
mod load;
mod matrix;
mod proofs;
mod redirects;
mod refreshing;
mod revoking;
mod rmcp;
mod services;
mod steps;
mod tokens;
mod told;
