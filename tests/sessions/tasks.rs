//! Replicas that are killed.
